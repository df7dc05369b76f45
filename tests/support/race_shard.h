// The engine's side of the race: a shard of the TURN server, and its clients, who write down in
// their words what they are told.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "race_common.h"
#include "random.h"
#include "turnpike/counters.h"
#include "turnpike/request.h"

namespace turnpike::flow::test::race {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;
using turnpike::test::Random;

// A shard and its clients: what they say, and what they are told.
class Shard final : public ServerHost {
 public:
  Shard(Common& common, std::uint8_t index)
      : common_(common),
        index_(index),
        random_(index + 1U),
        writer_(common.tables, index, common.qsbr, common.hop),
        server_(config(common, index), *this, common.nonces, common.tokens, common.quotas) {
    for (std::uint32_t i = 0; i < kOwnClients; ++i)
      mine_.push_back({.client = index * kOwnClients + i});
    for (std::uint32_t i = 0; i < kSharedClients; ++i)
      mine_.push_back({.client = common.shards * kOwnClients + i});
    for (const char* name : {"all", "own"}) {
      const std::string user = name[0] == 'a' ? name : name + std::to_string(index);
      users_.push_back(
          {user,
           user,
           {stun::long_term_key(stun::PasswordAlgorithm::kMd5, user, kRealm, "secret")},
           {}});
    }
  }

  void run() {
    std::uint32_t step = 0;
    while (step < kSteps) {
      now_ = common_.now();
      if (const std::uint32_t current = common_.step(); current != step) {
        step = current;
        allocations_this_step_ = 0;
        server_.tick(now_);
        settle();
      }
      foresee(now_ + kStepMs);
      common_.ready_for[index_].store(step + 1, std::memory_order_release);
      act(mine_[random_.below(static_cast<std::uint32_t>(mine_.size()))]);
      hear_an_old_notice();
      writer_.housekeeping();
      if (index_ == 0) go_on(step);
      if (random_.below(8) == 0) std::this_thread::yield();
    }
  }

  // After all threads have ended.
  void end() {
    for (const std::uint64_t more_ms : {1'000'000U, 100'000U})
      server_.tick(now_ = now_ + more_ms);
    for (int i = 0; i < 2; ++i)
      writer_.housekeeping();
    EXPECT_EQ(writer_.retired(), 0u);
    EXPECT_EQ(server_.counters().allocations.get(), 0u);
    EXPECT_EQ(server_.counters().permissions.get(), 0u);
    EXPECT_EQ(server_.counters().channels.get(), 0u);
    EXPECT_EQ(server_.counters().free_ports.get(), kPortsPerShard);
    EXPECT_EQ(common_.tables.usage(index_).allocations, 0u);
    EXPECT_EQ(common_.quotas.count({users_.back().quota_name}), 0u);
  }

  std::array<std::uint64_t, 700> answers{};  // by code; 0: success
  std::uint64_t beyond_quota = 0;
  std::uint64_t owned_twice = 0;
  std::uint64_t unexpected = 0;
  std::uint64_t expired = 0;
  std::uint64_t ended_by_notice = 0;

  void reply(RequestToken /*token*/, stun::Bytes message) override {
    MessageView answer;
    if (MessageView::parse(message, answer) != stun::ParseError::kNone) {
      ++unexpected;
      return;
    }
    const std::uint16_t code = answer.error_code().value_or(0);
    ++answers[code];
    if (answer.message_class() == Class::kSuccess) {
      succeeded(answer);
      if (random_.below(8) == 0) let_read();
    } else {
      refused(answer.method(), code);
    }
  }
  void discard(RequestToken /*token*/, Discard /*reason*/) override { ++unexpected; }
  KeyState find_keys(const UserName& name, RealmIndex /*realm*/, KeyPurpose /*purpose*/,
                     UserKeys& out) override {
    for (const UserKeys& user : users_) {
      if (user.username != name.username) continue;
      out = user;
      return KeyState::kFound;
    }
    return KeyState::kUnknown;
  }
  void unauthorized(const ClientEndpoint& /*client*/, Unauthorized /*reason*/) override {}
  PeerVerdict check_peer(RealmIndex, const Address&, const Address&) override {
    return PeerVerdict::kAllowed;
  }
  std::uint32_t random_below(std::uint32_t bound) override { return random_.below(bound); }
  FlowSink& flows() override { return writer_; }

 private:
  struct Mine {
    std::uint32_t client = 0;
    std::uint16_t port = 0;
    ChannelNumber number = 0;  // drawn for each allocation
    std::uint64_t flags = 0;
    // Seconds in which they end.
    std::uint32_t allocated_until = 0, permitted_until = 0, bound_until = 0;
    bool forsaken = false;  // nothing is refreshed any more
  };

  static ServerConfig config(const Common& common, std::uint8_t index) {
    ServerConfig config;
    config.realms = {{.name = kRealm}};
    config.relayed = {{kRelay4, std::nullopt}};
    config.port_min = static_cast<std::uint16_t>(kFirstPort + 64 * index);
    config.port_max = static_cast<std::uint16_t>(config.port_min + kPortsPerShard - 1);
    config.lifetime_min_s = 12;
    config.lifetime_max_s = 20;
    config.permission_lifetime_s = 5;
    config.channel_lifetime_s = 8;
    config.port_rest_s = kRestSeconds;
    config.shard = index;
    config.shard_count = static_cast<std::uint8_t>(common.shards);
    return config;
  }

  void go_on(std::uint32_t step) {
    for (std::uint32_t i = 0; i < common_.shards; ++i) {
      if (common_.ready_for[i].load(std::memory_order_acquire) != step + 1) return;
    }
    for (std::size_t i = 0; i < kReaders; ++i) {
      if (common_.bursts[i].load(std::memory_order_acquire) == bursts_seen_[i]) return;
    }
    for (std::size_t i = 0; i < kReaders; ++i)
      bursts_seen_[i] = common_.bursts[i].load(std::memory_order_acquire);
    common_.now_ms.store(now_.ms + kStepMs, std::memory_order_release);
  }

  // An answer is on its way when reply() is called, and its client may act on it before the server
  // does anything more: a burst that begins from now on must find all as promised.
  void let_read() const {
    const std::atomic<std::uint32_t>& bursts = common_.bursts[transactions_ % kReaders];
    const std::uint32_t before = bursts.load(std::memory_order_relaxed);
    while (bursts.load(std::memory_order_relaxed) < before + 2)
      std::this_thread::yield();
  }

  // What ends by itself until `then`.
  void foresee(Instant then) {
    for (Mine& one : mine_) {
      if ((one.flags & kAllocated) == 0 || (one.flags & kEnding) != 0) continue;
      const std::uint32_t seconds = now_s(then);
      if (one.allocated_until > seconds &&
          ((one.flags & kPermitted) == 0 || one.permitted_until > seconds) &&
          ((one.flags & kBound) == 0 || one.bound_until > seconds)) {
        continue;
      }
      ++expired;
      closes(one, one.allocated_until <= seconds);
    }
  }

  // What had been foreseen has ended.
  void settle() {
    for (Mine& one : mine_) {
      if ((one.flags & kEnding) == 0) continue;
      const std::uint32_t seconds = now_s(now_);
      std::uint64_t flags = one.flags & ~kEnding;
      if (one.permitted_until <= seconds) flags &= ~kPermitted;
      if (one.bound_until <= seconds) flags &= ~kBound;
      if (one.allocated_until <= seconds) flags = 0;
      know(one, flags);
    }
  }

  void know(Mine& one, std::uint64_t flags) {
    if (one.flags == flags) return;
    one.flags = flags;
    // A shared client whose allocation has ended may have one of another shard's by now.
    if (common_.is_shared(one.client) && (flags & kAllocated) == 0) return;
    const std::uint32_t change = common_.changes.fetch_add(1, std::memory_order_relaxed) + 1;
    common_.clients[one.client].word.store(word_of(change, one.port, one.number, flags),
                                           std::memory_order_release);
  }

  // Before the first sign of an end.
  void closes(Mine& one, bool altogether) {
    if (!altogether) return know(one, one.flags | kEnding);
    if (serves_all(one)) common_.served_to_all.fetch_sub(1, std::memory_order_acq_rel);
    if (!common_.is_shared(one.client)) return know(one, one.flags | kEnding);
    one.flags |= kEnding;
    common_.clients[one.client].word.store(0, std::memory_order_release);
    common_.clients[one.client].owner.store(0, std::memory_order_release);
  }

  // A notice that comes in time ends the allocation; the same again, when its slot may have another
  // owner, ends nothing.
  void told_to_end(Mine& one) {
    const auto slot = common_.tables.find_client(0, client_at(one.client));
    if (!slot) {
      ++unexpected;
      return;
    }
    const Notice notice{Notice::Kind::kEnd, common_.tables.allocation(*slot).generation, *slot};
    if (heed(notice)) {
      ++ended_by_notice;
    } else {
      ++unexpected;
    }
    know(one, 0);
    if (old_notices_.size() < 256) {
      old_notices_.push_back(notice);
    } else {
      old_notices_[random_.below(256)] = notice;
    }
  }
  bool heed(const Notice& notice) {
    return writer_.has(notice.slot, notice.generation) && server_.end(now_, notice.slot);
  }
  void hear_an_old_notice() {
    if (old_notices_.empty()) return;
    const auto count = static_cast<std::uint32_t>(old_notices_.size());
    if (heed(old_notices_[random_.below(count)])) ++unexpected;
  }

  bool serves_all(const Mine& one) const { return one.client % 2 == 0; }

  void act(Mine& one) {
    if ((one.flags & kEnding) != 0) return;
    if ((one.flags & kAllocated) == 0) return allocate(one);
    if (one.forsaken) return;
    switch (random_.below(12)) {
      case 0:
        closes(one, true);
        return random_.below(2) == 0 ? ask(one, Method::kRefresh) : told_to_end(one);
      case 1:
        one.forsaken = true;
        return;
      case 2:
      case 3:
        return ask(one, Method::kRefresh);
      case 4:
      case 5:
      case 6:
        if ((one.flags & kPermitted) == 0) know(one, one.flags | kOpening);
        return ask(one, Method::kCreatePermission);
      default:
        // It opens a permission that has run out, too.
        if ((one.flags & (kPermitted | kBound)) != (kPermitted | kBound))
          know(one, one.flags | kOpening);
        return ask(one, Method::kChannelBind);
    }
  }

  // Never so many that ports would have to rest less.
  void allocate(Mine& one) {
    if (allocations_this_step_ >= 1 || server_.counters().free_ports.get() < 2) return;
    one.number = static_cast<ChannelNumber>(0x4000 + random_.below(4));
    one.forsaken = false;
    if (!common_.is_shared(one.client)) know(one, kOpening);
    ask(one, Method::kAllocate);
  }

  void ask(Mine& one, Method method) {
    asking_ = &one;
    const FiveTuple five_tuple{client_at(one.client), {kServer4, kPort}, Transport::kUdp};
    std::array<std::uint8_t, 512> buffer;
    stun::TransactionId id{};
    std::memcpy(id.data(), &++transactions_, sizeof transactions_);
    MessageWriter writer(buffer, Class::kRequest, method, id);
    if (method == Method::kAllocate) writer.add_u8_rfffu(Attribute::kRequestedTransport, 17);
    if (method == Method::kRefresh && (one.flags & kEnding) != 0)
      writer.add_u32(Attribute::kLifetime, 0);
    if (method == Method::kChannelBind) writer.add_channel_number(one.number);
    if (method == Method::kChannelBind || method == Method::kCreatePermission)
      writer.add_xor_address(Attribute::kXorPeerAddress, peer_of(one.client));
    const UserKeys& user = users_[serves_all(one) ? 0 : 1];
    std::array<char, NonceKeeper::kMaxSize> nonce;
    const std::size_t size =
        common_.nonces.mint(now_, {.name = kRealm}, five_tuple.client, five_tuple.server, nonce);
    writer.add_text(Attribute::kUsername, user.username);
    writer.add_text(Attribute::kRealm, kRealm);
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
    writer.add_message_integrity(user.md5[0].view());
    server_.handle(now_, five_tuple, writer.finish(), RequestToken{transactions_});
  }

  // Readers may act on it at once.
  void succeeded(const MessageView& answer) {
    Mine& one = *asking_;
    const std::uint64_t flags = one.flags & ~kOpening;
    switch (answer.method()) {
      case Method::kAllocate:
        return allocated(one, answer);
      case Method::kRefresh:
        if ((one.flags & kEnding) != 0) return know(one, 0);
        one.allocated_until = expiry_s(now_, 12);
        return;
      case Method::kCreatePermission:
        one.permitted_until = expiry_s(now_, 5);
        return know(one, flags | kPermitted);
      default:
        one.permitted_until = expiry_s(now_, 5);
        one.bound_until = expiry_s(now_, 8);
        return know(one, flags | kPermitted | kBound);
    }
  }

  void allocated(Mine& one, const MessageView& answer) {
    ++allocations_this_step_;
    one.port = answer.xor_address(Attribute::kXorRelayedAddress).value_or(Endpoint{}).port;
    one.allocated_until = expiry_s(now_, 12);
    if (serves_all(one) &&
        common_.served_to_all.fetch_add(1, std::memory_order_acq_rel) >= std::int32_t{kQuota}) {
      ++beyond_quota;
    }
    if (common_.is_shared(one.client) &&
        common_.clients[one.client].owner.exchange(index_ + 1U, std::memory_order_acq_rel) != 0) {
      ++owned_twice;
    }
    know(one, kAllocated);
  }

  // Only an Allocate can be one too many, or another shard's, and only tables can be full.
  void refused(Method method, std::uint16_t code) {
    Mine& one = *asking_;
    const bool taken = code == 437 && common_.is_shared(one.client);
    const bool fair = code == 508 || (method == Method::kAllocate && (code == 486 || taken));
    if (!fair || method == Method::kRefresh) ++unexpected;
    know(one, one.flags & ~kOpening);
  }

  Common& common_;
  const std::uint8_t index_;
  Random random_;
  TableWriter writer_;
  Server server_;
  std::vector<UserKeys> users_;
  std::vector<Mine> mine_;
  std::vector<Notice> old_notices_;
  Mine* asking_ = nullptr;
  Instant now_{kStartMs};
  std::uint64_t transactions_ = 0;
  std::uint32_t allocations_this_step_ = 0;
  std::array<std::uint32_t, kReaders> bursts_seen_{};
};

}  // namespace turnpike::flow::test::race

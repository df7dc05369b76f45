// Engines, flow tables and pipelines together, each on its own thread: shards answer signed
// requests of their own clients and of some that are all shards', while two readers send the
// clients' and their peers' packets through real pipelines. Made for ThreadSanitizer, but what it
// asserts needs none: no packet reaches another's client or peer, none is lost between the success
// that opened its way and the request that closes it, and none passes before or after.
//
// What a client knows of its allocation is one word, written before a request that closes and when
// the success comes that opens. A packet whose word is the same before and after the pipeline has
// seen it must fare as the word says. Time is virtual: it goes on when every shard has written down
// what will have ended by then, and every reader has brought its packets home since the last time.
// So a packet is in flight for two steps at most, and a relay port, which rests longer than that,
// must not bring it to the port's next owner.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "flow_world.h"
#include "random.h"
#include "turnpike/counters.h"
#include "turnpike/quota.h"
#include "turnpike/server.h"

namespace turnpike::flow::test {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;
using turnpike::test::Random;

constexpr std::uint64_t kStartMs = 1'000'000;
constexpr std::uint64_t kStepMs = 500;
constexpr std::uint32_t kSteps = 800;
constexpr std::uint32_t kRestSeconds = 3;  // more than two steps, and a second of rounding
constexpr std::uint32_t kMaxShards = 3;
constexpr std::size_t kReaders = 2;
constexpr std::uint32_t kOwnClients = 6;  // of each shard
constexpr std::uint32_t kSharedClients = 3;
constexpr std::uint32_t kQuota = 4;  // of the user whom all shards serve
constexpr std::uint16_t kFirstPort = 49152;
constexpr std::uint16_t kPortsPerShard =
    16;  // the first of its block: few, so that reuse never ends
constexpr const char* kRealm = "example.org";

// What a client knows.
constexpr std::uint64_t kAllocated = 1, kPermitted = 2, kBound = 4;
constexpr std::uint64_t kOpening = 8;  // what is not there may be
constexpr std::uint64_t kEnding = 16;  // what is there may not be
// `change` makes it another word whenever a client knows something new, if only for a moment.
std::uint64_t word_of(std::uint32_t change, std::uint16_t port, ChannelNumber number,
                      std::uint64_t flags) {
  return std::uint64_t{change} << 32 | std::uint64_t{port} << 8 | (number & 3U) << 5 | flags;
}
std::uint16_t port_in(std::uint64_t word) {
  return static_cast<std::uint16_t>(word >> 8);
}
ChannelNumber number_in(std::uint64_t word) {
  return static_cast<ChannelNumber>(0x4000 | (word >> 5 & 3));
}

// Peers differ by port alone: a permission of any client lets all of them in.
ClientEndpoint client_at(std::uint32_t n) {
  return {{kClient4, static_cast<std::uint16_t>(2000 + n)}};
}
PeerEndpoint peer_of(std::uint32_t n) {
  return {{kPeer4, static_cast<std::uint16_t>(7000 + n)}};
}

struct alignas(64) Client {
  std::atomic<std::uint64_t> word{0};   // its shard: wo, readers: ro
  std::atomic<std::uint32_t> owner{0};  // a shared one's shard + 1, as far as successes tell
};

// What all threads share.
struct Common {
  explicit Common(std::uint32_t shard_count)
      : shards(shard_count),
        clients(shard_count * kOwnClients + kSharedClients),
        tables({static_cast<std::uint8_t>(shard_count), kOwnClients + kSharedClients + 2, 14, 14},
               {{kRelay4, std::nullopt}}, {{kServer4, kPort}}, kHashKey, {live_ports.data()}) {}

  bool is_shared(std::uint32_t client) const { return client >= shards * kOwnClients; }
  Instant now() const { return {now_ms.load(std::memory_order_acquire)}; }
  std::uint32_t step() const { return static_cast<std::uint32_t>((now().ms - kStartMs) / kStepMs); }

  const std::uint32_t shards;
  std::vector<Client> clients;
  std::vector<std::atomic<std::uint64_t>> live_ports =
      std::vector<std::atomic<std::uint64_t>>(65536 / 64);
  Tables tables;
  Qsbr qsbr;
  OneHop hop;
  NonceKeeper nonces{{.realm = kRealm, .key = {1}}};
  TokenSealer tokens{{2}};
  QuotaLedger quotas{kQuota, 0, true};
  FrontDoor door{{.realm = kRealm}, nonces};
  std::atomic<std::uint32_t> changes{0};        // of all words
  std::atomic<std::int32_t> served_to_all{0};   // allocations of the user whom all shards serve
  std::atomic<std::uint64_t> now_ms{kStartMs};  // the first shard: rw, others: ro
  std::array<std::atomic<std::uint32_t>, kMaxShards> ready_for{};  // a step; its shard: wo
  std::array<std::atomic<std::uint32_t>, kReaders> bursts{};       // brought home; its reader: wo
};

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
    EXPECT_EQ(common_.quotas.count(users_.back().quota_name), 0u);
  }

  std::array<std::uint64_t, 700> answers{};  // by code; 0: success
  std::uint64_t beyond_quota = 0;
  std::uint64_t owned_twice = 0;
  std::uint64_t unexpected = 0;
  std::uint64_t expired = 0;

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
  KeyState find_keys(const UserName& name, std::string_view /*realm*/, KeyPurpose /*purpose*/,
                     UserKeys& out) override {
    for (const UserKeys& user : users_) {
      if (user.username != name.username) continue;
      out = user;
      return KeyState::kFound;
    }
    return KeyState::kUnknown;
  }
  void unauthorized(const ClientEndpoint& /*client*/, Unauthorized /*reason*/) override {}
  PeerVerdict check_peer(const Address&, const Address&) override { return PeerVerdict::kAllowed; }
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
    config.realm = kRealm;
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

  // --- time

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

  // --- what clients know

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

  bool serves_all(const Mine& one) const { return one.client % 2 == 0; }

  // --- what clients do

  void act(Mine& one) {
    if ((one.flags & kEnding) != 0) return;
    if ((one.flags & kAllocated) == 0) return allocate(one);
    if (one.forsaken) return;
    switch (random_.below(12)) {
      case 0:
        closes(one, true);
        return ask(one, Method::kRefresh);
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
    const std::size_t size = common_.nonces.mint(now_, five_tuple.client, five_tuple.server, nonce);
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
  Mine* asking_ = nullptr;
  Instant now_{kStartMs};
  std::uint64_t transactions_ = 0;
  std::uint32_t allocations_this_step_ = 0;
  std::array<std::uint32_t, kReaders> bursts_seen_{};
};

// A worker, its clients' network and their peers'. Every field is this thread's own until it has
// been joined.
class Reader {
 public:
  Reader(Common& common, std::size_t index) : common_(common), index_(index), random_(50 + index) {
    setup_.ports.resize(1);
    setup_.ports[0].mac = {2, 0, 0, 0, 0, 1};
    setup_.listeners.push_back({{kServer4, kPort}});
    setup_.relayed = {{kRelay4, std::nullopt}};
    setup_.fast_lane = index != 0;
    setup_.shard_count = static_cast<std::uint8_t>(common.shards);
    pipeline_.emplace(setup_, common.tables, common.hop, common.door, common.tokens, counters_);
  }

  void run(const std::atomic<bool>& stop) {
    for (std::uint32_t burst = 1; !stop.load(std::memory_order_relaxed); ++burst) {
      common_.qsbr.quiescent(index_);
      for (InFlight& one : burst_)
        send(one);
      // Packets take their time.
      if (burst % 4 == 0) std::this_thread::yield();
      // Later than the words: what has ended by then, they didn't know to be ending.
      const Instant now = common_.now();
      std::array<Packet, kBurst> packets;
      for (std::size_t i = 0; i < kBurst; ++i)
        packets[i] = burst_[i].packet;
      pipeline_->process(now, packets);
      for (std::size_t i = 0; i < kBurst; ++i)
        judge(burst_[i], packets[i]);
      common_.bursts[index_].store(burst, std::memory_order_release);
      if (burst % 16 != 0) continue;
      common_.qsbr.offline(index_);
      std::this_thread::yield();
    }
    common_.qsbr.offline(index_);
  }

  std::uint64_t to_peer = 0;
  std::uint64_t by_channel = 0;  // to the client
  std::uint64_t by_data = 0;
  std::uint64_t stopped = 0;      // rightly, while nothing changed
  std::uint64_t overtaken = 0;    // something changed while they were in flight
  std::uint64_t astray = 0;       // at another's client or peer
  std::uint64_t lost = 0;         // though its way was open
  std::uint64_t let_through = 0;  // though its way was closed

 private:
  static constexpr std::size_t kBurst = 16;
  struct InFlight {
    std::uint32_t client = 0;
    std::uint64_t word = 0;
    bool from_client = false;
    std::vector<std::uint8_t> buffer;
    Packet packet;
  };

  // Names its owner and the allocation that it was meant for.
  static std::vector<std::uint8_t> body_of(const InFlight& one) {
    std::vector<std::uint8_t> body(12);
    std::memcpy(body.data(), &one.client, 4);
    std::memcpy(body.data() + 4, &one.word, 8);
    return body;
  }

  void send(InFlight& one) {
    one.client = random_.below(static_cast<std::uint32_t>(common_.clients.size()));
    one.word = common_.clients[one.client].word.load(std::memory_order_acquire);
    // To a port that nobody has, nobody knows whose it is next.
    one.from_client = (one.word & kAllocated) == 0 || random_.below(2) == 0;
    Datagram datagram;
    datagram.payload = body_of(one);
    if (one.from_client) {
      datagram.source = client_at(one.client);
      datagram.destination = {kServer4, kPort};
      std::array<std::uint8_t, 4> header;
      put16(header.data(), number_in(one.word));
      put16(header.data() + 2, static_cast<std::uint16_t>(datagram.payload.size()));
      datagram.payload.insert(datagram.payload.begin(), header.begin(), header.end());
    } else {
      datagram.source = peer_of(one.client);
      datagram.destination = {kRelay4, port_in(one.word)};
    }
    one.packet = arrived(one.buffer, frame_of(datagram), FlowWorld::kRoom);
  }

  void judge(const InFlight& one, const Packet& packet) {
    // A read that can't be done before what the pipeline has read.
    const std::uint64_t after =
        common_.clients[one.client].word.fetch_add(0, std::memory_order_acq_rel);
    const bool passed = packet.verdict == Verdict::kTransmit;
    if (passed && !arrives(one, packet, after == one.word)) ++astray;
    if (after != one.word) {
      ++overtaken;
      return;
    }
    const std::uint64_t way = one.from_client ? kBound : kPermitted | kBound;
    const bool open = (one.word & way) != 0;
    if (open && !passed && (one.word & kEnding) == 0) ++lost;
    // What another shard opens for a shared client, this word is told afterwards.
    if (open || (one.word & (kOpening | kEnding)) != 0 ||
        (common_.is_shared(one.client) && (one.word & kAllocated) == 0)) {
      return;
    }
    passed ? ++let_through : ++stopped;
  }

  bool arrives(const InFlight& one, const Packet& packet, bool unchanged) {
    const auto datagram = read(packet);
    if (!datagram) return false;
    const std::vector<std::uint8_t> body = body_of(one);
    if (one.from_client) {
      ++to_peer;
      return datagram->destination == peer_of(one.client) && datagram->source.address == kRelay4 &&
             datagram->payload == body &&
             (!unchanged || (one.word & kAllocated) == 0 ||
              datagram->source.port == port_in(one.word));
    }
    if (datagram->destination != client_at(one.client) ||
        datagram->source != Endpoint{kServer4, kPort}) {
      return false;
    }
    const std::vector<std::uint8_t>& payload = datagram->payload;
    MessageView indication;
    if (MessageView::parse(payload, indication) == stun::ParseError::kNone) {
      ++by_data;
      const auto data = indication.find(Attribute::kData);
      const bool may = !unchanged || (one.word & kBound) == 0 || (one.word & kEnding) != 0;
      return may && data &&
             std::equal(body.begin(), body.end(), data->value.begin(), data->value.end());
    }
    ++by_channel;
    return payload.size() == 4 + body.size() && get16(payload.data()) == number_in(one.word) &&
           std::equal(body.begin(), body.end(), payload.begin() + 4);
  }

  Common& common_;
  std::size_t index_;
  Random random_;
  Setup setup_;
  WorkerCounters counters_;
  std::optional<Pipeline> pipeline_;
  std::array<InFlight, kBurst> burst_;
};

void race(std::uint32_t shard_count) {
  Common common(shard_count);
  std::vector<std::unique_ptr<Shard>> shards;
  for (std::uint8_t i = 0; i < shard_count; ++i)
    shards.push_back(std::make_unique<Shard>(common, i));
  std::vector<std::unique_ptr<Reader>> readers;
  for (std::size_t i = 0; i < kReaders; ++i)
    readers.push_back(std::make_unique<Reader>(common, i));

  std::atomic<bool> stop{false};
  std::vector<std::thread> reading;
  reading.reserve(readers.size());
  for (auto& reader : readers)
    reading.emplace_back([&] { reader->run(stop); });
  std::vector<std::thread> serving;
  serving.reserve(shards.size());
  for (auto& shard : shards)
    serving.emplace_back([&] { shard->run(); });
  for (std::thread& thread : serving)
    thread.join();
  stop.store(true, std::memory_order_relaxed);
  for (std::thread& thread : reading)
    thread.join();

  std::uint64_t successes = 0, over_quota = 0, taken = 0, expired = 0;
  for (const auto& shard : shards) {
    shard->end();
    EXPECT_EQ(shard->unexpected, 0u);
    EXPECT_EQ(shard->beyond_quota, 0u);
    EXPECT_EQ(shard->owned_twice, 0u);
    successes += shard->answers[0];
    over_quota += shard->answers[486];
    taken += shard->answers[437];
    expired += shard->expired;
  }
  EXPECT_EQ(common.quotas.count("all"), 0u);
  EXPECT_GT(successes, 1000u);
  EXPECT_GT(over_quota, 10u);
  EXPECT_GT(expired, 100u);
  EXPECT_TRUE(shard_count == 1 || taken > 10);
  for (const auto& reader : readers) {
    EXPECT_EQ(reader->astray, 0u);
    EXPECT_EQ(reader->lost, 0u);
    EXPECT_EQ(reader->let_through, 0u);
    EXPECT_GT(reader->to_peer, 100u) << "the readers hardly ran";
    EXPECT_GT(reader->by_channel, 100u);
    EXPECT_GT(reader->by_data, 10u);
    EXPECT_GT(reader->stopped, 100u);
    EXPECT_GT(reader->overtaken, 10u);
  }
}

TEST(EngineRace, PacketsFareAsTheirClientsWereToldWithOneShard) {
  race(1);
}

TEST(EngineRace, PacketsFareAsTheirClientsWereToldWithThreeShards) {
  race(3);
}

}  // namespace
}  // namespace turnpike::flow::test

// A TURN server in a fake world: virtual time, a sink that remembers what is open, and a client
// that says what a test wants.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "turnpike/counters.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"

namespace turnpike::test {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

inline const Address kServer = Address::v4(192, 0, 2, 1);
inline const Address kRelay4 = Address::v4(192, 0, 2, 2);
inline const Address kRelay6 = *Address::parse("2001:db8::2");
inline const Address kPublic = Address::v4(198, 51, 100, 7);
inline const Address kPeer = Address::v4(203, 0, 113, 5);
inline const Address kForbidden = Address::v4(127, 0, 0, 1);
inline const Address kForbiddenElsewhere = Address::v4(192, 0, 2, 99);  // in the second realm
inline const Address kPeer6 = *Address::parse("2001:db8:1::5");

class Sink : public FlowSink {
 public:
  std::optional<AllocationSlot> publish_allocation(const AllocationFlow& flow) override {
    if (full) return std::nullopt;
    for (const auto& relayed : flow.relayed) {
      if (!relayed) continue;
      EXPECT_TRUE(ports.insert(*relayed).second) << "a relay port with two owners";
    }
    allocations[next] = flow;
    return AllocationSlot{next++};
  }
  std::optional<PermissionSlot> publish_permission(const PermissionFlow& flow) override {
    if (full || room == 0 || without_socket) return std::nullopt;
    --room;
    permissions[next] = flow;
    return PermissionSlot{next++};
  }
  bool lacked_socket() const override { return without_socket; }
  std::optional<ChannelSlot> publish_channel(const ChannelFlow& flow) override {
    if (full || room == 0) return std::nullopt;
    --room;
    EXPECT_TRUE(permissions.contains(static_cast<std::uint32_t>(flow.permission)));
    channels[next] = flow;
    return ChannelSlot{next++};
  }
  void extend_relayed(AllocationSlot slot, Family family, std::uint32_t expires_s) override {
    allocations.at(static_cast<std::uint32_t>(slot)).expires_s[family_index(family)] = expires_s;
  }
  void extend_permission(PermissionSlot slot, std::uint32_t expires_s) override {
    permissions.at(static_cast<std::uint32_t>(slot)).expires_s = expires_s;
  }
  void extend_channel(ChannelSlot slot, std::uint32_t expires_s) override {
    channels.at(static_cast<std::uint32_t>(slot)).expires_s = expires_s;
  }
  void withdraw_relayed(AllocationSlot slot, Family family) override {
    auto& flow = allocations.at(static_cast<std::uint32_t>(slot));
    ports.erase(*flow.relayed[family_index(family)]);
    flow.relayed[family_index(family)].reset();
  }
  void withdraw_channel(ChannelSlot slot) override {
    EXPECT_EQ(channels.erase(static_cast<std::uint32_t>(slot)), 1U);
  }
  void withdraw_permission(PermissionSlot slot) override {
    EXPECT_EQ(permissions.erase(static_cast<std::uint32_t>(slot)), 1U);
    for (const auto& [id, channel] : channels)
      EXPECT_NE(channel.permission, slot) << "a channel still names it";
  }
  void withdraw_allocation(AllocationSlot slot) override {
    EXPECT_EQ(allocations.erase(static_cast<std::uint32_t>(slot)), 1U);
    EXPECT_FALSE(moves.contains(static_cast<std::uint32_t>(slot)));
  }
  bool begin_move(const MoveFlow& flow) override {
    if (full) return false;
    moves[static_cast<std::uint32_t>(flow.allocation)] = flow;
    return true;
  }
  void complete_move(AllocationSlot slot) override {
    const auto number = static_cast<std::uint32_t>(slot);
    allocations.at(number).five_tuple = moves.at(number).five_tuple;
    moves.erase(number);
  }
  void cancel_move(AllocationSlot slot) override { moves.erase(static_cast<std::uint32_t>(slot)); }

  std::map<std::uint32_t, AllocationFlow> allocations;
  std::map<std::uint32_t, MoveFlow> moves;  // by allocation
  std::map<std::uint32_t, PermissionFlow> permissions;
  std::map<std::uint32_t, ChannelFlow> channels;
  std::set<RelayEndpoint> ports;
  bool full = false;
  bool without_socket = false;  // peers are on this host, and their user has his share of sockets
  std::uint32_t room = 1'000'000;  // for so many more permissions and channels
  std::uint32_t next = 1;
};

class World : public ServerHost {
 public:
  void reply(RequestToken token, stun::Bytes message) override {
    EXPECT_TRUE(
        replies.emplace(token, std::vector<std::uint8_t>(message.begin(), message.end())).second)
        << "answered twice";
    open_at_reply = sink.allocations.size();
  }
  void discard(RequestToken token, Discard reason) override { discards[token] = reason; }
  KeyState find_keys(const UserName& user, RealmIndex realm_index, KeyPurpose,
                     UserKeys& out) override {
    ++asked_for_keys;
    const std::string realm = realms.at(realm_index);
    if (pending) return KeyState::kPending;
    for (const std::string& name : users) {
      const bool meant =
          user.userhash ? *user.userhash == stun::userhash(name, realm) : user.username == name;
      if (!meant) continue;
      out.username = out.quota_name = name;
      out.md5 = {stun::long_term_key(stun::PasswordAlgorithm::kMd5, name, realm, secret)};
      out.sha256 = {stun::long_term_key(stun::PasswordAlgorithm::kSha256, name, realm, secret)};
      return KeyState::kFound;
    }
    return unknown;
  }
  void unauthorized(const ClientEndpoint& /*client*/, Unauthorized reason) override {
    refused.push_back(reason);
  }
  PeerVerdict check_peer(RealmIndex realm, const Address& /*relayed*/,
                         const Address& peer) override {
    ++judged;
    return peer == kForbidden || (realm != 0 && peer == kForbiddenElsewhere)
               ? PeerVerdict::kForbidden
               : PeerVerdict::kAllowed;
  }
  bool is_on_link(const Address& /*relayed*/, const Address& peer) override {
    return on_link.contains(peer);
  }
  IdentityVerdict judge_identity(const IdentityAttributes& attributes) override {
    return identity ? identity(attributes) : IdentityVerdict{};
  }
  std::uint32_t random_below(std::uint32_t bound) override {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>((state >> 33) % bound);
  }
  FlowSink& flows() override { return sink; }
  PeerStreams* peer_streams() override { return streams; }
  void put_off(RequestToken token) override { EXPECT_TRUE(put_offs.insert(token).second); }

  // 0 for a success.
  std::uint16_t code_of(RequestToken token) const {
    MessageView answer;
    EXPECT_EQ(MessageView::parse(replies.at(token), answer), stun::ParseError::kNone);
    return answer.error_code().value_or(0);
  }

  Sink sink;
  PeerStreams* streams = nullptr;
  std::set<RequestToken> put_offs;
  KeyState unknown = KeyState::kUnknown;  // of whom there are no keys
  std::vector<Unauthorized> refused;
  std::map<RequestToken, std::vector<std::uint8_t>> replies;
  std::map<RequestToken, Discard> discards;
  std::size_t open_at_reply = 0;  // allocations published when the last answer left
  std::vector<std::string> users{"alice", "bob"};  // of all realms
  std::vector<std::string> realms{"example.org", "example.net"};
  std::string secret = "secret";
  bool pending = false;
  std::set<Address> on_link;  // peers
  int asked_for_keys = 0;
  int judged = 0;                                                      // peers
  std::function<IdentityVerdict(const IdentityAttributes&)> identity;  // none: everybody is let in
  std::uint64_t state = 42;
};

inline ServerConfig config_with(std::uint8_t shard = 0, std::uint8_t shards = 1) {
  ServerConfig config;
  config.realms = {{.name = "example.org"}};
  config.relayed = {{kRelay4, kPublic}, {kRelay6, std::nullopt}};
  config.shard = shard;
  config.shard_count = shards;
  return config;
}

class TurnServer : public testing::Test {
 protected:
  // Moved, never copied: the view is into the bytes.
  struct Answer {
    Answer() = default;
    explicit Answer(std::vector<std::uint8_t> its_bytes) : bytes(std::move(its_bytes)) {}
    Answer(Answer&&) noexcept = default;
    Answer& operator=(Answer&&) noexcept = default;
    Answer(const Answer&) = delete;
    Answer& operator=(const Answer&) = delete;
    ~Answer() = default;

    std::vector<std::uint8_t> bytes;
    MessageView view;
    std::uint16_t code() const { return view.error_code().value_or(0); }
  };

  explicit TurnServer(const ServerConfig& config = config_with()) : config_(config) { restart(); }

  void restart() { server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, quotas_); }

  FiveTuple from(std::uint16_t port) const {
    return {ClientEndpoint{{Address::v4(198, 51, 100, 1), port}}, {kServer, 3478}, Transport::kUdp};
  }

  using Fill = std::function<void(MessageWriter&)>;

  std::vector<std::uint8_t> build(Method method, const FiveTuple& who, const Fill& fill) {
    std::array<std::uint8_t, 1024> buffer{};
    stun::TransactionId id{};
    ++transaction_;
    std::memcpy(id.data(), &transaction_, sizeof transaction_);
    MessageWriter writer(buffer, Class::kRequest, method, id);
    if (fill) fill(writer);
    sign(writer, who);
    if (fingerprint_) writer.add_fingerprint();
    const auto bytes = writer.finish();
    return {bytes.begin(), bytes.end()};
  }

  std::string nonce_for(const FiveTuple& who) const {
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size = nonces_.mint(now_, server_realm_, who.client, who.server, nonce);
    return {nonce.data(), size};
  }

  // As the client's knobs below say.
  void sign(MessageWriter& writer, const FiveTuple& who) const {
    if (by_name_) writer.add_text(Attribute::kUsername, user_);
    if (by_hash_) writer.add(Attribute::kUserhash, stun::userhash(user_, realm_));
    writer.add_text(Attribute::kRealm, realm_);
    if (nonce_ != "none")
      writer.add_text(Attribute::kNonce, nonce_.empty() ? nonce_for(who) : nonce_);
    if (!algorithms_.empty()) writer.add(Attribute::kPasswordAlgorithms, algorithms_);
    if (!algorithm_.empty()) writer.add(Attribute::kPasswordAlgorithm, algorithm_);
    if (algorithm_.empty()) {
      writer.add_message_integrity(client_key(stun::PasswordAlgorithm::kMd5).view());
    } else {
      writer.add_message_integrity_sha256(client_key(algorithm_ == kSha256
                                                         ? stun::PasswordAlgorithm::kSha256
                                                         : stun::PasswordAlgorithm::kMd5)
                                              .view());
    }
  }

  stun::Key client_key(stun::PasswordAlgorithm algorithm) const {
    return stun::long_term_key(algorithm, user_, realm_, password_);
  }

  static void even_pair(MessageWriter& writer) {
    writer.add(Attribute::kEvenPort, std::array<std::uint8_t, 1>{0x80});
  }
  static TokenSealer::Token token_of(const Answer& answer) {
    TokenSealer::Token token{};
    const auto found = answer.view.find(Attribute::kReservationToken);
    EXPECT_TRUE(found && found->value.size() == token.size());
    if (found) std::copy(found->value.begin(), found->value.end(), token.begin());
    return token;
  }

  Answer say(const FiveTuple& who, const std::vector<std::uint8_t>& bytes) {
    const RequestToken token{++token_};
    server_->handle(now_, who, bytes, token, came_to_);
    Answer answer(world_.replies[token]);
    EXPECT_EQ(MessageView::parse(answer.bytes, answer.view), stun::ParseError::kNone);
    return answer;
  }

  Answer ask(Method method, std::uint16_t port, const Fill& fill = {}) {
    return say(from(port), build(method, from(port), fill));
  }

  static void udp(MessageWriter& writer) {
    writer.add_u8_rfffu(Attribute::kRequestedTransport, 17);
  }
  Answer allocate(std::uint16_t port, const Fill& more = {}) {
    return ask(Method::kAllocate, port, [&](MessageWriter& writer) {
      udp(writer);
      if (more) more(writer);
    });
  }
  Answer permit(std::uint16_t port, const std::vector<Address>& peers) {
    return ask(Method::kCreatePermission, port, [&](MessageWriter& writer) {
      for (const Address& peer : peers)
        writer.add_xor_address(Attribute::kXorPeerAddress, {peer, 0});
    });
  }
  Answer bind(std::uint16_t port, ChannelNumber number, const Endpoint& peer) {
    return ask(Method::kChannelBind, port, [&](MessageWriter& writer) {
      writer.add_channel_number(number);
      writer.add_xor_address(Attribute::kXorPeerAddress, peer);
    });
  }
  Answer refresh(std::uint16_t port, std::uint32_t lifetime) {
    return ask(Method::kRefresh, port,
               [&](MessageWriter& writer) { writer.add_u32(Attribute::kLifetime, lifetime); });
  }
  void pass(std::uint32_t seconds) {
    for (std::uint32_t i = 0; i < seconds; ++i) {
      now_.ms += 1000;
      server_->tick(now_);
    }
  }

  ServerConfig config_;
  NonceKeeper nonces_{{.key = {1}}};
  TokenSealer tokens_{{2}};
  QuotaLedger quotas_{2, 0, true};
  World world_;
  std::unique_ptr<Server> server_;
  Instant now_{1'000'000};

  // The client's knobs.
  static inline const std::vector<std::uint8_t> kSha256{0, 2, 0, 0};
  static inline const std::vector<std::uint8_t> kMd5{0, 1, 0, 0};
  static inline const std::vector<std::uint8_t> kBoth{0, 2, 0, 0, 0, 1, 0, 0};
  std::string user_ = "alice";
  std::string password_ = "secret";
  std::string realm_ = "example.org";
  Realm server_realm_{.name = "example.org"};  // whose nonce it has
  RealmIndex came_to_ = 0;
  std::string nonce_;  // empty: a fresh one; "none": none
  bool by_name_ = true;
  bool by_hash_ = false;
  bool fingerprint_ = false;
  std::vector<std::uint8_t> algorithms_;  // PASSWORD-ALGORITHMS; empty: none
  std::vector<std::uint8_t> algorithm_;   // PASSWORD-ALGORITHM; empty: none
  std::uint64_t transaction_ = 0;
  std::uint64_t token_ = 0;
};

}  // namespace turnpike::test

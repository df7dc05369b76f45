// The TURN server with a fake world: virtual time, a sink that remembers what is open, and a client
// that says what a test wants.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "turn/counters.h"
#include "turn/port_pool.h"
#include "turn/quota.h"
#include "turnpike/server.h"
#include "wire/nonce.h"
#include "wire/reservation_token.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

const Address kServer = Address::v4(192, 0, 2, 1);
const Address kRelay4 = Address::v4(192, 0, 2, 2);
const Address kRelay6 = *Address::parse("2001:db8::2");
const Address kPublic = Address::v4(198, 51, 100, 7);
const Address kPeer = Address::v4(203, 0, 113, 5);
const Address kForbidden = Address::v4(127, 0, 0, 1);
const Address kPeer6 = *Address::parse("2001:db8:1::5");

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
    if (full) return std::nullopt;
    permissions[next] = flow;
    return PermissionSlot{next++};
  }
  std::optional<ChannelSlot> publish_channel(const ChannelFlow& flow) override {
    if (full) return std::nullopt;
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
  }

  std::map<std::uint32_t, AllocationFlow> allocations;
  std::map<std::uint32_t, PermissionFlow> permissions;
  std::map<std::uint32_t, ChannelFlow> channels;
  std::set<RelayEndpoint> ports;
  bool full = false;
  std::uint32_t next = 1;
};

class World : public ServerHost {
 public:
  void reply(RequestToken token, stun::Bytes message) override {
    EXPECT_TRUE(
        replies.emplace(token, std::vector<std::uint8_t>(message.begin(), message.end())).second)
        << "answered twice";
  }
  void discard(RequestToken token, Discard reason) override { discards[token] = reason; }
  KeyState find_keys(const UserName& user, std::string_view realm, KeyPurpose,
                     UserKeys& out) override {
    if (pending) return KeyState::kPending;
    for (const char* name : {"alice", "bob"}) {
      const bool meant =
          user.userhash ? *user.userhash == stun::userhash(name, realm) : user.username == name;
      if (!meant) continue;
      out.username = out.quota_name = name;
      out.md5 = {stun::long_term_key(stun::PasswordAlgorithm::kMd5, name, realm, "secret")};
      out.sha256 = {stun::long_term_key(stun::PasswordAlgorithm::kSha256, name, realm, "secret")};
      return KeyState::kFound;
    }
    return KeyState::kUnknown;
  }
  PeerVerdict check_peer(const Address& peer) override {
    return peer == kForbidden ? PeerVerdict::kForbidden : PeerVerdict::kAllowed;
  }
  std::uint32_t random_below(std::uint32_t bound) override {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>((state >> 33) % bound);
  }
  FlowSink& flows() override { return sink; }

  Sink sink;
  std::map<RequestToken, std::vector<std::uint8_t>> replies;
  std::map<RequestToken, Discard> discards;
  bool pending = false;
  std::uint64_t state = 42;
};

ServerConfig config_with(std::uint8_t shard = 0, std::uint8_t shards = 1) {
  ServerConfig config;
  config.realm = "example.org";
  config.relayed = {{kRelay4, kPublic}, {kRelay6, std::nullopt}};
  config.shard = shard;
  config.shard_count = shards;
  return config;
}

class TurnServer : public testing::Test {
 protected:
  struct Answer {
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
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size = nonces_.mint(now_, who.client, who.server, nonce);
    writer.add_text(Attribute::kUsername, user_);
    writer.add_text(Attribute::kRealm, "example.org");
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
    writer.add_message_integrity(
        stun::long_term_key(stun::PasswordAlgorithm::kMd5, user_, "example.org", password_).view());
    const auto bytes = writer.finish();
    return {bytes.begin(), bytes.end()};
  }

  Answer say(const FiveTuple& who, const std::vector<std::uint8_t>& bytes) {
    const RequestToken token{++token_};
    server_->handle(now_, who, bytes, token);
    Answer answer{world_.replies[token], {}};
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
  NonceKeeper nonces_{{.realm = "example.org", .key = {1}}};
  TokenSealer tokens_{{2}};
  QuotaLedger quotas_{2, 0};
  World world_;
  std::unique_ptr<Server> server_;
  Instant now_{1'000'000};
  std::string user_ = "alice";
  std::string password_ = "secret";
  std::uint64_t transaction_ = 0;
  std::uint64_t token_ = 0;
};

TEST_F(TurnServer, AllocatesAndShowsThePublicFace) {
  const Answer answer = allocate(1000);
  ASSERT_EQ(answer.code(), 0);
  const auto relayed = answer.view.xor_address(Attribute::kXorRelayedAddress);
  ASSERT_TRUE(relayed);
  EXPECT_EQ(relayed->address, kPublic);
  EXPECT_GE(relayed->port, 49152);
  EXPECT_EQ(answer.view.u32(Attribute::kLifetime), 600U);
  EXPECT_EQ(answer.view.xor_address(Attribute::kXorMappedAddress), Endpoint(from(1000).client));
  const auto key =
      stun::long_term_key(stun::PasswordAlgorithm::kMd5, "alice", "example.org", "secret");
  EXPECT_TRUE(stun::check_message_integrity(answer.view, key.view()));
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
}

TEST_F(TurnServer, AnswersARetransmittedAllocateAlike) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  const Answer first = say(from(1000), bytes);
  const Answer again = say(from(1000), bytes);
  EXPECT_EQ(first.bytes, again.bytes);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
  EXPECT_EQ(allocate(1000).code(), 437);
}

TEST_F(TurnServer, LateDuplicateAllocateMakesNoGhost) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  say(from(1000), bytes);
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  EXPECT_EQ(say(from(1000), bytes).code(), 437);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(refresh(1000, 0).code(), 437);
  EXPECT_EQ(allocate(1000).code(), 0) << "a new Allocate works at once";
}

TEST_F(TurnServer, RefusesWhatTheRfcRefuses) {
  EXPECT_EQ(ask(Method::kAllocate, 1000).code(), 400);
  EXPECT_EQ(ask(Method::kAllocate, 1000,
                [](auto& w) { w.add_u8_rfffu(Attribute::kRequestedTransport, 6); })
                .code(),
            442);
  EXPECT_EQ(
      allocate(1000, [](auto& w) { w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 9); }).code(),
      440);
  EXPECT_EQ(allocate(1000, [](auto& w) { w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 1); })
                .code(),
            400);
  EXPECT_EQ(allocate(1000, [](auto& w) { w.add(static_cast<Attribute>(0x7001), {}); }).code(), 420);
  const std::array<std::uint8_t, 8> junk{};
  EXPECT_EQ(allocate(1000, [&](auto& w) { w.add(Attribute::kReservationToken, junk); }).code(),
            508);
  EXPECT_EQ(ask(Method::kRefresh, 1000).code(), 437);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 437);
  EXPECT_TRUE(world_.sink.allocations.empty());
}

TEST_F(TurnServer, WrongPasswordAndUnknownUserLookAlike) {
  password_ = "guess";
  const Answer wrong = allocate(1000);
  user_ = "mallory";
  const Answer unknown = allocate(1000);
  EXPECT_EQ(wrong.code(), 401);
  EXPECT_EQ(unknown.code(), 401);
  EXPECT_EQ(wrong.bytes.size(), unknown.bytes.size());
  EXPECT_FALSE(wrong.view.has(Attribute::kMessageIntegrity));
}

TEST_F(TurnServer, AnotherUserOfTheSameFiveTupleGets441) {
  allocate(1000);
  user_ = "bob";
  EXPECT_EQ(refresh(1000, 600).code(), 441);
}

TEST_F(TurnServer, StaleNonceGets438ButARetransmissionItsAnswer) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  const Answer first = say(from(1000), bytes);
  const auto old = build(Method::kRefresh, from(1000), {});
  for (int i = 0; i < 7; ++i) {
    pass(500);
    ASSERT_EQ(refresh(1000, 3600).code(), 0);
  }
  pass(200);
  EXPECT_EQ(say(from(1000), old).code(), 438);
  EXPECT_EQ(say(from(1000), bytes).bytes, first.bytes);
}

TEST_F(TurnServer, UserQuotaGets486) {
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(allocate(1002).code(), 486);
  refresh(1000, 0);
  EXPECT_EQ(allocate(1002).code(), 0);
}

TEST_F(TurnServer, AFullSinkGets508AndLeaksNothing) {
  world_.sink.full = true;
  EXPECT_EQ(allocate(1000).code(), 508);
  EXPECT_EQ(quotas_.count("alice"), 0U);
}

TEST_F(TurnServer, LifetimeIsClamped) {
  allocate(1000);
  EXPECT_EQ(refresh(1000, 1).view.u32(Attribute::kLifetime), 600U);
  EXPECT_EQ(refresh(1000, 1000).view.u32(Attribute::kLifetime), 1000U);
  EXPECT_EQ(refresh(1000, 0xFFFFFFFF).view.u32(Attribute::kLifetime), 3600U);
}

TEST_F(TurnServer, AllocationExpiresAfter600Seconds) {
  allocate(1000);
  permit(1000, {kPeer});
  bind(1000, 0x4000, {kPeer, 9});
  pass(599);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
  pass(2);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_TRUE(world_.sink.permissions.empty());
  EXPECT_TRUE(world_.sink.channels.empty());
  EXPECT_EQ(server_->counters().allocations.get(), 0U);
  EXPECT_EQ(server_->counters().permissions.get(), 0U);
  EXPECT_EQ(server_->counters().channels.get(), 0U);
  EXPECT_EQ(quotas_.count("alice"), 0U);
}

TEST_F(TurnServer, PermissionExpiresAfter300Seconds) {
  allocate(1000);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 0);
  pass(299);
  EXPECT_EQ(world_.sink.permissions.size(), 1U);
  pass(2);
  EXPECT_TRUE(world_.sink.permissions.empty());
}

TEST_F(TurnServer, ChannelKeepsItsPermissionsSlotThoughClosed) {
  allocate(1000);
  refresh(1000, 3600);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
  pass(400);
  ASSERT_EQ(world_.sink.permissions.size(), 1U);
  EXPECT_LE(world_.sink.permissions.begin()->second.expires_s, now_s(now_));
  permit(1000, {kPeer});
  EXPECT_GT(world_.sink.permissions.begin()->second.expires_s, now_s(now_));
  pass(202);
  EXPECT_TRUE(world_.sink.channels.empty());
}

TEST_F(TurnServer, CreatePermissionIsAllOrNothing) {
  allocate(1000);
  EXPECT_EQ(permit(1000, {}).code(), 400);
  EXPECT_EQ(permit(1000, {kPeer, kForbidden}).code(), 403);
  EXPECT_EQ(permit(1000, {kPeer, kPeer6}).code(), 443);
  EXPECT_TRUE(world_.sink.permissions.empty());
  EXPECT_EQ(permit(1000, {kPeer, Address::v4(203, 0, 113, 6)}).code(), 0);
  EXPECT_EQ(world_.sink.permissions.size(), 2U);
}

TEST_F(TurnServer, PermissionsAreCapped) {
  allocate(1000);
  for (std::uint32_t i = 0; i < 300; ++i) {
    const Answer answer = permit(1000, {Address::v4(203, 0, static_cast<std::uint8_t>(i >> 8),
                                                    static_cast<std::uint8_t>(i))});
    EXPECT_EQ(answer.code(), i < 256 ? 0 : 508);
  }
  EXPECT_EQ(world_.sink.permissions.size(), 256U);
}

TEST_F(TurnServer, ChannelBindConflictsGet400) {
  allocate(1000);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 10}).code(), 400);
  EXPECT_EQ(bind(1000, 0x4001, {kPeer, 9}).code(), 400);
  EXPECT_EQ(bind(1000, 0x3FFF, {kPeer, 11}).code(), 400);
  EXPECT_EQ(bind(1000, 0x5000, {kPeer, 11}).code(), 400);
  EXPECT_EQ(bind(1000, 0x4002, {kPeer, 0}).code(), 400);
  EXPECT_EQ(bind(1000, 0x4002, {kForbidden, 9}).code(), 403);
  EXPECT_EQ(bind(1000, 0x4002, {kPeer6, 9}).code(), 443);
  EXPECT_EQ(world_.sink.channels.size(), 1U);
}

TEST_F(TurnServer, ADualAllocationsFamiliesEndByThemselves) {
  const Answer answer =
      allocate(1000, [](auto& w) { w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2); });
  ASSERT_EQ(answer.code(), 0);
  EXPECT_EQ(world_.sink.ports.size(), 2U);
  permit(1000, {kPeer, kPeer6});
  const Answer half = ask(Method::kRefresh, 1000, [](auto& w) {
    w.add_u32(Attribute::kLifetime, 0);
    w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 2);
  });
  EXPECT_EQ(half.code(), 0);
  EXPECT_EQ(world_.sink.ports.size(), 1U);
  EXPECT_EQ(world_.sink.permissions.size(), 1U);
  EXPECT_EQ(permit(1000, {kPeer6}).code(), 443);
  EXPECT_EQ(server_->counters().permissions.get(), 1U);
}

TEST_F(TurnServer, EvenPortsReturn) {
  const auto free = server_->counters().free_ports.get();
  for (int i = 0; i < 100; ++i) {
    const std::array<std::uint8_t, 1> pair{static_cast<std::uint8_t>(i % 2 == 0 ? 0x80 : 0)};
    const Answer answer = allocate(1000, [&](auto& w) { w.add(Attribute::kEvenPort, pair); });
    ASSERT_EQ(answer.code(), 0);
    EXPECT_EQ(answer.view.xor_address(Attribute::kXorRelayedAddress)->port % 2, 0);
    EXPECT_EQ(answer.view.has(Attribute::kReservationToken), i % 2 == 0);
    refresh(1000, 0);
    pass(1);
  }
  pass(70);
  EXPECT_EQ(server_->counters().free_ports.get(), free);
}

TEST_F(TurnServer, AFreedPortRestsBeforeItsNextOwner) {
  config_.port_min = 50000;
  config_.port_max = 50003;
  restart();
  std::set<std::uint16_t> drawn;
  for (int i = 0; i < 4; ++i) {
    drawn.insert(allocate(1000).view.xor_address(Attribute::kXorRelayedAddress)->port);
    refresh(1000, 0);
  }
  EXPECT_EQ(drawn.size(), 4U);
}

TEST_F(TurnServer, WaitsForKeysAndAnswersOnce) {
  world_.pending = true;
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  server_->handle(now_, from(1000), bytes, RequestToken{77});
  server_->handle(now_, from(1000), bytes, RequestToken{78});
  EXPECT_TRUE(world_.replies.empty());
  EXPECT_EQ(world_.discards.at(RequestToken{78}), Discard::kDuplicateParked);
  world_.pending = false;
  UserKeys keys;
  world_.find_keys({"alice", {}}, "example.org", KeyPurpose::kAllocate, keys);
  server_->keys_arrived(now_, {"alice", {}}, "example.org", &keys);
  EXPECT_EQ(world_.replies.count(RequestToken{77}), 1U);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
}

TEST_F(TurnServer, GivesUpOnKeysThatNeverCome) {
  world_.pending = true;
  server_->handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{77});
  pass(3);
  EXPECT_EQ(world_.discards.at(RequestToken{77}), Discard::kKeyTimeout);
}

TEST_F(TurnServer, RedirectsAfterAuthentication) {
  config_.redirects = {{{kServer, 3478}, {{kPeer6, 3478}, {kPeer, 3478}}}};
  restart();
  const Answer answer = allocate(1000);
  EXPECT_EQ(answer.code(), 300);
  EXPECT_EQ(answer.view.address(Attribute::kAlternateServer)->address, kPeer);
  EXPECT_TRUE(answer.view.has(Attribute::kMessageIntegrity));
}

TEST_F(TurnServer, AReservationIsTakenUpFromAnotherFiveTuple) {
  const std::array<std::uint8_t, 1> pair{0x80};
  const Answer first = allocate(1000, [&](auto& w) { w.add(Attribute::kEvenPort, pair); });
  const auto token = first.view.find(Attribute::kReservationToken)->value;
  const std::vector<std::uint8_t> kept(token.begin(), token.end());
  const Answer second = allocate(1001, [&](auto& w) { w.add(Attribute::kReservationToken, kept); });
  EXPECT_EQ(second.view.xor_address(Attribute::kXorRelayedAddress)->port,
            first.view.xor_address(Attribute::kXorRelayedAddress)->port + 1);
  refresh(1000, 0);
  EXPECT_EQ(allocate(1000, [&](auto& w) { w.add(Attribute::kReservationToken, kept); }).code(), 508)
      << "used up";
}

TEST(PortPool, ShardsShareOutBlocksOf64) {
  World world;
  PortPool zero(49152, 65535, 0, 2);
  PortPool one(49152, 65535, 1, 2);
  EXPECT_EQ(zero.free() + one.free(), 16384U);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(*zero.take(world) / 64 % 2, 0);
    EXPECT_EQ(*one.take_even(world, true) / 64 % 2, 1);
  }
}

}  // namespace
}  // namespace turnpike

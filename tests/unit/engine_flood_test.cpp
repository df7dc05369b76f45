// A worker's pipeline, real tables and a shard's server, in virtual time: what floods of requests
// leave to others, and what one user leaves of every pool. The rings between them are
// engine_ring_test's.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "flow_world.h"
#include "turnpike/counters.h"
#include "turnpike/quota.h"
#include "turnpike/server.h"

namespace turnpike {
namespace {

using namespace flow::test;
using flow::Packet;
using flow::Verdict;
using stun::Attribute;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

// As the node makes them for 1,000 allocations.
constexpr std::uint32_t kAllocations = 1000, kPermissions = 8 * kAllocations,
                        kChannels = 2 * kAllocations;
constexpr std::uint32_t kUserAllocations = 32, kUserPermissions = 256, kUserChannels = 256;

struct Client {
  ClientEndpoint endpoint;
  std::string user;
};

class Node : public ServerHost {
 public:
  Node() {
    setup_.ports.resize(1);
    setup_.ports[0].mac = {2, 0, 0, 0, 0, 1};
    setup_.listeners = {{kListener}};
    setup_.relayed = {{kRelay4, std::nullopt}};
    setup_.requests.key = kHashKey;
    pipeline_ =
        std::make_unique<flow::Pipeline>(setup_, tables_, hop_, policy_, tokens_, counters_);
    ServerConfig config;
    config.realms = {kRealm};
    config.relayed = setup_.relayed;
    config.max_allocations = kAllocations;
    server_ = std::make_unique<Server>(config, *this, nonces_, tokens_, quotas_);
  }

  // What a client gets: an error code, 0 for a success, or nothing.
  using Fill = std::function<void(MessageWriter&)>;
  std::optional<std::uint16_t> ask(const Client& client, Method method, const Fill& fill) {
    const Packet packet = arrive(client.endpoint, request(client, method, fill));
    if (packet.verdict != Verdict::kEngine) return std::nullopt;
    ++served_[client.user];
    code_.reset();
    server_->handle(now_, {client.endpoint, kListener, Transport::kUdp},
                    {packet.data + packet.payload, packet.payload_size}, RequestToken{1});
    return code_;
  }
  std::optional<std::uint16_t> allocate(const Client& client, const Fill& more = {}) {
    return ask(client, Method::kAllocate, [&](MessageWriter& writer) {
      writer.add_u8_rfffu(Attribute::kRequestedTransport, 17);
      if (more) more(writer);
    });
  }
  std::optional<std::uint16_t> permit(const Client& client, unsigned first, unsigned count) {
    return ask(client, Method::kCreatePermission, [&](MessageWriter& writer) {
      for (unsigned i = first; i < first + count; ++i)
        writer.add_xor_address(Attribute::kXorPeerAddress, {peer(i), 0});
    });
  }
  std::optional<std::uint16_t> bind(const Client& client, ChannelNumber number, unsigned which) {
    return ask(client, Method::kChannelBind, [&](MessageWriter& writer) {
      writer.add_channel_number(number);
      writer.add_xor_address(Attribute::kXorPeerAddress, {peer(which), 4000});
    });
  }
  std::optional<std::uint16_t> refresh(const Client& client) {
    return ask(client, Method::kRefresh, [](MessageWriter&) {});
  }
  // Whether a ChannelData gets through.
  bool relays(const Client& client, ChannelNumber number) {
    std::vector<std::uint8_t> payload(8);
    put16(payload.data(), number);
    put16(payload.data() + 2, 4);
    return arrive(client.endpoint, payload).verdict == Verdict::kTransmit;
  }
  void pass(std::uint64_t ms) {
    now_.ms += ms;
    while (server_->tick(now_)) {
    }
    writer_.housekeeping();
  }

  void reply(RequestToken, stun::Bytes message) override {
    MessageView answer;
    ASSERT_EQ(MessageView::parse(message, answer), stun::ParseError::kNone);
    code_ = answer.error_code().value_or(0);
  }
  void discard(RequestToken, Discard) override {}
  KeyState find_keys(const UserName& user, RealmIndex, KeyPurpose, UserKeys& out) override {
    out.username = out.quota_name = user.username;
    out.md5 = {
        stun::long_term_key(stun::PasswordAlgorithm::kMd5, user.username, kRealm.name, "secret")};
    return KeyState::kFound;
  }
  void unauthorized(const ClientEndpoint&, Unauthorized) override {}
  PeerVerdict check_peer(RealmIndex, const Address&, const Address&) override {
    return PeerVerdict::kAllowed;
  }
  std::uint32_t random_below(std::uint32_t bound) override {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>((random_ >> 33) % bound);
  }
  FlowSink& flows() override { return writer_; }

  std::map<std::string, unsigned> served_;  // by user: requests that the engine had to answer
  flow::WorkerCounters counters_;
  QuotaLedger quotas_{{kUserAllocations, kUserPermissions, kUserChannels}, kAllocations, false};
  Instant now_{1'000'000};

 private:
  static constexpr std::uint16_t kRoom = 128;
  static Address peer(unsigned i) {
    return Address::v4(203, 0, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i));
  }

  Packet arrive(const ClientEndpoint& from, const std::vector<std::uint8_t>& payload) {
    Datagram datagram;
    datagram.source = from;
    datagram.destination = kListener;
    datagram.payload = payload;
    Packet packet = arrived(buffer_, frame_of(datagram), kRoom);
    pipeline_->process(now_, {&packet, 1});
    return packet;
  }
  std::vector<std::uint8_t> request(const Client& client, Method method, const Fill& fill) {
    std::array<std::uint8_t, 2048> buffer{};
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size = nonces_.mint(now_, kRealm, client.endpoint, kListener, nonce);
    stun::TransactionId id{};
    ++transaction_;
    std::memcpy(id.data(), &transaction_, sizeof transaction_);
    MessageWriter writer(buffer, stun::Class::kRequest, method, id);
    fill(writer);
    writer.add_text(Attribute::kUsername, client.user);
    writer.add_text(Attribute::kRealm, "example.org");
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
    auto& key = keys_[client.user];
    if (key.size == 0) {
      key =
          stun::long_term_key(stun::PasswordAlgorithm::kMd5, client.user, "example.org", "secret");
    }
    writer.add_message_integrity(key.view());
    const auto bytes = writer.finish();
    return {bytes.begin(), bytes.end()};
  }

  static inline const Endpoint kListener{kServer4, kPort};
  static inline const Realm kRealm{.name = "example.org"};
  flow::Setup setup_;
  OneHop hop_;
  Qsbr qsbr_;
  NonceKeeper nonces_{{.key = {1}}};
  TokenSealer tokens_{{2}};
  const flow::WorkerPolicy policy_{StatelessAnswers({.realms = {kRealm}}, nonces_)};
  flow::Tables tables_{flow::TableLimits{1, kAllocations, kPermissions, kChannels},
                       {{kRelay4, std::nullopt}},
                       {{kListener}},
                       kHashKey,
                       {}};
  flow::TableWriter writer_{tables_, 0, qsbr_, hop_};
  std::unique_ptr<flow::Pipeline> pipeline_;
  std::unique_ptr<Server> server_;
  std::map<std::string, stun::Key> keys_;
  std::vector<std::uint8_t> buffer_;
  std::optional<std::uint16_t> code_;
  std::uint64_t transaction_ = 0;
  std::uint64_t random_ = 42;
};

ClientEndpoint at(std::uint8_t host, std::uint16_t port) {
  return ClientEndpoint{{Address::v4(198, 51, 100, host), port}};
}

// Others, each at an address of his own, do all that a call needs.
void expect_calls_work(Node& node, int count, std::uint8_t first_host = 100) {
  for (int i = 0; i < count; ++i) {
    const auto host = static_cast<std::uint8_t>(first_host + i);
    const Client client{at(host, 5000), "bob" + std::to_string(host)};
    EXPECT_EQ(node.allocate(client), 0);
    EXPECT_EQ(node.permit(client, 0, 8), 0);
    EXPECT_EQ(node.bind(client, 0x4000, 1), 0);
    EXPECT_EQ(node.refresh(client), 0);
    EXPECT_TRUE(node.relays(client, 0x4000));
  }
}

TEST(EngineFlood, OfAUsersRequestsReachesTheEngineInPart) {
  Node node;
  const Client alice{at(1, 5000), "alice"};
  ASSERT_EQ(node.allocate(alice), 0);
  node.served_.clear();
  for (int ms = 0; ms < 2000; ++ms) {
    for (int i = 0; i < 20; ++i)
      node.permit(alice, 0, 50);
    node.pass(1);
    if (ms % 200 == 100) expect_calls_work(node, 1, static_cast<std::uint8_t>(100 + ms / 200));
  }
  EXPECT_LE(node.served_["alice"], 64U + 2 * 20U);
  EXPECT_GE(node.served_["alice"], 64U + 20U) << "a client may ask so much";
}

TEST(EngineFlood, OfStrangersReachesTheEngineInPart) {
  Node node;
  for (int ms = 0; ms < 2000; ++ms) {
    for (int i = 0; i < 20; ++i)  // any port of one address; nobody's password
      node.ask({at(1, static_cast<std::uint16_t>(1 + ms * 20 + i)), "nobody"}, Method::kRefresh,
               [](MessageWriter&) {});
    node.pass(1);
    if (ms % 200 == 100) expect_calls_work(node, 1, static_cast<std::uint8_t>(100 + ms / 200));
  }
  EXPECT_LE(node.served_["nobody"], 2000U + 2 * 500U);
}

// They come back after an outage, all of them at once.
TEST(EngineFlood, AThousandClientsBehindOneAddressAreNone) {
  Node node;
  for (std::uint16_t i = 0; i < kAllocations; ++i) {
    const Client client{at(1, static_cast<std::uint16_t>(1024 + i)), "user" + std::to_string(i)};
    ASSERT_EQ(node.allocate(client), 0) << i;
    ASSERT_EQ(node.permit(client, 0, 5), 0) << i;
    ASSERT_EQ(node.bind(client, 0x4000, 1), 0) << i;
  }
}

TEST(EngineFlood, OneUserFillsNoPool) {
  Node node;
  std::vector<Client> alices;
  unsigned allocated = 0, permissions = 0, channels = 0;
  for (std::uint16_t i = 0; i < 200; ++i) {
    const Client alice{
        at(static_cast<std::uint8_t>(1 + i % 50), static_cast<std::uint16_t>(5000 + i)), "alice"};
    const auto pair = [](MessageWriter& writer) {
      writer.add(Attribute::kEvenPort, std::array<std::uint8_t, 1>{0x80});
    };
    if (node.allocate(alice, i % 4 == 0 ? Node::Fill(pair) : Node::Fill()) != 0) continue;
    ++allocated;
    alices.push_back(alice);
  }
  for (const Client& alice : alices) {
    for (unsigned i = 0; i < 50; ++i) {
      if (node.permit(alice, 5 * i, 5) == 0) permissions += 5;
      if (node.bind(alice, static_cast<ChannelNumber>(0x4000 + i), 5 * i) == 0) ++channels;
      node.pass(100);
    }
  }
  EXPECT_LE(allocated, kUserAllocations);
  EXPECT_GE(permissions, 200U);
  EXPECT_GE(channels, 50U);
  EXPECT_LE(node.quotas_.count({"alice"}, QuotaLedger::Thing::kPermission), kUserPermissions);
  EXPECT_LE(node.quotas_.count({"alice"}, QuotaLedger::Thing::kChannel), kUserChannels);
  expect_calls_work(node, 100);
}

}  // namespace
}  // namespace turnpike

// Clients whom the configuration denies answers: none of any kind, whichever lane it would have
// come from; and what others, and allocations that are there, keep.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "flow_world.h"
#include "turnpike/stun.h"

namespace turnpike::flow::test {
namespace {

using stun::Class;
using stun::Method;

std::vector<std::uint8_t> message(Method method, bool software = false,
                                  Class of_class = Class::kRequest) {
  std::array<std::uint8_t, 256> buffer;
  stun::MessageWriter writer(buffer, of_class, method, {9, 8, 7});
  if (software) writer.add_text(stun::Attribute::kSoftware, "a client");
  const auto bytes = writer.finish();
  return {bytes.begin(), bytes.end()};
}

std::vector<std::uint8_t> classic_binding() {
  std::vector<std::uint8_t> bytes(20, 7);
  put16(bytes.data(), 1);
  put16(bytes.data() + 2, 0);
  return bytes;
}

// What only a nonce lets through to the engine.
std::vector<std::uint8_t> signed_refresh(const FlowWorld& world) {
  std::array<char, NonceKeeper::kMaxSize> nonce;
  const std::size_t size =
      world.nonces_.mint(world.now_, world.realm_, world.client_, world.server_, nonce);
  std::array<std::uint8_t, 512> buffer;
  stun::MessageWriter writer(buffer, Class::kRequest, Method::kRefresh, {1});
  writer.add_text(stun::Attribute::kUsername, "alice");
  writer.add_text(stun::Attribute::kRealm, "example.org");
  writer.add_text(stun::Attribute::kNonce, {nonce.data(), size});
  writer.add_message_integrity(std::vector<std::uint8_t>{1});
  const auto bytes = writer.finish();
  return {bytes.begin(), bytes.end()};
}

policy::PrefixSet set_of(const char* text) {
  const std::array prefixes{Prefix::parse(text).value()};
  return policy::PrefixSet(prefixes);
}

class Clients : public testing::TestWithParam<Family> {
 protected:
  // All kinds of requests, from `source`.
  std::vector<Packet> ask_all(const Endpoint& source) {
    std::vector<Packet> all;
    for (const auto& bytes :
         {message(Method::kBinding), message(Method::kBinding, true), classic_binding(),
          message(Method::kAllocate), message(Method::kBinding, false, Class::kIndication),
          signed_refresh(world_)})
      all.push_back(world_.run(frame_of({source, world_.server_, bytes})));
    return all;
  }
  void use(policy::ClientRules rules) {
    auto next = std::make_unique<WorkerPolicy>(world_.policy_);
    next->clients = std::move(rules);
    world_.pipeline_->use(*next);
    used_ = std::move(next);
  }

  FlowWorld world_{GetParam()};
  std::unique_ptr<const WorkerPolicy> used_;
};

INSTANTIATE_TEST_SUITE_P(Each, Clients, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& family) {
                           return family.param == Family::kIpv4 ? "Ipv4" : "Ipv6";
                         });

TEST_P(Clients, WhoAreDeniedGetNoAnswerOfAnyKind) {
  for (const Packet& packet : ask_all(world_.client_))
    EXPECT_NE(packet.drop, Drop::kClientDenied);
  const std::uint64_t successes = world_.counters_.binding_success.get();
  EXPECT_EQ(successes, 3u);
  use({{}, set_of(GetParam() == Family::kIpv4 ? "198.51.100.0/24" : "2001:db8:1::/48")});
  const std::vector<Packet> asked = ask_all(world_.client_);
  for (const Packet& packet : asked) {
    EXPECT_EQ(packet.verdict, Verdict::kDrop);
    EXPECT_EQ(packet.drop, Drop::kClientDenied);
  }
  EXPECT_EQ(world_.drops(Drop::kClientDenied), asked.size());
  EXPECT_EQ(world_.counters_.binding_success.get(), successes);
  use({});
  EXPECT_EQ(ask_all(world_.client_)[0].verdict, Verdict::kTransmitBack);
}

TEST_P(Clients, OutsideOfWhatIsAllowedAreDenied) {
  const bool v4 = GetParam() == Family::kIpv4;
  use({set_of(v4 ? "198.51.100.1" : "2001:db8:1::1"), {}});
  EXPECT_EQ(ask_all(world_.client_)[0].verdict, Verdict::kTransmitBack);
  EXPECT_EQ(world_.drops(Drop::kClientDenied), 0u);
  const Endpoint other{v4 ? Address::v4(198, 51, 100, 2) : *Address::parse("2001:db8:1::2"), 777};
  for (const Packet& packet : ask_all(other))
    EXPECT_EQ(packet.drop, Drop::kClientDenied);
}

// The allocation ends by itself, unrefreshed.
TEST_P(Clients, WhoAreDeniedKeepTheMediaOfTheirAllocations) {
  use({{}, set_of(GetParam() == Family::kIpv4 ? "0.0.0.0/0" : "::/0")});
  EXPECT_EQ(world_.run(frame_of({world_.client_, world_.server_, {0x40, 0, 0, 1, 7}})).verdict,
            Verdict::kTransmit);
  std::array<std::uint8_t, 128> buffer;
  stun::MessageWriter send(buffer, Class::kIndication, Method::kSend, {1});
  send.add_xor_address(stun::Attribute::kXorPeerAddress, {kPeer4, kPeerPort});
  send.add(stun::Attribute::kData, std::vector<std::uint8_t>{1, 2, 3});
  const auto bytes = send.finish();
  EXPECT_EQ(
      world_.run(frame_of({world_.client_, world_.server_, {bytes.begin(), bytes.end()}})).verdict,
      Verdict::kTransmit);
  EXPECT_EQ(world_.run(frame_of({{kPeer4, kPeerPort}, {kRelay4, kRelayPort4}, {1}})).verdict,
            Verdict::kTransmit);
  EXPECT_EQ(world_.drops(Drop::kClientDenied), 0u);
}

}  // namespace
}  // namespace turnpike::flow::test

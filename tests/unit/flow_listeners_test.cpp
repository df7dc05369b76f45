// What a packet becomes by the listener that it comes to: each has flags of its own, and is another
// five-tuple. By both ways: what the fast lane takes, and the general stages alone.
#include <gtest/gtest.h>

#include <array>
#include <tuple>

#include "flow/here.h"
#include "flow_world.h"
#include "turnpike/stun.h"

namespace turnpike::flow::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

// By the client's family, and whether there is a fast lane.
class ListenersOf : public testing::TestWithParam<std::tuple<Family, bool>> {
 protected:
  // The client has its allocation at the listener at `port`.
  void make(std::uint16_t port) {
    world_ = std::make_unique<FlowWorld>(std::get<0>(GetParam()), true, std::nullopt,
                                         std::get<1>(GetParam()), port);
  }
  Packet run(std::uint16_t port, const Bytes& payload) {
    return world_->run(frame_of({world_->client_, {world_->server_.address, port}, payload}));
  }
  static Bytes message(stun::Class of_class, stun::Method method) {
    std::array<std::uint8_t, 256> buffer{};
    const auto bytes = stun::MessageWriter(buffer, of_class, method, {9, 9, 9}).finish();
    return {bytes.begin(), bytes.end()};
  }
  static Bytes request(stun::Method method) { return message(stun::Class::kRequest, method); }
  // As RFC 3489 has it, whose magic cookie is anything.
  static Bytes classic() {
    Bytes bytes = request(stun::Method::kBinding);
    bytes[4] ^= 1;
    return bytes;
  }
  static Bytes channel_data() { return {0x40, 0, 0, 4, 1, 2, 3, 4}; }
  static Bytes send() {
    std::array<std::uint8_t, 256> buffer{};
    stun::MessageWriter writer(buffer, stun::Class::kIndication, stun::Method::kSend, {1});
    writer.add_xor_address(stun::Attribute::kXorPeerAddress, {kPeer4, kPeerPort});
    writer.add(stun::Attribute::kData, Bytes(5, 7));
    const auto bytes = writer.finish();
    return {bytes.begin(), bytes.end()};
  }
  std::optional<std::uint16_t> code(const Packet& packet) const {
    const auto out = read(packet);
    stun::MessageView view;
    if (packet.verdict != Verdict::kTransmitBack || !out ||
        stun::MessageView::parse(out->payload, view) != stun::ParseError::kNone)
      return std::nullopt;
    return view.error_code().value_or(0);
  }

  void answers_binding(std::uint16_t port) {
    EXPECT_EQ(code(run(port, request(stun::Method::kBinding))), 0);
    EXPECT_EQ(run(port, message(stun::Class::kIndication, stun::Method::kBinding)).drop,
              Drop::kBindingIndication);
    EXPECT_EQ(run(port, classic()).verdict, Verdict::kTransmitBack);
  }
  void challenges(std::uint16_t port) {
    for (const stun::Method method : {stun::Method::kAllocate, stun::Method::kRefresh,
                                      stun::Method::kCreatePermission, stun::Method::kChannelBind})
      EXPECT_EQ(code(run(port, request(method))), 401);
  }
  // That of the client's allocation; what comes back leaves from there.
  void relays(std::uint16_t port) {
    EXPECT_EQ(run(port, channel_data()).verdict, Verdict::kTransmit);
    EXPECT_EQ(run(port, send()).verdict, Verdict::kTransmit);
    const auto back =
        read(world_->run(frame_of({{kPeer4, kPeerPort}, {kRelay4, kRelayPort4}, Bytes(5, 7)})));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->source, (Endpoint{world_->server_.address, port}));
  }
  void relays_nothing(std::uint16_t port) {
    EXPECT_EQ(run(port, channel_data()).drop, Drop::kNoAllocation);
    EXPECT_EQ(run(port, send()).drop, Drop::kNoAllocation);
  }

  std::unique_ptr<FlowWorld> world_;
};

TEST_P(ListenersOf, OneWithoutFlagsDoesAll) {
  make(kPort);
  answers_binding(kPort);
  challenges(kPort);
  relays(kPort);
}

// Though another of the same address does.
TEST_P(ListenersOf, AStunOnlyOneDoesNoTurn) {
  make(kPort);
  answers_binding(kStunOnlyPort);
  for (const stun::Method method : {stun::Method::kAllocate, stun::Method::kRefresh,
                                    stun::Method::kCreatePermission, stun::Method::kChannelBind})
    EXPECT_EQ(run(kStunOnlyPort, request(method)).drop, Drop::kUnknownMethod);
  relays_nothing(kStunOnlyPort);
}

TEST_P(ListenersOf, ATurnOnlyOneAnswersNoBinding) {
  make(kTurnOnlyPort);
  for (const stun::Class of_class : {stun::Class::kRequest, stun::Class::kIndication})
    EXPECT_EQ(run(kTurnOnlyPort, message(of_class, stun::Method::kBinding)).drop,
              Drop::kUnknownMethod);
  EXPECT_EQ(run(kTurnOnlyPort, classic()).drop, Drop::kNotStun);
  challenges(kTurnOnlyPort);
  relays(kTurnOnlyPort);
}

TEST_P(ListenersOf, AnAllocationIsOneListeners) {
  make(kTurnOnlyPort);
  relays_nothing(kPort);
  relays(kTurnOnlyPort);
}

INSTANTIATE_TEST_SUITE_P(BothWays, ListenersOf,
                         testing::Combine(testing::Values(Family::kIpv4, Family::kIpv6),
                                          testing::Bool()));

// A listener for another transport is no worker's.
TEST(Listeners, OneOfAnotherTransportTakesNoUdp) {
  constexpr std::uint16_t kStreamPort = 5349;
  constexpr auto kStream = static_cast<Transport>(6);
  for (const Address& address : {kServer4, kServer6}) {
    flow::Setup setup;
    // The first one has the endpoint of the second.
    setup.listeners = {
        {{address, kPort}, kStream}, {{address, kPort}}, {{address, kStreamPort}, kStream}};
    const Here here(setup);
    EXPECT_FALSE(here.listener_at({address, kStreamPort}));
    EXPECT_NE(here.find(address), nullptr);
    EXPECT_EQ(here.listener_at({address, kPort}), ListenerIndex{1});
  }
}

}  // namespace
}  // namespace turnpike::flow::test

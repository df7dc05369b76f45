// Who may pass: what a channel and a permission let through, each while the other has run out.
#include <gtest/gtest.h>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

class Admission : public testing::TestWithParam<bool> {
 protected:
  static constexpr std::uint32_t kOver = 999;  // the world's clock says 1000 s
  Packet from(const Endpoint& peer) {
    Datagram datagram = from_peer(peer.address.family, 10);
    datagram.source = peer;
    return world_.run(frame_of(datagram));
  }
  FlowWorld world_{Family::kIpv4, true, std::nullopt, GetParam()};
};

TEST_P(Admission, ALiveChannelLetsItsPeerInWhenThePermissionIsOver) {
  world_.writer_->extend_permission(world_.permissions_[0], kOver);
  world_.writer_->extend_permission(world_.permissions_[1], kOver);
  for (const Address& peer : {kPeer4, kPeer6}) {
    const Packet packet = from({peer, kPeerPort});
    ASSERT_EQ(packet.verdict, Verdict::kTransmit);
    EXPECT_EQ(get16(read(packet)->payload.data()), peer == kPeer4 ? 0x4000 : 0x4001);
    EXPECT_EQ(from({peer, kPeerPort + 1}).drop, Drop::kNoPermission) << "its port alone";
  }
  EXPECT_EQ(world_.run(frame_of(channel_data(world_, 0x4000, 10))).verdict, Verdict::kTransmit);
  EXPECT_EQ(world_.run(frame_of(send_to(world_, {kPeer4, kPeerPort}, 10))).drop,
            Drop::kNoPermission)
      << "a Send wants a permission";
}

TEST_P(Admission, ALivePermissionLetsThePeerInWhenTheChannelIsOver) {
  world_.writer_->extend_channel(world_.channels_[0], kOver);
  const Packet packet = from({kPeer4, kPeerPort});
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  MessageView view;
  EXPECT_EQ(MessageView::parse(read(packet)->payload, view), stun::ParseError::kNone)
      << "as a Data indication";
  world_.writer_->extend_permission(world_.permissions_[0], kOver);
  EXPECT_EQ(from({kPeer4, kPeerPort}).drop, Drop::kNoPermission);
}

TEST_P(Admission, ALiveChannelLetsIcmpIn) {
  world_.writer_->extend_permission(world_.permissions_[0], kOver);
  const Endpoint relay{kRelay4, kRelayPort4};
  EXPECT_EQ(world_.run(icmp_about(relay, {kPeer4, kPeerPort}, 3, 3)).verdict, Verdict::kTransmit);
  EXPECT_EQ(world_.run(icmp_about(relay, {kPeer4, 1}, 3, 3)).drop, Drop::kIcmpUnrelated);
}

INSTANTIATE_TEST_SUITE_P(BothWays, Admission, testing::Bool(), [](const auto& one) {
  return one.param ? "fast_lane" : "general_stages";
});

// --- Data behind a request

class BehindRequest : public testing::Test {
 protected:
  Packet ask(stun::Method method) {
    return world_.run(frame_of(authenticated(world_, method, [](MessageWriter&) {})));
  }
  Packet data() { return world_.run(frame_of(channel_data(world_, 0x4777, 10))); }
  Packet send() {
    return world_.run(frame_of(send_to(world_, {Address::v4(203, 0, 113, 10), 1}, 10)));
  }
  FlowWorld world_{Family::kIpv4};
};

TEST_F(BehindRequest, WaitUntilItIsAnswered) {
  for (const stun::Method method : {stun::Method::kChannelBind, stun::Method::kCreatePermission}) {
    EXPECT_EQ(data().drop, Drop::kNoChannel);
    const std::uint64_t dropped = world_.drops(Drop::kNoChannel);
    const Packet request = ask(method);
    ASSERT_EQ(request.verdict, Verdict::kEngine);
    ASSERT_TRUE(request.opens_way);
    EXPECT_EQ(data().verdict, Verdict::kWait);
    EXPECT_EQ(send().verdict, Verdict::kWait);
    EXPECT_EQ(data().drop, Drop::kNoChannel) << "the name it has when the wait is in vain";
    EXPECT_EQ(world_.drops(Drop::kNoChannel), dropped) << "nothing is lost yet";
    ASSERT_EQ(ask(method).verdict, Verdict::kEngine);
    world_.pipeline_->behind_requests().answered(request.allocation);
    EXPECT_EQ(data().verdict, Verdict::kWait) << "there is another one";
    world_.pipeline_->behind_requests().answered(request.allocation);
    EXPECT_EQ(data().verdict, Verdict::kDrop);
    EXPECT_EQ(send().drop, Drop::kNoPermission);
  }
}

TEST_F(BehindRequest, OfTheirOwnFiveTupleAlone) {
  ask(stun::Method::kChannelBind);
  FlowWorld& world = world_;
  const ClientEndpoint first = world.client_;
  const ClientEndpoint second{{kClient4, kClientPort + 1}};
  world.add(second, kRelayPort4 + 2, kRelayPort6 + 2);
  world.client_ = second;
  EXPECT_EQ(data().drop, Drop::kNoChannel);
  EXPECT_EQ(world.drops(Drop::kNoChannel), 1U);
  world.client_.port = 1;
  EXPECT_FALSE(ask(stun::Method::kChannelBind).opens_way) << "a stranger";
  EXPECT_EQ(data().drop, Drop::kNoAllocation);
  EXPECT_EQ(world.drops(Drop::kNoAllocation), 1U);
  world.client_ = first;
  EXPECT_EQ(data().verdict, Verdict::kWait);
}

TEST_F(BehindRequest, ThatOpensNothingNobodyWaits) {
  EXPECT_FALSE(ask(stun::Method::kRefresh).opens_way);
  EXPECT_EQ(data().verdict, Verdict::kDrop);
  ask(stun::Method::kChannelBind);
  EXPECT_EQ(world_.run(frame_of(from_peer(Family::kIpv4, 10))).verdict, Verdict::kTransmit);
  Datagram stranger = from_peer(Family::kIpv4, 10);
  stranger.source.address = Address::v4(203, 0, 113, 99);
  EXPECT_EQ(world_.run(frame_of(stranger)).verdict, Verdict::kDrop) << "nor does a peer";
}

TEST_F(BehindRequest, WaitsInTheSameBurst) {
  std::array<std::vector<std::uint8_t>, 3> buffers{
      frame_of(channel_data(world_, 0x4777, 10)),
      frame_of(authenticated(world_, stun::Method::kChannelBind, [](MessageWriter&) {})),
      frame_of(channel_data(world_, 0x4777, 10))};
  std::array<Packet, 3> burst;
  for (std::size_t i = 0; i < burst.size(); ++i) {
    burst[i].data = buffers[i].data();
    burst[i].length = static_cast<std::uint32_t>(buffers[i].size());
  }
  world_.pipeline_->process(world_.now_, burst);
  EXPECT_EQ(burst[0].verdict, Verdict::kDrop) << "it came before";
  EXPECT_EQ(burst[1].verdict, Verdict::kEngine);
  EXPECT_EQ(burst[2].verdict, Verdict::kWait);
}

TEST(BehindRequests, HaveFewPlaces) {
  BehindRequests behind(100);
  std::array<void*, BehindRequests::kPlaces> out{};
  int frame = 0;
  const auto wait = [&](std::uint32_t slot, std::uint8_t host) {
    return behind.wait(AllocationSlot{slot}, Address::v4(192, 0, 2, host), slot, &frame);
  };
  for (std::uint32_t i = 0; i < 4; ++i)
    EXPECT_TRUE(wait(0, 1));
  EXPECT_FALSE(wait(0, 1)) << "four of a five-tuple";
  for (std::uint32_t i = 0; i < 12; ++i)
    EXPECT_TRUE(wait(1 + i / 4, 1));
  EXPECT_FALSE(wait(4, 1)) << "sixteen of a source";
  for (std::uint32_t i = 0; i < 48; ++i)
    EXPECT_TRUE(wait(10 + i / 4, static_cast<std::uint8_t>(2 + i / 4)));
  EXPECT_FALSE(wait(99, 99)) << "64 in all";
  EXPECT_EQ(behind.leave(AllocationSlot{0}, out), 4U);
  EXPECT_TRUE(wait(99, 99));
  EXPECT_EQ(behind.leave_before(10, out), 12U);
  EXPECT_EQ(behind.leave_before(~std::uint64_t{0}, out), 49U);
  EXPECT_TRUE(behind.empty());
}

TEST(BehindRequests, LeaveInTheirOrder) {
  BehindRequests behind(2);
  std::array<int, 5> frames{};
  for (std::size_t i = 0; i < frames.size(); ++i)
    behind.wait(AllocationSlot{static_cast<std::uint32_t>(i % 2)}, Address::v4(192, 0, 2, 1), i,
                &frames[i]);
  std::array<void*, BehindRequests::kPlaces> out{};
  ASSERT_EQ(behind.leave(AllocationSlot{0}, out), 3U);
  EXPECT_EQ(out[0], &frames[0]);
  EXPECT_EQ(out[1], &frames[2]);
  EXPECT_EQ(out[2], &frames[4]);
}

}  // namespace
}  // namespace turnpike::flow::test

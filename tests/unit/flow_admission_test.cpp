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

}  // namespace
}  // namespace turnpike::flow::test

// Send indications: what must be in them, and who may send.
#include <gtest/gtest.h>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

TEST(Send, WithoutPeerDataOrPortIsDropped) {
  FlowWorld world(Family::kIpv4);
  const auto none = [](MessageWriter&) {};
  EXPECT_EQ(world.run(frame_of(send(world, none))).drop, Drop::kBadSend);
  const auto no_data = [](MessageWriter& writer) {
    writer.add_xor_address(Attribute::kXorPeerAddress, {kPeer4, kPeerPort});
  };
  EXPECT_EQ(world.run(frame_of(send(world, no_data))).drop, Drop::kBadSend);
  const auto no_peer = [](MessageWriter& writer) { writer.add_text(Attribute::kData, "data"); };
  EXPECT_EQ(world.run(frame_of(send(world, no_peer))).drop, Drop::kBadSend);
  EXPECT_EQ(world.run(frame_of(send_to(world, {kPeer4, 0}, 10))).drop, Drop::kBadSend);
}

TEST(Send, WithAnUnknownRequiredAttributeIsDropped) {
  FlowWorld world(Family::kIpv4);
  const auto with = [&](std::uint16_t type) {
    return frame_of(send(world, [type](MessageWriter& writer) {
      writer.add_xor_address(Attribute::kXorPeerAddress, {kPeer4, kPeerPort});
      writer.add_text(Attribute::kData, "data");
      writer.add_text(static_cast<Attribute>(type), "what");
    }));
  };
  EXPECT_EQ(world.run(with(0x7F00)).drop, Drop::kBadSend);
  EXPECT_EQ(world.run(with(0xFF00)).verdict, Verdict::kTransmit);
}

TEST(Send, TakesTheFirstOfDuplicates) {
  FlowWorld world(Family::kIpv4);
  const Packet packet = world.run(frame_of(send(world, [](MessageWriter& writer) {
    writer.add_xor_address(Attribute::kXorPeerAddress, {kPeer4, kPeerPort});
    writer.add_xor_address(Attribute::kXorPeerAddress, {kPeer4, 1});
    writer.add_text(Attribute::kData, "first");
    writer.add_text(Attribute::kData, "second");
  })));
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->destination.port, kPeerPort);
  EXPECT_EQ(std::string(out->payload.begin(), out->payload.end()), "first");
}

TEST(Send, NeedsALivePermissionForTheAddressAndNotThePort) {
  FlowWorld world(Family::kIpv4);
  EXPECT_EQ(world.run(frame_of(send_to(world, {kPeer4, 1}, 10))).verdict, Verdict::kTransmit);
  const Endpoint stranger{Address::v4(203, 0, 113, 10), kPeerPort};
  EXPECT_EQ(world.run(frame_of(send_to(world, stranger, 10))).drop, Drop::kNoPermission);
  world.writer_->extend_permission(world.permissions_[0], 1000);
  EXPECT_EQ(world.run(frame_of(send_to(world, {kPeer4, 1}, 10))).drop, Drop::kNoPermission)
      << "it ends at 1000 s";
}

TEST(Send, ToAFamilyWithoutRelayedAddressIsDropped) {
  FlowWorld world(Family::kIpv4);
  world.client_.port = 40001;
  AllocationFlow flow;
  flow.five_tuple = {world.client_, world.server_, Transport::kUdp};
  flow.relayed[0] = RelayEndpoint{{kRelay4, 50010}};
  flow.expires_s[0] = FlowWorld::kExpires;
  ASSERT_TRUE(world.writer_->publish_allocation(flow));
  EXPECT_EQ(world.run(frame_of(send_to(world, {kPeer6, 7}, 10))).drop, Drop::kFamilyMismatch);
}

TEST(DontFragment, SetsDfFromIpv4ToIpv4) {
  FlowWorld world(Family::kIpv4);
  const Packet packet = world.run(frame_of(send_to(world, {kPeer4, 7}, 10, true)));
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  EXPECT_TRUE(read(packet)->dont_fragment);
  EXPECT_FALSE(packet.may_fragment);
}

// As what comes by a stream is taken (RFC 8656 §15), and what came in fragments.
TEST(DontFragment, HoldsForWhatMayBeCutOtherwise) {
  FlowWorld world(Family::kIpv4);
  const auto send = [&](bool dont_fragment) {
    return world.run(frame_of(send_to(world, {kPeer4, 7}, 1600, dont_fragment)), 0,
                     Checksum::kVerify, true);
  };
  EXPECT_EQ(send(true).drop, Drop::kTooBig);
  const Packet packet = send(false);
  EXPECT_EQ(packet.verdict, Verdict::kTransmit);
  EXPECT_TRUE(packet.may_fragment);
}

TEST(DontFragment, IsIgnoredAcrossFamilies) {
  FlowWorld world(Family::kIpv4);
  const Packet packet = world.run(frame_of(send_to(world, {kPeer6, 7}, 1460, true)));
  ASSERT_EQ(packet.verdict, Verdict::kTransmit) << "RFC 8656 §13.1: may be cut";
  EXPECT_TRUE(packet.may_fragment);
  FlowWorld from6(Family::kIpv6);
  EXPECT_FALSE(read(from6.run(frame_of(send_to(from6, {kPeer4, 7}, 10, true))))->dont_fragment);
}

}  // namespace
}  // namespace turnpike::flow::test

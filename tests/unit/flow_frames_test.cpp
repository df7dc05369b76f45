// Frames at the edges of what may arrive: sums that are wrong, trains of segments, fragments,
// headers that are the relay's own.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

TEST(Frame, ToAGroupIsTheKernels) {
  FlowWorld world(Family::kIpv4);
  auto frame = frame_of(from_peer(Family::kIpv4, 10));
  std::fill_n(frame.begin(), 6, std::uint8_t{0xFF});
  EXPECT_EQ(world.run(frame).verdict, Verdict::kKernel);
}

TEST(Frame, WithAWrongIpChecksumIsDropped) {
  FlowWorld world(Family::kIpv4);
  auto frame = frame_of(from_peer(Family::kIpv4, 10));
  frame[14 + 10] ^= 1;
  EXPECT_EQ(world.run(frame).drop, Drop::kBadIpChecksum);
}

TEST(Frame, WithAUdpLengthBeyondIpIsDropped) {
  FlowWorld world(Family::kIpv4);
  auto frame = frame_of(from_peer(Family::kIpv4, 10));
  put16(frame.data() + 34 + 4, 19);
  EXPECT_EQ(world.run(frame).drop, Drop::kMalformedUdp);
}

TEST(Frame, OfTcpOrToAnotherPortIsTheKernels) {
  FlowWorld world(Family::kIpv4);
  Datagram dns = channel_data(world, 0x4000, 10);
  dns.destination = {kServer4, 53};
  EXPECT_EQ(world.run(frame_of(dns)).verdict, Verdict::kKernel);
  auto frame = frame_of(channel_data(world, 0x4000, 10));
  frame[14 + 9] = 6;
  frame[14 + 10] = frame[14 + 11] = 0;
  put16(frame.data() + 24, static_cast<std::uint16_t>(~plain_sum(frame.data() + 14, 20)));
  EXPECT_EQ(world.run(frame).verdict, Verdict::kKernel);
}

TEST(Frame, WithIpOptionsIsRelayedWithoutThem) {
  FlowWorld world(Family::kIpv4);
  auto frame = frame_of(from_peer(Family::kIpv4, 33));
  frame.insert(frame.begin() + 34, {1, 1, 1, 0});
  frame[14] = 0x46;
  put16(frame.data() + 16, static_cast<std::uint16_t>(frame.size() - 14));
  put16(frame.data() + 24, 0);
  put16(frame.data() + 24, static_cast<std::uint16_t>(~plain_sum(frame.data() + 14, 24)));
  const Packet packet = world.run(frame);
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  const auto out = read(packet);
  ASSERT_TRUE(out) << "read() accepts no options";
  EXPECT_EQ(out->payload.size(), 37U);
}

TEST(Frame, WithoutHeadroomIsDroppedAndNotMoved) {
  FlowWorld world(Family::kIpv4, false);
  const auto frame = frame_of(from_peer(Family::kIpv4, 30));
  const Packet packet = world.run(frame, 0, Checksum::kVerify, false, 0);
  EXPECT_EQ(packet.drop, Drop::kNoHeadroom);
}

TEST(Frame, ToAnUnroutedDestinationIsDropped) {
  FlowWorld world(Family::kIpv4);
  world.hop_.answer = kNoNextHop;
  const auto permission = *world.writer_->publish_permission(
      {world.allocation_, Address::v4(198, 51, 100, 99), FlowWorld::kExpires});
  static_cast<void>(permission);
  const Endpoint peer{Address::v4(198, 51, 100, 99), 9};
  EXPECT_EQ(world.run(frame_of(send_to(world, peer, 10))).drop, Drop::kNoRoute);
}

TEST(UdpChecksum, OfARequestIsVerified) {
  FlowWorld world(Family::kIpv4);
  const auto binding =
      message(world, stun::Class::kRequest, stun::Method::kBinding, [](MessageWriter&) {});
  auto frame = frame_of(binding);
  frame[40] ^= 1;
  EXPECT_EQ(world.run(frame).drop, Drop::kBadUdpChecksum);
  frame[40] = frame[41] = 0;
  EXPECT_EQ(world.run(frame).verdict, Verdict::kTransmitBack) << "none is right over IPv4";
}

TEST(UdpChecksum, MayBePartialOnlyWherePortsSaySo) {
  FlowWorld world(Family::kIpv4);
  Datagram binding =
      message(world, stun::Class::kRequest, stun::Method::kBinding, [](MessageWriter&) {});
  binding.sum = Datagram::Sum::kPartial;
  EXPECT_EQ(world.run(frame_of(binding)).drop, Drop::kBadUdpChecksum);
  EXPECT_EQ(world.run(frame_of(binding), 0, Checksum::kMaybePartial).verdict,
            Verdict::kTransmitBack);
}

TEST(UdpChecksum, ThatIsWrongStaysWrongWhenRelayed) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    FlowWorld world(Family::kIpv4);
    auto frame = frame_of(from_peer(family, 100));
    frame.back() ^= 0x10;
    const Packet packet = world.run(frame);
    ASSERT_EQ(packet.verdict, Verdict::kTransmit);
    EXPECT_FALSE(read(packet)) << "a receiver must notice";
  }
}

TEST(UdpChecksum, OfZeroOverIpv6IsDropped) {
  FlowWorld world(Family::kIpv4);
  Datagram datagram = from_peer(Family::kIpv6, 10);
  datagram.sum = Datagram::Sum::kZero;
  EXPECT_EQ(world.run(frame_of(datagram)).drop, Drop::kBadUdpChecksum);
}

TEST(SegmentTrain, IsRefusedByName) {
  FlowWorld world(Family::kIpv4);
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    Datagram train = from_peer(family, 3000);
    EXPECT_NE(world.run(frame_of(train), 0, Checksum::kMaybePartial).drop, Drop::kSegmentTrain)
        << "with a checksum it is one datagram";
    train.sum = Datagram::Sum::kPartial;
    EXPECT_EQ(world.run(frame_of(train), 0, Checksum::kMaybePartial).drop, Drop::kSegmentTrain);
    train.payload.resize(1400);
    EXPECT_EQ(world.run(frame_of(train), 0, Checksum::kMaybePartial).verdict, Verdict::kTransmit);
  }
}

TEST(Ipv4Identification, IsTheRelaysOwn) {
  FlowWorld world(Family::kIpv6);
  std::set<std::uint16_t> seen;
  for (int i = 0; i < 100; ++i) {
    const Packet packet = world.run(frame_of(channel_data(world, 0x4000, 10)));
    ASSERT_EQ(packet.verdict, Verdict::kTransmit);
    seen.insert(get16(packet.data + 14 + 4));
  }
  EXPECT_EQ(seen.size(), 100U);
}

TEST(Ipv4Identification, OfTwoWorkersAreNeverEqual) {
  std::set<std::uint16_t> seen;
  for (const int worker : {65'534, 65'535}) {
    FlowWorld world(Family::kIpv4);
    world.pipeline_->number_ids(static_cast<std::uint16_t>(worker), 2);
    for (int i = 0; i < 100; ++i) {
      const Packet fast = world.run(frame_of(channel_data(world, 0x4000, 10)));
      seen.insert(get16(fast.data + 14 + 4));
      const Packet general = world.run(frame_of(from_peer(Family::kIpv6, 10)));
      seen.insert(get16(general.data + 14 + 4));
    }
  }
  EXPECT_EQ(seen.size(), 400U);
}

TEST(Reassembled, FromIpv6ToIpv4MayBeFragmentedAgain) {
  FlowWorld world(Family::kIpv4);
  const Packet packet =
      world.run(frame_of(from_peer(Family::kIpv6, 1400)), 0, Checksum::kVerify, true);
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  EXPECT_FALSE(read(packet)->dont_fragment);
}

TEST(Reassembled, ThatFramingMakesTooLongForIpIsDropped) {
  FlowWorld world(Family::kIpv4, false);
  const Packet packet =
      world.run(frame_of(from_peer(Family::kIpv4, 65500)), 0, Checksum::kVerify, true, 256);
  EXPECT_EQ(packet.verdict, Verdict::kDrop);
  EXPECT_EQ(packet.drop, Drop::kTooBig);
}

// `datagram` as a piece at `offset`, with more to come.
std::vector<std::uint8_t> piece_of(const Datagram& datagram, std::uint16_t offset = 0,
                                   std::uint8_t protocol = 17, bool more = true) {
  auto frame = frame_of(datagram);
  std::uint8_t* ip = frame.data() + 14;
  if (datagram.source.address.family == Family::kIpv4) {
    put16(ip + 6, static_cast<std::uint16_t>(offset / 8 | (more ? 0x2000 : 0)));
    ip[9] = protocol;
    put16(ip + 10, 0);
    put16(ip + 10, static_cast<std::uint16_t>(~plain_sum(ip, 20)));
    return frame;
  }
  std::array<std::uint8_t, 8> extension{protocol, 0, 0, 0, 0, 0, 0, 7};
  put16(extension.data() + 2, static_cast<std::uint16_t>(offset | (more ? 1 : 0)));
  frame.insert(frame.begin() + 54, extension.begin(), extension.end());
  frame[14 + 6] = 44;
  put16(frame.data() + 14 + 4, static_cast<std::uint16_t>(frame.size() - 54));
  return frame;
}

TEST(Fragments, ForUsAreReassembledAndOthersAreTheKernels) {
  FlowWorld world(Family::kIpv4);
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const bool v4 = family == Family::kIpv4;
    for (const std::uint16_t offset : {0, 64}) {
      Datagram datagram = from_peer(family, 64);
      for (const Address& here : {v4 ? kRelay4 : kRelay6, v4 ? kServer4 : kServer6}) {
        datagram.destination = {here, 1};
        EXPECT_EQ(world.run(piece_of(datagram, offset)).verdict, Verdict::kReassemble);
        EXPECT_EQ(world.run(piece_of(datagram, offset, 6)).verdict, Verdict::kKernel)
            << "no UDP, no relay's";
        EXPECT_EQ(world.run(piece_of(datagram, offset, v4 ? 1 : 58)).verdict, Verdict::kKernel);
      }
      datagram.destination = {v4 ? Address::v4(192, 0, 2, 77) : kPeer6, 1};
      EXPECT_EQ(world.run(piece_of(datagram, offset)).verdict, Verdict::kKernel);
    }
  }
  const Packet nested =
      world.run(piece_of(from_peer(Family::kIpv6, 64)), 0, Checksum::kVerify, true);
  EXPECT_EQ(nested.drop, Drop::kFragmentRejected) << "no fragments within fragments";
}

TEST(AtomicFragments, AreWholePackets) {
  FlowWorld world(Family::kIpv6);
  const auto atomic = [](const Datagram& datagram) { return piece_of(datagram, 0, 17, false); };
  const Packet media = world.run(atomic(channel_data(world, 0x4001, 33)));
  ASSERT_EQ(media.verdict, Verdict::kTransmit);
  EXPECT_EQ(read(media)->payload, std::vector<std::uint8_t>(33, 0x77));
  const Packet back = world.run(atomic(from_peer(Family::kIpv6, 33)));
  ASSERT_EQ(back.verdict, Verdict::kTransmit);
  EXPECT_EQ(read(back)->payload.size(), 37U);
  const Packet answer = world.run(
      atomic(message(world, stun::Class::kRequest, stun::Method::kBinding, [](MessageWriter&) {})));
  ASSERT_EQ(answer.verdict, Verdict::kTransmitBack);
  ASSERT_TRUE(read(answer)) << "without the header";
  EXPECT_EQ(read(answer)->destination, static_cast<const Endpoint&>(world.client_));
  Datagram dns = from_peer(Family::kIpv6, 10);
  dns.destination = {kRelay6, 53};
  EXPECT_EQ(world.run(atomic(dns)).verdict, Verdict::kKernel);
}

// As a translator sent it: a Binding request behind a header of next header UDP, offset 0, M 0.
TEST(AtomicFragments, AsSeenOnTheWire) {
  FlowWorld world(Family::kIpv6);
  const std::vector<std::uint8_t> packet{
      0x60, 0,    0,    0,    0, 0x24, 0x2c, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0,    1,    0,    0,
      0,    0,    0,    0,    0, 0,    0,    2,    0x20, 0x01, 0x0d, 0xb8, 0,    0,    0,    0,
      0,    0,    0,    0,    0, 0,    0,    1,    0x11, 0,    0,    0,    0,    0,    0,    0x4d,
      0x9c, 0x40, 0x0d, 0x96, 0, 0x1c, 0x10, 0xea, 0,    1,    0,    0,    0x21, 0x12, 0xa4, 0x42,
      1,    2,    3,    4,    5, 6,    7,    8,    9,    0x0a, 0x0b, 0x0c};
  std::vector<std::uint8_t> frame{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xDD};
  frame.insert(frame.end(), packet.begin(), packet.end());
  const Packet answer = world.run(frame);
  ASSERT_EQ(answer.verdict, Verdict::kTransmitBack);
  EXPECT_EQ(read(answer)->destination.port, 40000);
}

}  // namespace
}  // namespace turnpike::flow::test

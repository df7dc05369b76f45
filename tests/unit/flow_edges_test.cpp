// The pipeline at the edges of what may arrive: sums that are wrong, fragments, ICMP from anybody,
// addresses with a public face, requests on their way to a shard.
#include <gtest/gtest.h>

#include <set>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

const Address kPublic = Address::v4(203, 0, 113, 200);

std::vector<std::uint8_t> value_of(const Packet& packet, Attribute type) {
  const auto out = read(packet);
  MessageView view;
  if (!out || MessageView::parse(out->payload, view) != stun::ParseError::kNone) return {};
  const auto attribute = view.find(type);
  if (!attribute) return {};
  return {attribute->value.begin(), attribute->value.end()};
}

std::optional<Endpoint> peer_told(const Packet& packet) {
  const auto out = read(packet);
  MessageView view;
  if (!out || MessageView::parse(out->payload, view) != stun::ParseError::kNone) return {};
  return view.xor_address(Attribute::kXorPeerAddress);
}

// --- Frames

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

// --- Checksums

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

// --- Send indications

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

TEST(DontFragment, IsIgnoredAcrossFamilies) {
  FlowWorld world(Family::kIpv4);
  const Packet packet = world.run(frame_of(send_to(world, {kPeer6, 7}, 1460, true)));
  ASSERT_EQ(packet.verdict, Verdict::kTransmit) << "RFC 8656 §13.1: may be cut";
  EXPECT_TRUE(packet.may_fragment);
  FlowWorld from6(Family::kIpv6);
  EXPECT_FALSE(read(from6.run(frame_of(send_to(from6, {kPeer4, 7}, 10, true))))->dont_fragment);
}

// --- Headers

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

// --- ICMP

struct IcmpCase {
  Family family;
  std::uint8_t type, code;
  std::uint32_t rest;
  std::vector<std::uint8_t> value;
};

TEST(Icmp, OfEachTypeBecomesADataIndication) {
  const std::vector<IcmpCase> cases{
      {Family::kIpv4, 3, 1, 0, {0, 0, 3, 1, 0, 0, 0, 0}},
      {Family::kIpv4, 3, 4, 1400, {0, 0, 3, 4, 0, 0, 5, 0x78}},
      {Family::kIpv4, 11, 0, 0, {0, 0, 11, 0, 0, 0, 0, 0}},
      {Family::kIpv6, 1, 4, 0, {0, 0, 1, 4, 0, 0, 0, 0}},
      {Family::kIpv6, 2, 0, 1300, {0, 0, 2, 0, 0, 0, 5, 0x14}},
      {Family::kIpv6, 3, 0, 0, {0, 0, 3, 0, 0, 0, 0, 0}},
  };
  for (const Family client : {Family::kIpv4, Family::kIpv6}) {
    FlowWorld world(client);
    for (const IcmpCase& one : cases) {
      const bool v4 = one.family == Family::kIpv4;
      const Endpoint peer{v4 ? kPeer4 : kPeer6, 1234};
      const auto frame =
          icmp_about(from_peer(one.family, 0).destination, peer, one.type, one.code, one.rest);
      const Packet packet = world.run(frame);
      ASSERT_EQ(packet.verdict, Verdict::kTransmit) << int{one.type};
      EXPECT_EQ(value_of(packet, Attribute::kIcmp), one.value);
      EXPECT_EQ(peer_told(packet), peer);
      EXPECT_EQ(read(packet)->destination, static_cast<const Endpoint&>(world.client_));
    }
  }
}

TEST(Icmp, NeedsALivePermissionForWhereTheQuotedPacketWent) {
  FlowWorld world(Family::kIpv4);
  const Endpoint relay{kRelay4, kRelayPort4};
  const Endpoint stranger{Address::v4(203, 0, 113, 10), 1};
  EXPECT_EQ(world.run(icmp_about(relay, stranger, 3, 3)).drop, Drop::kIcmpUnrelated);
  EXPECT_EQ(world.run(icmp_about(relay, {kPeer4, 1}, 3, 3)).verdict, Verdict::kTransmit);
  world.writer_->extend_permission(world.permissions_[0], 1000);
  EXPECT_EQ(world.run(icmp_about(relay, {kPeer4, 1}, 3, 3)).drop, Drop::kIcmpUnrelated);
}

TEST(Icmp, OfOthersIsTheKernels) {
  FlowWorld world(Family::kIpv4);
  const Endpoint relay{kRelay4, kRelayPort4};
  const Endpoint peer{kPeer4, 1};
  EXPECT_EQ(world.run(icmp_about(relay, peer, 8, 0)).verdict, Verdict::kKernel) << "echo";
  EXPECT_EQ(world.run(icmp_about({kRelay4, 60000}, peer, 3, 3)).verdict, Verdict::kKernel);
  EXPECT_EQ(world.run(icmp_about({kServer4, kPort}, peer, 3, 3)).verdict, Verdict::kKernel);
  auto wrong = icmp_about(relay, peer, 3, 3);
  wrong[34 + 2] ^= 1;
  EXPECT_EQ(world.run(wrong).verdict, Verdict::kKernel) << "a wrong checksum";
  for (std::size_t cut = 1; cut < 28; ++cut) {  // the quote ends before its UDP header does
    auto cut_short = icmp_about(relay, peer, 3, 3);
    cut_short.resize(34 + 8 + 28 - cut);
    put16(cut_short.data() + 16, static_cast<std::uint16_t>(cut_short.size() - 14));
    put16(cut_short.data() + 24, 0);
    put16(cut_short.data() + 24, static_cast<std::uint16_t>(~plain_sum(cut_short.data() + 14, 20)));
    put16(cut_short.data() + 36, 0);
    put16(cut_short.data() + 36,
          static_cast<std::uint16_t>(~plain_sum(cut_short.data() + 34, cut_short.size() - 34)));
    EXPECT_EQ(world.run(cut_short).verdict, Verdict::kKernel);
  }
}

TEST(OurIcmp, IsRightOverIpv6AndQuotesThePacket) {
  FlowWorld world(Family::kIpv6);
  Datagram big = from_peer(Family::kIpv6, 1450);
  const auto frame = frame_of(big);
  const Packet packet = world.run(frame);
  ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
  const std::uint8_t* ip = packet.data + 14;
  const std::uint8_t* icmp = ip + 40;
  const std::size_t size = packet.length - 54;
  EXPECT_EQ(packet.length - 14, 1280U);
  EXPECT_EQ(icmp[0], 2);
  EXPECT_EQ(get16(icmp + 6), 1500 - 48) << "room for a Data indication, whatever it becomes now";
  EXPECT_EQ(fold_plain(plain_sum(ip + 8, 32) + 58 + static_cast<std::uint32_t>(size) +
                       plain_sum(icmp, size)),
            0xFFFF);
  EXPECT_EQ(std::memcmp(icmp + 8, frame.data() + 14, size - 8), 0);
  EXPECT_EQ(std::memcmp(packet.data, frame.data() + 6, 6), 0);
  EXPECT_EQ(world.drops(Drop::kTooBig), 1U);
  EXPECT_EQ(world.counters_.icmp_sent.get(), 1U);
}

TEST(OurIcmp, IsLimitedBySecondAndNeverGoesToAGroup) {
  FlowWorld world(Family::kIpv4);
  world.setup_.icmp_per_second = 2;
  Datagram last_hop = channel_data(world, 0x4000, 10);
  last_hop.ttl = 1;
  EXPECT_EQ(world.run(frame_of(last_hop)).verdict, Verdict::kTransmitBack);
  EXPECT_EQ(world.run(frame_of(last_hop)).verdict, Verdict::kTransmitBack);
  EXPECT_EQ(world.run(frame_of(last_hop)).verdict, Verdict::kDrop);
  world.now_ = world.now_ + 1000;
  EXPECT_EQ(world.run(frame_of(last_hop)).verdict, Verdict::kTransmitBack);
  EXPECT_EQ(world.drops(Drop::kTtlExpired), 4U);

  const Address group = Address::v4(224, 0, 0, 5);
  ASSERT_TRUE(world.writer_->publish_permission({world.allocation_, group, FlowWorld::kExpires}));
  Datagram from_group = from_peer(Family::kIpv4, 10);
  from_group.source.address = group;
  from_group.ttl = 1;
  EXPECT_EQ(world.run(frame_of(from_group)).verdict, Verdict::kDrop);
}

TEST(OurIcmp, TellsOfAHopLimitThatEndsHere) {
  FlowWorld world(Family::kIpv6);
  for (const Family peer : {Family::kIpv4, Family::kIpv6}) {
    Datagram from = from_peer(peer, 10);
    Datagram to = channel_data(world, peer == Family::kIpv4 ? 0x4000 : 0x4001, 10);
    for (Datagram* const one : {&from, &to}) {
      const bool v4 = one->source.address.family == Family::kIpv4;
      one->ttl = 2;
      EXPECT_EQ(read(world.run(frame_of(*one)))->ttl, 1);
      one->ttl = 1;
      const Packet packet = world.run(frame_of(*one));
      ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
      EXPECT_EQ(packet.data[v4 ? 34 : 54], v4 ? 11 : 3) << "time exceeded";
      EXPECT_EQ(packet.data[v4 ? 35 : 55], 0) << "in transit";
    }
  }
  EXPECT_EQ(world.drops(Drop::kTtlExpired), 4U);
}

// --- Hairpin

class Loop : public testing::Test {
 protected:
  Loop() {
    theirs_ = world_.add(other_, 50002, 50003);
    for (const AllocationSlot allocation : {world_.allocation_, theirs_}) {
      world_.writer_->publish_permission({allocation, kPublic, FlowWorld::kExpires});
    }
  }
  FlowWorld world_{Family::kIpv4, true, kPublic};
  const ClientEndpoint other_{{kClient4, 40001}};
  AllocationSlot theirs_{};
};

TEST_F(Loop, ShowsPublicFacesHoweverThePeerIsNamed) {
  for (const Address& name : {kPublic, kRelay4}) {
    const Packet packet = world_.run(frame_of(send_to(world_, {name, 50002}, 21)));
    ASSERT_EQ(packet.verdict, Verdict::kTransmit);
    EXPECT_EQ(read(packet)->destination, static_cast<const Endpoint&>(other_));
    EXPECT_EQ(peer_told(packet), (Endpoint{kPublic, kRelayPort4}));
    EXPECT_EQ(value_of(packet, Attribute::kData), std::vector<std::uint8_t>(21, 0x55));
  }
  EXPECT_EQ(world_.counters_.hairpin.get(), 2U);
}

TEST_F(Loop, ArrivesAsChannelDataWhereTheOtherHasAChannel) {
  const auto permission = *world_.tables_->find_permission(theirs_, kPublic);
  world_.writer_->publish_channel(
      {theirs_, permission, 0x4ABC, PeerEndpoint{{kPublic, kRelayPort4}}, FlowWorld::kExpires});
  const Packet packet = world_.run(frame_of(send_to(world_, {kPublic, 50002}, 21)));
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  ASSERT_EQ(out->payload.size(), 25U) << "unpadded over UDP";
  EXPECT_EQ(get16(out->payload.data()), 0x4ABC);
}

TEST_F(Loop, ToAPortNobodyHasIsDropped) {
  EXPECT_EQ(world_.run(frame_of(send_to(world_, {kPublic, 50004}, 21))).drop, Drop::kNoRelay);
}

TEST_F(Loop, CountsAsAHop) {
  Datagram datagram = send_to(world_, {kPublic, 50002}, 21);
  datagram.ttl = 2;
  EXPECT_EQ(world_.run(frame_of(datagram)).verdict, Verdict::kTransmitBack) << "time exceeded";
  datagram.ttl = 3;
  EXPECT_EQ(read(world_.run(frame_of(datagram)))->ttl, 1);
}

// --- Requests

class Requests : public testing::Test {
 protected:
  // With a nonce that is ours and an integrity that only a shard can judge.
  Datagram authenticated(const ClientEndpoint& client, std::span<const std::uint8_t> token = {}) {
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size = world_.nonces_.mint(world_.now_, client, world_.server_, nonce);
    Datagram datagram =
        message(world_, stun::Class::kRequest, stun::Method::kAllocate, [&](MessageWriter& writer) {
          if (!token.empty()) writer.add(Attribute::kReservationToken, token);
          writer.add_text(Attribute::kUsername, "user");
          writer.add_text(Attribute::kRealm, "example.org");
          writer.add_text(Attribute::kNonce, {nonce.data(), size});
          writer.add_message_integrity(std::array<std::uint8_t, 16>{1});
        });
    datagram.source = client;
    return datagram;
  }
  FlowWorld world_{Family::kIpv4};
};

TEST_F(Requests, OfAStrangerGoToItsHomeShard) {
  const ClientEndpoint stranger{{kClient4, 41000}};
  const auto frame = frame_of(authenticated(stranger));
  const Packet packet = world_.run(frame);
  ASSERT_EQ(packet.verdict, Verdict::kEngine);
  EXPECT_EQ(packet.shard, world_.tables_->home_shard(0, stranger));
  EXPECT_FALSE(packet.has_allocation);
  EXPECT_EQ(std::memcmp(packet.data, frame.data(), frame.size()), 0) << "the frame is untouched";
}

TEST_F(Requests, OfAnAllocationGoToItsShard) {
  const Packet packet = world_.run(frame_of(authenticated(world_.client_)));
  ASSERT_EQ(packet.verdict, Verdict::kEngine);
  EXPECT_TRUE(packet.has_allocation);
  EXPECT_EQ(packet.shard, 0);
}

TEST_F(Requests, WithAReservationTokenGoToTheShardThatSealedIt) {
  const ClientEndpoint stranger{{kClient4, 41000}};
  world_.setup_.shard_count = 3;
  EXPECT_EQ(world_.run(frame_of(authenticated(stranger, world_.tokens_.seal({2, 7})))).shard, 2);
  auto forged = world_.tokens_.seal({2, 7});
  forged[7] ^= 1;
  EXPECT_EQ(world_.run(frame_of(authenticated(stranger, forged))).shard, 0);
}

TEST_F(Requests, WithoutCredentialsAreChallengedInPlace) {
  const auto allocate = message(world_, stun::Class::kRequest, stun::Method::kAllocate,
                                [](MessageWriter& writer) { writer.add_fingerprint(); });
  const Packet packet = world_.run(frame_of(allocate), 3);
  ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->source, world_.server_);
  EXPECT_EQ(out->ttl, 64);
  MessageView view;
  ASSERT_EQ(MessageView::parse(out->payload, view), stun::ParseError::kNone);
  EXPECT_EQ(view.error_code(), 401);
  EXPECT_EQ(view.transaction_id(), kId);
  EXPECT_TRUE(view.has_fingerprint());
  EXPECT_EQ(world_.counters_.answered_401.get(), 1U);
}

TEST_F(Requests, GetTheEnginesReplyInTheirOwnFrame) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    FlowWorld world(family);
    const Datagram asked = channel_data(world, 0x4000, 40);
    const auto frame = frame_of(asked);
    Packet packet = world.run(frame_of(
        message(world, stun::Class::kIndication, stun::Method::kBinding, [](MessageWriter&) {})));
    ASSERT_EQ(packet.drop, Drop::kBindingIndication) << "parsed, and nothing written";
    std::vector<std::uint8_t> reply(101, 0x42);
    std::memcpy(packet.data + packet.payload, reply.data(), reply.size());
    world.pipeline_->finish_reply(packet, reply.size());
    ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
    const auto out = read(packet);
    ASSERT_TRUE(out);
    EXPECT_EQ(out->payload, reply);
    EXPECT_EQ(out->source, world.server_);
    EXPECT_EQ(out->destination, static_cast<const Endpoint&>(world.client_));
    EXPECT_EQ(std::memcmp(packet.data, frame.data() + 6, 6), 0);
  }
}

// --- A burst

TEST(Burst, OfEveryLaneIsJudgedPacketByPacket) {
  FlowWorld world(Family::kIpv4);
  const std::vector<std::vector<std::uint8_t>> frames{
      frame_of(channel_data(world, 0x4000, 10)),
      frame_of(channel_data(world, 0x4777, 10)),
      frame_of(from_peer(Family::kIpv6, 10)),
      frame_of(send_to(world, {kPeer4, 9}, 10)),
      icmp_about({kRelay4, kRelayPort4}, {kPeer4, 1}, 3, 3),
      frame_of(from_peer(Family::kIpv4, 11)),
  };
  std::vector<std::vector<std::uint8_t>> buffers;
  std::array<Packet, Pipeline::kMaxBurst> burst;
  for (std::size_t i = 0; i < burst.size(); ++i) {
    buffers.emplace_back(512, 0);
    const auto& frame = frames[i % frames.size()];
    std::copy(frame.begin(), frame.end(), buffers[i].begin() + 128);
    burst[i].data = buffers[i].data() + 128;
    burst[i].length = static_cast<std::uint32_t>(frame.size());
    burst[i].headroom = 128;
    burst[i].tailroom = static_cast<std::uint16_t>(384 - frame.size());
  }
  world.pipeline_->process(world.now_, burst);
  for (std::size_t i = 0; i < burst.size(); ++i) {
    const bool bad = i % frames.size() == 1;
    EXPECT_EQ(burst[i].verdict, bad ? Verdict::kDrop : Verdict::kTransmit) << i;
    EXPECT_TRUE(bad || read(burst[i])) << i;
  }
  EXPECT_EQ(world.drops(Drop::kNoChannel), 11U);
  EXPECT_EQ(world.counters_.peer_in[1].packets.get(), 11U);
  EXPECT_EQ(world.counters_.peer_in[1].bytes.get(), 110U);
}

}  // namespace
}  // namespace turnpike::flow::test

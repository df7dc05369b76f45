// What a worker does to a packet, case by case; what holds for every packet is in tests/property.
#include <gtest/gtest.h>

#include "flow/fragment.h"
#include "flow_world.h"

namespace turnpike::flow::test {
namespace {

Datagram channel_data(const FlowWorld& world, ChannelNumber number, std::size_t size) {
  Datagram datagram;
  datagram.source = world.client_;
  datagram.destination = world.server_;
  datagram.payload.assign(4 + size, 0x77);
  put16(datagram.payload.data(), number);
  put16(datagram.payload.data() + 2, static_cast<std::uint16_t>(size));
  return datagram;
}

Datagram from_peer(std::size_t size) {
  Datagram datagram;
  datagram.source = {kPeer4, kPeerPort};
  datagram.destination = {kRelay4, kRelayPort4};
  datagram.payload.assign(size, 0x66);
  return datagram;
}

Datagram request(const FlowWorld& world, stun::Method method) {
  std::array<std::uint8_t, 256> buffer{};
  stun::MessageWriter writer(buffer, stun::Class::kRequest, method, {9, 9, 9});
  const auto message = writer.finish();
  Datagram datagram;
  datagram.source = world.client_;
  datagram.destination = world.server_;
  datagram.payload.assign(message.begin(), message.end());
  return datagram;
}

TEST(Flow, ExpiredChannelDropsByName) {
  FlowWorld world(Family::kIpv4);
  world.writer_->extend_channel(world.channels_[0], 999);
  const Packet packet = world.run(frame_of(channel_data(world, 0x4000, 10)));
  EXPECT_EQ(packet.verdict, Verdict::kDrop);
  EXPECT_EQ(world.drops(Drop::kNoChannel), 1U);
}

TEST(Flow, NothingPassesAnExpiredAllocation) {
  FlowWorld world(Family::kIpv4);
  world.writer_->extend_relayed(world.allocation_, Family::kIpv4, 999);
  EXPECT_EQ(world.run(frame_of(channel_data(world, 0x4000, 10))).verdict, Verdict::kDrop);
  EXPECT_EQ(world.run(frame_of(from_peer(10))).verdict, Verdict::kDrop);
}

TEST(Flow, StrangersPortsAndPeersAreRefused) {
  FlowWorld world(Family::kIpv4);
  Datagram stranger = channel_data(world, 0x4000, 10);
  ++stranger.source.port;
  EXPECT_EQ(world.run(frame_of(stranger)).drop, Drop::kNoAllocation);
  EXPECT_EQ(world.run(frame_of(channel_data(world, 0x4002, 10))).drop, Drop::kNoChannel);
  Datagram elsewhere = from_peer(10);
  elsewhere.destination.port = 60000;
  EXPECT_EQ(world.run(frame_of(elsewhere)).verdict, Verdict::kKernel);
  Datagram uninvited = from_peer(10);
  uninvited.source.address = Address::v4(203, 0, 113, 10);
  EXPECT_EQ(world.run(frame_of(uninvited)).drop, Drop::kNoPermission);
  Datagram zero = from_peer(10);
  zero.source.port = 0;
  EXPECT_EQ(world.run(frame_of(zero)).drop, Drop::kMalformedUdp);
}

TEST(Flow, ChannelDataLongerThanItsDatagramIsRefused) {
  FlowWorld world(Family::kIpv4);
  Datagram datagram = channel_data(world, 0x4000, 10);
  put16(datagram.payload.data() + 2, 11);
  EXPECT_EQ(world.run(frame_of(datagram)).drop, Drop::kBadChannelData);
}

TEST(Flow, ChannelsBeyond4FFFOnlyForOldClients) {
  FlowWorld world(Family::kIpv4);
  EXPECT_EQ(world.run(frame_of(channel_data(world, 0x5000, 10))).drop, Drop::kNotStun);
  world.policy_.channel_max = 0x7FFF;
  EXPECT_EQ(world.run(frame_of(channel_data(world, 0x5000, 10))).drop, Drop::kNoChannel);
}

TEST(Flow, KeepalivesAreNamed) {
  FlowWorld world(Family::kIpv4);
  Datagram datagram = channel_data(world, 0x4000, 0);
  datagram.payload = {'\r', '\n', '\r', '\n'};
  EXPECT_EQ(world.run(frame_of(datagram)).drop, Drop::kKeepalive);
  datagram.payload.clear();
  EXPECT_EQ(world.run(frame_of(datagram)).drop, Drop::kKeepalive);
}

class BindingOf : public testing::TestWithParam<Family> {};
TEST_P(BindingOf, IsAnsweredInPlace) {
  FlowWorld world(GetParam());
  const Packet packet = world.run(frame_of(request(world, stun::Method::kBinding)));
  ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->destination, static_cast<const Endpoint&>(world.client_));
  stun::MessageView message;
  ASSERT_EQ(stun::MessageView::parse(out->payload, message), stun::ParseError::kNone);
  EXPECT_EQ(message.xor_address(stun::Attribute::kXorMappedAddress),
            static_cast<const Endpoint&>(world.client_));
}
INSTANTIATE_TEST_SUITE_P(EachFamily, BindingOf, testing::Values(Family::kIpv4, Family::kIpv6));

TEST(Flow, HairpinReachesTheOtherClientOnce) {
  FlowWorld world(Family::kIpv4);
  const ClientEndpoint other{{kClient4, 40001}};
  const AllocationSlot theirs = world.add(other, 50002, 50003);
  const auto permission =
      *world.writer_->publish_permission({world.allocation_, kRelay4, FlowWorld::kExpires});
  world.writer_->publish_channel(
      {world.allocation_, permission, 0x4005, PeerEndpoint{{kRelay4, 50002}}, FlowWorld::kExpires});
  EXPECT_EQ(world.run(frame_of(channel_data(world, 0x4005, 33))).drop, Drop::kNoPermission)
      << "theirs decides too";
  world.writer_->publish_permission({theirs, kRelay4, FlowWorld::kExpires});
  const Packet packet = world.run(frame_of(channel_data(world, 0x4005, 33)));
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->destination, static_cast<const Endpoint&>(other));
  EXPECT_EQ(out->ttl, 62);
  stun::MessageView message;
  ASSERT_EQ(stun::MessageView::parse(out->payload, message), stun::ParseError::kNone);
  EXPECT_EQ(message.xor_address(stun::Attribute::kXorPeerAddress),
            (Endpoint{kRelay4, kRelayPort4}));
  EXPECT_EQ(message.find(stun::Attribute::kData)->value.size(), 33U);
}

TEST(Flow, TtlOneIsAnsweredByTimeExceeded) {
  FlowWorld world(Family::kIpv4);
  Datagram datagram = channel_data(world, 0x4000, 10);
  datagram.ttl = 1;
  const Packet packet = world.run(frame_of(datagram));
  ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
  const std::uint8_t* ip = packet.data + 14;
  EXPECT_EQ(ip[9], 1);
  EXPECT_EQ(ip[20], 11);
  EXPECT_EQ(plain_sum(ip, 20), 0xFFFFU);
  EXPECT_EQ(plain_sum(ip + 20, packet.length - 34), 0xFFFFU);
  EXPECT_EQ(world.drops(Drop::kTtlExpired), 1U);
}

TEST(Flow, TooBigWithDfTellsTheMtu) {
  FlowWorld world(Family::kIpv4, false);
  Datagram datagram = from_peer(1460);
  datagram.dont_fragment = true;
  const Packet packet = world.run(frame_of(datagram));
  ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
  const std::uint8_t* icmp = packet.data + 34;
  EXPECT_EQ(icmp[0], 3);
  EXPECT_EQ(icmp[1], 4);
  EXPECT_EQ(get16(icmp + 6), 1500 - 48);
  datagram.dont_fragment = false;
  const Packet may = world.run(frame_of(datagram));
  EXPECT_EQ(may.verdict, Verdict::kTransmit);
  EXPECT_TRUE(may.may_fragment);
}

TEST(Flow, IcmpAboutOurPacketReachesTheClient) {
  FlowWorld world(Family::kIpv4);
  Datagram sent;
  sent.source = {kRelay4, kRelayPort4};
  sent.destination = {kPeer4, kPeerPort};
  sent.payload.assign(20, 1);
  const auto inner = frame_of(sent);
  Datagram outer;
  outer.source = {kPeer4, 0};
  outer.destination = {kRelay4, 0};
  outer.payload.assign(inner.size() - 14, 0);
  auto frame = frame_of(outer);
  std::uint8_t* ip = frame.data() + 14;
  ip[9] = 1;
  put16(ip + 10, 0);
  put16(ip + 10, static_cast<std::uint16_t>(~plain_sum(ip, 20)));
  std::uint8_t* icmp = ip + 20;
  std::memset(icmp, 0, 8);
  icmp[0] = 3;
  icmp[1] = 3;
  std::memcpy(icmp + 8, inner.data() + 14, inner.size() - 14);
  put16(icmp + 2, static_cast<std::uint16_t>(~plain_sum(icmp, frame.size() - 34)));
  const Packet packet = world.run(frame);
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  stun::MessageView message;
  ASSERT_EQ(stun::MessageView::parse(out->payload, message), stun::ParseError::kNone);
  EXPECT_FALSE(message.has(stun::Attribute::kData));
  EXPECT_EQ(message.xor_address(stun::Attribute::kXorPeerAddress), (Endpoint{kPeer4, kPeerPort}));
  const auto value = message.find(stun::Attribute::kIcmp)->value;
  const std::vector<std::uint8_t> expected{0, 0, 3, 3, 0, 0, 0, 0};
  EXPECT_EQ(std::vector<std::uint8_t>(value.begin(), value.end()), expected);
}

// Whatever is cut off, and wherever, there is a verdict and no read beyond (AddressSanitizer
// watches).
TEST(Flow, AFrameCutAnywhereIsJudged) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    FlowWorld world(family);
    for (const Datagram& datagram :
         {channel_data(world, 0x4000, 40), request(world, stun::Method::kAllocate)}) {
      const auto whole = frame_of(datagram);
      for (std::size_t size = 0; size <= whole.size(); ++size) {
        auto exact = std::make_unique<std::uint8_t[]>(size + 1);
        std::copy(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size), exact.get());
        Packet packet;
        packet.data = exact.get();
        packet.length = static_cast<std::uint32_t>(size);
        world.pipeline_->process(world.now_, {&packet, 1});
        EXPECT_NE(packet.verdict, Verdict::kContinue);
      }
    }
  }
}

TEST(Flow, OwnAndTaggedFramesAreNotTheRelays) {
  FlowWorld world(Family::kIpv4);
  auto frame = frame_of(from_peer(10));
  world.setup_.ports[0].sees_own_frames = true;
  std::copy(frame.begin() + 6, frame.begin() + 12, world.setup_.ports[0].mac.begin());
  EXPECT_EQ(world.run(frame).drop, Drop::kOwnFrame);
  world.setup_.ports[0].sees_own_frames = false;
  put16(frame.data() + 12, 0x8100);
  EXPECT_EQ(world.run(frame).verdict, Verdict::kKernel);
}

class Pieces : public FragmentSink {
 public:
  std::span<std::uint8_t> take(std::size_t size) override {
    frames.emplace_back(size);
    return frames.back();
  }
  void done(std::size_t size) override { frames.back().resize(size); }
  std::vector<std::vector<std::uint8_t>> frames;
};

TEST(Fragment, PiecesMakeTheWholeAgain) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    FlowWorld world(family);
    const auto frame =
        frame_of(channel_data(world, family == Family::kIpv4 ? 0x4000 : 0x4001, 4000));
    world.buffer_.assign(frame.size() + 256, 0);
    std::copy(frame.begin(), frame.end(), world.buffer_.begin() + 128);
    Packet whole;
    whole.data = world.buffer_.data() + 128;
    whole.length = static_cast<std::uint32_t>(frame.size());
    whole.headroom = whole.tailroom = 128;
    whole.reassembled = true;
    world.pipeline_->process(world.now_, {&whole, 1});
    ASSERT_EQ(whole.verdict, Verdict::kTransmit);
    Pieces pieces;
    ASSERT_TRUE(fragment(whole, 1500, 7, pieces));
    ASSERT_EQ(pieces.frames.size(), 3U);
    const std::size_t headers = family == Family::kIpv4 ? 34 : 62;
    std::vector<std::uint8_t> together;
    for (const auto& piece : pieces.frames) {
      EXPECT_LE(piece.size(), 1514U);
      const std::uint16_t offset =
          family == Family::kIpv4
              ? static_cast<std::uint16_t>((get16(piece.data() + 20) & 0x1FFF) * 8)
              : static_cast<std::uint16_t>(get16(piece.data() + 56) & 0xFFF8);
      EXPECT_EQ(offset, together.size());
      together.insert(together.end(), piece.begin() + static_cast<std::ptrdiff_t>(headers),
                      piece.end());
    }
    EXPECT_EQ(together,
              std::vector<std::uint8_t>(whole.data + whole.l4, whole.data + whole.length));
  }
}

TEST(Fragment, MoreThanEightPiecesAreRefused) {
  FlowWorld world(Family::kIpv4);
  const Packet packet = world.run(frame_of(channel_data(world, 0x4000, 1300)));
  Pieces pieces;
  EXPECT_FALSE(fragment(packet, 100, 7, pieces));
  EXPECT_TRUE(pieces.frames.empty());
}

}  // namespace
}  // namespace turnpike::flow::test

// ICMP from anybody: what becomes of it, and what the relay says itself.
#include <gtest/gtest.h>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

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
  world.policy_.icmp_per_second = 2;
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

}  // namespace
}  // namespace turnpike::flow::test

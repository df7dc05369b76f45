// Paths that take less than their first link: what ICMP says of them is heeded, on both sides, and
// no more than that can be done by whoever forges it (RFC 1191, RFC 8201; RFC 8656 §13).
#include <gtest/gtest.h>

#include "flow/fragment.h"
#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

constexpr std::uint16_t kSmall = 1300;

std::uint8_t too_big(Family family) {
  return family == Family::kIpv4 ? 3 : 2;
}
std::uint8_t too_big_code(Family family) {
  return family == Family::kIpv4 ? 4 : 0;
}

// An error about `size` bytes of payload that left from `from` to `to`.
std::vector<std::uint8_t> refusal(const Endpoint& from, const Endpoint& to, std::uint32_t mtu,
                                  std::size_t size = 1400, bool dont_fragment = true) {
  Datagram sent;
  sent.source = from;
  sent.destination = to;
  sent.dont_fragment = dont_fragment;
  sent.payload.assign(size, 1);
  const Family family = from.address.family;
  return icmp_quoting(from.address, frame_of(sent), too_big(family), too_big_code(family), mtu);
}

// The MTU that our own "too big" tells the sender; 0: the packet is none.
std::uint32_t told(const Packet& packet) {
  if (packet.verdict != Verdict::kTransmitBack) return 0;
  const bool v4 = get16(packet.data + 12) == 0x0800;
  const std::uint8_t* icmp = packet.data + (v4 ? 34 : 54);
  const Family family = v4 ? Family::kIpv4 : Family::kIpv6;
  if (icmp[0] != too_big(family) || icmp[1] != too_big_code(family)) return 0;
  return static_cast<std::uint32_t>(get16(icmp + 4) << 16 | get16(icmp + 6));
}

class ToClient : public testing::TestWithParam<Family> {
 protected:
  Packet from(Family peer, std::size_t size, bool dont_fragment = true) {
    Datagram datagram = from_peer(peer, size);
    datagram.dont_fragment = dont_fragment;
    return world_.run(frame_of(datagram));
  }
  Packet refuse(std::uint32_t mtu, std::size_t size = 1400) {
    return world_.run(refusal(world_.server_, world_.client_, mtu, size));
  }
  FlowWorld world_{GetParam()};
};

TEST_P(ToClient, TooBigIsHeeded) {
  const Family same = GetParam();
  const std::size_t ip = same == Family::kIpv4 ? 20 : 40;
  const std::size_t fits = kSmall - ip - 8 - 4;
  ASSERT_EQ(from(same, 1400).verdict, Verdict::kTransmit);
  EXPECT_EQ(refuse(kSmall).drop, Drop::kPathMtu);
  EXPECT_EQ(world_.drops(Drop::kPathMtu), 1U);
  const Packet small = from(same, fits);
  EXPECT_EQ(small.verdict, Verdict::kTransmit);
  EXPECT_EQ(small.length - 14, kSmall);
  EXPECT_EQ(told(from(same, fits + 1)), kSmall - 48U);
  EXPECT_EQ(from(same, 1400).drop, Drop::kTooBig);
  if (same == Family::kIpv4) {
    const Packet cut = from(same, 1400, false);
    EXPECT_EQ(cut.verdict, Verdict::kTransmit) << "without DF it is cut";
    EXPECT_EQ(cut.path_mtu, kSmall);
  }
}

TEST_P(ToClient, ItIsForgottenAfterTenMinutes) {
  refuse(kSmall);
  world_.now_ = world_.now_ + 590'000;
  EXPECT_NE(told(from(GetParam(), 1400)), 0U);
  world_.now_ = world_.now_ + 40'000;
  EXPECT_EQ(from(GetParam(), 1400).verdict, Verdict::kTransmit);
  EXPECT_EQ(world_.tables_->allocation(world_.allocation_).fits.load(), AllocationEntry::kFitsAll);
}

TEST_P(ToClient, ItOnlyGoesDownAndNeverBelowWhatAnyHostTakes) {
  const AllocationEntry& entry = world_.tables_->allocation(world_.allocation_);
  refuse(kSmall);
  refuse(1350);
  EXPECT_EQ(entry.path_mtu_at(1000), kSmall);
  refuse(68);
  EXPECT_EQ(entry.path_mtu_at(1000), GetParam() == Family::kIpv4 ? 576 : 1280);
  refuse(0);
  EXPECT_EQ(entry.path_mtu_at(1000), GetParam() == Family::kIpv4 ? 576 : 1280);
}

TEST_P(ToClient, WhatCantBeAboutOursIsNotHeeded) {
  const AllocationEntry& entry = world_.tables_->allocation(world_.allocation_);
  EXPECT_EQ(refuse(kSmall, 1000).verdict, Verdict::kKernel) << "what it quotes would have fitted";
  Endpoint stranger = world_.client_;
  ++stranger.port;
  EXPECT_EQ(world_.run(refusal(world_.server_, stranger, kSmall)).drop, Drop::kIcmpUnrelated);
  Endpoint elsewhere = world_.server_;
  ++elsewhere.port;
  EXPECT_EQ(world_.run(refusal(elsewhere, world_.client_, kSmall)).verdict, Verdict::kKernel);
  auto broken = refusal(world_.server_, world_.client_, kSmall);
  broken.back() ^= 1;
  EXPECT_EQ(world_.run(broken).verdict, Verdict::kKernel);
  if (GetParam() == Family::kIpv4) {
    EXPECT_EQ(world_.run(refusal(world_.server_, world_.client_, kSmall, 1400, false)).verdict,
              Verdict::kKernel)
        << "any router could have cut it";
  }
  EXPECT_EQ(entry.path_mtu_at(1000), PathMtu::kNone);
}

TEST_P(ToClient, AnotherClientsIsUntouchedAndTheNextOwnerStartsAnew) {
  const ClientEndpoint other{{GetParam() == Family::kIpv4 ? kClient4 : kClient6, 40001}};
  const AllocationSlot theirs = world_.add(other, 50002, 50003);
  refuse(kSmall);
  EXPECT_EQ(world_.tables_->allocation(theirs).path_mtu_at(1000), PathMtu::kNone);
  world_.run(refusal(world_.server_, other, kSmall));
  EXPECT_EQ(world_.tables_->allocation(theirs).path_mtu_at(1000), kSmall);
  world_.writer_->withdraw_allocation(theirs);
  world_.writer_->housekeeping();
  for (int i = 0; i < 16; ++i) {  // until its slot comes round
    const AllocationSlot next = world_.add(other, 50002, 50003);
    EXPECT_EQ(world_.tables_->allocation(next).path_mtu_at(1000), PathMtu::kNone);
    world_.writer_->withdraw_allocation(next);
    world_.writer_->housekeeping();
  }
}

TEST_P(ToClient, LargeDatagramsAreStillCarried) {
  refuse(GetParam() == Family::kIpv4 ? 576 : 1280);
  const auto frame = frame_of(from_peer(GetParam(), 11'000));
  const Packet packet = world_.run(frame, 0, Checksum::kVerify, true, 256);
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  EXPECT_EQ(packet.path_mtu, PathMtu::kNone)
      << "in pieces as large as the link's: a forged error stops nobody";
}

INSTANTIATE_TEST_SUITE_P(PathMtu, ToClient, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& one) {
                           return one.param == Family::kIpv4 ? "ipv4" : "ipv6";
                         });

TEST(PathMtu, QuotedFragmentsOfOursCountOverIpv6) {
  FlowWorld world(Family::kIpv6);
  Datagram sent = from_peer(Family::kIpv6, 1400);
  sent.source = world.server_;
  sent.destination = world.client_;
  auto frame = frame_of(sent);
  const std::array<std::uint8_t, 8> extension{17, 0, 0, 1, 0, 0, 0, 9};
  frame.insert(frame.begin() + 54, extension.begin(), extension.end());
  frame[14 + 6] = 44;
  put16(frame.data() + 14 + 4, static_cast<std::uint16_t>(frame.size() - 54));
  EXPECT_EQ(world.run(icmp_quoting(kServer6, frame, 2, 0, kSmall)).drop, Drop::kPathMtu);
  frame[54 + 3] = 9;  // a later one: whose it is, nobody can tell
  EXPECT_EQ(world.run(icmp_quoting(kServer6, frame, 2, 0, kSmall)).verdict, Verdict::kKernel);
}

// --- Towards peers

TEST(PathMtuToPeer, IsHeededForChannelsAndForSend) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    FlowWorld world(family);
    const bool v4 = family == Family::kIpv4;
    const Endpoint peer{v4 ? kPeer4 : kPeer6, kPeerPort};
    const ChannelNumber number = v4 ? 0x4000 : 0x4001;
    const auto by_channel = [&](std::size_t size) {
      Datagram datagram = channel_data(world, number, size);
      datagram.dont_fragment = true;
      return world.run(frame_of(datagram));
    };
    const auto by_send = [&](std::size_t size) {
      Datagram datagram = send_to(world, peer, size);
      datagram.dont_fragment = true;
      return world.run(frame_of(datagram));
    };
    ASSERT_EQ(by_channel(1350).verdict, Verdict::kTransmit);
    const Packet told_client = world.run(refusal(from_peer(family, 0).destination, peer, kSmall));
    EXPECT_EQ(told_client.verdict, Verdict::kTransmit) << "the client hears of it as well";
    EXPECT_EQ(told_client.path_mtu, PathMtu::kNone) << "in one piece, by another path";
    EXPECT_EQ(told(by_channel(1350)), kSmall);
    EXPECT_EQ(told(by_send(1350)), kSmall);
    EXPECT_EQ(by_channel(1200).verdict, Verdict::kTransmit);
    if (v4) {
      const Packet cut = world.run(frame_of(channel_data(world, number, 1350)));
      EXPECT_EQ(cut.verdict, Verdict::kTransmit);
      EXPECT_EQ(cut.path_mtu, kSmall);
    }
    world.now_ = world.now_ + 640'000;
    EXPECT_EQ(by_channel(1350).verdict, Verdict::kTransmit);
    EXPECT_EQ(by_send(1350).verdict, Verdict::kTransmit);
  }
}

// --- What is cut

TEST(Translated, WithoutDfIsCutToWhatEveryLinkTakes) {
  FlowWorld world(Family::kIpv6);
  EXPECT_EQ(world.run(frame_of(from_peer(Family::kIpv4, 1400))).path_mtu, 1280);
  world.policy_.translated_mtu = 1400;
  EXPECT_EQ(world.run(frame_of(from_peer(Family::kIpv4, 1400))).path_mtu, 1400);
  Datagram whole = from_peer(Family::kIpv4, 1400);
  whole.dont_fragment = true;
  EXPECT_EQ(world.run(frame_of(whole)).path_mtu, PathMtu::kNone);
  FlowWorld from4(Family::kIpv4);
  EXPECT_EQ(from4.run(frame_of(channel_data(from4, 0x4001, 1400))).path_mtu, 1280);
  EXPECT_EQ(from4.run(frame_of(channel_data(from4, 0x4000, 1400))).path_mtu, PathMtu::kNone);
}

TEST(Translated, FromIpv6WhatEveryLinkTakesIsCarriedWhateverFramingAdds) {
  FlowWorld world(Family::kIpv6);
  world.run(refusal(world.server_, world.client_, 1280));
  const Packet packet = world.run(frame_of(from_peer(Family::kIpv6, 1232)));
  ASSERT_EQ(packet.verdict, Verdict::kTransmit) << "its sender can't send less";
  EXPECT_EQ(packet.length - 14, 1284U);
  EXPECT_EQ(packet.path_mtu, 1280);
  EXPECT_EQ(told(world.run(frame_of(from_peer(Family::kIpv6, 1233)))), 1232U);
}

TEST(Told, LeavesRoomForADataIndication) {
  FlowWorld world(Family::kIpv4);
  Datagram big = from_peer(Family::kIpv4, 1472);
  big.dont_fragment = true;
  EXPECT_EQ(told(world.run(frame_of(big))), 1500U - 48);
  // From IPv6 to IPv4, the header loses 20 bytes.
  EXPECT_EQ(told(world.run(frame_of(from_peer(Family::kIpv6, 1472)))), 1500U + 20 - 48);
}

}  // namespace
}  // namespace turnpike::flow::test

// What is relayed of what comes by a port: frames to its own MAC, with tags of VLANs that are
// there; and our own ICMP, by receiver.
#include "tables/arrivals.h"

#include <gtest/gtest.h>

#include "flow_world.h"

namespace turnpike::flow {
namespace {

using namespace test;

VlanTags tags(std::vector<std::uint8_t> bytes) {
  VlanTags made;
  std::copy(bytes.begin(), bytes.end(), made.bytes.begin());
  made.size = static_cast<std::uint8_t>(bytes.size());
  return made;
}

TEST(KnownTags, TakesThoseThereAreWhateverTheirPriority) {
  auto known = std::make_unique<KnownTags>();
  EXPECT_FALSE(known->takes(tags({0x81, 0, 0, 100})));
  known->replace(std::vector{tags({0x81, 0, 0, 100}), tags({0x88, 0xA8, 0, 200, 0x81, 0, 1, 44})});
  EXPECT_TRUE(known->takes(tags({})));
  EXPECT_TRUE(known->takes(tags({0x81, 0, 0, 100})));
  EXPECT_TRUE(known->takes(tags({0x81, 0, 0xB0, 100}))) << "priority and DEI say of no VLAN";
  EXPECT_TRUE(known->takes(tags({0x88, 0xA8, 0xE0, 200, 0x81, 0, 0xE1, 44})));
  EXPECT_FALSE(known->takes(tags({0x81, 0, 0, 101})));
  EXPECT_FALSE(known->takes(tags({0x88, 0xA8, 0, 100}))) << "another type";
  EXPECT_FALSE(known->takes(tags({0x88, 0xA8, 0, 200})));
  EXPECT_FALSE(known->takes(tags({0x81, 0, 1, 44, 0x88, 0xA8, 0, 200}))) << "another order";
  known->replace(std::vector{tags({0x81, 0, 0, 101})});
  EXPECT_FALSE(known->takes(tags({0x81, 0, 0, 100})));
  EXPECT_TRUE(known->takes(tags({0x81, 0, 0, 101})));
}

TEST(KnownTags, GoesByNumbersAloneWhereTypesAreLost) {
  auto known = std::make_unique<KnownTags>(false);
  known->replace(std::vector{tags({0x88, 0xA8, 0, 200, 0x81, 0, 1, 44})});
  EXPECT_TRUE(known->takes(tags({0x81, 0, 0, 200, 0x81, 0, 1, 44})));
  EXPECT_FALSE(known->takes(tags({0x81, 0, 1, 44, 0x81, 0, 0, 200})));
  EXPECT_FALSE(known->takes(tags({0x81, 0, 0, 200})));
}

// IEEE 802.1Q §6.9.
TEST(KnownTags, TakesPriorityTagsForNone) {
  auto known = std::make_unique<KnownTags>();
  EXPECT_TRUE(known->takes(tags({0x81, 0, 0xA0, 0})));
  EXPECT_FALSE(known->takes(tags({0x81, 0, 0xA0, 0, 0x81, 0, 0, 7})));
  known->replace(std::vector{tags({0x81, 0, 0, 7})});
  EXPECT_TRUE(known->takes(tags({0x81, 0, 0xA0, 0, 0x81, 0, 0, 7})));
}

TEST(KnownTags, TellsAllVlansOfALinkApart) {
  auto known = std::make_unique<KnownTags>();
  std::vector<VlanTags> even;
  for (unsigned id = 2; id < 4095; id += 2)
    even.push_back(
        tags({0x81, 0, static_cast<std::uint8_t>(id >> 8), static_cast<std::uint8_t>(id)}));
  known->replace(even);
  for (unsigned id = 1; id < 4095; ++id) {
    const bool there = known->takes(
        tags({0x81, 0, static_cast<std::uint8_t>(id >> 8), static_cast<std::uint8_t>(id)}));
    EXPECT_EQ(there, id % 2 == 0) << id;
  }
}

TEST(Arrivals, TakeThePortsMacAndThoseOfMacvlansOnIt) {
  Arrivals port;
  port.mac = mac_word({2, 0, 0, 0, 0, 1});
  EXPECT_TRUE(port.takes_mac(mac_word({2, 0, 0, 0, 0, 1})));
  EXPECT_FALSE(port.takes_mac(mac_word({0, 0, 0x5E, 0, 1, 51})));
  EXPECT_FALSE(port.takes_mac(0)) << "no place is an empty one's";
  port.other_macs[Arrivals::kOthers - 1] = mac_word({0, 0, 0x5E, 0, 1, 51});
  EXPECT_TRUE(port.takes_mac(mac_word({0, 0, 0x5E, 0, 1, 51})));
}

// memif between two programs, for one, where each sends to whatever MAC it was told.
TEST(Arrivals, TakeAnyHostsMacWhereNothingTellsOfTheirOwn) {
  Arrivals port;
  port.take_any_mac();
  EXPECT_TRUE(port.takes_mac(mac_word({2, 0, 0, 0, 0, 1})));
  EXPECT_FALSE(port.takes_mac(mac_word({0x33, 0x33, 0, 0, 0, 1})));
}

class FramesByMac : public testing::TestWithParam<std::tuple<Family, bool>> {};
TEST_P(FramesByMac, AreRelayedToThePortsOwnAlone) {
  const auto [family, fast] = GetParam();
  FlowWorld world(family, true, std::nullopt, fast);
  const bool v4 = family == Family::kIpv4;
  std::vector<std::uint8_t> channel_data{0x40, static_cast<std::uint8_t>(v4 ? 0 : 1), 0, 4, 1, 2, 3,
                                         4};
  const Datagram to_peer{world.client_, world.server_, channel_data};
  const Datagram from_peer{{v4 ? kPeer4 : kPeer6, kPeerPort},
                           {v4 ? kRelay4 : kRelay6, v4 ? kRelayPort4 : kRelayPort6},
                           {1, 2, 3, 4}};
  const Datagram binding{world.client_, world.server_, {0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3,
                                                        4, 5, 6, 7, 8,    9,    10,   11,   12}};
  for (const Datagram& one : {to_peer, from_peer, binding}) {
    const auto ours = frame_of(one);
    const Verdict relayed = world.run(ours).verdict;
    EXPECT_TRUE(relayed == Verdict::kTransmit || relayed == Verdict::kTransmitBack);
    for (std::size_t octet = 0; octet < 6; ++octet) {
      for (const std::uint8_t bit : {0x01, 0x80}) {
        auto anothers = ours;
        anothers[octet] ^= bit;
        EXPECT_EQ(world.run(anothers).verdict, Verdict::kKernel) << octet;
      }
    }
  }
  EXPECT_EQ(world.counters_.binding_success.get(), 1U);
}
INSTANTIATE_TEST_SUITE_P(Lanes, FramesByMac,
                         testing::Combine(testing::Values(Family::kIpv4, Family::kIpv6),
                                          testing::Bool()));

// A client whose packets end here, and another.
TEST(OurIcmp, OfOneReceiverLeavesOthersTheirShare) {
  FlowWorld world(Family::kIpv4);
  const ClientEndpoint other{{Address::v4(198, 51, 100, 2), kClientPort}};
  const AllocationSlot slot = world.add(other, kRelayPort4 + 2, kRelayPort6 + 2);
  const auto permission = *world.writer_->publish_permission({slot, kPeer4, FlowWorld::kExpires});
  ASSERT_TRUE(world.writer_->publish_channel(
      {slot, permission, 0x4000, PeerEndpoint{{kPeer4, kPeerPort}}, FlowWorld::kExpires}));
  const auto told = [&](const Endpoint& client, unsigned n) {
    Datagram last_hop{client, world.server_, {0x40, 0, 0, 4, 1, 2, 3, 4}};
    last_hop.ttl = 1;
    unsigned answers = 0;
    for (unsigned i = 0; i < n; ++i)
      answers += world.run(frame_of(last_hop)).verdict == Verdict::kTransmitBack ? 1 : 0;
    return answers;
  };
  EXPECT_EQ(told(world.client_, 1000), 10U);
  EXPECT_EQ(told(other, 5), 5U);
  world.now_ = world.now_ + 1000;
  EXPECT_EQ(told(world.client_, 1000), 10U);
}

}  // namespace
}  // namespace turnpike::flow

// Limits of what is relayed, on packets' way: exact over workers, each direction and level for
// itself.
#include <gtest/gtest.h>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

constexpr std::size_t kBody = 172, kIp = 200;  // a packet of 200 bytes to an IPv4 peer

class Metered : public testing::TestWithParam<bool> {
 protected:
  Metered() {
    world_.setup_.meters = &shared_;
    for (int i = 0; i < 2; ++i)
      add_worker();
  }

  void add_worker() {
    counters_.push_back(std::make_unique<WorkerCounters>());
    pipelines_.push_back(std::make_unique<Pipeline>(
        world_.setup_, *world_.tables_, world_.hop_, world_.policy_, world_.tokens_,
        *counters_.back(), static_cast<std::uint16_t>(pipelines_.size())));
  }
  void limit(MeterLevel level, MeterKind kind, std::uint64_t per_second, std::uint64_t burst) {
    world_.policy_.meters.of(level, kind) = MeterRate(per_second, burst, 2);
    for (const auto& pipeline : pipelines_)
      pipeline->use(world_.policy_);
  }
  Drop run(std::size_t worker, std::span<const std::uint8_t> frame) {
    Packet packet = arrived(world_.buffer_, frame, FlowWorld::kRoom);
    pipelines_[worker]->process(world_.now_, {&packet, 1});
    return packet.verdict == Verdict::kTransmit ? Drop::kNone : packet.drop;
  }
  // How many of so many pass, over both workers in turns.
  int passed(int packets, const Datagram& datagram, Drop otherwise) {
    return passed(packets, frame_of(datagram), otherwise);
  }
  int passed(int packets, std::span<const std::uint8_t> frame, Drop otherwise) {
    int count = 0;
    for (int i = 0; i < packets; ++i) {
      const Drop drop = run(static_cast<std::size_t>(i) % 2, frame);
      if (drop != Drop::kNone) {
        EXPECT_EQ(drop, otherwise);
      }
      count += drop == Drop::kNone ? 1 : 0;
    }
    return count;
  }

  FlowWorld world_{Family::kIpv4, true, std::nullopt, GetParam()};
  SharedMeters shared_{16, 64};
  std::vector<std::unique_ptr<WorkerCounters>> counters_;
  std::vector<std::unique_ptr<Pipeline>> pipelines_;
};

INSTANTIATE_TEST_SUITE_P(Lanes, Metered, testing::Bool(),
                         [](const auto& lane) { return lane.param ? "Fast" : "General"; });

TEST_P(Metered, PassesWhatItsLimitAllowsAndNoMore) {
  struct Case {
    MeterLevel level;
    Drop bytes, packets;
  };
  for (const auto& [level, bytes, packets] :
       {Case{MeterLevel::kAllocation, Drop::kAllocationBandwidth, Drop::kAllocationPacketRate},
        Case{MeterLevel::kUser, Drop::kUserBandwidth, Drop::kUserPacketRate},
        Case{MeterLevel::kRealm, Drop::kRealmBandwidth, Drop::kRealmPacketRate},
        Case{MeterLevel::kNode, Drop::kNodeBandwidth, Drop::kNodePacketRate}}) {
    world_.now_ = world_.now_ + 100'000;
    const Datagram datagram = channel_data(world_, 0x4000, kBody);
    limit(level, MeterKind::kBytes, 100 * kIp, 50 * kIp);
    // A worker may hold a part of what it has drawn, less than a packet.
    const int at_once = passed(200, datagram, bytes);
    EXPECT_LE(at_once, 50);
    EXPECT_GE(at_once, 48);
    world_.now_ = world_.now_ + 200;  // 20 more
    const int all = at_once + passed(200, datagram, bytes);
    EXPECT_LE(all, 70);
    EXPECT_GE(all, 68);
    limit(level, MeterKind::kBytes, 0, 0);
    limit(level, MeterKind::kPackets, 100, 20);
    EXPECT_EQ(passed(100, datagram, packets), 20);
    limit(level, MeterKind::kPackets, 0, 0);
    EXPECT_EQ(passed(100, datagram, packets), 100);
  }
}

TEST_P(Metered, DirectionsForThemselves) {
  limit(MeterLevel::kAllocation, MeterKind::kPackets, 10, 20);
  EXPECT_EQ(passed(50, channel_data(world_, 0x4000, kBody), Drop::kAllocationPacketRate), 20);
  EXPECT_EQ(passed(50, from_peer(Family::kIpv4, kBody), Drop::kAllocationPacketRate), 20);
}

TEST_P(Metered, IpHeadersOfThePeersSideCount) {
  limit(MeterLevel::kNode, MeterKind::kBytes, 1'000, 10 * (48 + kBody));
  EXPECT_EQ(passed(50, channel_data(world_, 0x4001, kBody), Drop::kNodeBandwidth), 10) << "IPv6";
  world_.now_ = world_.now_ + 100'000;
  limit(MeterLevel::kNode, MeterKind::kBytes, 1'000, 10 * (28 + kBody));
  EXPECT_EQ(passed(50, from_peer(Family::kIpv4, kBody), Drop::kNodeBandwidth), 10) << "IPv4";
}

TEST_P(Metered, ErrorsThatAClientIsToldOfArePacketsToHim) {
  const auto error = icmp_about({kRelay4, kRelayPort4}, {kPeer4, kPeerPort}, 3, 3);
  EXPECT_EQ(passed(100, error, Drop::kNone), 100) << "without limits";
  limit(MeterLevel::kAllocation, MeterKind::kPackets, 10, 20);
  EXPECT_EQ(passed(50, error, Drop::kAllocationPacketRate), 20);
  EXPECT_EQ(passed(50, from_peer(Family::kIpv4, kBody), Drop::kAllocationPacketRate), 0);
  EXPECT_EQ(passed(50, channel_data(world_, 0x4000, kBody), Drop::kAllocationPacketRate), 20)
      << "the other direction's";
  limit(MeterLevel::kAllocation, MeterKind::kPackets, 0, 0);
  limit(MeterLevel::kUser, MeterKind::kBytes, 100, 10 * (error.size() - 14));
  EXPECT_EQ(passed(50, error, Drop::kUserBandwidth), 10) << "of IP";
}

TEST_P(Metered, WhatIsAllowedCountsAlsoWhereItIsThenDropped) {
  limit(MeterLevel::kAllocation, MeterKind::kPackets, 10, 20);
  Datagram last_hop = channel_data(world_, 0x4000, kBody);
  last_hop.ttl = 1;
  for (std::size_t i = 0; i < 15; ++i)
    EXPECT_EQ(run(i % 2, frame_of(last_hop)), Drop::kTtlExpired);
  EXPECT_EQ(passed(50, channel_data(world_, 0x4000, kBody), Drop::kAllocationPacketRate), 5);
}

TEST_P(Metered, AllocationsOfAUserShareHisLimit) {
  const AllocationSlot other = world_.add(ClientEndpoint{{kClient4, 40001}}, 50002, 50003);
  const auto permission = *world_.writer_->publish_permission({other, kPeer4, FlowWorld::kExpires});
  world_.writer_->publish_channel(
      {other, permission, 0x4000, PeerEndpoint{{kPeer4, kPeerPort}}, FlowWorld::kExpires});
  Datagram theirs = channel_data(world_, 0x4000, kBody);
  theirs.source.port = 40001;
  limit(MeterLevel::kAllocation, MeterKind::kPackets, 10, 20);
  limit(MeterLevel::kUser, MeterKind::kPackets, 10, 30);
  EXPECT_EQ(passed(50, theirs, Drop::kAllocationPacketRate), 20);
  EXPECT_EQ(passed(50, channel_data(world_, 0x4000, kBody), Drop::kUserPacketRate), 10);
}

TEST_P(Metered, WhatIsRefusedByOneLevelIsNotTakenFromAnother) {
  limit(MeterLevel::kAllocation, MeterKind::kPackets, 10, 20);
  limit(MeterLevel::kNode, MeterKind::kPackets, 10, 40);
  EXPECT_EQ(passed(500, channel_data(world_, 0x4000, kBody), Drop::kAllocationPacketRate), 20);
  world_.now_ = world_.now_ + 1'000;
  EXPECT_EQ(passed(500, channel_data(world_, 0x4000, kBody), Drop::kAllocationPacketRate), 10);
  EXPECT_EQ(passed(500, from_peer(Family::kIpv4, kBody), Drop::kAllocationPacketRate), 20);
}

TEST_P(Metered, ASlotsNextOwnerStartsWithFullBuckets) {
  limit(MeterLevel::kAllocation, MeterKind::kPackets, 1, 20);
  const ClientEndpoint client{{kClient4, 40001}};
  for (int owner = 0; owner < 3; ++owner) {
    const AllocationSlot slot = world_.add(client, 50002, 50003);
    const auto permission =
        *world_.writer_->publish_permission({slot, kPeer4, FlowWorld::kExpires});
    const auto channel = *world_.writer_->publish_channel(
        {slot, permission, 0x4000, PeerEndpoint{{kPeer4, kPeerPort}}, FlowWorld::kExpires});
    Datagram datagram = channel_data(world_, 0x4000, kBody);
    datagram.source.port = 40001;
    EXPECT_EQ(passed(50, datagram, Drop::kAllocationPacketRate), 20) << owner;
    world_.writer_->withdraw_channel(channel);
    world_.writer_->withdraw_permission(permission);
    world_.writer_->withdraw_allocation(slot);
    for (int i = 0; i < 3; ++i)
      world_.writer_->housekeeping();
  }
}

// Who keeps something by slot, as a worker its state of an allocation, takes the 0th generation for
// nobody's.
TEST(Generations, OfASlotAreNeverZero) {
  OneHop hop;
  Qsbr qsbr;
  Tables tables(TableLimits{1, 1, 1, 1}, {{kRelay4, std::nullopt}}, {{{kServer4, kPort}}}, kHashKey,
                {});
  TableWriter writer(tables, 0, qsbr, hop);
  AllocationFlow flow;
  flow.five_tuple = {ClientEndpoint{{kClient4, kClientPort}}, {kServer4, kPort}, Transport::kUdp};
  flow.relayed[0] = RelayEndpoint{{kRelay4, kRelayPort4}};
  flow.expires_s = {FlowWorld::kExpires, 0};
  std::uint16_t before = 0;
  for (int owner = 0; owner < 66'000; ++owner) {
    const auto slot = writer.publish_allocation(flow);
    ASSERT_TRUE(slot) << owner;
    const std::uint16_t generation = tables.allocation(*slot).generation;
    ASSERT_NE(generation, 0);
    ASSERT_NE(generation, before);
    before = generation;
    writer.withdraw_allocation(*slot);
    while (writer.retired() != 0)
      writer.housekeeping();
  }
}

}  // namespace
}  // namespace turnpike::flow::test

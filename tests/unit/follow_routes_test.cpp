// Entries follow the routes: a few in each round of housekeeping, and all of them however often
// routes change.
#include <gtest/gtest.h>

#include <memory>

#include "next_hops.h"
#include "tables/tables.h"

namespace turnpike::flow {
namespace {

using test::Routes;

const Endpoint kListener{Address::v4(192, 0, 2, 1), 3478};
const Address kRelay = Address::v4(192, 0, 2, 9);
const Endpoint kPeer{Address::v4(198, 51, 100, 7), 4000};
const HashKey kKey{0x0123456789abcdef, 0xfedcba9876543210, 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f};

// An allocation with a permission and a channel.
struct Flow {
  AllocationSlot allocation;
  PermissionSlot permission;
  ChannelSlot channel;
};

class FollowRoutes : public testing::Test {
 protected:
  void make(std::uint32_t each) {
    TableLimits limits;
    limits.allocations_per_shard = limits.permissions_per_shard = limits.channels_per_shard = each;
    tables_ = std::make_unique<Tables>(limits, std::vector<RelayedAddress>{{kRelay, std::nullopt}},
                                       std::vector<Listener>{{kListener}}, kKey,
                                       std::vector<std::atomic<std::uint64_t>*>{});
    writer_ = std::make_unique<TableWriter>(*tables_, std::uint8_t{0}, qsbr_, routes_);
  }

  static Endpoint client(std::uint32_t n) {
    return {Address::v4(10, static_cast<std::uint8_t>(n >> 16), static_cast<std::uint8_t>(n >> 8),
                        static_cast<std::uint8_t>(n)),
            1024};
  }

  Flow publish(std::uint16_t n) {
    AllocationFlow flow;
    flow.five_tuple = {{client(n)}, kListener, Transport::kUdp};
    flow.relayed[0] = RelayEndpoint{kRelay, static_cast<std::uint16_t>(20000 + n)};
    flow.expires_s[0] = 600;
    flow.user = user_;
    const auto allocation = *writer_->publish_allocation(flow);
    const auto permission = *writer_->publish_permission({allocation, kPeer.address, 300});
    return {allocation, permission,
            *writer_->publish_channel({allocation, permission, 0x4001, PeerEndpoint{kPeer}, 600})};
  }

  bool all_lead_to(const Flow& flow, std::uint32_t hop) const {
    return tables_->allocation(flow.allocation).client_next_hop == hop &&
           tables_->permission(flow.permission).peer_next_hop == hop &&
           tables_->channel(flow.channel).peer_next_hop == hop;
  }

  std::uint32_t user_ = 0;
  Routes routes_;
  Qsbr qsbr_;
  std::unique_ptr<Tables> tables_;
  std::unique_ptr<TableWriter> writer_;
};

TEST_F(FollowRoutes, OpenOneDoorForEachRelayPortWithAPeerOnThisHost) {
  make(8);
  routes_.host = NextHopIndex{7};
  const Flow away = publish(1);
  EXPECT_TRUE(routes_.door.opened.empty());
  routes_.routes[kPeer.address] = routes_.host;
  const Flow here = publish(2);
  EXPECT_EQ(routes_.door.opened, (std::multiset<Endpoint>{{kRelay, 20002}})) << "once";
  // A peer that comes to be on this host, as its container does.
  ++routes_.now;
  while (writer_->housekeeping())
    continue;
  EXPECT_EQ(routes_.door.opened, (std::multiset<Endpoint>{{kRelay, 20001}, {kRelay, 20002}}));
  writer_->withdraw_channel(here.channel);
  writer_->withdraw_permission(here.permission);
  EXPECT_EQ(routes_.door.closed, 0U) << "until the relay port is nobody's";
  writer_->withdraw_allocation(here.allocation);
  EXPECT_EQ(routes_.door.opened, (std::multiset<Endpoint>{{kRelay, 20001}}));
  writer_->withdraw_channel(away.channel);
  writer_->withdraw_permission(away.permission);
  writer_->withdraw_allocation(away.allocation);
  EXPECT_TRUE(routes_.door.opened.empty());
  EXPECT_EQ(routes_.door.closed, 2U);
  for (const auto& [hop, held] : routes_.held)
    EXPECT_EQ(held, 0) << static_cast<std::uint32_t>(hop);
}

TEST_F(FollowRoutes, AskAgainWhereADoorWasRefused) {
  make(8);
  routes_.host = NextHopIndex{7};
  routes_.door.room = 0;
  const Flow flow = publish(1);
  routes_.routes[kPeer.address] = routes_.host;
  ++routes_.now;
  while (writer_->housekeeping())
    continue;
  EXPECT_TRUE(routes_.door.opened.empty());
  routes_.door.room = 1;
  writer_->publish_channel(
      {flow.allocation, flow.permission, 0x4002, {{kPeer.address, 4001}}, 600});
  EXPECT_EQ(routes_.door.opened.size(), 1U);
}

TEST_F(FollowRoutes, RefuseAPermissionWhosePeerHereCouldNotAnswer) {
  make(8);
  const Flow flow = publish(1);
  const Address here = Address::v4(10, 0, 0, 1);
  routes_.host = routes_.routes[here] = routes_.routes[kRelay] = NextHopIndex{7};
  routes_.door.room = 0;
  EXPECT_FALSE(writer_->publish_permission({flow.allocation, here, 300}));
  EXPECT_TRUE(writer_->lacked_socket());
  EXPECT_EQ(routes_.held[routes_.host], 0) << "nothing has changed";
  EXPECT_TRUE(writer_->publish_permission({flow.allocation, kRelay, 300}))
      << "other clients, at our own address, need no socket";
  routes_.door.room = 1;
  EXPECT_TRUE(writer_->publish_permission({flow.allocation, here, 300}));
  EXPECT_FALSE(writer_->lacked_socket());
  EXPECT_EQ(routes_.door.opened.size(), 1U);
}

TEST_F(FollowRoutes, TellADoorWhoseItIs) {
  make(8);
  routes_.host = routes_.routes[kPeer.address] = NextHopIndex{7};
  user_ = 5;
  const Flow one = publish(1);
  user_ = 6;
  publish(2);
  EXPECT_EQ(routes_.door.users, (std::vector<std::uint32_t>{5, 6}));
  writer_->withdraw_channel(one.channel);
  writer_->withdraw_permission(one.permission);
  writer_->withdraw_allocation(one.allocation);
  EXPECT_EQ(routes_.door.users, std::vector<std::uint32_t>{6});
}

// One that has our relayed address and isn't another client.
TEST_F(FollowRoutes, KeepTheWayToThisHostByARelayedAddress) {
  make(8);
  const Flow flow = publish(1);
  const auto hop = [&] {
    const auto slot = writer_->publish_permission({flow.allocation, kRelay, 300});
    return NextHopIndex{tables_->permission(*slot).peer_next_hop.load()};
  };
  EXPECT_EQ(hop(), kNoNextHop);
  routes_.host = routes_.routes[kRelay] = NextHopIndex{7};
  EXPECT_EQ(hop(), routes_.host);
  EXPECT_EQ(routes_.door.opened.size(), 1U);
}

TEST_F(FollowRoutes, OnceForEachChangeOfTheEpoch) {
  make(8);
  const Flow flow = publish(1);
  routes_.routes[client(1).address] = NextHopIndex{33};
  routes_.routes[kPeer.address] = NextHopIndex{44};
  writer_->housekeeping();
  EXPECT_EQ(tables_->allocation(flow.allocation).client_next_hop, 1u) << "the epoch is the signal";

  ++routes_.now;
  writer_->housekeeping();
  EXPECT_EQ(tables_->allocation(flow.allocation).client_next_hop, 33u);
  EXPECT_EQ(tables_->permission(flow.permission).peer_next_hop, 44u);
  EXPECT_EQ(tables_->channel(flow.channel).peer_next_hop, 44u);

  const std::uint32_t resolved = routes_.resolved;
  writer_->housekeeping();
  EXPECT_EQ(routes_.resolved, resolved) << "one round for one change";
}

TEST_F(FollowRoutes, AFewAtATime) {
  make(2000);
  for (std::uint16_t i = 0; i < 2000; ++i)
    publish(i);
  ++routes_.now;
  routes_.resolved = 0;
  writer_->housekeeping();
  EXPECT_GT(routes_.resolved, 0u);
  EXPECT_LT(routes_.resolved, 1000u) << "housekeeping returns quickly";
}

// A router with a full table tells of changes faster than a round over all entries takes.
TEST_F(FollowRoutes, AllOfThemWhileRoutesKeepChanging) {
  constexpr std::uint16_t kFlows = 2000;
  make(kFlows);
  std::vector<Flow> flows;
  for (std::uint16_t i = 0; i < kFlows; ++i)
    flows.push_back(publish(i));
  routes_.fallback = NextHopIndex{2};
  constexpr int kRoundsOfOneChange = 5, kChanges = 20;  // one takes 3 × 2000 ÷ 256 = 24
  for (int change = 0; change < kChanges; ++change) {
    ++routes_.now;
    for (int round = 0; round < kRoundsOfOneChange; ++round)
      writer_->housekeeping();
  }
  for (const Flow& flow : flows)
    ASSERT_TRUE(all_lead_to(flow, 2));
  // And stops when nothing changes any more.
  for (int round = 0; round < 30; ++round)
    writer_->housekeeping();
  routes_.resolved = 0;
  writer_->housekeeping();
  EXPECT_EQ(routes_.resolved, 0u);
}

TEST_F(FollowRoutes, FromTheListenerToTheClientAndFromTheRelayToThePeer) {
  make(8);
  publish(1);
  const std::set<std::pair<Address, Address>> expected{{kListener.address, client(1).address},
                                                       {kRelay, kPeer.address}};
  EXPECT_EQ(routes_.journeys, expected);
  routes_.journeys.clear();
  ++routes_.now;
  writer_->housekeeping();
  EXPECT_EQ(routes_.journeys, expected);
}

TEST_F(FollowRoutes, AndHoldNextHopsForAsLongAsTheyLive) {
  make(8);
  const Flow first = publish(1);
  const Flow second = publish(2);
  EXPECT_EQ(routes_.held[NextHopIndex{1}], 6);
  routes_.fallback = NextHopIndex{2};
  ++routes_.now;
  writer_->housekeeping();
  EXPECT_EQ(routes_.held[NextHopIndex{1}], 0);
  EXPECT_EQ(routes_.held[NextHopIndex{2}], 6);
  for (const Flow& flow : {first, second}) {
    writer_->withdraw_channel(flow.channel);
    writer_->withdraw_permission(flow.permission);
    writer_->withdraw_allocation(flow.allocation);
  }
  EXPECT_EQ(routes_.held[NextHopIndex{2}], 0);
  writer_->housekeeping();  // the slots come back
  publish(3);
  EXPECT_EQ(routes_.held[NextHopIndex{2}], 3) << "what a slot held before was let go already";
}

}  // namespace
}  // namespace turnpike::flow

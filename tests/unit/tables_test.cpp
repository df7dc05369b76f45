// The flow tables from one thread: what is published is found and nothing else, limits refuse,
// slots come back only after a grace period, routes are followed. Races are tables_race_test's.
#include "tables/tables.h"

#include <gtest/gtest.h>

#include <bit>
#include <set>

#include "next_hops.h"

namespace turnpike::flow {
namespace {

using test::Routes;

const Endpoint kListener{Address::v4(192, 0, 2, 1), 3478};
const Endpoint kOtherListener{Address::v4(192, 0, 2, 1), 5349};
constexpr auto kStream = static_cast<Transport>(6);
const Address kRelay = Address::v4(192, 0, 2, 9);
const Address kRelay6 = *Address::parse("2001:db8::9");
const Address kExternal = Address::v4(203, 0, 113, 9);
const HashKey kKey{0x0123456789abcdef, 0xfedcba9876543210, 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f};
constexpr std::size_t kBitmapWords = 65536 / 64;

Endpoint client(std::uint32_t n) {
  return {Address::v4(10, static_cast<std::uint8_t>(n >> 16), static_cast<std::uint8_t>(n >> 8),
                      static_cast<std::uint8_t>(n)),
          static_cast<std::uint16_t>(1024 + n % 60000)};
}

class TablesTest : public testing::Test {
 protected:
  static TableLimits small(std::uint8_t shards) {
    TableLimits limits;
    limits.shards = shards;
    limits.allocations_per_shard = 8;
    limits.permissions_per_shard = 8;
    limits.channels_per_shard = 8;
    return limits;
  }

  void make(const TableLimits& limits) {
    const std::vector<RelayedAddress> relayed{{kRelay, kExternal}, {kRelay6, std::nullopt}};
    tables_ = std::make_unique<Tables>(
        limits, relayed, std::vector<Listener>{{kListener}, {kOtherListener}, {kListener, kStream}},
        kKey, std::vector<std::atomic<std::uint64_t>*>{live_ports_.data()});
    writers_.clear();
    for (std::uint8_t shard = 0; shard < limits.shards; ++shard) {
      writers_.push_back(std::make_unique<TableWriter>(*tables_, shard, qsbr_, routes_));
    }
  }

  static AllocationFlow flow(const Endpoint& from, std::uint16_t port,
                             std::optional<std::uint16_t> port6 = std::nullopt) {
    AllocationFlow out;
    out.five_tuple.client = ClientEndpoint{from};
    out.five_tuple.server = kListener;
    out.relayed[0] = RelayEndpoint{{kRelay, port}};
    out.expires_s[0] = 600;
    if (port6) {
      out.relayed[1] = RelayEndpoint{{kRelay6, *port6}};
      out.expires_s[1] = 700;
    }
    return out;
  }

  bool port_is_live(std::size_t address, std::uint16_t port) const {
    return (live_ports_[address * kBitmapWords + port / 64].load() >> port % 64 & 1) != 0;
  }
  TableWriter& writer(std::size_t shard = 0) { return *writers_[shard]; }

  std::vector<std::atomic<std::uint64_t>> live_ports_ =
      std::vector<std::atomic<std::uint64_t>>(2 * kBitmapWords);
  Qsbr qsbr_;
  Routes routes_;
  std::unique_ptr<Tables> tables_;
  std::vector<std::unique_ptr<TableWriter>> writers_;
};

TEST_F(TablesTest, FindsAPublishedAllocationFromBothSides) {
  make(small(1));
  const auto slot = writer().publish_allocation(flow(client(1), 50000, 50002));
  ASSERT_TRUE(slot);
  EXPECT_EQ(tables_->find_client(0, client(1)), slot);
  EXPECT_EQ(tables_->find_relay(kRelay, 50000), slot);
  EXPECT_EQ(tables_->find_relay(kExternal, 50000), slot);
  EXPECT_EQ(tables_->find_relay(kRelay6, 50002), slot);

  const AllocationEntry& entry = tables_->allocation(*slot);
  EXPECT_EQ(entry.client, client(1));
  EXPECT_EQ(entry.listener, 0);
  EXPECT_EQ(entry.expires_s[0], 600u);
  EXPECT_EQ(entry.expires_s[1], 700u);
  EXPECT_EQ(entry.relayed[1].port, 50002);
  EXPECT_EQ(tables_->usage(0).allocations, 1u);
}

TEST_F(TablesTest, PrefersAnInternalAddressToAnEqualExternalOne) {
  const std::vector<RelayedAddress> relayed{{kRelay, kExternal}, {kExternal, std::nullopt}};
  Tables tables(small(1), relayed, {{kListener}}, kKey, {});
  TableWriter writer(tables, 0, qsbr_, routes_);
  const auto behind = *writer.publish_allocation(flow(client(1), 50000));
  AllocationFlow outside = flow(client(2), 50000);
  outside.relayed[0] = RelayEndpoint{{kExternal, 50000}};
  const auto direct = *writer.publish_allocation(outside);
  EXPECT_EQ(tables.find_relay(kRelay, 50000), behind);
  EXPECT_EQ(tables.find_relay(kExternal, 50000), direct);
}

TEST_F(TablesTest, DoesNotFindWhatWasNotPublished) {
  make(small(1));
  ASSERT_TRUE(writer().publish_allocation(flow(client(1), 50000)));
  EXPECT_FALSE(tables_->find_client(0, client(2)));
  EXPECT_FALSE(tables_->find_client(1, client(1))) << "another listener is another five-tuple";
  EXPECT_FALSE(tables_->find_relay(kRelay, 50001));
  EXPECT_FALSE(tables_->find_relay(kRelay6, 50000));
  EXPECT_FALSE(tables_->find_relay(Address::v4(198, 51, 100, 1), 50000));
}

TEST_F(TablesTest, TakesAnIpv6AddressForNoIpv4AddressOfTheSameBytes) {
  make(small(1));
  Endpoint disguised = client(1);
  disguised.address.family = Family::kIpv6;
  ASSERT_TRUE(writer().publish_allocation(flow(client(1), 50000)));
  EXPECT_FALSE(tables_->find_client(0, disguised));
}

TEST_F(TablesTest, TellsListenersApart) {
  make(small(1));
  AllocationFlow other = flow(client(1), 50002);
  other.five_tuple.server = kOtherListener;
  AllocationFlow stream = flow(client(1), 50004);
  stream.five_tuple.transport = kStream;
  const auto first = writer().publish_allocation(flow(client(1), 50000));
  const auto second = writer().publish_allocation(other);
  const auto third = writer().publish_allocation(stream);
  EXPECT_EQ(tables_->find_client(0, client(1)), first);
  EXPECT_EQ(tables_->find_client(1, client(1)), second);
  EXPECT_EQ(tables_->find_client(2, client(1)), third) << "the first one's endpoint";
}

TEST_F(TablesTest, FindsPermissionsByAddressAndChannelsByNumberAndPeer) {
  make(small(1));
  const Endpoint peer{Address::v4(198, 51, 100, 7), 4000};
  const auto allocation = *writer().publish_allocation(flow(client(1), 50000));
  const auto permission = writer().publish_permission({allocation, peer.address, 300});
  ASSERT_TRUE(permission);
  const auto channel =
      writer().publish_channel({allocation, *permission, 0x4001, PeerEndpoint{peer}, 610});
  ASSERT_TRUE(channel);

  EXPECT_EQ(tables_->find_permission(allocation, peer.address), permission);
  EXPECT_EQ(tables_->find_channel(allocation, 0x4001), channel);
  EXPECT_EQ(tables_->find_channel(allocation, peer), channel);
  EXPECT_FALSE(tables_->find_permission(allocation, Address::v4(198, 51, 100, 8)));
  EXPECT_FALSE(tables_->find_channel(allocation, 0x4002));
  EXPECT_FALSE(tables_->find_channel(allocation, Endpoint{peer.address, 4001}));

  const ChannelEntry& entry = tables_->channel(*channel);
  EXPECT_EQ(entry.relayed.port, 50000);
  EXPECT_EQ(entry.expires_s, 610u);
}

TEST_F(TablesTest, KeepsTheSamePeerAndNumberOfTwoAllocationsApart) {
  make(small(1));
  const Endpoint peer{Address::v4(198, 51, 100, 7), 4000};
  for (std::uint16_t i = 0; i < 2; ++i) {
    const auto port = static_cast<std::uint16_t>(50000 + i);
    const auto allocation = *writer().publish_allocation(flow(client(i), port));
    const auto permission = *writer().publish_permission({allocation, peer.address, 300});
    ASSERT_TRUE(
        writer().publish_channel({allocation, permission, 0x4001, PeerEndpoint{peer}, 600}));
  }
  for (std::uint16_t i = 0; i < 2; ++i) {
    const auto allocation = *tables_->find_client(0, client(i));
    const auto owner = static_cast<std::uint32_t>(allocation);
    EXPECT_EQ(tables_->channel(*tables_->find_channel(allocation, 0x4001)).allocation, owner);
    EXPECT_EQ(tables_->channel(*tables_->find_channel(allocation, peer)).allocation, owner);
    EXPECT_EQ(tables_->permission(*tables_->find_permission(allocation, peer.address)).allocation,
              owner);
  }
}

TEST_F(TablesTest, ExtendsInPlace) {
  make(small(1));
  const Endpoint peer{Address::v4(198, 51, 100, 7), 4000};
  const auto allocation = *writer().publish_allocation(flow(client(1), 50000, 50002));
  const auto permission = *writer().publish_permission({allocation, peer.address, 300});
  const auto channel =
      *writer().publish_channel({allocation, permission, 0x4001, PeerEndpoint{peer}, 600});
  writer().extend_relayed(allocation, Family::kIpv6, 1234);
  writer().extend_permission(permission, 1300);
  writer().extend_channel(channel, 1600);
  EXPECT_EQ(tables_->allocation(allocation).expires_s[0], 600u);
  EXPECT_EQ(tables_->allocation(allocation).expires_s[1], 1234u);
  EXPECT_EQ(tables_->permission(permission).expires_s, 1300u);
  EXPECT_EQ(tables_->channel(channel).expires_s, 1600u);
}

TEST_F(TablesTest, FindsNothingAfterWithdrawal) {
  make(small(1));
  const Endpoint peer{Address::v4(198, 51, 100, 7), 4000};
  const auto allocation = *writer().publish_allocation(flow(client(1), 50000, 50002));
  const auto permission = *writer().publish_permission({allocation, peer.address, 300});
  const auto channel =
      *writer().publish_channel({allocation, permission, 0x4001, PeerEndpoint{peer}, 600});

  writer().withdraw_channel(channel);
  EXPECT_FALSE(tables_->find_channel(allocation, 0x4001));
  EXPECT_FALSE(tables_->find_channel(allocation, peer));
  writer().withdraw_permission(permission);
  EXPECT_FALSE(tables_->find_permission(allocation, peer.address));
  writer().withdraw_allocation(allocation);
  EXPECT_FALSE(tables_->find_client(0, client(1)));
  EXPECT_FALSE(tables_->find_relay(kRelay, 50000));
  EXPECT_FALSE(tables_->find_relay(kRelay6, 50002));
  EXPECT_EQ(tables_->usage(0).allocations, 0u);
  EXPECT_EQ(tables_->usage(0).permissions, 0u);
  EXPECT_EQ(tables_->usage(0).channels, 0u);
}

TEST_F(TablesTest, WithdrawsOneFamilyAndKeepsTheOther) {
  make(small(1));
  const auto slot = *writer().publish_allocation(flow(client(1), 50000, 50002));
  writer().withdraw_relayed(slot, Family::kIpv4);
  EXPECT_FALSE(tables_->find_relay(kRelay, 50000));
  EXPECT_EQ(tables_->find_relay(kRelay6, 50002), slot);
  EXPECT_EQ(tables_->find_client(0, client(1)), slot);
  EXPECT_EQ(tables_->allocation(slot).expires_s[0], 0u);
  EXPECT_EQ(tables_->allocation(slot).expires_s[1], 700u);
  EXPECT_FALSE(port_is_live(0, 50000));
  EXPECT_TRUE(port_is_live(1, 50002));
}

TEST_F(TablesTest, LeavesAPortAloneThatHasANewOwner) {
  make(small(1));
  const auto old = *writer().publish_allocation(flow(client(1), 50000, 50002));
  writer().withdraw_relayed(old, Family::kIpv4);
  const auto next = *writer().publish_allocation(flow(client(2), 50000));
  writer().withdraw_allocation(old);
  EXPECT_EQ(tables_->find_relay(kRelay, 50000), next);
  EXPECT_TRUE(port_is_live(0, 50000));
}

TEST_F(TablesTest, KeepsLivePortsInStep) {
  make(small(1));
  const auto live_count = [&] {
    int count = 0;
    for (const auto& word : live_ports_)
      count += std::popcount(word.load());
    return count;
  };
  std::vector<AllocationSlot> slots;
  for (const std::uint16_t port : {49152, 49215, 49216, 65535}) {
    slots.push_back(*writer().publish_allocation(flow(client(port), port, port)));
    EXPECT_TRUE(port_is_live(0, port));
    EXPECT_TRUE(port_is_live(1, port));
  }
  EXPECT_EQ(live_count(), 8);
  for (const AllocationSlot slot : slots)
    writer().withdraw_allocation(slot);
  EXPECT_EQ(live_count(), 0);
}

TEST_F(TablesTest, RefusesWhatExceedsALimitAndChangesNothing) {
  make(small(1));
  for (std::uint16_t i = 0; i < 8; ++i) {
    const auto port = static_cast<std::uint16_t>(50000 + i);
    ASSERT_TRUE(writer().publish_allocation(flow(client(i), port)));
  }
  EXPECT_FALSE(writer().publish_allocation(flow(client(8), 50008)));
  EXPECT_FALSE(tables_->find_client(0, client(8)));
  EXPECT_FALSE(tables_->find_relay(kRelay, 50008));
  EXPECT_FALSE(port_is_live(0, 50008));
  EXPECT_EQ(tables_->usage(0).allocations, 8u);

  const auto allocation = *tables_->find_client(0, client(0));
  std::optional<PermissionSlot> permission;
  for (std::uint8_t i = 0; i < 8; ++i) {
    const Endpoint peer{Address::v4(198, 51, 100, i), 4000};
    permission = writer().publish_permission({allocation, peer.address, 300});
    ASSERT_TRUE(permission);
    const auto number = static_cast<ChannelNumber>(0x4000 + i);
    ASSERT_TRUE(
        writer().publish_channel({allocation, *permission, number, PeerEndpoint{peer}, 600}));
  }
  const Endpoint ninth{Address::v4(198, 51, 100, 8), 4000};
  EXPECT_FALSE(writer().publish_permission({allocation, ninth.address, 300}));
  EXPECT_FALSE(
      writer().publish_channel({allocation, *permission, 0x4008, PeerEndpoint{ninth}, 600}));
  EXPECT_FALSE(tables_->find_permission(allocation, ninth.address));
  EXPECT_FALSE(tables_->find_channel(allocation, 0x4008));
}

TEST_F(TablesTest, ReusesASlotOnlyAfterEveryReaderWasQuiescent) {
  make(small(1));
  qsbr_.quiescent(0);
  qsbr_.quiescent(3);
  std::vector<AllocationSlot> slots;
  for (std::uint16_t i = 0; i < 8; ++i) {
    const auto port = static_cast<std::uint16_t>(50000 + i);
    slots.push_back(*writer().publish_allocation(flow(client(i), port)));
  }
  writer().withdraw_allocation(slots[5]);
  EXPECT_EQ(writer().retired(), 1u);
  writer().housekeeping();
  EXPECT_FALSE(writer().publish_allocation(flow(client(9), 50009)));
  EXPECT_EQ(tables_->allocation(slots[5]).client, client(5)) << "a reader may still hold it";

  qsbr_.quiescent(0);
  writer().housekeeping();
  EXPECT_FALSE(writer().publish_allocation(flow(client(9), 50009))) << "reader 3 hasn't passed";

  qsbr_.offline(3);
  writer().housekeeping();
  EXPECT_EQ(writer().retired(), 0u);
  EXPECT_EQ(writer().publish_allocation(flow(client(9), 50009)), slots[5]);
  EXPECT_FALSE(tables_->find_client(0, client(5)));
}

TEST_F(TablesTest, DoesNotReuseASlotOnTheStrengthOfAnEarlierGracePeriod) {
  make(small(1));
  qsbr_.quiescent(0);
  const auto first = *writer().publish_allocation(flow(client(1), 50000));
  const auto second = *writer().publish_allocation(flow(client(2), 50001));
  writer().withdraw_allocation(first);
  writer().housekeeping();
  qsbr_.quiescent(0);
  writer().withdraw_allocation(second);
  writer().housekeeping();
  EXPECT_EQ(writer().retired(), 1u) << "the first's grace period has passed, the second's not";
  writer().housekeeping();
  EXPECT_EQ(writer().retired(), 1u);
  qsbr_.quiescent(0);
  writer().housekeeping();
  EXPECT_EQ(writer().retired(), 0u);
}

TEST_F(TablesTest, LooksUpAllocationsThatLiveAwayFromTheirHomeShard) {
  make(small(3));
  std::set<std::uint8_t> homes;
  std::vector<AllocationSlot> slots;
  for (std::uint16_t i = 0; i < 8; ++i) {
    homes.insert(tables_->home_shard(0, client(i)));
    const auto port = static_cast<std::uint16_t>(50000 + i);
    const auto slot = writer(2).publish_allocation(flow(client(i), port));
    ASSERT_TRUE(slot);
    slots.push_back(*slot);
    EXPECT_EQ(tables_->allocation(*slot).shard, 2);
  }
  ASSERT_GT(homes.size(), 1u) << "no client in this test is away from home";
  for (std::uint16_t i = 0; i < 8; ++i) {
    EXPECT_EQ(tables_->find_client(0, client(i)), slots[i]);
    EXPECT_EQ(tables_->find_relay(kRelay, static_cast<std::uint16_t>(50000 + i)), slots[i]);
  }
  const Address peer = Address::v4(198, 51, 100, 7);
  const auto permission = writer(2).publish_permission({slots[0], peer, 300});
  EXPECT_EQ(tables_->find_permission(slots[0], peer), permission);
  for (const AllocationSlot slot : {slots[1], slots[2], slots[3]}) {
    writer(2).withdraw_allocation(slot);
  }
  EXPECT_FALSE(tables_->find_client(0, client(1)));
  EXPECT_EQ(tables_->find_client(0, client(7)), slots[7]);
}

TEST_F(TablesTest, SharesClientsOutEvenly) {
  make(small(4));
  std::array<int, 4> counts{};
  for (std::uint32_t i = 0; i < 4000; ++i)
    ++counts[tables_->home_shard(0, client(i))];
  for (const int count : counts)
    EXPECT_NEAR(count, 1000, 150);
}

TEST_F(TablesTest, FindsInBulkWhatItFindsOneByOne) {
  TableLimits limits;
  limits.shards = 3;
  limits.allocations_per_shard = 1000;
  limits.permissions_per_shard = 1000;
  limits.channels_per_shard = 1000;
  make(limits);
  std::vector<ClientKey> clients;
  std::vector<RelayKey> relays;
  std::vector<NumberKey> numbers;
  std::vector<PeerKey> peers;
  std::vector<PermissionKey> permissions;
  for (std::uint16_t i = 0; i < 600; ++i) {
    const auto port = static_cast<std::uint16_t>(50000 + i);
    clients.push_back({client(i), 0});
    relays.push_back({i % 5 == 0 ? kExternal : kRelay, port});
    if (i % 3 == 0) continue;  // a hole
    // One in eleven lives on a shard that may not be its home.
    const std::size_t shard = i % 11 == 0 ? 0 : tables_->home_shard(0, client(i));
    const auto slot = *writer(shard).publish_allocation(flow(client(i), port));
    const Endpoint peer{Address::v4(198, 51, static_cast<std::uint8_t>(i), 7), 4000};
    const auto permission = *writer(shard).publish_permission({slot, peer.address, 300});
    const auto number = static_cast<ChannelNumber>(0x4000 + i);
    ASSERT_TRUE(writer(shard).publish_channel({slot, permission, number, PeerEndpoint{peer}, 600}));
    numbers.push_back({slot, number});
    numbers.push_back({slot, 0x4000});
    peers.push_back({slot, peer});
    peers.push_back({slot, Endpoint{peer.address, 1}});
    permissions.push_back({slot, peer.address});
    permissions.push_back({slot, kRelay});
  }

  std::vector<AllocationSlot> found(clients.size());
  tables_->find_clients(clients, found);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    EXPECT_EQ(found[i], tables_->find_client(0, clients[i].client).value_or(kNoAllocationSlot));
    EXPECT_EQ(found[i] == kNoAllocationSlot, i % 3 == 0);
  }
  tables_->find_relays(relays, found);
  for (std::size_t i = 0; i < relays.size(); ++i) {
    EXPECT_EQ(found[i],
              tables_->find_relay(relays[i].relayed, relays[i].port).value_or(kNoAllocationSlot));
    EXPECT_EQ(found[i] == kNoAllocationSlot, i % 3 == 0);
  }
  std::vector<ChannelSlot> channels(numbers.size());
  tables_->find_channels(std::span<const NumberKey>(numbers), channels);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    EXPECT_EQ(
        channels[i],
        tables_->find_channel(numbers[i].allocation, numbers[i].number).value_or(kNoChannelSlot));
    EXPECT_EQ(channels[i] == kNoChannelSlot, i % 2 == 1);
  }
  tables_->find_channels(std::span<const PeerKey>(peers), channels);
  for (std::size_t i = 0; i < peers.size(); ++i) {
    EXPECT_EQ(channels[i],
              tables_->find_channel(peers[i].allocation, peers[i].peer).value_or(kNoChannelSlot));
    EXPECT_EQ(channels[i] == kNoChannelSlot, i % 2 == 1);
  }
  std::vector<PermissionSlot> allowed(permissions.size());
  tables_->find_permissions(permissions, allowed);
  for (std::size_t i = 0; i < permissions.size(); ++i) {
    EXPECT_EQ(allowed[i], tables_->find_permission(permissions[i].allocation, permissions[i].peer)
                              .value_or(kNoPermissionSlot));
    EXPECT_EQ(allowed[i] == kNoPermissionSlot, i % 2 == 1);
  }
}

TEST_F(TablesTest, FindsEveryOneOfAFullTable) {
  TableLimits limits;
  limits.allocations_per_shard = 16000;
  make(limits);
  for (std::uint16_t i = 0; i < 16000; ++i) {
    const auto port = static_cast<std::uint16_t>(49152 + i);
    ASSERT_TRUE(writer().publish_allocation(flow(client(i), port)));
  }
  for (std::uint16_t i = 0; i < 16000; ++i) {
    const auto slot = tables_->find_client(0, client(i));
    ASSERT_TRUE(slot);
    EXPECT_EQ(tables_->allocation(*slot).relayed[0].port, 49152 + i);
  }
  EXPECT_FALSE(tables_->find_client(0, client(16000)));
}

TEST_F(TablesTest, ResolvesTheClientsAndThePeersNextHopAtPublication) {
  make(small(1));
  const Endpoint peer{Address::v4(198, 51, 100, 7), 4000};
  routes_.routes[client(1).address] = NextHopIndex{11};
  routes_.routes[peer.address] = NextHopIndex{22};
  const auto allocation = *writer().publish_allocation(flow(client(1), 50000));
  const auto permission = *writer().publish_permission({allocation, peer.address, 300});
  const auto channel =
      *writer().publish_channel({allocation, permission, 0x4001, PeerEndpoint{peer}, 600});
  EXPECT_EQ(tables_->allocation(allocation).client_next_hop, 11u);
  EXPECT_EQ(tables_->permission(permission).peer_next_hop, 22u);
  EXPECT_EQ(tables_->channel(channel).peer_next_hop, 22u);
}

TEST_F(TablesTest, MarksPeersThatAreOurOwnRelayedAddresses) {
  make(small(1));
  const auto allocation = *writer().publish_allocation(flow(client(1), 50000, 50002));
  std::uint16_t number = 0x4000;
  for (const auto& [peer, ours] :
       {std::pair{kRelay, true}, std::pair{kExternal, true}, std::pair{kRelay6, true},
        std::pair{Address::v4(198, 51, 100, 7), false}}) {
    const auto permission = *writer().publish_permission({allocation, peer, 300});
    const auto channel = *writer().publish_channel(
        {allocation, permission, number++, PeerEndpoint{{peer, 50001}}, 600});
    EXPECT_EQ(tables_->permission(permission).to_ourselves, ours);
    EXPECT_EQ(tables_->channel(channel).to_ourselves, ours);
    EXPECT_EQ(tables_->channel(channel).peer_next_hop, ours ? 0u : 1u);
  }
}

}  // namespace
}  // namespace turnpike::flow

// Each refusal by a limit is counted by its name, once, and nothing else is; and the node's limit
// of allocations is the node's, whichever shards they fall to.
#include <numeric>

#include "tables/tables.h"
#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

class Limits : public TurnServer {
 protected:
  void restart_with(QuotaLedger& ledger) {
    server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, ledger);
    world_.sink.ports.clear();
  }
  // The answer's code, if it was counted as a refusal by `limit` alone, once.
  int refused_by(Limit limit, const std::function<Answer()>& ask) {
    const auto counted = [&](Limit one) {
      return server_->counters().limits[static_cast<std::size_t>(one)].get();
    };
    const std::uint64_t all = refusals(), of_this = counted(limit);
    const int code = ask().code();
    return refusals() == all + 1 && counted(limit) == of_this + 1 ? code : -code;
  }
  std::uint64_t refusals() const {
    const auto& limits = server_->counters().limits;
    return std::accumulate(limits.begin(), limits.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const Counter& one) { return sum + one.get(); });
  }
  static Address peer(unsigned i) { return Address::v4(203, 0, 113, static_cast<std::uint8_t>(i)); }
};

TEST_F(Limits, OfAllocationsAreToldApart) {
  QuotaLedger ledger({2}, 3, true, 3);
  restart_with(ledger);
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(refused_by(Limit::kAllocationsPerUser, [&] { return allocate(1002); }), 486);
  EXPECT_EQ(refused_by(Limit::kAllocationsPerUser, [&] { return allocate(1002, even_pair); }), 486);
  user_ = "bob";
  EXPECT_EQ(refused_by(Limit::kAllocationsPerSource, [&] { return allocate(1002, even_pair); }),
            486);
  EXPECT_EQ(allocate(1002).code(), 0);
  EXPECT_EQ(refused_by(Limit::kAllocations, [&] { return allocate(1003); }), 508);
  QuotaLedger none(0, 0, true);
  config_.max_allocations = 1;
  restart_with(none);
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(refused_by(Limit::kAllocations, [&] { return allocate(1001); }), 508);
  config_.max_allocations = 2;
  restart_with(none);
  world_.sink.full = true;
  EXPECT_EQ(refused_by(Limit::kAllocations, [&] { return allocate(1001); }), 508);
}

TEST_F(Limits, OfPermissionsAndChannelsAreToldApart) {
  config_.max_permissions_per_allocation = 2;
  config_.max_channels_per_allocation = 2;
  QuotaLedger ledger({2, 3, 3}, 0, true);
  restart_with(ledger);
  allocate(1000);
  allocate(1001);
  const auto permitting = [&](std::uint16_t port, const std::vector<Address>& peers) {
    return [this, port, peers] { return permit(port, peers); };
  };
  const auto binding = [&](std::uint16_t port, ChannelNumber number, unsigned which) {
    return [this, port, number, which] { return bind(port, number, {peer(which), 9}); };
  };
  EXPECT_EQ(
      refused_by(Limit::kPermissionsPerAllocation, permitting(1000, {peer(1), peer(2), peer(3)})),
      508);
  EXPECT_EQ(permit(1000, {peer(1), peer(2)}).code(), 0);
  EXPECT_EQ(refused_by(Limit::kPermissionsPerAllocation, permitting(1000, {peer(3)})), 508);
  EXPECT_EQ(refused_by(Limit::kPermissionsPerAllocation, binding(1000, 0x4000, 3)), 508);
  EXPECT_EQ(refused_by(Limit::kPermissionsPerUser, permitting(1001, {peer(1), peer(2)})), 508);
  EXPECT_EQ(bind(1000, 0x4000, {peer(1), 9}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4001, {peer(2), 9}).code(), 0);
  EXPECT_EQ(refused_by(Limit::kChannelsPerAllocation, binding(1000, 0x4002, 1)), -400)
      << "a peer that has a channel already is no matter of limits";
  EXPECT_EQ(refused_by(Limit::kChannelsPerAllocation,
                       [&] {
                         return bind(1000, 0x4002, {peer(1), 10});
                       }),
            508);
  EXPECT_EQ(bind(1001, 0x4000, {peer(1), 9}).code(), 0);
  EXPECT_EQ(refused_by(Limit::kPermissionsPerUser, permitting(1001, {peer(2)})), 508);
  EXPECT_EQ(refused_by(Limit::kChannelsPerUser,
                       [&] {
                         return bind(1001, 0x4001, {peer(1), 10});
                       }),
            508);
}

TEST_F(Limits, OfPeersOnTheLinksIsOfThoseAlone) {
  config_.max_on_link_peers_per_allocation = 2;
  QuotaLedger none(0, 0, true);
  restart_with(none);
  for (const unsigned near : {1U, 2U, 3U, 4U})
    world_.on_link.insert(peer(near));
  allocate(1000);
  allocate(1001);
  const auto permitting = [&](const std::vector<Address>& peers) {
    return [this, peers] { return permit(1000, peers); };
  };
  EXPECT_EQ(refused_by(Limit::kOnLinkPeers, permitting({peer(1), peer(2), peer(3), peer(10)})),
            508);
  EXPECT_EQ(permit(1000, {peer(10), peer(11), peer(12), peer(1)}).code(), 0)
      << "of four one is on a link, and who was refused had taken nothing";
  EXPECT_EQ(bind(1000, 0x4000, {peer(2), 9}).code(), 0);
  EXPECT_EQ(refused_by(Limit::kOnLinkPeers, permitting({peer(3)})), 508);
  EXPECT_EQ(refused_by(Limit::kOnLinkPeers, [&] { return bind(1000, 0x4001, {peer(3), 9}); }), 508);
  EXPECT_EQ(permit(1000, {peer(1), peer(2), peer(13)}).code(), 0) << "nothing new on a link";
  EXPECT_EQ(permit(1001, {peer(3), peer(4)}).code(), 0) << "each allocation has its own";
  now_.ms += 301'000;  // the permissions but for the channel's
  server_->tick(now_);
  EXPECT_EQ(permit(1000, {peer(3)}).code(), 0);
  EXPECT_EQ(refused_by(Limit::kOnLinkPeers, permitting({peer(4)})), 508);
  config_.max_on_link_peers_per_allocation = 0;
  QuotaLedger others(0, 0, true);
  restart_with(others);
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(permit(1000, {peer(1), peer(2), peer(3), peer(4)}).code(), 0);
}

TEST_F(Limits, OfTheTablesAreToldApart) {
  allocate(1000);
  world_.sink.room = 0;
  EXPECT_EQ(refused_by(Limit::kPermissions, [&] { return permit(1000, {kPeer}); }), 508);
  EXPECT_EQ(refused_by(Limit::kPermissions, [&] { return bind(1000, 0x4000, {kPeer, 9}); }), 508);
  world_.sink.room = 1;
  EXPECT_EQ(refused_by(Limit::kChannels, [&] { return bind(1000, 0x4000, {kPeer, 9}); }), 508);
}

TEST_F(Limits, OfSocketsForPeersHereAreToldApart) {
  allocate(1000);
  world_.sink.without_socket = true;
  EXPECT_EQ(refused_by(Limit::kHostSockets, [&] { return permit(1000, {kPeer, peer(1)}); }), 508);
  EXPECT_EQ(refused_by(Limit::kHostSockets, [&] { return bind(1000, 0x4000, {kPeer, 9}); }), 508);
  world_.sink.without_socket = false;
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
}

TEST_F(Limits, OfPortsAndReservationsAreToldApart) {
  config_.port_min = 50000;
  config_.port_max = 50003;
  config_.relayed = {{kRelay4, std::nullopt}, {kRelay6, std::nullopt}};
  QuotaLedger none(0, 0, true);
  restart_with(none);
  EXPECT_EQ(allocate(1000, even_pair).code(), 0);
  EXPECT_EQ(allocate(1001, even_pair).code(), 0);
  EXPECT_EQ(refused_by(Limit::kReservations, [&] { return allocate(1002, even_pair); }), 508);
  EXPECT_EQ(refused_by(Limit::kPorts, [&] { return allocate(1002); }), 508);
  const Fill dual = [](MessageWriter& w) {
    w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2);
  };
  EXPECT_EQ(refused_by(Limit::kPorts, [&] { return allocate(1002, dual); }), 0)
      << "of two families one, and why not the other";
}

TEST_F(Limits, AreNotBlamedForOtherRefusals) {
  EXPECT_EQ(refresh(1000, 600).code(), 437);
  allocate(1000);
  EXPECT_EQ(permit(1000, {kForbidden}).code(), 403);
  EXPECT_EQ(bind(1000, 0x3000, {kPeer, 9}).code(), 400);
  EXPECT_EQ(refusals(), 0U);
}

// Three shards that know each other by their ledger alone. Each has the room that the node gives
// it.
class ThreeShards : public testing::TestWithParam<std::array<std::uint32_t, 3>> {};

TEST_P(ThreeShards, HaveTheNodesAllocationsHoweverTheyFall) {
  constexpr std::uint32_t kMost = 30;
  const NonceKeeper nonces({.key = {1}});
  const TokenSealer tokens({2});
  QuotaLedger ledger(0, kMost, true);
  std::array<World, 3> worlds;
  std::vector<std::unique_ptr<Server>> servers;
  for (std::uint8_t shard = 0; shard < 3; ++shard) {
    ServerConfig config = config_with(shard, 3);
    config.max_allocations = flow::allocations_of_shard(kMost, 3);
    servers.push_back(std::make_unique<Server>(config, worlds[shard], nonces, tokens, ledger));
  }
  const auto key =
      stun::long_term_key(stun::PasswordAlgorithm::kMd5, "alice", "example.org", "secret");
  std::uint64_t asked = 0;
  const Instant now{1'000'000};
  const auto ask = [&](std::size_t shard, Method method, std::uint16_t port) {
    const FiveTuple who{
        ClientEndpoint{{Address::v4(198, 51, 100, 1), port}}, {kServer, 3478}, Transport::kUdp};
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size =
        nonces.mint(now, {.name = "example.org"}, who.client, who.server, nonce);
    std::array<std::uint8_t, 512> buffer{};
    stun::TransactionId id{};
    ++asked;
    std::memcpy(id.data(), &asked, sizeof asked);
    MessageWriter writer(buffer, Class::kRequest, method, id);
    if (method == Method::kAllocate) writer.add_u8_rfffu(Attribute::kRequestedTransport, 17);
    if (method == Method::kRefresh) writer.add_u32(Attribute::kLifetime, 0);
    writer.add_text(Attribute::kUsername, "alice");
    writer.add_text(Attribute::kRealm, "example.org");
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
    writer.add_message_integrity(key.view());
    servers[shard]->handle(now, who, writer.finish(), RequestToken{asked});
    return worlds[shard].code_of(RequestToken{asked});
  };
  std::uint16_t port = 1000;
  std::size_t first = 3;
  for (std::size_t shard = 0; shard < 3; ++shard) {
    for (std::uint32_t i = 0; i < GetParam()[shard]; ++i) {
      first = std::min(first, shard);
      EXPECT_EQ(ask(shard, Method::kAllocate, port++), 0) << shard;
    }
  }
  for (std::size_t shard = 0; shard < 3; ++shard)
    EXPECT_EQ(ask(shard, Method::kAllocate, port++), 508);
  EXPECT_EQ(ask(first, Method::kRefresh, 1000), 0);
  EXPECT_EQ(ask(2, Method::kAllocate, port++), 0) << "of whichever shard";
  EXPECT_EQ(ask(0, Method::kAllocate, port++), 508);
}

INSTANTIATE_TEST_SUITE_P(Each, ThreeShards,
                         testing::Values(std::array<std::uint32_t, 3>{10, 10, 10},
                                         std::array<std::uint32_t, 3>{30, 0, 0},
                                         std::array<std::uint32_t, 3>{1, 28, 1},
                                         std::array<std::uint32_t, 3>{0, 5, 25}));

// Ten standard deviations of the chance by which five-tuples fall to a shard.
TEST(RoomOfAShard, IsMoreThanChanceGivesIt) {
  for (const std::uint32_t all : {1U, 30U, 256U, 257U, 1000U, 5000U, 10'000U, 1'000'000U}) {
    for (const std::uint8_t shards : {1, 2, 3, 8, 16}) {
      if (all < shards) continue;
      const double mean = static_cast<double>(all) / shards;
      const double room = flow::allocations_of_shard(all, shards);
      EXPECT_LE(room, all);
      EXPECT_TRUE(room == all || (room - mean) * (room - mean) >= 100 * mean)
          << all << " in " << int{shards};
    }
  }
}

}  // namespace
}  // namespace turnpike

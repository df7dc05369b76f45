// Each refusal by a limit is counted by its name, once, and nothing else is; and the node's limit
// of allocations is the node's, whichever shards they fall to.
#include <numeric>

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

TEST_F(Limits, OfTheTablesAreToldApart) {
  allocate(1000);
  world_.sink.room = 0;
  EXPECT_EQ(refused_by(Limit::kPermissions, [&] { return permit(1000, {kPeer}); }), 508);
  EXPECT_EQ(refused_by(Limit::kPermissions, [&] { return bind(1000, 0x4000, {kPeer, 9}); }), 508);
  world_.sink.room = 1;
  EXPECT_EQ(refused_by(Limit::kChannels, [&] { return bind(1000, 0x4000, {kPeer, 9}); }), 508);
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

}  // namespace
}  // namespace turnpike

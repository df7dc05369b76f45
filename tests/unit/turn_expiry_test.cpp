// Refresh, and what ends by itself and when.
#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

TEST_F(TurnServer, LifetimeIsClamped) {
  allocate(1000);
  EXPECT_EQ(refresh(1000, 1).view.u32(Attribute::kLifetime), 600U);
  EXPECT_EQ(refresh(1000, 1000).view.u32(Attribute::kLifetime), 1000U);
  EXPECT_EQ(refresh(1000, 0xFFFFFFFF).view.u32(Attribute::kLifetime), 3600U);
}

TEST_F(TurnServer, AllocationExpiresAfter600Seconds) {
  allocate(1000);
  permit(1000, {kPeer});
  bind(1000, 0x4000, {kPeer, 9});
  pass(599);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
  pass(2);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_TRUE(world_.sink.permissions.empty());
  EXPECT_TRUE(world_.sink.channels.empty());
  EXPECT_EQ(server_->counters().allocations.get(), 0U);
  EXPECT_EQ(server_->counters().permissions.get(), 0U);
  EXPECT_EQ(server_->counters().channels.get(), 0U);
  EXPECT_EQ(quotas_.count({"alice"}), 0U);
}

TEST_F(TurnServer, AnAllocationCanBeEndedByItsSlot) {
  allocate(1000);
  allocate(1001);
  permit(1000, {kPeer});
  bind(1000, 0x4000, {kPeer, 9});
  const AllocationSlot slot{world_.sink.allocations.begin()->first};
  EXPECT_TRUE(server_->end(now_, slot));
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
  EXPECT_TRUE(world_.sink.permissions.empty());
  EXPECT_TRUE(world_.sink.channels.empty());
  EXPECT_EQ(quotas_.count({"alice"}), 1U);
  EXPECT_FALSE(server_->end(now_, slot));
  EXPECT_EQ(refresh(1000, 600).code(), 437);
  EXPECT_EQ(refresh(1001, 600).code(), 0);
}

TEST_F(TurnServer, ADualAllocationsFamiliesEndByThemselves) {
  const Answer answer =
      allocate(1000, [](auto& w) { w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2); });
  ASSERT_EQ(answer.code(), 0);
  EXPECT_EQ(world_.sink.ports.size(), 2U);
  permit(1000, {kPeer, kPeer6});
  const Answer half = ask(Method::kRefresh, 1000, [](auto& w) {
    w.add_u32(Attribute::kLifetime, 0);
    w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 2);
  });
  EXPECT_EQ(half.code(), 0);
  EXPECT_EQ(world_.sink.ports.size(), 1U);
  EXPECT_EQ(world_.sink.permissions.size(), 1U);
  EXPECT_EQ(permit(1000, {kPeer6}).code(), 443);
  EXPECT_EQ(server_->counters().permissions.get(), 1U);
}

TEST_F(TurnServer, AGhostIsKeptAwayFor40Seconds) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  say(from(1000), bytes);
  refresh(1000, 0);
  pass(39);
  EXPECT_EQ(say(from(1000), bytes).code(), 437);
  pass(2);
  EXPECT_EQ(say(from(1000), bytes).code(), 438) << "its nonce is too old by then";
}

TEST_F(TurnServer, RemembersAsManyGhostsAsItMayHaveAllocations) {
  config_.max_allocations = 2;
  restart();
  std::vector<std::vector<std::uint8_t>> all;
  for (std::uint16_t i = 0; i < 3; ++i) {
    all.push_back(build(Method::kAllocate, from(i), udp));
    EXPECT_EQ(say(from(i), all.back()).code(), 0);
    refresh(i, 0);
    pass(1);
  }
  EXPECT_EQ(say(from(2), all[2]).code(), 437);
  EXPECT_EQ(say(from(1), all[1]).code(), 437);
  EXPECT_EQ(say(from(0), all[0]).code(), 0) << "the oldest had to go";
}

TEST_F(TurnServer, AShorterRefreshIsKept) {
  // Long from the start: a look due after 600 seconds anyway would hide one that nobody planned.
  allocate(1000, [](auto& w) { w.add_u32(Attribute::kLifetime, 3600); });
  pass(10);
  EXPECT_EQ(refresh(1000, 600).view.u32(Attribute::kLifetime), 600U);
  pass(601);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(quotas_.count({"alice"}), 0U);
}

TEST_F(TurnServer, AnExpiredAllocationIsGoneEvenBeforeTheNextTick) {
  allocate(1000);
  now_.ms += 600'000;
  EXPECT_EQ(permit(1000, {kPeer}).code(), 437);
  EXPECT_EQ(allocate(1000).code(), 0);
}

TEST_F(TurnServer, RefreshOfAFamilyThatIsNotThereGets443) {
  allocate(1000);
  const auto refresh_family = [&](std::uint8_t family) {
    return ask(Method::kRefresh, 1000,
               [&](auto& w) { w.add_u8_rfffu(Attribute::kRequestedAddressFamily, family); })
        .code();
  };
  EXPECT_EQ(refresh_family(2), 443);
  EXPECT_EQ(refresh_family(1), 0);
}

}  // namespace
}  // namespace turnpike

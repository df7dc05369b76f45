// Relay ports: drawn at random, in pairs or not, and resting.
#include "turn/port_pool.h"

#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

TEST(PortPool, DrawsEveryPortAboutAsOften) {
  World world;
  PortPool pool(50048, 50111, 0, 1);
  std::map<std::uint16_t, int> drawn;
  for (int i = 0; i < 64'000; ++i) {
    const std::uint16_t port = *pool.take(world);
    ++drawn[port];
    pool.put(port);
  }
  EXPECT_EQ(drawn.size(), 64U);
  for (const auto& [port, times] : drawn)
    EXPECT_NEAR(times, 1000, 200) << port;
}

TEST(PortPool, APortRestsUntilItIsTime) {
  World world;
  PortPool pool(50000, 50003, 0, 1);
  const std::uint16_t port = *pool.take(world);
  pool.release(port, 30);
  pool.tick(29, 100);
  EXPECT_EQ(pool.free(), 3U);
  EXPECT_EQ(pool.tick(30, 100), 1U);
  EXPECT_EQ(pool.free(), 4U);
}

TEST(PortPool, WakesRestingPortsRatherThanRefuse) {
  World world;
  PortPool pool(50000, 50003, 0, 1);
  for (int i = 0; i < 4; ++i)
    pool.release(*pool.take(world), 1000);
  EXPECT_TRUE(pool.take_even(world, true));
  EXPECT_TRUE(pool.take_even(world, true));
  EXPECT_FALSE(pool.take_even(world, false));
  EXPECT_FALSE(pool.take(world));
}

TEST(PortPool, ShardsShareOutBlocksOf64) {
  World world;
  PortPool zero(49152, 65535, 0, 2);
  PortPool one(49152, 65535, 1, 2);
  EXPECT_EQ(zero.free() + one.free(), 16384U);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(*zero.take(world) / 64 % 2, 0);
    EXPECT_EQ(*one.take_even(world, true) / 64 % 2, 1);
  }
}

TEST(PortPool, WakesNoMoreAtATimeThanAskedFor) {
  World world;
  PortPool pool(50000, 50099, 0, 1);
  for (int i = 0; i < 100; ++i)
    pool.release(*pool.take(world), 30);
  EXPECT_EQ(pool.tick(30, 64), 64U);
  EXPECT_EQ(pool.free(), 64U);
  EXPECT_EQ(pool.tick(30, 64), 36U);
  EXPECT_EQ(pool.tick(30, 64), 0U);
}

// Each that will do is as likely as any other, whatever else is free.
TEST(PortPool, DrawsEvenPortsAndPairsUniformly) {
  World world;
  PortPool pool(50048, 50111, 0, 1);
  std::set<std::uint16_t> taken;
  while (taken.size() < 24)
    taken.insert(*pool.take(world));
  for (const bool pair : {false, true}) {
    std::map<std::uint16_t, int> drawn;
    std::size_t fitting = 0;
    for (std::uint16_t port = 50048; port <= 50110; port += 2) {
      const auto next = static_cast<std::uint16_t>(port + 1);
      fitting += !taken.contains(port) && !(pair && taken.contains(next)) ? 1 : 0;
    }
    for (std::size_t i = 0; i < 500 * fitting; ++i) {
      const std::uint16_t port = *pool.take_even(world, pair);
      ++drawn[port];
      pool.put(port);
      if (pair) pool.put(static_cast<std::uint16_t>(port + 1));
    }
    EXPECT_EQ(drawn.size(), fitting);
    for (const auto& [port, times] : drawn) {
      EXPECT_EQ(port % 2, 0);
      EXPECT_NEAR(times, 500, 150) << port;
    }
  }
}

// What was searched for among all free ports: here all are odd.
TEST(PortPool, KnowsAtOnceThatNoEvenPortIsFree) {
  World world;
  PortPool pool(49152, 65535, 0, 1);
  std::size_t even = 0;
  while (pool.take_even(world, false))
    ++even;
  EXPECT_EQ(even, 8192U);
  EXPECT_EQ(pool.free(), 8192U);
  EXPECT_FALSE(pool.take_even(world, true));
  EXPECT_EQ(*pool.take(world) % 2, 1);
}

TEST(PortPool, WakesNoMoreRestingPortsThanItNeeds) {
  World world;
  PortPool pool(50000, 50063, 0, 1);
  for (int i = 0; i < 64; ++i)
    pool.release(*pool.take(world), 1000);
  EXPECT_TRUE(pool.take_even(world, false));
  EXPECT_LT(pool.free(), 8U) << "as many as it took to come to an even one";
}

// Against a set that does the same by looking everywhere.
TEST(PortPool, NeverGivesAPortTwice) {
  World world;
  PortPool pool(50000, 50063, 0, 1);
  std::set<std::uint16_t> taken;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint32_t what = world.random_below(4);
    if (what == 0 && !taken.empty()) {
      auto which = taken.begin();
      std::advance(which, world.random_below(static_cast<std::uint32_t>(taken.size())));
      pool.put(*which);
      taken.erase(which);
      continue;
    }
    const auto port = what == 1 ? pool.take(world) : pool.take_even(world, what == 3);
    if (port) {
      EXPECT_TRUE(taken.insert(*port).second);
    }
    if (port && what == 3) {
      EXPECT_TRUE(taken.insert(static_cast<std::uint16_t>(*port + 1)).second);
    }
    ASSERT_EQ(pool.free() + taken.size(), 64U);
  }
}

}  // namespace
}  // namespace turnpike

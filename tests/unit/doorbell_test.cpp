// A doorbell wakes who sleeps, and no ring is lost, however the ringer and the sleeper meet.
#include "dataplane/doorbell.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

namespace turnpike::dataplane {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint64_t kSecond = 1'000'000'000;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

TEST(Doorbell, SleepsForAsLongAsItIsToldIfNobodyRings) {
  Doorbell bell;
  const Clock::time_point began = Clock::now();
  bell.wait(kSecond / 50, [] { return false; });
  EXPECT_GE(seconds_since(began), 0.02);
}

TEST(Doorbell, DoesNotSleepWhereWorkIsThere) {
  Doorbell bell;
  const Clock::time_point began = Clock::now();
  bell.wait(60 * kSecond, [] { return true; });
  EXPECT_LT(seconds_since(began), 30);
}

TEST(Doorbell, KeepsAWakeUpForASleeperThatIsAwake) {
  Doorbell bell;
  bell.wake();
  const Clock::time_point began = Clock::now();
  bell.wait(60 * kSecond, [] { return false; });
  EXPECT_LT(seconds_since(began), 30);
}

TEST(Doorbell, LeavesASleeperThatIsAwakeAlone) {
  Doorbell bell;
  bell.ring();
  const Clock::time_point began = Clock::now();
  bell.wait(kSecond / 50, [] { return false; });
  EXPECT_GE(seconds_since(began), 0.02) << "an awake one is not rung for";
}

// So that two threads meet at another distance each time.
void dawdle(std::uint32_t turns) {
  for (; turns > 0; --turns)
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

// The calling thread alone on the n-th core that it may use, if there are several: the kernel likes
// to put who wakes and who is woken on one, where they never meet.
void take_core(std::size_t n) {
  cpu_set_t allowed, one;
  CPU_ZERO(&one);
  sched_getaffinity(0, sizeof allowed, &allowed);
  n %= static_cast<std::size_t>(CPU_COUNT(&allowed));
  for (std::size_t core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed) && n-- == 0) CPU_SET(core, &one);
  }
  sched_setaffinity(0, sizeof one, &one);
}

// Ringers bring work in turns with a sleeper that goes to sleep as soon as it has done it. A lost
// ring costs the whole sleep; with a second ringer its next ring would hide that, so one alone has
// its turn too.
class Rings : public testing::TestWithParam<std::size_t> {};

TEST_P(Rings, AreNeverLost) {
  constexpr double kSeconds = 2;
  constexpr std::uint64_t kSleepSeconds = 5;
  struct Lane {
    std::atomic<std::uint32_t> brought{0}, done{0};
  };
  Doorbell bell;
  std::vector<Lane> lanes(GetParam());
  std::atomic<bool> over{false};
  const Clock::time_point began = Clock::now();

  std::vector<std::thread> ringers;
  for (Lane& lane : lanes) {
    ringers.emplace_back([&] {
      take_core(1);
      for (std::uint32_t round = 1; !over.load(); ++round) {
        dawdle(round * 7 % 61);
        lane.brought.store(round, std::memory_order_release);
        bell.ring();
        for (std::uint32_t tries = 0; lane.done.load(std::memory_order_acquire) != round; ++tries) {
          if (over.load()) return;
          if (tries > 10'000) std::this_thread::yield();
        }
      }
    });
  }

  const auto waits = [&] {
    return std::any_of(lanes.begin(), lanes.end(), [](const Lane& lane) {
      return lane.brought.load(std::memory_order_acquire) !=
             lane.done.load(std::memory_order_relaxed);
    });
  };
  cpu_set_t before;
  sched_getaffinity(0, sizeof before, &before);
  take_core(0);
  bool lost = false;
  std::uint32_t rounds = 0;
  while (!lost && seconds_since(began) < kSeconds) {
    for (Lane& lane : lanes)
      lane.done.store(lane.brought.load(std::memory_order_acquire), std::memory_order_release);
    const Clock::time_point slept = Clock::now();
    dawdle(++rounds * 13 % 509);
    bell.wait(kSleepSeconds * kSecond, waits);
    lost = seconds_since(slept) >= kSleepSeconds && waits();
  }
  over = true;
  sched_setaffinity(0, sizeof before, &before);
  for (std::thread& ringer : ringers)
    ringer.join();
  EXPECT_FALSE(lost);
  EXPECT_GT(lanes[0].done.load(), 100u);
}
INSTANTIATE_TEST_SUITE_P(, Rings, testing::Values(1, 2));

}  // namespace
}  // namespace turnpike::dataplane

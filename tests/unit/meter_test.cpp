// Meters: what passes is what the rate and the burst allow, from however many workers.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/meter.h"

namespace turnpike {
namespace {

// Takes `size` at a time, as often as there is something, with `workers` credits in turn.
std::uint64_t passed(const MeterRate& rate, SharedMeter& meter, std::vector<Credit>& workers,
                     std::uint64_t from_ms, std::uint64_t to_ms, std::uint32_t size) {
  std::uint64_t sum = 0;
  for (std::uint64_t now = from_ms; now < to_ms; ++now) {
    bool any = true;
    while (any) {
      any = false;
      for (Credit& credit : workers) {
        if (!credit.has(now, rate, meter, size)) continue;
        credit.take(size);
        sum += size;
        any = true;
      }
    }
  }
  return sum;
}

TEST(Meter, LetsTheBurstPassAndThenTheRate) {
  for (const std::uint64_t per_second : {2'000ULL, 125'000ULL, 12'500'000ULL, 1'250'000'000ULL}) {
    const std::uint64_t burst = per_second / 10 + 3000;
    for (const std::uint16_t workers : {1, 3, 16}) {
      const MeterRate rate(per_second, burst, workers);
      SharedMeter meter;
      std::vector<Credit> credits(workers);
      const std::uint64_t sum = passed(rate, meter, credits, 5000, 7000, 100);
      const std::uint64_t most = burst + 2 * per_second;
      EXPECT_LE(sum, most);
      EXPECT_GE(sum + workers * (rate.quantum() + 100) + per_second / 500, most)
          << per_second << " from " << workers << " workers";
    }
  }
}

TEST(Meter, WithoutUseSavesNoMoreThanTheBurst) {
  const MeterRate rate(1'000'000, 10'000, 1);
  SharedMeter meter;
  EXPECT_TRUE(meter.draw(1000, rate, 10'000));
  EXPECT_FALSE(meter.draw(1000, rate, 1));
  EXPECT_FALSE(meter.draw(100'000'000, rate, 10'001));
  EXPECT_TRUE(meter.draw(100'000'000, rate, 10'000));
}

TEST(Meter, ThatIsRefusedHasTakenNothing) {
  const MeterRate rate(1000, 2000, 1);
  SharedMeter meter;
  Credit credit;
  EXPECT_FALSE(credit.has(1000, rate, meter, 2001));
  EXPECT_TRUE(credit.has(1000, rate, meter, 2000));
  EXPECT_TRUE(credit.has(1000, rate, meter, 2000)) << "asked twice, taken once";
}

// What had been drawn at a small rate would take minutes to come back: the new one has no part in
// it.
TEST(Meter, AtAnotherRateOwesNothingOfTheOld) {
  const MeterRate small(1, 100, 1), large(1000, 200, 1);
  SharedMeter meter;
  ASSERT_TRUE(meter.draw(1000, small, 100));
  EXPECT_FALSE(meter.draw(2000, large, 1)) << "nor is there a burst more";
  EXPECT_FALSE(meter.draw(2050, large, 51));
  EXPECT_TRUE(meter.draw(2050, large, 50));
  EXPECT_FALSE(meter.draw(2050, large, 1));
  EXPECT_TRUE(meter.draw(2250, large, 200));
}

// Threads' clocks differ a little, and one that is behind gives nothing back.
TEST(Meter, IsNoFullerForAClockThatIsBehind) {
  const MeterRate rate(1000, 100, 1);
  SharedMeter meter;
  ASSERT_TRUE(meter.draw(1500, rate, 100));
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(meter.draw(1000, rate, 1));
    EXPECT_FALSE(meter.draw(1500, rate, 1));
  }
}

TEST(Meter, OfManyThreadsIsExact) {
  constexpr unsigned kThreads = 4;
  const MeterRate rate(1'000'000, 300'000, kThreads);
  SharedMeter meter;
  std::vector<std::uint64_t> sums(kThreads);
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        Credit credit;
        for (std::uint64_t n = 0; n < 40'000; ++n) {
          if (!credit.has(1000 + n / 400, rate, meter, 60)) continue;
          credit.take(60);
          sums[i] += 60;
        }
      });
    }
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t one : sums)
    sum += one;
  EXPECT_LE(sum, 300'000U + 100'000U);
  EXPECT_GE(sum, 300'000U + 90'000U - kThreads * rate.quantum());
}

}  // namespace
}  // namespace turnpike

// What threads tell of their own time: heartbeats, and how long things took.
#include <gtest/gtest.h>

#include "base/duration_histogram.h"
#include "base/heartbeat.h"

namespace turnpike {
namespace {

TEST(Heartbeat, CountsRoundsThatCameOverASecondLate) {
  Heartbeat heart;
  heart.beat(50'000);  // the first is late to nothing
  heart.beat(51'000);
  EXPECT_EQ(heart.late(), 0u);
  heart.beat(52'001);
  heart.beat(90'000);
  EXPECT_EQ(heart.late(), 2u);
  EXPECT_EQ(heart.last_ms(), 90'000u);
}

class Durations : public testing::Test {
 protected:
  Durations() { times.set_clock(kHz); }

  // The bucket that so many nanoseconds fall into.
  std::size_t bucket_of(std::uint64_t ns) {
    const auto before = counts();
    times.record(ns * (kHz / 100'000'000) / 10);
    const auto after = counts();
    for (std::size_t i = 0; i < after.size(); ++i) {
      if (after[i] != before[i]) return i;
    }
    return after.size();
  }
  std::array<std::uint64_t, DurationHistogram::kBuckets> counts() const {
    std::array<std::uint64_t, DurationHistogram::kBuckets> all{};
    for (std::size_t i = 0; i < all.size(); ++i)
      all[i] = times.count(i);
    return all;
  }

  static constexpr std::uint64_t kHz = 2'400'000'000;
  DurationHistogram times;
};

TEST_F(Durations, DoubleFromBucketToBucket) {
  EXPECT_EQ(bucket_of(0), 0u);
  EXPECT_EQ(bucket_of(240), 0u);
  EXPECT_EQ(bucket_of(260), 1u);
  EXPECT_EQ(bucket_of(490), 1u);
  EXPECT_EQ(bucket_of(1'010), 3u);
  EXPECT_EQ(bucket_of(63'900), 8u);
  EXPECT_EQ(bucket_of(64'100), 9u);
}

TEST_F(Durations, PutWhatIsLongIntoTheLast) {
  EXPECT_EQ(bucket_of(70'000'000), DurationHistogram::kBuckets - 1);
  times.record(~std::uint64_t{0});
  EXPECT_EQ(times.count(DurationHistogram::kBuckets - 1), 2u);
}

TEST_F(Durations, HaveTheSameBucketsOnAnyClock) {
  for (const std::uint64_t hz : {1'000'000'000ULL, 1'999'999'999ULL, 5'000'000'000ULL}) {
    DurationHistogram other;
    other.set_clock(hz);
    other.record(hz / 1'000'000 * 3);  // 3 µs
    EXPECT_EQ(other.count(4), 1u) << hz;
    EXPECT_EQ(other.ticks(), hz / 1'000'000 * 3);
  }
}

}  // namespace
}  // namespace turnpike

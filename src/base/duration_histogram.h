// How long something took, in powers of two from a quarter of a microsecond up: what one thread
// records and any thread reads. Bounds are the same on every machine, so that histograms of several
// can be added.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "turnpike/counter.h"

namespace turnpike {

class DurationHistogram {
 public:
  static constexpr std::size_t kBuckets = 20;  // up to 65 ms; the last one has all that is longer
  static constexpr double kFirstBoundS = 0.25e-6;

  // Before anything is recorded.
  void set_clock(std::uint64_t ticks_per_second) {
    per_tick_ = (std::uint64_t{4'000'000} << kShift) / std::max<std::uint64_t>(ticks_per_second, 1);
  }

  void record(std::uint64_t ticks) {
    // What would overflow is of half a minute: the last bucket has it all the same.
    const std::uint64_t quarters = std::min(ticks, kMostTicks) * per_tick_ >> kShift;
    const auto bucket = static_cast<std::size_t>(std::bit_width(quarters));
    buckets_[std::min(bucket, kBuckets - 1)].add();
    ticks_.add(ticks);
  }

  // Bucket i counts what took less than kFirstBoundS * 2^i seconds and not less than half of it.
  std::uint64_t count(std::size_t bucket) const { return buckets_[bucket].get(); }
  std::uint64_t ticks() const { return ticks_.get(); }

 private:
  static constexpr unsigned kShift = 24;
  static constexpr std::uint64_t kMostTicks = std::uint64_t{1} << 36;

  std::uint64_t per_tick_ = 1;  // quarters of a microsecond, times 2^kShift
  std::array<Counter, kBuckets> buckets_;
  Counter ticks_;
};

}  // namespace turnpike

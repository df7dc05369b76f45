// How much may pass in a time, exactly, over all workers: a bucket that all share, and a worker's
// credit, drawn from it in quanta, so that the shared line is touched once in many packets. What
// has passed is never more than the rate and the burst allow; what workers hold as credit, no more
// than a quantum and a packet each, has been drawn and not yet passed. Another rate is another
// limit from the next packet on: it finds the bucket as far from full, in time, as the last one has
// left it, and, give or take a second, empty where that is further.
//
// Units are whatever is counted: bytes, packets. No clock: time comes in, in milliseconds.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace turnpike {

class MeterRate {
 public:
  constexpr MeterRate() = default;
  // `burst` units at once, then `per_second` of them; below 2^40. `per_second` 0: without limit.
  // `workers` draw from it.
  constexpr MeterRate(std::uint64_t per_second, std::uint64_t burst, std::uint16_t workers)
      : per_second_(per_second),
        depth_(per_second == 0 ? 0 : ticks(burst)),
        quantum_(static_cast<std::uint32_t>(std::min<std::uint64_t>(
            {burst / (std::uint64_t{4} * workers), per_second / 500, kMostQuantum}))) {}

  constexpr bool unlimited() const { return per_second_ == 0; }
  // How many units a worker draws at a time, if it needs no more.
  constexpr std::uint32_t quantum() const { return quantum_; }

  friend constexpr bool operator==(const MeterRate&, const MeterRate&) = default;

 private:
  friend class SharedMeter;
  // A 16th of a nanosecond: at 100 Gbit/s a quantum is told to a part in 10,000.
  static constexpr std::uint64_t kTicksPerMs = 16'000'000;
  static constexpr std::uint32_t kMostQuantum = 65'536;

  constexpr std::uint64_t ticks(std::uint64_t units) const {
    return static_cast<std::uint64_t>(static_cast<double>(units) * (kTicksPerMs * 1000.0) /
                                      static_cast<double>(per_second_));
  }

  std::uint64_t per_second_ = 0;
  std::uint64_t depth_ = 0;  // how long a whole burst takes to come back
  std::uint32_t quantum_ = 0;
};

// A token bucket in one number, as flow/token_bucket.h's: when it will be full again. Zero is full.
class SharedMeter {
 public:
  // Takes `units`; false, and nothing changes, if there aren't so many. Any thread.
  bool draw(std::uint64_t now_ms, const MeterRate& rate, std::uint64_t units) {
    const std::uint64_t now = now_ms * MeterRate::kTicksPerMs;
    const std::uint64_t cost = rate.ticks(units);
    std::uint64_t full_at = full_at_.load(std::memory_order_relaxed);
    for (;;) {
      if (full_at > now + rate.depth_ + kOtherRates) {
        full_at_.compare_exchange_strong(full_at, now + rate.depth_, std::memory_order_relaxed);
        return false;
      }
      const std::uint64_t next = std::max(full_at, now) + cost;
      if (next - now > rate.depth_) return false;
      if (full_at_.compare_exchange_weak(full_at, next, std::memory_order_relaxed)) return true;
    }
  }
  // For its next owner.
  void reset() { full_at_.store(0, std::memory_order_relaxed); }

 private:
  // What is emptier than empty by more than threads' clocks differ was drawn at another rate,
  // before the limit was changed: it counts as empty.
  static constexpr std::uint64_t kOtherRates = 1000 * MeterRate::kTicksPerMs;

  std::atomic<std::uint64_t> full_at_{0};
};

// A worker's share. Of one thread.
class Credit {
 public:
  // Takes `units` off, whether they are there or not; false: they weren't, and are to be put back.
  bool take(std::uint32_t units) {
    left_ -= static_cast<std::int32_t>(units);
    return left_ >= 0;
  }
  void put_back(std::uint32_t units) { left_ += static_cast<std::int32_t>(units); }
  // Whether `units` (below 2^30) are there, drawn now if need be; they stay until take().
  bool has(std::uint64_t now_ms, const MeterRate& rate, SharedMeter& meter, std::uint32_t units) {
    const auto wanted = static_cast<std::int32_t>(units);
    if (left_ >= wanted) return true;
    const auto missing = static_cast<std::uint32_t>(wanted - left_);
    std::uint32_t more = std::max(missing, rate.quantum());
    if (!meter.draw(now_ms, rate, more)) {
      more = missing;
      if (rate.quantum() <= missing || !meter.draw(now_ms, rate, more)) return false;
    }
    left_ += static_cast<std::int32_t>(more);
    return true;
  }

 private:
  std::int32_t left_ = 0;
};

}  // namespace turnpike

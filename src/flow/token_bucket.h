// A token bucket in one number: the moment at which it will be full again. Each token taken moves
// that moment on by the time in which one comes back; the bucket is empty when the moment is as far
// away as a whole burst takes to come. So nothing has to be refilled, and a zero is a full bucket.
#pragma once

#include <algorithm>
#include <cstdint>

#include "turnpike/time.h"

namespace turnpike::flow {

class TokenRate {
 public:
  // `burst` tokens at once, then `per_second` of them. `per_second` 0: without limit; `burst` 0:
  // what comes in a second.
  constexpr TokenRate(std::uint32_t per_second, std::uint32_t burst = 0)
      : interval_ns_(per_second == 0 ? 0 : kSecond / per_second),
        depth_ns_(interval_ns_ * (burst == 0 ? per_second : burst)) {}

  constexpr bool unlimited() const { return interval_ns_ == 0; }

  // Takes a token from the bucket that is full at `full_at_ns`; false, and nothing changes, if it
  // is empty.
  constexpr bool take(Instant now, std::uint64_t& full_at_ns) const {
    const std::uint64_t now_ns = now.ms * (kSecond / 1000);
    const std::uint64_t next = std::max(full_at_ns, now_ns) + interval_ns_;
    if (next - now_ns > depth_ns_) return false;
    full_at_ns = next;
    return true;
  }
  // Gives one back that was taken; a full bucket stays as it is.
  constexpr void give_back(Instant now, std::uint64_t& full_at_ns) const {
    const std::uint64_t now_ns = now.ms * (kSecond / 1000);
    full_at_ns = std::max(full_at_ns, now_ns + interval_ns_) - interval_ns_;
  }

 private:
  static constexpr std::uint64_t kSecond = 1'000'000'000;

  std::uint64_t interval_ns_;
  std::uint64_t depth_ns_;
};

// One bucket. Its rate may be another the next time: what has been taken stays taken.
class TokenBucket {
 public:
  constexpr bool take(Instant now, const TokenRate& rate) {
    return rate.unlimited() || rate.take(now, full_at_ns_);
  }

 private:
  std::uint64_t full_at_ns_ = 0;
};

}  // namespace turnpike::flow

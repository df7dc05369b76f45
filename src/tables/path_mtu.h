// What ICMP has told of a path: no packet above so many bytes gets through. One word in the entry
// whose packets take the path, so whoever may be told of, there is a place for him and no more than
// his own.
//
// An error is easily forged by whoever knows a five-tuple, so it may do little: make packets
// smaller, down to what any host must take (RFC 1191 §3, RFC 8201 §4), for ten minutes; never
// larger.
//
// Written by any worker, rarely, and by the shard when it publishes the entry; read by workers.
// Where two write at once, either is right.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "turnpike/address.h"

namespace turnpike::flow {

class PathMtu {
 public:
  static constexpr std::uint16_t kNone = 0xFFFF;
  static constexpr std::uint32_t kLifetime_s = 600;  // RFC 1191 §6.3, RFC 8201 §4
  // RFC 791 §3.1 has every host take 576 bytes; RFC 8200 §5 has every link take 1280.
  static constexpr std::uint16_t least(Family family) {
    return family == Family::kIpv4 ? 576 : 1280;
  }

  // As last told, be it over or not: what is no longer than this is no question.
  std::uint16_t told() const {
    return static_cast<std::uint16_t>(word_.load(std::memory_order_relaxed) >> 16);
  }
  // kNone if nothing was told, or too long ago.
  std::uint16_t at(std::uint32_t seconds) const {
    std::uint32_t word = word_.load(std::memory_order_relaxed);
    const auto left = static_cast<std::uint16_t>(word - ticks(seconds));
    if (left > 0 && left <= kTicks) return static_cast<std::uint16_t>(word >> 16);
    // It is over; unless another worker was told anew meanwhile.
    if (word != kNothing) word_.compare_exchange_strong(word, kNothing, std::memory_order_relaxed);
    return kNone;
  }
  void lower(std::uint32_t seconds, Family family, std::uint16_t mtu) const {
    const std::uint32_t bounded = std::clamp(mtu, least(family), at(seconds));
    word_.store(bounded << 16 | static_cast<std::uint16_t>(ticks(seconds) + kTicks),
                std::memory_order_relaxed);
  }
  void forget() const { word_.store(kNothing, std::memory_order_relaxed); }

 private:
  // The time is kept in 16 bits of 16 s: it comes round after 12 days, and then is right for the
  // ten minutes in which it may be taken for new.
  static constexpr unsigned kTickBits = 4;
  static constexpr std::uint32_t kTicks = (kLifetime_s >> kTickBits) + 1;
  static constexpr std::uint32_t kNothing = std::uint32_t{kNone} << 16;
  static std::uint16_t ticks(std::uint32_t seconds) {
    return static_cast<std::uint16_t>(seconds >> kTickBits);
  }

  mutable std::atomic<std::uint32_t> word_{kNothing};  // mtu, and until when
};
static_assert(sizeof(PathMtu) == 4);

}  // namespace turnpike::flow

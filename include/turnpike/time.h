// Time as a value. Nothing in the protocol's code reads a clock: whoever calls it says what time it
// is, so that a test can let an hour pass in a microsecond.
#pragma once

#include <compare>
#include <cstdint>

namespace turnpike {

// Milliseconds since an arbitrary start; never goes back. It starts above zero, so that an expiry
// of 0 is always past.
struct Instant {
  std::uint64_t ms = 0;

  friend constexpr auto operator<=>(const Instant&, const Instant&) = default;
  constexpr Instant operator+(std::uint64_t more_ms) const { return {ms + more_ms}; }
};

// The unit in which flow entries expire: whole seconds of Instant. A thing is alive while
// now_s(now) < expires_s.
constexpr std::uint32_t now_s(Instant now) {
  return static_cast<std::uint32_t>(now.ms / 1000);
}

// When something that starts now and lives `lifetime_s` seconds ends. Rounded up: never shorter
// than promised, and less than a second longer.
constexpr std::uint32_t expiry_s(Instant now, std::uint32_t lifetime_s) {
  return static_cast<std::uint32_t>((now.ms + 999) / 1000) + lifetime_s;
}

}  // namespace turnpike

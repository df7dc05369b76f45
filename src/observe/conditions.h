// What is wrong with the node's surroundings, as far as it can tell: one list, from which readiness
// (/readyz), the gauge turnpike_condition and its explanation come. Whoever watches something sets
// its condition; add a line here for a new one.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace turnpike::observe {

enum class Condition : std::uint8_t {
  kMissingAddress = 0,
  kLateAddress,
  kLostInterface,
  kLinkDown,
  kLostDevice,
  kNoSandbox,
  kNoHostSocket,
  kCount,
};
inline constexpr std::size_t kConditions = static_cast<std::size_t>(Condition::kCount);

struct ConditionInfo {
  std::string_view label;
  std::string_view explanation;
  bool unready;  // whether no new clients should be sent here while it holds
};

inline constexpr std::array<ConditionInfo, kConditions> kConditionInfo{{
    {"missing_address", "a listening or relayed address is on no interface", true},
    {"late_address",
     "an address came to the port's interface after the start and is not used until a restart",
     false},
    {"lost_interface", "the interface of a port is gone", true},
    {"link_down", "the link of a port is down", true},
    {"lost_device", "the device of a port was taken away, or wants a reset: restart", true},
    {"no_sandbox", "system calls of threads that read packets are not filtered", false},
    {"no_host_socket", "transport addresses lack the socket for clients or peers on this host",
     false},
}};

class Conditions {
 public:
  // `what` in words, such as "192.0.2.1 is on no interface"; empty: it doesn't hold (any more).
  // Returns whether that is news.
  bool set(Condition condition, std::string what) {
    const std::scoped_lock lock(mutex_);
    std::string& known = what_[static_cast<std::size_t>(condition)];
    if (known == what) return false;
    known = std::move(what);
    return true;
  }
  // By number, empty where a condition doesn't hold.
  std::array<std::string, kConditions> all() const {
    const std::scoped_lock lock(mutex_);
    return what_;
  }

 private:
  mutable std::mutex mutex_;
  std::array<std::string, kConditions> what_;
};

}  // namespace turnpike::observe

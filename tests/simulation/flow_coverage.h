// What is to happen at some time in the flow simulation, over all its runs: what a packet is
// dropped for, and what comes about besides. A simulation in which nothing happens proves nothing.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string_view>

#include "flow/drop.h"

namespace turnpike::simulation {

using flow::Drop;

enum class Event : std::uint8_t {
  kPass,
  kEnd,         // a notice has ended its sender's allocation
  kLate,        // ... came when nobody had the slot
  kMistakable,  // ... came when another had it
  kClose,       // an allocation has ended with its connection; as before
  kLateClose,
  kMistakableClose,
  kSlotAgain,
  kNoRoom,
  kCount
};
constexpr std::array<const char*, static_cast<std::size_t>(Event::kCount)> kEvents{
    "a packet that passes",
    "an allocation that a rule ends",
    "a notice about nobody",
    "a notice about a slot's last owner",
    "an allocation that ends with its connection",
    "a close about nobody",
    "a close about a slot's last owner",
    "a slot with a next owner",
    "a request for which tables have no room"};
constexpr std::array<Drop, 13> kAwaited{
    Drop::kNoAllocation,         Drop::kNoChannel,       Drop::kNoPermission,
    Drop::kPayloadRule,          Drop::kPayloadLimit,    Drop::kAllocationBandwidth,
    Drop::kAllocationPacketRate, Drop::kUserBandwidth,   Drop::kUserPacketRate,
    Drop::kRealmBandwidth,       Drop::kRealmPacketRate, Drop::kNodeBandwidth,
    Drop::kNodePacketRate};
struct Coverage {
  std::array<std::uint64_t, static_cast<std::size_t>(Event::kCount)> events{};
  std::array<std::uint64_t, static_cast<std::size_t>(Drop::kCount)> drops{};
};

// Tells of what did not.
inline bool everything_happened(const Coverage& coverage) {
  bool ok = true;
  for (std::size_t i = 0; i < kEvents.size(); ++i) {
    if (coverage.events[i] != 0) continue;
    std::fprintf(stderr, "there never was %s\n", kEvents[i]);
    ok = false;
  }
  for (const Drop drop : kAwaited) {
    if (coverage.drops[static_cast<std::size_t>(drop)] != 0) continue;
    const std::string_view label = flow::kDropInfo[static_cast<std::size_t>(drop)].label;
    std::fprintf(stderr, "no packet was dropped for %.*s\n", static_cast<int>(label.size()),
                 label.data());
    ok = false;
  }
  return ok;
}

}  // namespace turnpike::simulation

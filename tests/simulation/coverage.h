// What has happened in a simulation of requests: one in which nothing happens proves nothing.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>

#include "turnpike/counters.h"

namespace turnpike::simulation {

// What becomes of clients' connections.
enum class StreamEvent : std::uint8_t {
  kClose,
  kQuestionsLost,
  kAnswersLost,
  kStalledClose,
  kComesBack,
  kAnswerTooLate,
  kEnd,
  kStays,
  kMoves,
  kTooLate,
  kMistakable,
  kCount
};
constexpr std::array<const char*, static_cast<std::size_t>(StreamEvent::kCount)> kStreamEvents{
    "a connection that closes",
    "one that closes with questions under way",
    "one that closes with answers under way",
    "one that closes with anything under way while it stalls",
    "one that comes back by the same port",
    "an answer to one that has closed",
    "an allocation that ends with its connection",
    "an allocation that outlives its connection, or a move that ends with it",
    "an allocation that goes on elsewhere as its connection ends",
    "the end of a connection, heard when nobody has its slot any more",
    "the end of a connection, heard when another has its slot"};
using StreamEvents = std::array<std::uint64_t, kStreamEvents.size()>;

// How often each result has been seen, and a client's move, over all runs.
struct Coverage {
  std::array<std::uint64_t, kResults.size()> results{};
  std::uint64_t moves = 0;
  StreamEvents streams{};
};

// 500 is not sent by anything yet; the others are of TCP's allocations, which are not among these.
inline bool is_awaited(std::uint16_t result) {
  return result != 500 && result != 446 && result != 447;
}

inline bool everything_happened(const Coverage& coverage) {
  bool ok = coverage.moves != 0;
  if (!ok) std::fprintf(stderr, "no client has moved\n");
  for (std::size_t i = 0; i < kResults.size(); ++i) {
    if (coverage.results[i] != 0 || !is_awaited(kResults[i])) continue;
    std::fprintf(stderr, "no request ended with %u\n", unsigned{kResults[i]});
    ok = false;
  }
  for (std::size_t i = 0; i < kStreamEvents.size(); ++i) {
    if (coverage.streams[i] != 0) continue;
    std::fprintf(stderr, "there never was %s\n", kStreamEvents[i]);
    ok = false;
  }
  return ok;
}

}  // namespace turnpike::simulation

// What has happened in a simulation of requests: one in which nothing happens proves nothing.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>

#include "turnpike/counters.h"

namespace turnpike::simulation {

// How often each result has been seen, and a client's move, over all runs.
struct Coverage {
  std::array<std::uint64_t, kResults.size()> results{};
  std::uint64_t moves = 0;
};

// 500 is not sent by anything yet.
inline bool everything_happened(const Coverage& coverage) {
  bool ok = coverage.moves != 0;
  if (!ok) std::fprintf(stderr, "no client has moved\n");
  for (std::size_t i = 0; i < kResults.size(); ++i) {
    if (coverage.results[i] != 0 || kResults[i] == 500) continue;
    std::fprintf(stderr, "no request ended with %u\n", unsigned{kResults[i]});
    ok = false;
  }
  return ok;
}

}  // namespace turnpike::simulation

// Clients that come and go: a storm of them, or all of them again after the server has cut them.
#pragma once

#include <cstdint>

#include "histogram.h"
#include "loop.h"

namespace turnpike::streams {

// Each client leaves when it has been served, and comes again: as many at a time as --window says,
// or as come at --rate. Returns how long it took, in seconds; counts are the loop's.
double storm(const Options& options, Loop& loop, double rate);

// Holds what has been set up; returns when the time is over or when a stop is asked for.
void hold(Loop& loop, double seconds);

struct Return {
  std::uint64_t cut = 0, back = 0, failed_tries = 0;
  double seconds = 0;         // from the first that was cut to the last that was back
  pktgen::Histogram away_ns;  // of each
  void add(const Return& other);
};
// Waits until clients are cut, at most `seconds`; each tries again, at once and then after twice as
// long each time, up to some seconds, and never at the same moment as the others.
Return come_back(Loop& loop, double seconds);

}  // namespace turnpike::streams

// One process that keeps its allocations and sends for a moment whenever it is told to, for
// comparisons in turns: setting up anew for each turn would take longer than the turn.
#pragma once

#include <optional>

#include "traffic.h"

namespace turnpike::pktgen {

// Runs options.slices slices (0: until the input ends), one line of JSON for each. With
// options.pause, each begins with a line `go` or `go SECONDS` on stdin; `quit` ends.
void run_slices(const World& world, Traffic& traffic, std::optional<double> ceiling_pps);

}  // namespace turnpike::pktgen

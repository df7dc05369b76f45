// What time it is, without a system call.
#pragma once

#include <cstdint>

#include "turnpike/time.h"

namespace turnpike::dataplane {

// Called once, when EAL runs and before any other thread of ours does. `scale`: test_time_scale.
void start_clock(std::uint32_t scale);

// The engine's clock: monotonic, from the TSC, times the scale. Any thread.
Instant clock_now();
// How long until then, in nanoseconds of real time; 0 if it has come.
std::uint64_t real_ns_until(Instant when);
// The clock of heartbeats: monotonic milliseconds, never scaled. Any thread.
std::uint64_t real_ms();

}  // namespace turnpike::dataplane

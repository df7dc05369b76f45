// The processor's time stamps, set against the kernel's clock once.
#include "dataplane/clock.h"

#include <rte_cycles.h>

#include <chrono>

namespace turnpike::dataplane {
namespace {

std::uint64_t start_tsc = 0;
std::uint64_t ticks_per_ms = 1;
std::uint64_t time_scale = 1;

}  // namespace

void start_clock(std::uint32_t scale) {
  start_tsc = rte_rdtsc();
  ticks_per_ms = rte_get_tsc_hz() / 1000;
  time_scale = scale;
}

Instant clock_now() {
  return {1000 + (rte_rdtsc() - start_tsc) * time_scale / ticks_per_ms};
}

std::uint64_t real_ns_until(Instant when) {
  const std::uint64_t now = clock_now().ms;
  return when.ms <= now ? 0 : (when.ms - now) * 1'000'000 / time_scale;
}

std::uint64_t real_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

}  // namespace turnpike::dataplane

// Time by the processor's counter, which no call into the kernel takes.
#pragma once

#include <rte_cycles.h>

#include <cstdint>

namespace turnpike::pktgen {

inline std::uint64_t cycles_now() {
  return rte_rdtsc();
}
inline std::uint64_t cycles_of(double seconds) {
  return static_cast<std::uint64_t>(seconds * static_cast<double>(rte_get_tsc_hz()));
}
inline double seconds_of(std::uint64_t cycles) {
  return static_cast<double>(cycles) / static_cast<double>(rte_get_tsc_hz());
}

}  // namespace turnpike::pktgen

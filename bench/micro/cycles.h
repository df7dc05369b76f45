// The time stamp counter; 0 where there is none.
#pragma once

#include <cstdint>

namespace turnpike::bench {

inline std::uint64_t cycles_now() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return 0;
#endif
}

}  // namespace turnpike::bench

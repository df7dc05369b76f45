// Which thread runs on which core: workers on their own, all other threads on what is left.
#pragma once

#include <cstdint>
#include <vector>

namespace turnpike::dataplane {

struct Placement {
  struct Seat {
    int core = -1;        // -1: wherever the kernel puts it
    bool yields = false;  // when nothing comes: other threads of ours need this core
  };
  std::vector<Seat> workers;
  std::vector<int> others;  // cores of all threads that are no workers
  bool apart = false;       // none of them is a worker's
};

// `allowed`: the cores that the process may use, the best for workers first; with isolcpus the
// chosen ones are not among them.
// `chosen`: by worker; empty: the first of the allowed ones. A worker that sleeps when
// nothing comes runs on a host shared with others, and is pinned only where its core was chosen.
Placement place_threads(const std::vector<int>& allowed, std::uint16_t workers,
                        const std::vector<int>& chosen, bool workers_sleep);

}  // namespace turnpike::dataplane

// Sets of cores, and nothing that touches a thread: so that it can be tested for machines that
// aren't here.
#include "dataplane/placement.h"

#include <algorithm>

namespace turnpike::dataplane {

Placement place_threads(const std::vector<int>& allowed, std::uint16_t workers,
                        const std::vector<int>& chosen, bool workers_sleep) {
  Placement placement;
  placement.workers.resize(workers);
  if (workers_sleep && chosen.empty()) {
    placement.others = allowed;
    return placement;
  }
  const std::vector<int>& cores = chosen.empty() ? allowed : chosen;
  for (std::size_t i = 0; i < workers && !cores.empty(); ++i)
    placement.workers[i].core = cores[i % cores.size()];
  const auto workers_on = [&](int core) {
    return std::count_if(placement.workers.begin(), placement.workers.end(),
                         [core](const Placement::Seat& seat) { return seat.core == core; });
  };
  std::copy_if(allowed.begin(), allowed.end(), std::back_inserter(placement.others),
               [&](int core) { return workers_on(core) == 0; });
  const bool none_left = placement.others.empty();
  for (Placement::Seat& seat : placement.workers)
    seat.yields = none_left || workers_on(seat.core) > 1;
  if (none_left) placement.others = allowed;
  placement.apart = !none_left;
  return placement;
}

}  // namespace turnpike::dataplane

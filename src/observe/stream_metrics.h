// What transport threads have counted, as metrics.
#pragma once

#include <vector>

#include "base/stream_counters.h"
#include "observe/family.h"

namespace turnpike::observe {

void collect_streams(std::vector<MetricFamily>& out, const std::vector<const StreamCounters*>& all);

}  // namespace turnpike::observe

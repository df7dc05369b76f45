// What transport threads have counted, as metrics.
#pragma once

#include <vector>

#include "base/host_counters.h"
#include "base/stream_counters.h"
#include "observe/family.h"

namespace turnpike::observe {

void collect_streams(std::vector<MetricFamily>& out, const std::vector<const StreamCounters*>& all);

void collect_host(std::vector<MetricFamily>& out, const HostCounters& host);

}  // namespace turnpike::observe

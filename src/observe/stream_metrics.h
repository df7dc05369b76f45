// What transport threads have counted, as metrics.
#pragma once

#include <vector>

#include "base/host_counters.h"
#include "base/stream_counters.h"
#include "observe/family.h"

namespace turnpike::observe {

// By thread; none of one kind: no client comes by it.
struct TransportCounters {
  std::vector<const StreamCounters*> tcp;  // and TLS
  std::vector<const StreamCounters*> udp;  // DTLS
};

void collect_streams(std::vector<MetricFamily>& out, const TransportCounters& all);

void collect_host(std::vector<MetricFamily>& out, const HostCounters& host);

}  // namespace turnpike::observe

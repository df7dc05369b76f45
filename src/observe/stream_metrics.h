// What transport threads have counted, as metrics.
#pragma once

#include <vector>

#include "base/host_counters.h"
#include "base/peer_stream_counters.h"
#include "base/stream_counters.h"
#include "observe/family.h"
#include "turnpike/counters.h"

namespace turnpike::observe {

// By thread; none of one kind: no client comes by it.
struct TransportCounters {
  std::vector<const StreamCounters*> tcp;  // and TLS
  std::vector<const StreamCounters*> udp;  // DTLS
};

void collect_streams(std::vector<MetricFamily>& out, const TransportCounters& all);
// Of allocations of TCP's, with what their shards have counted.
void collect_peer_streams(std::vector<MetricFamily>& out,
                          const std::vector<const PeerStreamCounters*>& threads,
                          const std::vector<const ServerCounters*>& shards);

void collect_host(std::vector<MetricFamily>& out, const HostCounters& host);

}  // namespace turnpike::observe

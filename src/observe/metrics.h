// What the node tells about itself, by HTTP from the kernel's own sockets: /metrics for Prometheus,
// read from live counters when asked; /healthz, whether the process lives; /readyz, whether all its
// threads go round and nothing around it is wrong. No label grows with users.
#pragma once

#include <prometheus/metric_family.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/heartbeat.h"
#include "base/host_counters.h"
#include "base/peer_stream_counters.h"
#include "flow/counters.h"
#include "observe/conditions.h"
#include "observe/http_server.h"
#include "observe/stream_metrics.h"
#include "tables/tables.h"
#include "turnpike/address.h"
#include "turnpike/counters.h"

namespace turnpike::observe {

// A thread that must go round; its times are in the clock of MetricsSource::now_ms.
struct Heart {
  std::string thread;  // "worker 0", "engine 0", "control"
  const Heartbeat* beat = nullptr;
};

struct PortHealth {
  std::string name;  // "af_xdp:eth0"
  bool up = true;
  std::array<std::uint64_t, flow::kPortDropInfo.size()> lost{};
};

// What a rule of payload has met.
struct RuleUse {
  std::string name;
  std::uint64_t packets = 0, bytes = 0, flows = 0;
};

// What a rule of identity has met.
struct IdentityRuleUse {
  std::string name;
  std::uint64_t requests = 0;
};

struct Use {
  std::uint64_t in_use = 0, capacity = 0;
};

// Where the numbers come from; all of it outlives the Metrics, and may be asked from any thread.
struct MetricsSource {
  std::vector<const flow::WorkerCounters*> workers;
  std::vector<const ServerCounters*> shards;
  TransportCounters streams;
  std::vector<const PeerStreamCounters*> peer_streams;  // none: there are no allocations of TCP's
  const HostCounters* host = nullptr;  // none: nobody on this host is served by UDP
  std::vector<std::string> realms;     // names by RealmIndex; an empty one is nobody's
  const flow::Tables* tables = nullptr;
  std::function<std::vector<Heart>()> hearts;
  std::function<std::uint64_t()> now_ms;
  std::function<std::vector<PortHealth>()> ports;
  std::function<Use()> buffers, next_hops;
  std::function<std::vector<RuleUse>()> payload_rules;           // none: there are none
  std::function<std::vector<IdentityRuleUse>()> identity_rules;  // likewise
  const Conditions* conditions = nullptr;                        // none: nothing is watched
  std::uint64_t tsc_hz = 0;
  std::string version;
};

// All families, as they are now.
std::vector<prometheus::MetricFamily> collect(const MetricsSource& source);

// Empty: ready. Else which conditions that matter hold, and which threads have not gone round for
// over three seconds: longer than a thread of a host that is shared with others waits for its core,
// which is no reason to take a node out of service.
std::string why_not_ready(const MetricsSource& source);

class Metrics {
 public:
  // Serves until it ends. Throws std::runtime_error when the address can't be had.
  Metrics(const Endpoint& address, MetricsSource source);

 private:
  const MetricsSource source_;
  HttpServer server_;
};

// Whether others than this host and its private networks may reach this address: nothing that is
// served there asks for a password.
bool is_open_to_strangers(const Address& address);

}  // namespace turnpike::observe

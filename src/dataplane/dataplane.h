// DPDK's side of the node: EAL, ports, pools, rings and the workers that poll. Built and ended by
// main's thread in three steps; between them it runs by itself.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/heartbeat.h"
#include "base/published.h"
#include "base/qsbr.h"
#include "dataplane/clock.h"
#include "flow/counters.h"
#include "flow/pipeline.h"
#include "turnpike/request.h"
#include "turnpike/server.h"

namespace turnpike::dataplane {

class DatagramRings;
class StreamPort;

enum class Driver : std::uint8_t { kPci, kAfXdp, kAfPacket, kTap, kMemif };

struct PortSpec {
  Driver driver = Driver::kAfXdp;
  std::string device;        // PCI address, interface, or memif socket path
  std::uint16_t queues = 0;  // 0: as many as workers, or as the interface has channels (af_xdp)
  std::uint16_t mtu = 0;     // 0: the device's own
  std::uint16_t descriptors = 0;  // of each ring; 0: the driver's usual
  std::string devargs;            // for DPDK's driver
  bool memif_server = false;
  bool memif_zero_copy = true;
  std::vector<Address> addresses;  // of its exception interface
  std::string exception_name;      // owned ports (PCI, memif, tap): name of the TAP; empty: none
};

// Relay ports, both ends included.
struct PortRange {
  std::uint16_t min;
  std::uint16_t max;
};

struct Options {
  std::vector<PortSpec> ports;
  std::uint16_t workers = 1;
  std::vector<int> worker_cores;  // empty: see place_threads()
  std::uint8_t shards = 1;
  std::vector<Transport> stream_ports;  // of each transport thread: what its clients speak
  bool hugepages = true;                // use them if enough are free, else --no-huge
  std::uint32_t idle_sleep_us = 0;
  std::uint32_t test_time_scale = 1;
  // What the XDP filter lets through to us.
  std::vector<Endpoint> listeners;
  std::vector<RelayedAddress> relayed;
  PortRange relay_ports{49152, 65535};
};

class Dataplane {
 public:
  // Step 1: EAL, pools, devices made and configured, XDP filter and rules in place; nothing polls
  // yet. Throws std::runtime_error with a message for the operator (what failed, on which port, and
  // what to do).
  //
  // The calling thread, and with it each that it makes later, is kept off the workers' cores where
  // there are others.
  explicit Dataplane(const Options& options);
  // Stops, closes, and removes all that it made: interfaces, XDP programs, rules, runtime files.
  ~Dataplane();

  // After step 1: what ports turned out to be, those of streams behind the others; and the
  // interface of the kernel whose routes and neighbours speak for each (the shared interface, or
  // the exception TAP; empty: none).
  const std::vector<flow::PortInfo>& ports() const;
  const std::string& kernel_interface(std::size_t port) const;
  const std::string& description(std::size_t port) const;  // "af_xdp:eth0, 1 queue, MTU 1500"
  const std::string& memory() const;                       // "200 MiB of 2 MiB pages"
  // Whether workers have their cores for themselves, of all threads of this process.
  bool workers_apart() const;
  // What an operator should know, once all is started.
  std::vector<std::string> warnings() const;
  // The bitmaps that the flow tables keep for the ports' XDP filters.
  std::vector<std::atomic<std::uint64_t>*> live_ports();

  // Step 2 and 3: starts ports and workers, who read `policy` by their numbers. All referenced
  // objects outlive the Dataplane's workers (stop()).
  void start(const flow::Setup& setup, const flow::Tables& tables, flow::NextHopResolver& next_hops,
             const PublishedPart<flow::WorkerPolicy>& policy, const TokenSealer& tokens,
             Qsbr& qsbr);
  // Workers end; rings are drained. Idempotent.
  void stop();

  EnginePort& engine_port(std::uint8_t shard);
  // Those whose clients speak it, in their order.
  std::vector<StreamPort*> stream_ports(Transport transport);
  // Of DTLS, where it is among Options::stream_ports; it rings that one's bell.
  DatagramRings& datagram_rings();

  // Of the thread of exception interfaces; nullptr: there are none.
  const Heartbeat* exception_heartbeat() const;

  const flow::WorkerCounters& counters(std::uint16_t worker) const;
  // In real_ms() (clock.h).
  const Heartbeat& heartbeat(std::uint16_t worker) const;
  // Whether every worker's system calls are filtered; after start().
  bool sandboxed() const;
  // A port while it runs. `up` of a memif: whether its other side has come.
  struct PortState {
    bool up = true;
    bool gone = false;  // the device was taken away, or wants to be set up anew
    std::array<std::uint64_t, flow::kPortDropInfo.size()> lost{};  // by flow::PortDrop
  };
  // Looks at devices and links; a NIC's link is passed on to its exception interface. Control's
  // thread, some times a second.
  void count_losses();
  void look_at_links();
  // Any thread.
  PortState port_state(std::size_t port) const;
  // Whether the node needs its link to be ready; nobody need have come to a memif.
  bool needs_link(std::size_t port) const;
  const std::string& name(std::size_t port) const;  // "af_xdp:eth0"
  // Buffers in use and in all, over all pools.
  struct PoolUse {
    std::uint32_t in_use, capacity;
  };
  PoolUse pool_use() const;
  std::uint64_t tsc_hz() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace turnpike::dataplane

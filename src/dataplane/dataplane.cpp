#include "dataplane/dataplane.h"

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "dataplane/eal.h"
#include "dataplane/worker.h"

namespace turnpike::dataplane {
namespace {

constexpr unsigned kLargeBuffers = 256;
constexpr unsigned kLargeRoom = 16384;
constexpr unsigned kExceptionBuffers = 2047;
constexpr unsigned kCache = 256;
constexpr unsigned kHandoffs = 1024;  // places in the ring from a worker to another's port

// The engine's clock: set once, before any thread reads it.
std::uint64_t clock_start_tsc = 0;
std::uint64_t clock_ticks_per_ms = 1;
std::uint64_t clock_scale = 1;

struct PoolDeleter {
  void operator()(rte_mempool* pool) const { rte_mempool_free(pool); }
};
using Pool = std::unique_ptr<rte_mempool, PoolDeleter>;

// Beside the frame: headers grow by at most 68 bytes (IPv4 ChannelData's way to an IPv6 Data
// indication), which DPDK's headroom of 128 holds. A buffer of kRoom stays below a page with its
// mbuf, which af_xdp needs.
constexpr unsigned kRoom = Port::kFrameRoom + RTE_PKTMBUF_HEADROOM + 512;
constexpr unsigned kWideRoom = Port::kWideFrameRoom + RTE_PKTMBUF_HEADROOM + 512;

bool needs_wide_frames(const Options& options) {
  return std::any_of(options.ports.begin(), options.ports.end(),
                     [](const PortSpec& port) { return Port::needs_wide_frames(port.driver); });
}

// By worker: what lies in bursts and the pool's cache, with the shards, in hand-off rings, among
// the fragments that wait, and in the queues it serves (af_xdp has twice the descriptors on each
// side).
std::vector<unsigned> buffers_by_worker(const Options& options) {
  const auto ports = static_cast<unsigned>(options.ports.size());
  const unsigned always = 2047 + options.shards * EngineRings::kMostInFlight + ports * kHandoffs +
                          Reassembly::kMostWaiting;
  std::vector<unsigned> buffers(options.workers, always);
  for (std::size_t port = 0; port < options.ports.size(); ++port) {
    if (Port::needs_wide_frames(options.ports[port].driver)) continue;
    const std::uint16_t queues = wanted_queues(options.ports[port], options.workers);
    for (std::uint16_t queue = 0; queue < queues; ++queue)
      buffers[queue_owner(port, queue, options.workers)] += 4 * Port::kDescriptors;
  }
  return buffers;
}

unsigned wide_buffers(const Options& options) {
  return 1023 + options.shards * EngineRings::kMostInFlight + Reassembly::kMostWaiting;
}

std::uint32_t memory_mb(const Options& options, const std::vector<unsigned>& buffers) {
  constexpr std::uint64_t kBeside = sizeof(rte_mbuf) + sizeof(FrameNotes) + 128;
  std::uint64_t bytes = 0;
  for (const unsigned count : buffers) {
    bytes += count * (kBeside + kRoom) + kLargeBuffers * (kBeside + kLargeRoom + 512);
    if (needs_wide_frames(options)) bytes += wide_buffers(options) * (kBeside + kWideRoom);
    bytes += std::uint64_t{8} << 20;
  }
  return static_cast<std::uint32_t>((bytes >> 20) + 64);
}

Pool make_pool(const std::string& name, unsigned count, unsigned room) {
  // FrameNotes must keep its alignment behind the mbuf.
  constexpr std::uint16_t kPrivate = RTE_ALIGN(sizeof(FrameNotes), RTE_MBUF_PRIV_ALIGN);
  Pool pool(rte_pktmbuf_pool_create(name.c_str(), count, std::min(kCache, count / 4), kPrivate,
                                    static_cast<std::uint16_t>(room), SOCKET_ID_ANY));
  if (!pool) throw std::runtime_error("no memory for " + name + ": " + rte_strerror(rte_errno));
  return pool;
}

}  // namespace

std::uint64_t real_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

Instant clock_now() {
  return {1000 + (rte_rdtsc() - clock_start_tsc) * clock_scale / clock_ticks_per_ms};
}

struct Dataplane::Impl {
  explicit Impl(const Options& asked) : options(asked) {}

  void make_pools();
  void make_ports();
  void make_rings();
  void make_workers();

  Options options;
  // In this order: ports give their buffers back before the pools go.
  std::vector<unsigned> buffers;  // by worker, of its pool
  std::vector<Pool> pools;        // by worker
  std::vector<Pool> wide_pools;   // by worker, if a port needs them: for frames beyond the MTU
  std::vector<Pool> large_pools;  // by worker: for reassembled datagrams
  Pool exception_pool;
  Fabric fabric;
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<flow::PortInfo> infos;
  std::vector<std::string> kernel_interfaces;
  std::vector<flow::Listener> listeners;
  bool running = false;
};

void Dataplane::Impl::make_pools() {
  for (unsigned worker = 0; worker < options.workers; ++worker) {
    const std::string number = std::to_string(worker);
    pools.push_back(make_pool("frames-" + number, buffers[worker], kRoom));
    large_pools.push_back(
        make_pool("large-" + number, kLargeBuffers, kLargeRoom + RTE_PKTMBUF_HEADROOM));
    if (needs_wide_frames(options))
      wide_pools.push_back(make_pool("wide-" + number, wide_buffers(options), kWideRoom));
  }
}

void Dataplane::Impl::make_ports() {
  fabric.workers = options.workers;
  for (std::size_t i = 0; i < options.ports.size(); ++i) {
    fabric.ports.push_back(std::make_unique<Port>(i, options.ports[i], options));
    Port& port = *fabric.ports.back();
    const std::vector<Pool>& of_workers =
        Port::needs_wide_frames(port.spec().driver) ? wide_pools : pools;
    std::vector<rte_mempool*> queue_pools;
    for (std::uint16_t queue = 0; queue < port.queues(); ++queue) {
      queue_pools.push_back(of_workers[fabric.queue_owner(i, queue)].get());
    }
    port.configure(queue_pools);
    infos.push_back(port.info());
    kernel_interfaces.push_back(port.shared() ? port.spec().device : port.spec().exception_name);
    fabric.exceptions.emplace_back();
    if (port.shared() || port.spec().exception_name.empty()) continue;
    if (!exception_pool)
      exception_pool = make_pool("exceptions", kExceptionBuffers, 2048 + RTE_PKTMBUF_HEADROOM);
    fabric.exceptions.back() =
        std::make_unique<ExceptionPath>(i, port.spec().exception_name, port.info().mac,
                                        port.info().mtu, exception_pool.get(), options.workers);
  }
}

void Dataplane::Impl::make_rings() {
  for (const Endpoint& listener : options.listeners)
    listeners.push_back({listener});
  for (std::uint8_t shard = 0; shard < options.shards; ++shard) {
    fabric.engines.push_back(std::make_unique<EngineRings>(shard, options.workers, listeners));
  }
  for (std::size_t port = 0; port < fabric.ports.size(); ++port) {
    fabric.handoffs.emplace_back();
    for (unsigned from = 0; from < options.workers; ++from) {
      fabric.handoffs[port].push_back(
          make_ring("handoff", static_cast<unsigned>(port), from, kHandoffs));
    }
  }
}

void Dataplane::Impl::make_workers() {
  const std::vector<int> cores = allowed_cores();
  for (std::uint16_t i = 0; i < options.workers; ++i) {
    Worker::Config config;
    config.number = i;
    config.core = options.worker_cores.empty()
                      ? cores[i % cores.size()]
                      : options.worker_cores[i % options.worker_cores.size()];
    // Engine and control want a core as well.
    config.yields = options.workers + 1U > cores.size();
    config.idle_sleep_us = options.idle_sleep_us;
    config.pool = pools[i].get();
    config.large = large_pools[i].get();
    workers.push_back(std::make_unique<Worker>(config, fabric));
  }
}

Dataplane::Dataplane(const Options& options) : impl_(std::make_unique<Impl>(options)) {
  impl_->buffers = buffers_by_worker(options);
  EalOptions eal;
  eal.hugepages = options.hugepages;
  eal.memory_mb = memory_mb(options, impl_->buffers);
  for (const PortSpec& port : options.ports) {
    if (port.driver == Driver::kPci) eal.pci_devices.push_back(port.device);
  }
  start_eal(eal);
  try {
    clock_start_tsc = rte_rdtsc();
    clock_ticks_per_ms = rte_get_tsc_hz() / 1000;
    clock_scale = options.test_time_scale;
    impl_->make_pools();
    impl_->make_ports();
    impl_->make_rings();
    impl_->make_workers();
  } catch (...) {
    impl_.reset();
    stop_eal();
    throw;
  }
}

Dataplane::~Dataplane() {
  stop();
  impl_.reset();
  stop_eal();
}

const std::vector<flow::PortInfo>& Dataplane::ports() const {
  return impl_->infos;
}

const std::string& Dataplane::kernel_interface(std::size_t port) const {
  return impl_->kernel_interfaces[port];
}

const std::string& Dataplane::description(std::size_t port) const {
  return impl_->fabric.ports[port]->description();
}

std::vector<std::atomic<std::uint64_t>*> Dataplane::live_ports() {
  std::vector<std::atomic<std::uint64_t>*> bitmaps;
  for (const std::unique_ptr<Port>& port : impl_->fabric.ports) {
    if (port->live_ports() != nullptr) bitmaps.push_back(port->live_ports());
  }
  return bitmaps;
}

void Dataplane::start(const flow::Setup& setup, const flow::Tables& tables,
                      flow::NextHopResolver& next_hops, const FrontDoor& door,
                      const TokenSealer& tokens, Qsbr& qsbr) {
  for (const std::unique_ptr<Port>& port : impl_->fabric.ports)
    port->start();
  impl_->running = true;
  for (const std::unique_ptr<Worker>& worker : impl_->workers) {
    worker->start(setup, tables, next_hops, door, tokens, qsbr);
  }
}

void Dataplane::stop() {
  if (!impl_->running) return;
  impl_->running = false;
  for (const std::unique_ptr<Worker>& worker : impl_->workers)
    worker->stop();
  for (const std::unique_ptr<Port>& port : impl_->fabric.ports)
    port->stop();
  for (const std::unique_ptr<EngineRings>& engine : impl_->fabric.engines)
    engine->drain();
  for (const std::unique_ptr<ExceptionPath>& path : impl_->fabric.exceptions) {
    if (path) path->drain();
  }
  for (const std::vector<Ring>& rings : impl_->fabric.handoffs) {
    for (const Ring& ring : rings) {
      void* frame = nullptr;
      while (rte_ring_sc_dequeue(ring.get(), &frame) == 0)
        rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
    }
  }
}

EnginePort& Dataplane::engine_port(std::uint8_t shard) {
  return *impl_->fabric.engines[shard];
}

void Dataplane::poll_exceptions() {
  for (const std::unique_ptr<ExceptionPath>& path : impl_->fabric.exceptions) {
    if (path) path->poll();
  }
}

const flow::WorkerCounters& Dataplane::counters(std::uint16_t worker) const {
  return impl_->workers[worker]->counters();
}

std::uint64_t Dataplane::heartbeat_ms(std::uint16_t worker) const {
  return impl_->workers[worker]->heartbeat_ms();
}

Dataplane::PoolUse Dataplane::pool_use() const {
  PoolUse use{};
  const auto add = [&](const Pool& pool) {
    if (!pool) return;
    use.in_use += rte_mempool_in_use_count(pool.get());
    use.capacity += pool->size;
  };
  for (const Pool& pool : impl_->pools)
    add(pool);
  for (const Pool& pool : impl_->wide_pools)
    add(pool);
  for (const Pool& pool : impl_->large_pools)
    add(pool);
  add(impl_->exception_pool);
  return use;
}

std::uint64_t Dataplane::tsc_hz() const {
  return rte_get_tsc_hz();
}

}  // namespace turnpike::dataplane

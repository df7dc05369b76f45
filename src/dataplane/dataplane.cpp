// The order in which DPDK's parts are made and ended: each needs those before it.
#include "dataplane/dataplane.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <sys/random.h>

#include <algorithm>
#include <stdexcept>
#include <thread>

#include "dataplane/eal.h"
#include "dataplane/machine.h"
#include "dataplane/placement.h"
#include "dataplane/pools.h"
#include "dataplane/worker.h"

namespace turnpike::dataplane {
namespace {

constexpr unsigned kLargeBuffers = 256;
constexpr unsigned kHandoffs = 1024;  // places in the ring from a worker to another's port

void empty(const std::vector<Ring>& rings) {
  for (const Ring& ring : rings) {
    void* frame = nullptr;
    while (rte_ring_sc_dequeue(ring.get(), &frame) == 0)
      rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
  }
}

std::uint64_t random_word() {
  std::uint64_t word = 0;
  if (getrandom(&word, sizeof word, 0) != sizeof word)
    throw std::runtime_error("the kernel gives no random numbers");
  return word;
}

constexpr unsigned kWideRoom = kWideFrameRoom + RTE_PKTMBUF_HEADROOM + 512;

// How many buffers a worker has.
struct Buffers {
  unsigned frames = 0;
  unsigned wide = 0;  // none where no port of the node needs them
};

bool needs_wide_frames(const PortSpec& port) {
  return needs_wide_frames(port.driver, port.mtu);
}

// A fragment fits a hop's MTU, which a frame's room needn't.
bool has_jumbo(const Options& options) {
  return std::any_of(options.ports.begin(), options.ports.end(), [](const PortSpec& port) {
    return port.driver != Driver::kAfPacket && needs_wide_frames(port);
  });
}

bool has_dtls(const Options& options) {
  return std::find(options.stream_ports.begin(), options.stream_ports.end(), Transport::kDtls) !=
         options.stream_ports.end();
}

// What may be held at once: in engines' rings, both those of known clients and of strangers, and
// those on their way back; among the fragments that wait; in the rings to other workers; in bursts
// and caches; and what lies in the queues it serves (af_xdp has twice the descriptors on each
// side). A queue that can't be filled again is a port that receives nothing.
std::vector<Buffers> buffers_by_worker(const Options& options) {
  const auto ports = static_cast<unsigned>(options.ports.size());
  const unsigned held = options.shards * EngineRings::kMostInFlight + Reassembly::kMostWaiting +
                        options.stream_ports.size() * StreamPort::kMostHeld + ports * kHandoffs +
                        (has_dtls(options) ? DatagramRings::kMostHeld : 0) +
                        (options.workers - 1U) * kFragmentRing + 2047;
  std::vector<Buffers> buffers(options.workers, {held, 0});
  for (std::size_t port = 0; port < options.ports.size(); ++port) {
    const PortSpec& spec = options.ports[port];
    const bool wide = needs_wide_frames(spec);
    if (wide) {
      for (Buffers& worker : buffers)
        worker.wide = std::max(worker.wide, held);
    }
    if (spec.driver == Driver::kAfPacket) continue;  // its rings are the kernel's
    const std::uint16_t queues = wanted_queues(spec, options.workers);
    for (std::uint16_t queue = 0; queue < queues; ++queue) {
      Buffers& worker = buffers[queue_owner(port, queue, options.workers)];
      (wide ? worker.wide : worker.frames) += 4 * descriptors_of(spec);
    }
  }
  return buffers;
}

unsigned exception_buffers(const Options& options) {
  const auto ports =
      std::count_if(options.ports.begin(), options.ports.end(),
                    [](const PortSpec& port) { return !port.exception_name.empty(); });
  return ExceptionPath::buffers(static_cast<std::size_t>(ports), options.workers);
}

unsigned exception_room(const Options& options) {
  return (has_jumbo(options) ? kWideFrameRoom : kFrameRoom) + RTE_PKTMBUF_HEADROOM;
}

// The first port with a socket decides: one that is far from another's must be far from some
// worker.
std::vector<int> cores_in_order(const Options& options) {
  int socket = -1;
  for (std::size_t i = 0; i < options.ports.size() && socket < 0; ++i)
    socket = socket_of_device(options.ports[i]);
  return in_order_of_use(cores_of_machine(allowed_cores()), socket);
}

std::uint32_t memory_mb(const Options& options, const std::vector<Buffers>& buffers) {
  // Without hugepages no buffer crosses a page's end unless it is longer than one.
  const auto whole_pages = [](std::uint64_t room) {
    return RTE_ALIGN_CEIL(sizeof(rte_mbuf) + sizeof(FrameNotes) + 128 + room, std::uint64_t{4096});
  };
  std::uint64_t bytes =
      std::uint64_t{exception_buffers(options)} * whole_pages(exception_room(options));
  for (const Buffers& worker : buffers) {
    bytes += worker.frames * whole_pages(kRoom) + worker.wide * whole_pages(kWideRoom) +
             kLargeBuffers * whole_pages(kLargeRoom + 512);
    bytes += std::uint64_t{8} << 20;
  }
  return static_cast<std::uint32_t>((bytes >> 20) + 64);
}

bool has_af_xdp(const Options& options) {
  return std::any_of(options.ports.begin(), options.ports.end(),
                     [](const PortSpec& port) { return port.driver == Driver::kAfXdp; });
}

}  // namespace

struct Dataplane::Impl {
  explicit Impl(const Options& asked) : options(asked) {}

  void look_at_machine();
  void make_pools();
  void make_ports();
  void make_rings();
  void make_fragment_rings();
  void make_workers();

  Options options;
  Placement placement;
  std::string memory;  // which was taken
  std::vector<std::string> warnings;
  // In this order: ports give their buffers back before the pools go.
  std::vector<Buffers> buffers;  // by worker
  // By worker, one for all queues that it serves: af_xdp sends a buffer of its queue's own pool as
  // it lies, and copies any other.
  std::vector<Pool> pools;
  std::vector<Pool> wide_pools;   // by worker, if a port needs them: for frames beyond the MTU
  std::vector<Pool> large_pools;  // by worker: for reassembled datagrams
  Pool exception_pool;
  Fabric fabric;
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<flow::PortInfo> infos;
  std::vector<std::string> kernel_interfaces;
  bool running = false;
};

// What costs speed, and is the machine's or the operator's to change.
void Dataplane::Impl::look_at_machine() {
  for (std::size_t i = 0; i < options.ports.size(); ++i) {
    const PortSpec& port = options.ports[i];
    if (port.driver == Driver::kPci && options.hugepages && rte_eal_has_hugepages() == 0) {
      warnings.push_back(port.device +
                         ": a NIC's rings in 4 KiB pages cost speed; echo 512 > "
                         "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    }
    const int near = socket_of_device(port);
    // Once of each worker, however many queues it serves.
    const std::uint16_t queues = std::min(wanted_queues(port, options.workers), options.workers);
    for (std::uint16_t queue = 0; near >= 0 && queue < queues; ++queue) {
      const std::uint16_t worker = queue_owner(i, queue, options.workers);
      const int core = placement.workers[worker].core;
      const int socket = core < 0 ? near : socket_of_core(core);
      if (socket == near) continue;
      warnings.push_back(port.device + " is on socket " + std::to_string(near) +
                         ", the core of worker " + std::to_string(worker) + " on " +
                         std::to_string(socket) + "; worker_cores chooses others");
    }
  }
}

void Dataplane::Impl::make_pools() {
  for (unsigned worker = 0; worker < options.workers; ++worker) {
    const std::string number = std::to_string(worker);
    // Without hugepages DPDK knows one socket only.
    const int core = placement.workers[worker].core;
    const bool known = rte_eal_has_hugepages() != 0 && core >= 0;
    const int socket = known ? socket_of_core(core) : SOCKET_ID_ANY;
    const std::string frames = "frames-" + number;
    pools.push_back(has_af_xdp(options) ? make_page_pool(frames, buffers[worker].frames, socket)
                                        : make_pool(frames, buffers[worker].frames, kRoom, socket));
    large_pools.push_back(
        make_pool("large-" + number, kLargeBuffers, kLargeRoom + RTE_PKTMBUF_HEADROOM, socket));
    if (buffers[worker].wide != 0)
      wide_pools.push_back(make_pool("wide-" + number, buffers[worker].wide, kWideRoom, socket));
  }
}

void Dataplane::Impl::make_ports() {
  fabric.workers = options.workers;
  for (std::size_t i = 0; i < options.ports.size(); ++i) {
    fabric.ports.push_back(std::make_unique<Port>(i, options.ports[i], options));
    Port& port = *fabric.ports.back();
    const std::vector<Pool>& of_workers = port.needs_wide_frames() ? wide_pools : pools;
    std::vector<rte_mempool*> queue_pools;
    for (std::uint16_t queue = 0; queue < port.queues(); ++queue) {
      queue_pools.push_back(of_workers[fabric.queue_owner(i, queue)].get());
    }
    port.configure(queue_pools);
    infos.push_back(port.info());
    kernel_interfaces.push_back(port.shared() ? port.spec().device : port.spec().exception_name);
    fabric.exceptions.emplace_back();
    if (port.shared() || port.spec().exception_name.empty()) continue;
    if (!exception_pool) {
      exception_pool = make_pool("exceptions", exception_buffers(options), exception_room(options),
                                 SOCKET_ID_ANY, 0);
    }
    fabric.exceptions.back() =
        std::make_unique<ExceptionPath>(i, port.spec().exception_name, port.info().mac,
                                        port.info().mtu, exception_pool.get(), options.workers);
  }
  std::vector<ExceptionPath*> paths;
  for (const std::unique_ptr<ExceptionPath>& path : fabric.exceptions) {
    if (path) paths.push_back(path.get());
  }
  if (!paths.empty()) fabric.exception_thread = std::make_unique<ExceptionThread>(paths);
}

void Dataplane::Impl::make_rings() {
  for (std::uint8_t shard = 0; shard < options.shards; ++shard) {
    fabric.engines.push_back(std::make_unique<EngineRings>(shard, options.workers));
  }
  for (const Transport transport : options.stream_ports) {
    const auto number = static_cast<unsigned>(fabric.streams.size());
    fabric.streams.push_back(std::make_unique<StreamPort>(number, options.workers));
    fabric.exceptions.emplace_back();  // all that comes there is the relay's
    infos.push_back({.mac = {0x02}, .mtu = UINT16_MAX, .messages_of = transport});
    if (transport == Transport::kDtls)
      fabric.sessions =
          std::make_unique<DatagramRings>(options.workers, fabric.streams.back()->bell());
  }
  fabric.handed_over = std::vector<Fabric::HandedOver>(options.workers);
  for (std::size_t port = 0; port < fabric.ports.size(); ++port) {
    fabric.handoffs.emplace_back();
    for (unsigned from = 0; from < options.workers; ++from) {
      fabric.handoffs[port].push_back(
          make_ring("handoff", static_cast<unsigned>(port), from, kHandoffs));
    }
  }
}

void Dataplane::Impl::make_fragment_rings() {
  for (std::uint64_t& word : fabric.fragment_key)
    word = random_word();
  if (options.workers == 1) return;
  for (unsigned owner = 0; owner < options.workers; ++owner) {
    auto& fragments = *fabric.fragments.emplace_back(std::make_unique<Fabric::Fragments>());
    for (unsigned from = 0; from < options.workers; ++from)
      fragments.from.push_back(make_ring("fragments", owner, from, kFragmentRing));
  }
}

void Dataplane::Impl::make_workers() {
  for (std::uint16_t i = 0; i < options.workers; ++i) {
    Worker::Config config;
    config.number = i;
    config.seat = placement.workers[i];
    config.idle_sleep_us = options.idle_sleep_us;
    config.pool = (has_jumbo(options) ? wide_pools : pools)[i].get();
    config.large = large_pools[i].get();
    workers.push_back(std::make_unique<Worker>(config, fabric));
  }
}

Dataplane::Dataplane(const Options& options) : impl_(std::make_unique<Impl>(options)) {
  impl_->buffers = buffers_by_worker(options);
  impl_->placement = place_threads(cores_in_order(options), options.workers, options.worker_cores,
                                   options.idle_sleep_us != 0);
  EalOptions eal;
  eal.cores = impl_->placement.others;
  eal.hugepages = options.hugepages;
  eal.memory_mb = memory_mb(options, impl_->buffers);
  for (const PortSpec& port : options.ports) {
    if (port.driver == Driver::kPci)
      eal.pci_devices.push_back(port.device + (port.devargs.empty() ? "" : ",") + port.devargs);
  }
  impl_->memory = start_eal(eal);
  impl_->look_at_machine();
  try {
    start_clock(options.test_time_scale);
    impl_->make_pools();
    impl_->make_ports();
    impl_->make_rings();
    impl_->make_fragment_rings();
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

const std::string& Dataplane::memory() const {
  return impl_->memory;
}

bool Dataplane::workers_apart() const {
  return impl_->placement.apart;
}

std::vector<std::string> Dataplane::warnings() const {
  std::vector<std::string> all = impl_->warnings;
  for (const std::unique_ptr<Port>& port : impl_->fabric.ports)
    all.insert(all.end(), port->warnings().begin(), port->warnings().end());
  return all;
}

std::vector<std::atomic<std::uint64_t>*> Dataplane::live_ports() {
  std::vector<std::atomic<std::uint64_t>*> bitmaps;
  for (const std::unique_ptr<Port>& port : impl_->fabric.ports) {
    if (port->live_ports() != nullptr) bitmaps.push_back(port->live_ports());
  }
  return bitmaps;
}

void Dataplane::start(const flow::Setup& setup, const flow::Tables& tables,
                      flow::NextHopResolver& next_hops,
                      const PublishedPart<flow::WorkerPolicy>& policy, const TokenSealer& tokens,
                      Qsbr& qsbr) {
  for (const std::unique_ptr<Port>& port : impl_->fabric.ports)
    port->start();
  impl_->running = true;
  if (impl_->fabric.exception_thread) impl_->fabric.exception_thread->start();
  for (const std::unique_ptr<Worker>& worker : impl_->workers) {
    worker->start(setup, tables, next_hops, policy, tokens, qsbr);
  }
}

void Dataplane::stop() {
  if (!impl_->running) return;
  impl_->running = false;
  for (const std::unique_ptr<Worker>& worker : impl_->workers)
    worker->stop();
  if (impl_->fabric.exception_thread) impl_->fabric.exception_thread->stop();
  for (const std::unique_ptr<Port>& port : impl_->fabric.ports)
    port->stop();
  for (const std::unique_ptr<EngineRings>& engine : impl_->fabric.engines)
    engine->drain();
  for (const std::unique_ptr<StreamPort>& streams : impl_->fabric.streams)
    streams->drain();
  if (impl_->fabric.sessions) impl_->fabric.sessions->drain();
  for (const std::unique_ptr<ExceptionPath>& path : impl_->fabric.exceptions) {
    if (path) path->drain();
  }
  for (const std::vector<Ring>& rings : impl_->fabric.handoffs)
    empty(rings);
  for (const std::unique_ptr<Fabric::Fragments>& fragments : impl_->fabric.fragments)
    empty(fragments->from);
}

std::vector<StreamPort*> Dataplane::stream_ports(Transport transport) {
  std::vector<StreamPort*> found;
  for (std::size_t i = 0; i < impl_->options.stream_ports.size(); ++i) {
    if (impl_->options.stream_ports[i] == transport)
      found.push_back(impl_->fabric.streams[i].get());
  }
  return found;
}

DatagramRings& Dataplane::datagram_rings() {
  return *impl_->fabric.sessions;
}

EnginePort& Dataplane::engine_port(std::uint8_t shard) {
  return *impl_->fabric.engines[shard];
}

const Heartbeat* Dataplane::exception_heartbeat() const {
  const ExceptionThread* const thread = impl_->fabric.exception_thread.get();
  return thread == nullptr ? nullptr : &thread->heartbeat();
}

void Dataplane::count_losses() {
  for (const std::unique_ptr<Port>& port : impl_->fabric.ports)
    port->watch().count_losses();
}

void Dataplane::look_at_links() {
  for (std::size_t i = 0; i < impl_->fabric.ports.size(); ++i) {
    Port& port = *impl_->fabric.ports[i];
    port.watch().look_at_link();
    ExceptionPath* path = impl_->fabric.exceptions[i].get();
    if (path != nullptr && needs_link(i)) path->set_carrier(port.watch().state().up);
  }
}

Dataplane::PortState Dataplane::port_state(std::size_t port) const {
  return impl_->fabric.ports[port]->watch().state();
}

bool Dataplane::needs_link(std::size_t port) const {
  const Driver driver = impl_->fabric.ports[port]->spec().driver;
  return driver != Driver::kMemif && driver != Driver::kTap;
}

const std::string& Dataplane::name(std::size_t port) const {
  return impl_->fabric.ports[port]->name();
}

const flow::WorkerCounters& Dataplane::counters(std::uint16_t worker) const {
  return impl_->workers[worker]->counters();
}

const Heartbeat& Dataplane::heartbeat(std::uint16_t worker) const {
  return impl_->workers[worker]->heartbeat();
}

bool Dataplane::sandboxed() const {
  return std::all_of(impl_->workers.begin(), impl_->workers.end(),
                     [](const auto& worker) { return worker->sandboxed(); });
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

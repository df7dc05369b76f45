// What a worker's round costs when nothing has come: it must not grow with workers and ports that
// have nothing to do with it. One worker of so many runs, over devices that never receive; `cycles`
// is of the processor's time that a round takes.
#include <benchmark/benchmark.h>
#include <rte_bus_vdev.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/published.h"
#include "dataplane/clock.h"
#include "dataplane/eal.h"
#include "dataplane/worker.h"
#include "node.h"

namespace turnpike::bench {
namespace {

using namespace dataplane;

constexpr std::size_t kPortsOfNode = 2;
constexpr std::chrono::milliseconds kWindow(5);

struct PoolDeleter {
  void operator()(rte_mempool* pool) const { rte_mempool_free(pool); }
};

// All of a data plane but its other workers' threads.
class Workers {
 public:
  Workers(std::uint16_t workers, std::uint16_t queues)
      : pool_(rte_pktmbuf_pool_create("frames", 2047, 0,
                                      RTE_ALIGN(sizeof(FrameNotes), RTE_MBUF_PRIV_ALIGN), 2304,
                                      SOCKET_ID_ANY)) {
    if (!pool_) throw std::runtime_error("no memory for frames");
    fabric_.workers = workers;
    fabric_.handed_over = std::vector<Fabric::HandedOver>(workers);
    for (std::size_t port = 0; port < kPortsOfNode; ++port)
      add_port(port, queues);
    fabric_.engines.push_back(std::make_unique<EngineRings>(0, workers));
    for (unsigned owner = 0; workers > 1 && owner < workers; ++owner) {
      auto& fragments = *fabric_.fragments.emplace_back(std::make_unique<Fabric::Fragments>());
      for (unsigned from = 0; from < workers; ++from)
        fragments.from.push_back(make_ring("fragments", owner, from, kFragmentRing));
    }
    Worker::Config config;
    config.pool = config.large = pool_.get();
    worker_ = std::make_unique<Worker>(config, fabric_);
    for (const auto& port : fabric_.ports)
      setup_.ports.push_back(port->info());
    setup_.listeners = {{kListener}};
    worker_->start(setup_, node(1).tables(), routes_, policy_.part<&Policy::of_worker>(), tokens_,
                   qsbr_);
  }
  ~Workers() {
    worker_.reset();
    fabric_.ports.clear();
    for (std::size_t port = 0; port < kPortsOfNode; ++port)
      rte_vdev_uninit(device(port).c_str());
  }

  std::uint64_t rounds() const { return worker_->counters().polls.get(); }

 private:
  struct Policy {
    flow::WorkerPolicy of_worker;
  };

  static std::string device(std::size_t port) { return "net_null" + std::to_string(port); }

  void add_port(std::size_t port, std::uint16_t queues) {
    if (rte_vdev_init(device(port).c_str(), "no-rx=1") != 0)
      throw std::runtime_error("DPDK makes no " + device(port));
    PortSpec spec;
    spec.driver = Driver::kPci;  // whose devices are there already
    spec.device = device(port);
    spec.queues = queues;
    Options options;
    options.workers = fabric_.workers;
    fabric_.ports.push_back(std::make_unique<Port>(port, spec, options));
    if (fabric_.ports[port]->queues() != queues)
      throw std::runtime_error(device(port) + " takes no " + std::to_string(queues) + " queues");
    fabric_.ports[port]->configure(std::vector<rte_mempool*>(queues, pool_.get()));
    fabric_.ports[port]->start();
    fabric_.exceptions.emplace_back();
    fabric_.handoffs.emplace_back();
    for (unsigned from = 0; from < fabric_.workers; ++from)
      fabric_.handoffs[port].push_back(
          make_ring("handoff", static_cast<unsigned>(port), from, 1024));
  }

  std::unique_ptr<rte_mempool, PoolDeleter> pool_;
  Fabric fabric_;
  flow::Setup setup_;
  OneRoute routes_;
  NonceKeeper nonces_{{.key = {1}}};
  Published<Policy> policy_{std::make_unique<const Policy>(Policy{
      flow::WorkerPolicy(StatelessAnswers({.realms = {{.name = "example.org"}}}, nonces_))})};
  TokenSealer tokens_{{2}};
  Qsbr qsbr_;
  std::unique_ptr<Worker> worker_;
};

// Of all threads; but for the worker, all sleep.
double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void idle_round(benchmark::State& state, std::uint16_t count, std::uint16_t queues) {
  const Workers workers(count, queues);
  double least = 1;
  for (auto _ : state) {
    const std::uint64_t before = workers.rounds();
    const double began = processor_seconds();
    std::this_thread::sleep_for(kWindow);
    const double spent = processor_seconds() - began;
    const double each =
        spent / static_cast<double>(std::max<std::uint64_t>(1, workers.rounds() - before));
    state.SetIterationTime(each);
    least = std::min(least, each);
  }
  state.counters["cycles"] = least * static_cast<double>(rte_get_tsc_hz());
}

void add(std::uint16_t workers, std::uint16_t queues) {
  const std::string name =
      "idle_round/" + std::to_string(workers) + "_workers/" + std::to_string(queues) + "_queues";
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) { idle_round(state, workers, queues); })
      ->UseManualTime()
      ->Iterations(100);
}

}  // namespace
}  // namespace turnpike::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  turnpike::dataplane::EalOptions eal;
  eal.hugepages = false;
  turnpike::dataplane::start_eal(eal);
  turnpike::dataplane::start_clock(1);
  turnpike::bench::add(1, 1);
  turnpike::bench::add(16, 16);  // each has a queue of each port
  turnpike::bench::add(16, 1);   // one sends for all others
  benchmark::RunSpecifiedBenchmarks();
  turnpike::dataplane::stop_eal();
  return 0;
}

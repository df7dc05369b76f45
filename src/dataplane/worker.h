// A worker: one thread that polls its receive queues and does all of the data path. No lock, and no
// system call of its own between receive and transmit.
#pragma once

#include <rte_mempool.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/qsbr.h"
#include "dataplane/engine_ring.h"
#include "dataplane/exception.h"
#include "dataplane/port.h"
#include "dataplane/reassembly.h"
#include "flow/fragment.h"
#include "flow/pipeline.h"

namespace turnpike::dataplane {

// Who serves a queue. Ports with one queue each spread over the workers.
inline std::uint16_t queue_owner(std::size_t port, std::uint16_t queue, std::uint16_t workers) {
  return static_cast<std::uint16_t>((port + queue) % workers);
}

// What all workers share; fixed once they run.
struct Fabric {
  std::vector<std::unique_ptr<Port>> ports;
  std::vector<std::unique_ptr<ExceptionPath>> exceptions;  // by port; empty: none
  std::vector<std::unique_ptr<EngineRings>> engines;       // by shard
  // handoffs[port][from worker]: frames for a port none of whose queues is the worker's; taken by
  // queue_owner(port, from).
  std::vector<std::vector<Ring>> handoffs;
  std::uint16_t workers = 1;

  std::uint16_t queue_owner(std::size_t port, std::uint16_t queue) const {
    return dataplane::queue_owner(port, queue, workers);
  }
};

class Worker final : private flow::FragmentSink {
 public:
  struct Config {
    std::uint16_t number = 0;
    int core = 0;
    bool yields = false;  // other threads of ours need this core
    std::uint32_t idle_sleep_us = 0;
    rte_mempool* pool = nullptr;   // for fragments
    rte_mempool* large = nullptr;  // for reassembled datagrams
  };

  Worker(const Config& config, Fabric& fabric);
  ~Worker() override;

  void start(const flow::Setup& setup, const flow::Tables& tables, flow::NextHopResolver& next_hops,
             const FrontDoor& door, const TokenSealer& tokens, Qsbr& qsbr);
  void stop();

  const flow::WorkerCounters& counters() const { return counters_; }
  std::uint64_t heartbeat_ms() const { return heartbeat_ms_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint16_t kBurst = 32;
  static constexpr std::size_t kMaxWaiting = 64;
  static constexpr std::ptrdiff_t kMaxWaitingForOne = 4;  // neighbour

  struct Queue {
    std::size_t port;
    std::uint16_t queue;
  };
  struct Outgoing {
    int queue = -1;  // -1: by the queue's owner
    std::uint16_t n = 0;
    std::array<rte_mbuf*, kBurst> frames{};
  };

  void run();
  bool round(Instant now);
  bool receive(Instant now, const Queue& queue);
  void process(Instant now, rte_mbuf** frames, std::uint16_t n, std::size_t port, bool reassembled);
  void dispose(Instant now, flow::Packet& packet);
  void transmit(flow::Packet& packet);
  void transmit_addressed(flow::Packet& packet);
  bool address_frame(flow::Packet& packet);
  std::uint32_t generation_of(const flow::Packet& packet) const;
  void wait_for_neighbour(flow::Packet& packet);
  void retry_waiting(std::uint64_t now_ms);
  void reassemble(Instant now, flow::Packet& packet);
  void to_engine(flow::Packet& packet);
  void to_kernel(flow::Packet& packet);
  bool collect_replies();
  unsigned collect_replies(EngineRings& engine);
  bool take_handoffs();
  bool take_exceptions();
  void enqueue_to(const flow::NextHop& hop, rte_mbuf* mbuf);
  void enqueue(std::size_t port, rte_mbuf* mbuf);
  void flush(std::size_t port);
  void flush_all();
  void count_drop(flow::Drop reason, std::uint64_t n = 1);
  void housekeeping();
  void rest();

  std::span<std::uint8_t> take(std::size_t size) override;
  void done(std::size_t size) override;

  Config config_;
  Fabric& fabric_;
  flow::WorkerCounters counters_;
  std::vector<Queue> queues_;
  std::vector<Outgoing> outgoing_;  // by port
  std::vector<rte_mbuf*> waiting_;
  std::unique_ptr<Reassembly> reassembly_;
  std::unique_ptr<flow::Pipeline> pipeline_;
  flow::NextHop* next_hops_ = nullptr;
  Qsbr* qsbr_ = nullptr;
  std::uint32_t fragment_id_;  // no two workers' are equal
  const flow::NextHop* fragment_hop_ = nullptr;
  rte_mbuf* fragment_ = nullptr;                            // being filled
  bool out_of_buffers_ = false;                             // the last take() had none
  alignas(64) std::atomic<std::uint64_t> heartbeat_ms_{0};  // worker: wo, others: ro
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace turnpike::dataplane

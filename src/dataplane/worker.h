// A worker: one thread that polls its receive queues and does all of the data path. No lock, and no
// system call of its own between receive and transmit.
#pragma once

#include <rte_mempool.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/heartbeat.h"
#include "base/keyed_hash.h"
#include "base/qsbr.h"
#include "dataplane/engine_ring.h"
#include "dataplane/exception.h"
#include "dataplane/placement.h"
#include "dataplane/port.h"
#include "dataplane/reassembly.h"
#include "flow/fragment.h"
#include "flow/fragment_table.h"
#include "flow/pipeline.h"

namespace turnpike::dataplane {

// Who serves a queue. Ports with one queue each spread over the workers.
inline std::uint16_t queue_owner(std::size_t port, std::uint16_t queue, std::uint16_t workers) {
  return static_cast<std::uint16_t>((port + queue) % workers);
}

inline constexpr unsigned kFragmentRing = 256;

// What all workers share; fixed once they run.
struct Fabric {
  std::vector<std::unique_ptr<Port>> ports;
  std::vector<std::unique_ptr<ExceptionPath>> exceptions;  // by port; empty: none
  std::vector<std::unique_ptr<EngineRings>> engines;       // by shard
  // handoffs[port][from worker]: frames for a port none of whose queues is the worker's; taken by
  // queue_owner(port, from).
  std::vector<std::vector<Ring>> handoffs;
  // By worker, if there are several: fragments of datagrams that are his to put together.
  struct Fragments {
    std::vector<Ring> from;            // by worker
    std::atomic<bool> waiting{false};  // set by who has put something in, cleared by the owner
  };
  std::vector<std::unique_ptr<Fragments>> fragments;
  HashKey fragment_key{};  // random: nobody chooses the worker of his fragments
  std::uint16_t workers = 1;

  std::uint16_t queue_owner(std::size_t port, std::uint16_t queue) const {
    return dataplane::queue_owner(port, queue, workers);
  }
};

class Worker final : private flow::FragmentSink {
 public:
  struct Config {
    std::uint16_t number = 0;
    Placement::Seat seat;
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
  const Heartbeat& heartbeat() const { return heartbeat_; }
  // Once start() has returned.
  bool sandboxed() const { return sandboxed_; }

 private:
  static constexpr std::uint16_t kBurst = 32;
  static constexpr std::size_t kMaxWaiting = 128;
  static constexpr std::ptrdiff_t kMaxWaitingForOne = 16;  // neighbour: a burst of several calls
  static constexpr std::ptrdiff_t kSureOfOne = 2;          // though all places are taken

  struct Queue {
    std::size_t port;
    std::uint16_t queue;
  };
  struct Outgoing {
    int queue = -1;  // -1: by the queue's owner
    std::uint16_t n = 0;
    std::array<rte_mbuf*, kBurst> frames{};
  };

  void take_seat();
  void run();
  void run_rounds();
  bool round(Instant now);
  void count_stall(std::uint64_t cycles);
  void wake_engines();
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
  void hand_over(flow::Packet& packet, std::size_t owner);
  void put_together(Instant now, flow::Packet& packet, const flow::Fragment& fragment);
  bool take_fragments(Instant now);
  void to_engine(flow::Packet& packet);
  void wait_for_answer(flow::Packet& packet);
  void answered(Instant now, const flow::Packet& request);
  void try_again(Instant now, rte_mbuf* mbuf);
  bool give_up_waiting();
  void to_kernel(flow::Packet& packet);
  void refuse_vlan(flow::Packet& packet);
  bool collect_replies(Instant now);
  unsigned collect_replies(Instant now, EngineRings& engine);
  bool take_handoffs();
  bool take_exceptions();
  void enqueue_to(const flow::NextHop& hop, rte_mbuf* mbuf);
  void enqueue(std::size_t port, rte_mbuf* mbuf);
  void flush(std::size_t port);
  void flush_all();
  void count_drop(flow::Drop reason, std::uint64_t n = 1);
  void housekeeping();
  bool rest();

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
  const flow::Arrivals* arrivals_ = nullptr;  // by port; none: any tags
  Qsbr* qsbr_ = nullptr;
  std::uint32_t fragment_id_;  // no two workers' are equal
  const flow::NextHop* fragment_hop_ = nullptr;
  rte_mbuf* fragment_ = nullptr;   // being filled
  bool out_of_buffers_ = false;    // the last take() had none
  bool asked_engines_ = false;     // in this round
  std::uint64_t received_at_ = 0;  // when this round's first burst was there; 0: none
  std::array<std::uint64_t, flow::kStallBounds.size()> stall_cycles_{};
  alignas(64) Heartbeat heartbeat_;  // worker: wo, others: ro
  std::atomic<bool> stop_{false};
  std::promise<void> seated_;  // or why not
  bool sandboxed_ = false;     // once it is seated
  std::thread thread_;
};

}  // namespace turnpike::dataplane

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
#include <span>
#include <thread>
#include <vector>

#include "base/heartbeat.h"
#include "base/published.h"
#include "base/qsbr.h"
#include "dataplane/engine_ring.h"
#include "dataplane/exception.h"
#include "dataplane/fabric.h"
#include "dataplane/placement.h"
#include "dataplane/port.h"
#include "dataplane/reassembly.h"
#include "dataplane/transmitter.h"
#include "dataplane/waiting_room.h"
#include "flow/pipeline.h"

namespace turnpike::dataplane {

class Worker {
 public:
  struct Config {
    std::uint16_t number = 0;
    Placement::Seat seat;
    std::uint32_t idle_sleep_us = 0;
    rte_mempool* pool = nullptr;   // for fragments
    rte_mempool* large = nullptr;  // for reassembled datagrams
  };

  Worker(const Config& config, Fabric& fabric);
  ~Worker();

  void start(const flow::Setup& setup, const flow::Tables& tables, flow::NextHopResolver& next_hops,
             const PublishedPart<flow::WorkerPolicy>& policy, const TokenSealer& tokens,
             Qsbr& qsbr);
  void stop();

  const flow::WorkerCounters& counters() const { return counters_; }
  const Heartbeat& heartbeat() const { return heartbeat_; }
  // Once start() has returned.
  bool sandboxed() const { return sandboxed_; }

 private:
  struct Queue {
    std::size_t port;
    std::uint16_t queue;
  };
  struct Exception {
    std::size_t port;
    ExceptionPath* path;
  };

  void take_seat();
  void run();
  void run_rounds();
  bool round(Instant now);
  void count_stall(std::uint64_t cycles);
  bool tell_shards();
  void wake_engines();
  bool receive(Instant now, const Queue& queue);
  void process(Instant now, rte_mbuf** frames, std::uint16_t n, std::size_t port,
               flow::Checksum untold, bool reassembled);
  void dispose(Instant now, flow::Packet& packet);
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
  bool take_exceptions();
  bool take_streams(Instant now);
  void take_streams(Instant now, std::size_t port, std::span<rte_mbuf*> frames);
  // Whether its place could be had; the frame is given back then.
  bool tell_closed(rte_mbuf* frame);
  void ring_streams();
  void send_out(Instant now, rte_mbuf* frame);
  void to_session(flow::Packet& packet);
  void count_drop(flow::Drop reason, std::uint64_t n = 1);
  void housekeeping();
  bool rest();

  Config config_;
  Fabric& fabric_;
  flow::WorkerCounters counters_;
  std::vector<Queue> queues_;
  std::vector<Exception> exceptions_;  // whose frames from the kernel it sends
  Transmitter transmitter_;
  WaitingRoom waiting_;
  std::unique_ptr<Reassembly> reassembly_;
  std::optional<PublishedPart<flow::WorkerPolicy>> policy_;  // since start(); by its number
  std::unique_ptr<flow::Pipeline> pipeline_;
  const flow::Arrivals* arrivals_ = nullptr;  // by port; none: any tags
  Qsbr* qsbr_ = nullptr;
  std::vector<rte_mbuf*> closed_;  // tell of streams that are no more, and wait for a place
  bool asked_engines_ = false;     // in this round
  bool told_kernel_ = false;       // likewise, by an exception path
  std::uint64_t received_at_ = 0;  // when this round's first burst was there; 0: none
  std::array<std::uint64_t, flow::kStallBounds.size()> stall_cycles_{};
  alignas(64) Heartbeat heartbeat_;  // worker: wo, others: ro
  std::atomic<bool> stop_{false};
  std::promise<void> seated_;  // or why not
  bool sandboxed_ = false;     // once it is seated
  std::thread thread_;
};

}  // namespace turnpike::dataplane

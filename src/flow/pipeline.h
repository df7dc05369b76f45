// One packet's way, in one place:
//
//     receive → classify → look up → rewrite → transmit
//
// The worker (dataplane/worker.cpp) receives and transmits; the three stages between are here, each over the whole
// burst. After process() every packet's verdict is one of kTransmit, kTransmitBack, kEngine, kKernel,
// kReassemble or kDrop.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "flow/counters.h"
#include "flow/next_hop.h"
#include "flow/packet.h"
#include "flow/tables.h"
#include "turnpike/server.h"
#include "wire/front_door.h"
#include "wire/reservation_token.h"

namespace turnpike::flow {

struct PortInfo {
  std::array<std::uint8_t, 6> mac{};
  std::uint16_t mtu = 1500;
  bool offloads_udp_checksum = false;
  bool sees_own_frames = false;  // af_packet: drop frames whose source MAC is ours
};

struct Listener {
  Endpoint endpoint;  // as the wire of this node has it
};

// What is the same for all workers and does not change after the start.
struct Setup {
  std::vector<PortInfo> ports;
  std::vector<Listener> listeners;
  std::vector<RelayedAddress> relayed;
  std::vector<Address> local;              // further addresses of this node (for ICMP, kernel lane)
  std::uint16_t channel_max = 0x4FFF;
  std::uint32_t stateless_answers_per_burst = 16;
  std::uint32_t icmp_per_second = 100;     // our own errors, per worker
  std::uint8_t shard_count = 1;
};

class Pipeline {
 public:
  static constexpr std::size_t kMaxBurst = 64;

  // Keeps references; all outlive it. One Pipeline per worker, called by it alone. `counters` is
  // written by this worker only.
  Pipeline(const Setup& setup, const Tables& tables, NextHopResolver& next_hops,
           const FrontDoor& door, const TokenSealer& tokens, WorkerCounters& counters);

  // At most kMaxBurst packets. Wall time doesn't matter here: `now` is the engine's clock.
  void process(Instant now, std::span<Packet> burst);

  // Replaces the UDP payload of a request frame by the engine's `reply` and turns the frame round: used by the worker on what
  // comes back from the engine (the reply is already in the frame, at packet.payload, reply_size bytes).
  void finish_reply(Packet& packet, std::size_t reply_size);

 private:
  void classify(Instant now, std::span<Packet> burst);
  void look_up(Instant now, std::span<Packet> burst);
  void rewrite(Instant now, std::span<Packet> burst);

  const Setup& setup_;
  const Tables& tables_;
  NextHopResolver& next_hops_;
  const FrontDoor& door_;
  const TokenSealer& tokens_;
  WorkerCounters& counters_;
};

}  // namespace turnpike::flow

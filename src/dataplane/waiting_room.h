// Where packets wait for the MAC of their next hop: a few for each neighbour, so that one that
// doesn't answer can't hold all places; and where several do, a newcomer takes the place of the
// oldest.
#pragma once

#include <rte_mbuf.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dataplane/transmitter.h"
#include "flow/counters.h"
#include "flow/packet.h"
#include "tables/next_hop.h"

namespace turnpike::dataplane {

// One worker's; its thread alone.
class WaitingRoom {
 public:
  WaitingRoom(Transmitter& transmitter, flow::WorkerCounters& counters);
  // Before the first packet.
  void set_next_hops(const flow::NextHop* table) { next_hops_ = table; }

  // Takes the packet's frame.
  void enter(flow::Packet& packet);
  // Sends those whose neighbour has answered; gives up those that have waited too long, or whose
  // next hop is another's by now.
  void look(std::uint64_t now_ms);
  void leave_all();
  bool empty() const { return waiting_.empty(); }

 private:
  static constexpr std::size_t kMax = 128;
  static constexpr std::ptrdiff_t kMaxForOne = 16;  // neighbour: a burst of several calls
  static constexpr std::ptrdiff_t kSureOfOne = 2;   // though all places are taken

  std::uint32_t generation_of(const flow::Packet& packet) const;
  void give_up(rte_mbuf* mbuf);

  Transmitter& transmitter_;
  flow::WorkerCounters& counters_;
  const flow::NextHop* next_hops_ = nullptr;
  std::vector<rte_mbuf*> waiting_;  // the oldest first
};

}  // namespace turnpike::dataplane

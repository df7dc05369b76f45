// Datagrams that came as fragments, put together by copy into one buffer. Of one worker; which
// fragments wait, and for how long, is flow/fragment_table.h's.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <cstdint>
#include <optional>
#include <span>

#include "flow/counters.h"
#include "flow/fragment_table.h"
#include "flow/packet.h"

namespace turnpike::dataplane {

class Reassembly {
 public:
  // Frames that wait at a time.
  static constexpr unsigned kMostWaiting =
      flow::FragmentTable::kDatagrams * flow::FragmentTable::kPieces;

  // What is whole is put into a buffer of `frames`, or of `large` if it is too long for that. The
  // latter are few, and what fits a link may stay in its transmit ring.
  Reassembly(rte_mempool* frames, rte_mempool* large, flow::WorkerCounters& counters)
      : frames_(frames), large_(large), counters_(counters) {}
  ~Reassembly();
  Reassembly(const Reassembly&) = delete;
  Reassembly& operator=(const Reassembly&) = delete;

  // Takes the packet's frame, which ends with it. Returns the whole datagram in one buffer once its
  // last piece is there; nullptr otherwise. What is lost on the way is counted.
  rte_mbuf* add(Instant now, const flow::Packet& packet, const flow::Fragment& fragment,
                std::optional<AllocationSlot> owner);

 private:
  using Pieces = std::span<const flow::FragmentTable::Piece>;
  void free_given_up();
  rte_mbuf* linear(Pieces pieces, std::uint16_t l3, bool v4);

  flow::FragmentTable table_;
  rte_mempool* frames_;
  rte_mempool* large_;
  flow::WorkerCounters& counters_;
};

}  // namespace turnpike::dataplane

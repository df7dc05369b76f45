// The end of a packet's way: Ethernet addresses, fragments of what is too long, VLAN tags, and a
// burst to a port's queue, or by a ring to the worker that has one.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/fabric.h"
#include "flow/counters.h"
#include "flow/fragment.h"
#include "flow/packet.h"
#include "tables/next_hop.h"

namespace turnpike::dataplane {

inline constexpr std::uint16_t kBurst = 32;

inline rte_mbuf* mbuf_of(const flow::Packet& packet) {
  return static_cast<rte_mbuf*>(packet.cookie);
}

// The mbuf takes over where the pipeline has put the frame.
inline void sync(const flow::Packet& packet) {
  rte_mbuf* mbuf = mbuf_of(packet);
  mbuf->data_off = packet.headroom;
  mbuf->data_len = static_cast<std::uint16_t>(packet.length);
  mbuf->pkt_len = packet.length;
}

// One worker's; its thread alone. Frames that are given to it are its own from then on.
class Transmitter final : private flow::FragmentSink {
 public:
  struct Pools {
    rte_mempool* frames;  // for fragments
    rte_mempool* large;   // for what is longer than a frame
  };
  Transmitter(Fabric& fabric, std::uint16_t worker, const Pools& pools,
              flow::WorkerCounters& counters);
  // Before the first packet.
  void set_next_hops(flow::NextHop* table) { next_hops_ = table; }

  // To the packet's next hop, in pieces where its path takes no more. False while that one's
  // address is unknown: the packet stays the caller's.
  bool transmit(flow::Packet& packet);
  // A whole frame but for its VLAN tags, by a port, in pieces where its path takes no more.
  void transmit_by(std::uint16_t port, const flow::VlanTags& tags, flow::Packet& packet);
  // A whole frame, by a port.
  void enqueue(std::size_t port, rte_mbuf* mbuf) {
    Outgoing& out = outgoing_[port];
    out.frames[out.n++] = mbuf;
    if (out.n == kBurst) flush(port);
  }
  // Frames of workers that have no queue of a port of ours. True if there were any.
  bool take_handoffs();
  void flush();

  // Of all fragments that this worker makes; no two workers' are equal.
  std::uint32_t next_fragment_id() { return fragment_id_ += fabric_.workers; }

 private:
  struct Outgoing {
    int queue = -1;           // -1: by the queue's owner
    std::uint16_t owner = 0;  // of the queue by which it goes
    std::uint16_t n = 0;
    flow::SourceMac mac;  // the port's own
    std::array<rte_mbuf*, kBurst> frames{};
  };
  struct Inbox {
    std::size_t port;
    rte_ring* ring;
  };

  // Where a frame goes when it is whole.
  struct Way {
    std::uint16_t port;
    const flow::VlanTags* tags;
  };
  void transmit_by(const Way& way, const flow::Packet& packet, std::size_t mtu);
  void enqueue_to(const Way& way, rte_mbuf* mbuf);
  void flush(std::size_t port);
  void count_drop(flow::Drop reason, std::uint64_t n = 1);
  std::span<std::uint8_t> take(std::size_t size) override;
  void done(std::size_t size) override;

  Fabric& fabric_;
  const std::uint16_t worker_;
  const Pools pools_;
  flow::WorkerCounters& counters_;
  std::vector<Outgoing> outgoing_;  // by port
  std::vector<Inbox> inboxes_;      // of those alone who have to give us theirs
  flow::NextHop* next_hops_ = nullptr;
  std::uint32_t fragment_id_;
  Way fragment_way_{};
  rte_mbuf* fragment_ = nullptr;  // being filled
  bool out_of_buffers_ = false;   // the last take() had none
};

}  // namespace turnpike::dataplane

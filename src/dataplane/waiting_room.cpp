// A packet waits in its own frame's notes: no memory but the list of who waits.
#include "dataplane/waiting_room.h"

#include <algorithm>

#include "dataplane/clock.h"
#include "dataplane/engine_ring.h"

namespace turnpike::dataplane {
namespace {

constexpr std::uint64_t kPatienceMs = 1000;

}  // namespace

WaitingRoom::WaitingRoom(Transmitter& transmitter, flow::WorkerCounters& counters)
    : transmitter_(transmitter), counters_(counters) {
  waiting_.reserve(kMax);
}

std::uint32_t WaitingRoom::generation_of(const flow::Packet& packet) const {
  const flow::NextHop& hop = next_hops_[static_cast<std::uint32_t>(packet.next_hop)];
  return hop.generation.load(std::memory_order_relaxed);
}

void WaitingRoom::give_up(rte_mbuf* mbuf) {
  counters_.drops[static_cast<std::size_t>(flow::Drop::kNoNeighbour)].add(1);
  rte_pktmbuf_free(mbuf);
}

void WaitingRoom::enter(flow::Packet& packet) {
  rte_mbuf* mbuf = mbuf_of(packet);
  const auto same = std::count_if(waiting_.begin(), waiting_.end(), [&](rte_mbuf* other) {
    return notes_of(other).packet.next_hop == packet.next_hop;
  });
  const bool full = waiting_.size() == kMax;
  if (same >= kMaxForOne || (full && same >= kSureOfOne)) return give_up(mbuf);
  if (full) {
    give_up(waiting_.front());
    waiting_.erase(waiting_.begin());
  }
  FrameNotes& notes = notes_of(mbuf);
  notes.packet = packet;
  notes.since_ms = real_ms();
  notes.generation = generation_of(packet);
  waiting_.push_back(mbuf);
}

void WaitingRoom::look(std::uint64_t now_ms) {
  std::size_t kept = 0;
  for (rte_mbuf* mbuf : waiting_) {
    FrameNotes& notes = notes_of(mbuf);
    const bool same = notes.generation == generation_of(notes.packet);
    if (same && transmitter_.transmit(notes.packet)) continue;
    if (!same || now_ms - notes.since_ms > kPatienceMs) {
      give_up(mbuf);
    } else {
      waiting_[kept++] = mbuf;
    }
  }
  waiting_.resize(kept);
  transmitter_.flush();
}

void WaitingRoom::leave_all() {
  for (rte_mbuf* mbuf : waiting_)
    rte_pktmbuf_free(mbuf);
  waiting_.clear();
}

}  // namespace turnpike::dataplane

// Each ring holds all that may be in it: no frame is ever without a place to go back to.
#include "dataplane/datagram_rings.h"

#include <algorithm>
#include <cassert>

namespace turnpike::dataplane {
namespace {

constexpr unsigned kBurstSize = 32;

void** pointers(rte_mbuf** frames) {
  return reinterpret_cast<void**>(frames);
}

}  // namespace

DatagramRings::DatagramRings(std::uint16_t workers, Doorbell& bell) : bell_(bell) {
  for (std::uint16_t worker = 0; worker < workers; ++worker) {
    Lane& lane = lanes_.emplace_back();
    lane.datagrams[kStranger] = make_ring("dtls-strangers", 0, worker, kInFlight + 1);
    lane.datagrams[kKnown] = make_ring("dtls-known", 0, worker, kInFlight + 1);
    lane.back = make_ring("dtls-back", 0, worker, 2 * (kInFlight + 1));
  }
}

DatagramRings::Who DatagramRings::who(const rte_mbuf* frame) {
  return notes_of(frame).packet.has_allocation ? kKnown : kStranger;
}

bool DatagramRings::submit(std::uint16_t worker, rte_mbuf* frame) {
  Lane& lane = lanes_[worker];
  const Who of = who(frame);
  if (lane.in_flight[of] == kInFlight) return false;
  [[maybe_unused]] const int result = rte_ring_sp_enqueue(lane.datagrams[of].get(), frame);
  assert(result == 0);
  ++lane.in_flight[of];
  lane.submitted = true;
  return true;
}

void DatagramRings::reclaim(std::uint16_t worker) {
  Lane& lane = lanes_[worker];
  std::array<rte_mbuf*, kBurstSize> frames;
  while (!has_none(lane.back.get())) {
    const unsigned n =
        rte_ring_sc_dequeue_burst(lane.back.get(), pointers(frames.data()), kBurstSize, nullptr);
    for (unsigned i = 0; i < n; ++i)
      --lane.in_flight[who(frames[i])];
    rte_pktmbuf_free_bulk(frames.data(), n);
  }
}

void DatagramRings::ring(std::uint16_t worker) {
  Lane& lane = lanes_[worker];
  if (!lane.submitted) return;
  lane.submitted = false;
  bell_.ring();
}

unsigned DatagramRings::collect(std::uint16_t worker, Who who, rte_mbuf** out, unsigned most) {
  return rte_ring_sc_dequeue_burst(lanes_[worker].datagrams[who].get(), pointers(out), most,
                                   nullptr);
}

void DatagramRings::give_back(std::uint16_t worker, rte_mbuf** frames, unsigned count) {
  [[maybe_unused]] const unsigned put =
      rte_ring_sp_enqueue_bulk(lanes_[worker].back.get(), pointers(frames), count, nullptr);
  assert(put == count);
}

bool DatagramRings::has_work() const {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) {
    return !has_none(lane.datagrams[kKnown].get()) || !has_none(lane.datagrams[kStranger].get());
  });
}

void DatagramRings::drain() {
  for (Lane& lane : lanes_) {
    for (rte_ring* ring :
         {lane.datagrams[kKnown].get(), lane.datagrams[kStranger].get(), lane.back.get()}) {
      void* frame = nullptr;
      while (rte_ring_sc_dequeue(ring, &frame) == 0)
        rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
    }
  }
}

}  // namespace turnpike::dataplane

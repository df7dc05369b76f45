// Requests and replies over rings of one producer and one consumer each: neither side ever
// waits.
#include "dataplane/engine_ring.h"

#include <rte_errno.h>
#include <rte_lcore.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace turnpike::dataplane {
namespace {

// Into a ring with a place for all that may be in it.
void put(rte_ring* ring, rte_mbuf* mbuf) {
  [[maybe_unused]] const int result = rte_ring_sp_enqueue(ring, mbuf);
  assert(result == 0);
}

}  // namespace

FrameNotes& notes_of(rte_mbuf* mbuf) {
  return *static_cast<FrameNotes*>(rte_mbuf_to_priv(mbuf));
}

const FrameNotes& notes_of(const rte_mbuf* mbuf) {
  return *static_cast<const FrameNotes*>(rte_mbuf_to_priv(const_cast<rte_mbuf*>(mbuf)));
}

Ring make_ring(const char* purpose, unsigned a, unsigned b, unsigned size, unsigned element) {
  const std::string name = std::string(purpose) + "-" + std::to_string(a) + "-" + std::to_string(b);
  Ring ring(rte_ring_create_elem(name.c_str(), element, size, SOCKET_ID_ANY,
                                 RING_F_SP_ENQ | RING_F_SC_DEQ));
  if (!ring)
    throw std::runtime_error("no memory for ring " + name + ": " + rte_strerror(rte_errno));
  return ring;
}

EngineRings::EngineRings(std::uint8_t shard, std::uint16_t workers) {
  // A ring holds one less than its size.
  constexpr unsigned kSize = kInFlight + 1;
  for (std::uint16_t worker = 0; worker < workers; ++worker) {
    Lane& lane = lanes_.emplace_back();
    lane.requests[kStranger] = make_ring("strangers", shard, worker, kSize);
    lane.requests[kKnown] = make_ring("known", shard, worker, kSize);
    lane.notices = make_ring("notices", shard, worker, kMostNotices + 1, sizeof(Notice));
    lane.back = make_ring("back", shard, worker, kWho * kSize);
  }
}

EngineRings::Who EngineRings::who(const rte_mbuf* mbuf) {
  return notes_of(mbuf).packet.has_allocation ? kKnown : kStranger;
}

bool EngineRings::submit(std::uint16_t worker, rte_mbuf* mbuf) {
  Lane& lane = lanes_[worker];
  const Who kind = who(mbuf);
  if (lane.in_flight[kind] == kInFlight) return false;
  ++lane.in_flight[kind];
  lane.submitted = true;
  put(lane.requests[kind].get(), mbuf);
  return true;
}

bool EngineRings::notify(std::uint16_t worker, Notice notice) {
  Lane& lane = lanes_[worker];
  if (rte_ring_sp_enqueue_elem(lane.notices.get(), &notice, sizeof notice) != 0) return false;
  lane.submitted = true;
  return true;
}

void EngineRings::ring(std::uint16_t worker) {
  Lane& lane = lanes_[worker];
  if (!lane.submitted) return;
  lane.submitted = false;
  bell_.ring();
}

void EngineRings::wait(std::uint64_t most_ns) {
  bell_.wait(most_ns, [this] { return !is_empty(); });
}

bool EngineRings::is_empty() const {
  return std::all_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) {
    return has_none(lane.notices.get()) &&
           std::all_of(lane.requests.begin(), lane.requests.end(),
                       [](const Ring& ring) { return has_none(ring.get()); });
  });
}

unsigned EngineRings::collect(std::uint16_t worker, rte_mbuf** out, unsigned most) {
  Lane& lane = lanes_[worker];
  const unsigned n =
      rte_ring_sc_dequeue_burst(lane.back.get(), reinterpret_cast<void**>(out), most, nullptr);
  for (unsigned i = 0; i < n; ++i)
    --lane.in_flight[who(out[i])];
  return n;
}

std::size_t EngineRings::take(rte_ring* ring, std::span<EngineRequest> out) {
  std::array<void*, 32> frames{};
  const unsigned most = static_cast<unsigned>(std::min(out.size(), frames.size()));
  const unsigned n = rte_ring_sc_dequeue_burst(ring, frames.data(), most, nullptr);
  for (unsigned i = 0; i < n; ++i) {
    auto* mbuf = static_cast<rte_mbuf*>(frames[i]);
    const flow::Packet& packet = notes_of(mbuf).packet;
    out[i].token = static_cast<RequestToken>(reinterpret_cast<std::uintptr_t>(mbuf));
    out[i].client = ClientEndpoint{packet.source};
    out[i].listener = packet.listener;
    out[i].message = {packet.data + packet.payload, packet.payload_size};
  }
  return n;
}

// The workers take turns at being first.
std::size_t EngineRings::take_all(Who who, std::span<EngineRequest> out) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    Lane& lane = lanes_[(next_ + i) % lanes_.size()];
    n += take(lane.requests[who].get(), out.subspan(n));
  }
  return n;
}

// Neither kind can keep the other from its share: a quarter is the strangers', the rest that of
// known five-tuples, and what one of them leaves is the other's.
std::size_t EngineRings::receive(std::span<EngineRequest> out) {
  std::size_t n = take_all(kKnown, out.first(out.size() - out.size() / 4));
  n += take_all(kStranger, out.subspan(n));
  n += take_all(kKnown, out.subspan(n));
  next_ = (next_ + 1) % lanes_.size();
  return n;
}

std::size_t EngineRings::receive(std::span<Notice> out) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    rte_ring* ring = lanes_[(next_ + i) % lanes_.size()].notices.get();
    n += rte_ring_sc_dequeue_burst_elem(ring, out.data() + n, sizeof(Notice),
                                        static_cast<unsigned>(out.size() - n), nullptr);
  }
  return n;
}

void EngineRings::reply(RequestToken token, stun::Bytes message) {
  auto* mbuf = reinterpret_cast<rte_mbuf*>(static_cast<std::uintptr_t>(token));
  flow::Packet& packet = notes_of(mbuf).packet;
  const std::size_t room = packet.length - packet.payload + packet.tailroom;
  if (message.size() > room) return give_back(mbuf, 0);
  std::memcpy(packet.data + packet.payload, message.data(), message.size());
  give_back(mbuf, message.size());
}

void EngineRings::discard(RequestToken token) {
  give_back(reinterpret_cast<rte_mbuf*>(static_cast<std::uintptr_t>(token)), 0);
}

void EngineRings::give_back(rte_mbuf* mbuf, std::size_t reply_size) {
  FrameNotes& notes = notes_of(mbuf);
  notes.reply_size = static_cast<std::uint32_t>(reply_size);
  put(lanes_[notes.worker].back.get(), mbuf);
}

void EngineRings::drain() {
  for (Lane& lane : lanes_) {
    for (rte_ring* ring :
         {lane.requests[kStranger].get(), lane.requests[kKnown].get(), lane.back.get()}) {
      void* frame = nullptr;
      while (rte_ring_sc_dequeue(ring, &frame) == 0)
        rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
    }
  }
}

}  // namespace turnpike::dataplane

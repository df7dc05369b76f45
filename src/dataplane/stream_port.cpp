// Rings that hold all that may be in them: no frame is ever without a place to go back to.
#include "dataplane/stream_port.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "wire/headers.h"

namespace turnpike::dataplane {
namespace {

constexpr unsigned kBurstSize = 32;
constexpr unsigned kMostOut = 2 * StreamPort::kFrames + 1;  // what a ring of `read` holds

bool is_large(const rte_mbuf* frame) {
  return frame->buf_len >= kLargeRoom;
}

// Whether it brings a client an answer (RFC 8489 §5), in the headers that it would have by UDP.
bool is_answer(const rte_mbuf* frame) {
  const auto* const data = rte_pktmbuf_mtod(frame, const std::uint8_t*);
  constexpr std::size_t kIp = wire::ethernet::kSize;
  if (frame->data_len <= kIp) return false;
  const std::size_t ip =
      wire::ipv4::version(data + kIp) == 4 ? wire::ipv4::kMinSize : wire::ipv6::kSize;
  const std::size_t at = kIp + ip + wire::udp::kSize;
  if (frame->data_len < at + 2) return false;
  const std::uint16_t type = wire::load_be16(data + at);
  return type < 0x4000 && (type & 0x0100) != 0;
}

void** pointers(rte_mbuf** frames) {
  return reinterpret_cast<void**>(frames);
}

}  // namespace

StreamPort::StreamPort(unsigned number, std::uint16_t workers) {
  for (std::uint16_t worker = 0; worker < workers; ++worker) {
    Lane& lane = lanes_.emplace_back();
    lane.empty = make_ring("stream-empty", number, worker, kFrames + 1);
    lane.large = make_ring("stream-large", number, worker, kLargeFrames + 1);
    lane.filled = make_ring("stream-filled", number, worker, 2 * (kFrames + 1));
    lane.outgoing = make_ring("stream-out", number, worker, kFrames + 1);
    // Those on their way out, and those that the thread has in its hands.
    lane.read = make_ring("stream-read", number, worker, kMostOut + 1);
  }
}

unsigned StreamPort::receive(std::uint16_t worker, rte_mbuf** out, unsigned most) {
  Lane& lane = lanes_[worker];
  if (room_in(lane) < 2 * most) return 0;
  const unsigned n = rte_ring_sc_dequeue_burst(lane.filled.get(), pointers(out), most, nullptr);
  for (unsigned i = 0; i < n; ++i)
    --(is_large(out[i]) ? lane.lent_large : lane.lent);
  return n;
}

unsigned StreamPort::room_in(const Lane& lane) {
  return std::min(room_left(lane.outgoing.get()), kMostOut - lane.out);
}

void StreamPort::lend(rte_mempool* pool, rte_ring* ring, unsigned most, unsigned& lent) {
  std::array<rte_mbuf*, kBurstSize> frames;
  while (lent < most) {
    const unsigned count = std::min(most - lent, kBurstSize);
    if (rte_pktmbuf_alloc_bulk(pool, frames.data(), count) != 0) return;
    for (unsigned i = 0; i < count; ++i) {
      notes_of(frames[i]).tags.size = 0;
      notes_of(frames[i]).goes_out = false;
    }
    [[maybe_unused]] const unsigned put =
        rte_ring_sp_enqueue_bulk(ring, pointers(frames.data()), count, nullptr);
    assert(put == count);
    lent += count;
  }
}

void StreamPort::refill(std::uint16_t worker, rte_mempool* pool, rte_mempool* large) {
  Lane& lane = lanes_[worker];
  std::array<rte_mbuf*, kBurstSize> frames;
  while (!has_none(lane.read.get())) {
    const unsigned n =
        rte_ring_sc_dequeue_burst(lane.read.get(), pointers(frames.data()), kBurstSize, nullptr);
    rte_pktmbuf_free_bulk(frames.data(), n);
    lane.out -= n;
  }
  // Not one by one.
  if (kFrames - lane.lent >= kBurstSize) lend(pool, lane.empty.get(), kFrames, lane.lent);
  lend(large, lane.large.get(), kLargeFrames, lane.lent_large);
}

unsigned StreamPort::send(std::uint16_t worker, rte_mbuf** frames, unsigned count) {
  Lane& lane = lanes_[worker];
  lane.sent = true;
  const unsigned room = room_in(lane);
  unsigned most = std::min(count, room);
  if (room < count + kForAnswers) {
    unsigned answers = 0;
    for (unsigned i = 0; i < count; ++i) {
      if (is_answer(frames[i])) std::rotate(frames + answers++, frames + i, frames + i + 1);
    }
    const unsigned media = room > kForAnswers ? room - kForAnswers : 0;
    most = std::min(room, answers + std::min(media, count - answers));
  }
  const unsigned sent =
      rte_ring_sp_enqueue_burst(lane.outgoing.get(), pointers(frames), most, nullptr);
  lane.out += sent;
  return sent;
}

void StreamPort::ring(std::uint16_t worker) {
  Lane& lane = lanes_[worker];
  if (!lane.sent) return;
  lane.sent = false;
  bell_.ring();
}

rte_mbuf* StreamPort::take(std::uint16_t worker, std::size_t message_size) {
  Lane& lane = lanes_[worker];
  rte_ring* const ring = message_size <= kFrameMessage ? lane.empty.get() : lane.large.get();
  void* frame = nullptr;
  return rte_ring_sc_dequeue(ring, &frame) == 0 ? static_cast<rte_mbuf*>(frame) : nullptr;
}

void StreamPort::submit(std::uint16_t worker, rte_mbuf* frame) {
  [[maybe_unused]] const int result = rte_ring_sp_enqueue(lanes_[worker].filled.get(), frame);
  assert(result == 0);
}

unsigned StreamPort::collect(std::uint16_t worker, rte_mbuf** out, unsigned most) {
  return rte_ring_sc_dequeue_burst(lanes_[worker].outgoing.get(), pointers(out), most, nullptr);
}

void StreamPort::give_back(std::uint16_t worker, rte_mbuf** frames, unsigned count) {
  [[maybe_unused]] const unsigned put =
      rte_ring_sp_enqueue_bulk(lanes_[worker].read.get(), pointers(frames), count, nullptr);
  assert(put == count);
}

bool StreamPort::has_work() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const Lane& lane) { return !has_none(lane.outgoing.get()); });
}

void StreamPort::drain() {
  for (Lane& lane : lanes_) {
    for (rte_ring* ring : {lane.empty.get(), lane.large.get(), lane.filled.get(),
                           lane.outgoing.get(), lane.read.get()}) {
      void* frame = nullptr;
      while (rte_ring_sc_dequeue(ring, &frame) == 0)
        rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
    }
  }
}

}  // namespace turnpike::dataplane

// The way of a request from a worker to its shard and back: the frame itself travels, by pointer,
// through single-producer single-consumer rings. The shard writes its reply into the frame; only
// workers take and free frames. And of a notice, which gets no answer.
#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/doorbell.h"

namespace turnpike::dataplane {

// In each mbuf's private area.
struct FrameNotes {
  flow::Packet packet;       // valid while the frame is with an engine, or waits for a neighbour
  std::uint16_t worker = 0;  // to whom it goes back
  std::uint32_t reply_size = 0;  // 0: discarded
  std::uint64_t since_ms = 0;    // when it began to wait for a neighbour
  std::uint32_t generation = 0;  // of its next hop, then
  flow::VlanTags tags;           // those taken off; valid where Packet::tag_bytes isn't 0
  // From a transport thread: a client's datagram that goes out as it is, by `port`, with `tags`;
  // no message of his.
  bool goes_out = false;
  std::uint16_t port = 0;
};
FrameNotes& notes_of(rte_mbuf* mbuf);
const FrameNotes& notes_of(const rte_mbuf* mbuf);

struct RingDeleter {
  void operator()(rte_ring* ring) const { rte_ring_free(ring); }
};
using Ring = std::unique_ptr<rte_ring, RingDeleter>;
// A single-producer single-consumer ring, of pointers or of `element` bytes (a multiple of four);
// throws std::runtime_error when memory is short.
Ring make_ring(const char* purpose, unsigned a, unsigned b, unsigned size,
               unsigned element = sizeof(void*));

// For its one consumer. rte_ring_empty() reads without an atomic what the producer writes with one.
inline bool has_none(const rte_ring* ring) {
  return __atomic_load_n(&ring->prod.tail, __ATOMIC_RELAXED) == ring->cons.tail;
}
// For its one producer: at least so many fit. rte_ring_free_count() and rte_ring_full() read so
// too.
inline unsigned room_left(const rte_ring* ring) {
  return ring->capacity - (ring->prod.tail - __atomic_load_n(&ring->cons.tail, __ATOMIC_RELAXED));
}

class EngineRings final : public EnginePort {
 public:
  // Of a worker's frames so many of known five-tuples, and as many of strangers, may be on their
  // way, in hand, waiting for keys and on their way back together. No ring is smaller, so none can
  // be found full by whoever has been let in.
  static constexpr unsigned kInFlight = 1023;
  static constexpr unsigned kMostInFlight = 2 * kInFlight;  // of one worker's, with one shard
  // Notices of a worker's that wait for the shard.
  static constexpr unsigned kMostNotices = 1023;

  EngineRings(std::uint8_t shard, std::uint16_t workers);

  // Worker side. Takes the frame, whose notes are filled in; false: there are too many already.
  bool submit(std::uint16_t worker, rte_mbuf* mbuf);
  // False: too many wait already; the worker has what it saw for telling it later.
  bool notify(std::uint16_t worker, Notice notice);
  // After all of a round has been submitted and sent: wakes the shard if something was for it.
  void ring(std::uint16_t worker);
  unsigned collect(std::uint16_t worker, rte_mbuf** out, unsigned most);

  // Shard side.
  std::size_t receive(std::span<EngineRequest> out) override;
  std::size_t receive(std::span<Notice> out) override;
  void reply(RequestToken token, stun::Bytes message) override;
  void discard(RequestToken token) override;
  void wait(std::uint64_t most_ns) override;

  // Any thread.
  void wake() override { bell_.wake(); }

  // After all threads have ended.
  void drain();

 private:
  enum Who : std::uint8_t { kStranger, kKnown, kWho };
  struct Lane {
    std::array<Ring, kWho> requests;
    Ring notices;
    Ring back;
    bool submitted = false;                  // since the last ring(): worker's own
    std::array<unsigned, kWho> in_flight{};  // worker: rw
  };
  static Who who(const rte_mbuf* mbuf);
  std::size_t take(rte_ring* ring, std::span<EngineRequest> out);
  std::size_t take_all(Who who, std::span<EngineRequest> out);
  void give_back(rte_mbuf* mbuf, std::size_t reply_size);

  bool is_empty() const;

  std::vector<Lane> lanes_;  // by worker
  Doorbell bell_;
  std::size_t next_ = 0;  // which worker's requests come first: shard's own
};

}  // namespace turnpike::dataplane

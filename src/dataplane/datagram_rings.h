// The way of a session's datagrams (DTLS) from workers to the thread that has the keys: the frames
// themselves travel, by pointer, and come back to be freed. Those of clients that have an
// allocation go by a ring of their own, so that nobody else's keep them waiting.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/doorbell.h"
#include "dataplane/engine_ring.h"

namespace turnpike::dataplane {

class DatagramRings {
 public:
  enum Who : std::uint8_t { kStranger, kKnown, kWho };
  // Of each, of each worker's: on their way, in the thread's hands and on their way back.
  static constexpr unsigned kInFlight = 1023;
  // Of one worker's, in all.
  static constexpr unsigned kMostHeld = kWho * kInFlight;

  // `bell` wakes the thread, and outlives this.
  DatagramRings(std::uint16_t workers, Doorbell& bell);

  // Worker side; all of `worker` are its own number.
  // Takes a frame whose notes have its packet; false: there are too many already.
  bool submit(std::uint16_t worker, rte_mbuf* frame);
  // Frees those that have been read.
  void reclaim(std::uint16_t worker);
  // After all of a round has been submitted: wakes the thread if something was for it.
  void ring(std::uint16_t worker);

  // The thread's side.
  std::uint16_t workers() const { return static_cast<std::uint16_t>(lanes_.size()); }
  unsigned collect(std::uint16_t worker, Who who, rte_mbuf** out, unsigned most);
  void give_back(std::uint16_t worker, rte_mbuf** frames, unsigned count);
  bool has_work() const;

  // After all threads have ended.
  void drain();

 private:
  struct alignas(64) Lane {
    std::array<Ring, kWho> datagrams;
    Ring back;
    std::array<unsigned, kWho> in_flight{};  // worker: rw
    bool submitted = false;                  // since the last ring(); worker: rw
  };
  static Who who(const rte_mbuf* frame);

  std::vector<Lane> lanes_;  // by worker
  Doorbell& bell_;
};

}  // namespace turnpike::dataplane

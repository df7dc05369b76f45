// The way between workers and a transport thread. To workers its streams are one more port: each
// message of a client comes as a frame with the headers that it would have by UDP, and what goes
// to a client leaves the same way. Frames travel by pointer, through single-producer
// single-consumer rings; those that the thread fills are lent to it, so that it neither takes nor
// frees any.
#pragma once

#include <rte_mbuf.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dataplane/device.h"
#include "dataplane/doorbell.h"
#include "dataplane/engine_ring.h"

namespace turnpike::dataplane {

class StreamPort {
 public:
  // How many empty frames of each worker's the thread has at most; and of full ones in each
  // direction.
  static constexpr unsigned kFrames = 1023;
  // And of large ones, for messages that no other holds.
  static constexpr unsigned kLargeFrames = 31;
  // Of those on their way to the thread so many have room that are answers: media never take it.
  static constexpr unsigned kForAnswers = 256;
  // Bytes of the longest message that a frame, and a large one, holds behind the longest headers.
  static constexpr std::size_t kFrameMessage = kFrameRoom - 64;
  static constexpr std::size_t kMostMessage = kLargeRoom - 64;
  // Of one worker's, in all.
  static constexpr unsigned kMostHeld = 3 * kFrames + 1;
  static constexpr unsigned kMostLargeHeld = kLargeFrames;

  StreamPort(unsigned number, std::uint16_t workers);

  // Worker side. All of `worker` are its own number.
  // What clients have sent; each frame is the worker's again. None while there is no room for
  // answers to so many.
  unsigned receive(std::uint16_t worker, rte_mbuf** out, unsigned most);
  // Lends frames where some are missing, and frees those that have been read.
  void refill(std::uint16_t worker, rte_mempool* pool, rte_mempool* large);
  // Takes as many of them as there is room for, answers first; returns how many. Those behind these
  // stay the caller's.
  unsigned send(std::uint16_t worker, rte_mbuf** frames, unsigned count);
  // After all of a round has been sent: wakes the thread if something was for it.
  void ring(std::uint16_t worker);

  // The thread's side.
  std::uint16_t workers() const { return static_cast<std::uint16_t>(lanes_.size()); }
  // An empty frame for a message of at most kMostMessage bytes; nullptr: none is left for now. It
  // goes back by submit().
  rte_mbuf* take(std::uint16_t worker, std::size_t message_size);
  // A frame that has been filled: a client's message or, if its notes say so, a datagram that goes
  // out. There is always room.
  void submit(std::uint16_t worker, rte_mbuf* frame);
  // What goes to clients: read, and then given back.
  unsigned collect(std::uint16_t worker, rte_mbuf** out, unsigned most);
  void give_back(std::uint16_t worker, rte_mbuf** frames, unsigned count);
  bool has_work() const;
  Doorbell& bell() { return bell_; }

  // After all threads have ended.
  void drain();

 private:
  struct alignas(64) Lane {
    Ring empty, large, filled;  // to the thread, and back to the worker
    Ring outgoing, read;
    unsigned lent = 0, lent_large = 0;  // worker: rw
    unsigned out = 0;                   // sent, and not read yet; worker: rw
    bool sent = false;                  // since the last ring(); worker: rw
  };
  static unsigned room_in(const Lane& lane);
  static void lend(rte_mempool* pool, rte_ring* ring, unsigned most, unsigned& lent);

  std::vector<Lane> lanes_;  // by worker
  Doorbell bell_;
};

}  // namespace turnpike::dataplane

// What all workers share: ports, rings between them, ways to the engines and to the kernel. Fixed
// once they run.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/keyed_hash.h"
#include "dataplane/datagram_rings.h"
#include "dataplane/engine_ring.h"
#include "dataplane/exception.h"
#include "dataplane/exception_thread.h"
#include "dataplane/port.h"
#include "dataplane/stream_port.h"

namespace turnpike::dataplane {

// Who serves a queue. Ports with one queue each spread over the workers.
inline std::uint16_t queue_owner(std::size_t port, std::uint16_t queue, std::uint16_t workers) {
  return static_cast<std::uint16_t>((port + queue) % workers);
}

inline constexpr unsigned kFragmentRing = 256;

struct Fabric {
  std::vector<std::unique_ptr<Port>> ports;
  std::vector<std::unique_ptr<ExceptionPath>> exceptions;  // by port; empty: none
  std::unique_ptr<ExceptionThread> exception_thread;       // of all of them; none: there are none
  std::vector<std::unique_ptr<EngineRings>> engines;       // by shard
  std::vector<std::unique_ptr<StreamPort>> streams;        // ports behind the others
  std::unique_ptr<DatagramRings> sessions;                 // none: nobody speaks DTLS here
  // handoffs[port][from worker]: frames for a port none of whose queues is the worker's; taken by
  // queue_owner(port, from).
  std::vector<std::vector<Ring>> handoffs;
  // By worker: whether one of the rings above that it empties may hold something, so that who has
  // nothing to send for others needn't look into as many rings as there are workers.
  struct alignas(64) HandedOver {
    std::atomic<bool> waiting{false};  // set by who has put something in, cleared by the owner
  };
  std::vector<HandedOver> handed_over;
  // By worker, if there are several: fragments of datagrams that are his to put together.
  struct Fragments {
    std::vector<Ring> from;            // by worker
    std::atomic<bool> waiting{false};  // set by who has put something in, cleared by the owner
  };
  std::vector<std::unique_ptr<Fragments>> fragments;
  HashKey fragment_key{};  // random: nobody chooses the worker of his fragments
  std::uint16_t workers = 1;

  std::uint16_t queue_owner(std::size_t port, std::uint16_t queue) const {
    return dataplane::queue_owner(port, queue, workers);
  }
};

}  // namespace turnpike::dataplane

// The generator looped to itself: a memif pair in this process, and a thread on another core that
// sends back whatever comes. What the generator does here is its own limit; and with faults planted
// on the way it shows that it would notice them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "port.h"

namespace turnpike::pktgen {

enum class Fault : std::uint8_t {
  kNone,
  kDrop,
  kFlipPayload,   // one bit of the payload, checksums made right again
  kFlipChecksum,  // one bit of the payload, checksums left wrong
  kMisdeliver,
  kDuplicate,
  kReorder,
};

class Loopback {
 public:
  // `core` of -1: the first allowed one that isn't the caller's.
  Loopback(const Pools& pools, int core);
  // Ends the thread before either port goes: a memif may not lose its peer while it is polled.
  ~Loopback();
  Loopback(const Loopback&) = delete;
  Loopback& operator=(const Loopback&) = delete;

  // The generator's end.
  Port& port() { return *client_; }
  // From now on, one frame in `every` has the fault.
  void plant(Fault fault, std::uint32_t every);
  std::uint64_t planted() const { return planted_.load(std::memory_order_relaxed); }

 private:
  void serve(int core);
  std::uint16_t pass(rte_mbuf** in, std::uint16_t count, rte_mbuf** out);
  std::uint16_t harm(Fault fault, rte_mbuf* mbuf, rte_mbuf** out);

  Pools pools_;
  std::string directory_;
  std::unique_ptr<Port> server_, client_;
  std::atomic<bool> stop_{false};
  std::atomic<Fault> fault_{Fault::kNone};  // main thread writes, the other reads
  std::atomic<std::uint32_t> every_{1};     // likewise
  std::atomic<std::uint64_t> planted_{0};   // the other thread writes
  rte_mbuf* held_ = nullptr;                // the other thread's own, as the two below
  std::uint32_t since_held_ = 0, since_fault_ = 0;
  std::thread thread_;
};

}  // namespace turnpike::pktgen

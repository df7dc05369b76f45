// What a port's device tells of itself while it runs: whether its link is up, whether it is still
// there, and what it, or the kernel before it, loses without a worker seeing it. DPDK's drivers of
// kernel sockets leave out what the kernel counts, so that their sockets are asked as well.
#pragma once

#include <rte_ethdev.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "flow/drop.h"
#include "turnpike/counter.h"

namespace turnpike::dataplane {

// The descriptors of this process that are sockets of a domain (AF_XDP, AF_PACKET). A driver
// doesn't tell its own: they are those that are there after it has made them and were not before.
std::vector<int> sockets_of(int domain);

class PortWatch {
 public:
  // `interface`: of a shared port, the kernel's; else empty.
  PortWatch(Driver driver, std::string interface);
  ~PortWatch();
  PortWatch(const PortWatch&) = delete;
  PortWatch& operator=(const PortWatch&) = delete;

  void add_sockets(const std::vector<int>& before, int domain);
  // When the device has just been started; what was lost before doesn't count.
  void start(std::uint16_t device);
  // Before the device is stopped, which closes its sockets.
  void stop();

  // Control's thread.
  void count_losses();
  void look_at_link();

  // Any thread.
  Dataplane::PortState state() const;

 private:
  static int on_event(std::uint16_t device, rte_eth_event_type event, void* watch, void* result);
  std::uint64_t lost_by_sockets();

  const Driver driver_;
  const std::string interface_;
  std::uint16_t device_ = 0;
  bool running_ = false;
  std::vector<int> sockets_;
  std::uint64_t packet_drops_ = 0;  // af_packet's sockets forget what they have told
  std::uint64_t missed_before_ = 0;
  std::atomic<bool> up_{true};  // until it is looked at
  std::atomic<bool> gone_{false};
  std::array<Counter, flow::kPortDropInfo.size()> lost_;  // control: wo, metrics: ro
};

}  // namespace turnpike::dataplane

// Statistics by name, since each driver has its own, and the kernel's where a driver leaves them
// out.
#include "dataplane/port_watch.h"

#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <rte_ethdev.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include "kernel/interfaces.h"

namespace turnpike::dataplane {
namespace {

// After these a device does nothing more.
constexpr rte_eth_event_type kEnds[] = {RTE_ETH_EVENT_INTR_RMV, RTE_ETH_EVENT_INTR_RESET};

// Of one socket since it was made: no buffer or too long a frame, and a full ring, which the
// kernel tells apart and DPDK doesn't ask for.
std::uint64_t xdp_losses(int fd) {
  xdp_statistics statistics{};
  socklen_t size = sizeof statistics;
  if (getsockopt(fd, SOL_XDP, XDP_STATISTICS, &statistics, &size) != 0) return 0;
  return statistics.rx_dropped + statistics.rx_ring_full;
}

// Of one socket since it was last asked.
std::uint64_t packet_losses(int fd) {
  tpacket_stats statistics{};
  socklen_t size = sizeof statistics;
  return getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) == 0
             ? statistics.tp_drops
             : 0;
}

}  // namespace

std::vector<int> sockets_of(int domain) {
  std::vector<int> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const std::string name = entry.path().filename();
    int fd = -1, has = 0;
    std::from_chars(name.data(), name.data() + name.size(), fd);
    socklen_t size = sizeof has;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &has, &size) == 0 && has == domain)
      found.push_back(fd);
  }
  return found;
}

PortWatch::PortWatch(Driver driver, std::string interface)
    : driver_(driver), interface_(std::move(interface)) {}

PortWatch::~PortWatch() {
  stop();
}

void PortWatch::add_sockets(const std::vector<int>& before, int domain) {
  for (const int fd : sockets_of(domain)) {
    if (std::find(before.begin(), before.end(), fd) == before.end()) sockets_.push_back(fd);
  }
}

// On DPDK's thread for interrupts.
int PortWatch::on_event(std::uint16_t /*device*/, rte_eth_event_type /*event*/, void* watch,
                        void* /*result*/) {
  static_cast<PortWatch*>(watch)->gone_.store(true, std::memory_order_relaxed);
  return 0;
}

void PortWatch::start(std::uint16_t device) {
  device_ = device;
  running_ = true;
  rte_eth_stats_reset(device_);
  missed_before_ = lost_by_sockets();
  if (driver_ != Driver::kPci) return;
  for (const rte_eth_event_type event : kEnds)
    rte_eth_dev_callback_register(device_, event, on_event, this);
}

void PortWatch::stop() {
  if (!running_) return;
  count_losses();
  running_ = false;
  sockets_.clear();
  if (driver_ != Driver::kPci) return;
  for (const rte_eth_event_type event : kEnds)
    rte_eth_dev_callback_unregister(device_, event, on_event, this);
}

std::uint64_t PortWatch::lost_by_sockets() {
  std::uint64_t lost = 0;
  for (const int fd : sockets_) {
    if (driver_ == Driver::kAfXdp) lost += xdp_losses(fd);
    if (driver_ == Driver::kAfPacket) packet_drops_ += packet_losses(fd);
  }
  return lost + packet_drops_;
}

void PortWatch::count_losses() {
  rte_eth_stats statistics{};
  if (!running_ || rte_eth_stats_get(device_, &statistics) != 0) return;
  const std::uint64_t by_sockets = lost_by_sockets() - missed_before_;
  // Of an XDP socket the driver tells a part of what the kernel does.
  const std::uint64_t missed =
      driver_ == Driver::kAfXdp ? by_sockets : statistics.imissed + by_sockets;
  const auto set = [this](flow::PortDrop reason, std::uint64_t value) {
    lost_[static_cast<std::size_t>(reason)].set(value);
  };
  set(flow::PortDrop::kMissed, missed);
  set(flow::PortDrop::kReceiveErrors, statistics.ierrors);
  set(flow::PortDrop::kNoBuffer, statistics.rx_nombuf);
  set(flow::PortDrop::kTransmitErrors, statistics.oerrors);
}

void PortWatch::look_at_link() {
  if (!running_) return;
  bool up = true;
  if (!interface_.empty()) {
    up = kernel::interface_is_running(interface_);
  } else if (driver_ != Driver::kTap) {  // which is up as long as it is there
    rte_eth_link link{};
    up = rte_eth_link_get_nowait(device_, &link) != 0 || link.link_status == RTE_ETH_LINK_UP;
  }
  up_.store(up, std::memory_order_relaxed);
}

Dataplane::PortState PortWatch::state() const {
  Dataplane::PortState state;
  state.up = up_.load(std::memory_order_relaxed);
  state.gone = gone_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < lost_.size(); ++i)
    state.lost[i] = lost_[i].get();
  return state;
}

}  // namespace turnpike::dataplane

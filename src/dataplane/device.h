// What DPDK is told of a device, decided from what the device says of itself. Nothing here touches
// one, so that what is decided for a NIC can be tested without the NIC.
#pragma once

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"

namespace turnpike::dataplane {

// Room that a buffer has for a frame; and that of a wide one, a power of two since some NICs use no
// other sizes.
constexpr std::uint32_t kFrameRoom = 2048;
// Of buffers for what is longer than any frame: reassembled datagrams, streams' long messages.
constexpr std::uint32_t kLargeRoom = 16384;
constexpr std::uint32_t kWideFrameRoom = 16384;
// Ethernet's header, the checksum behind the frame, and two VLAN tags.
constexpr std::uint16_t kBesideMtu = 14 + 4 + 8;

// The largest MTU that a port of this driver can have.
constexpr std::uint16_t most_mtu(Driver driver) {
  switch (driver) {
    case Driver::kPci:
    case Driver::kAfPacket:
      return 9600;
    case Driver::kAfXdp:  // a frame and what XDP wants beside it share a page
      return kFrameRoom - kBesideMtu;
    case Driver::kTap:
    case Driver::kMemif:
      return 1500;
  }
  return 1500;
}

// af_packet's fanout reassembles IPv4, so that a frame can be longer than the link's MTU.
constexpr bool needs_wide_frames(Driver driver, std::uint16_t mtu) {
  return driver == Driver::kAfPacket || mtu + std::uint32_t{kBesideMtu} > kFrameRoom;
}

struct DeviceWish {
  Driver driver = Driver::kPci;
  std::uint16_t queues = 1;
  std::uint16_t mtu = 1500;
};

struct DevicePlan {
  std::uint16_t queues = 1;
  rte_eth_conf conf{};
  rte_eth_rxconf receive{};
  bool spreads = true;  // false: several queues were wanted, but all UDP comes by one
};

DevicePlan plan_device(const rte_eth_dev_info& info, const DeviceWish& wish);

// Of a frame with these mbuf flags; `untold` where the device says nothing.
inline flow::Checksum checksum_state(std::uint64_t flags, flow::Checksum untold) {
  switch (flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) {
    case RTE_MBUF_F_RX_L4_CKSUM_GOOD:
      return flow::Checksum::kGood;
    case RTE_MBUF_F_RX_L4_CKSUM_NONE:  // begun by the sender, left to a device that isn't there
      return flow::Checksum::kMaybePartial;
    default:
      return untold;
  }
}

using MacAddress = std::array<std::uint8_t, 6>;

// The Ethernet groups by which IPv6 neighbours look for these addresses and for the link-local one
// that the kernel makes of `mac` (RFC 2464 §7, RFC 4291 §2.7.1), and that of all nodes.
std::vector<MacAddress> multicast_groups(const MacAddress& mac, std::span<const Address> addresses);

// What opens a NIC's receive filter, as functions that return 0 or an error number.
struct ReceiveFilter {
  std::function<int()> promiscuous;
  std::function<int()> all_multicast;
  std::function<int()> groups;  // multicast_groups() by name
};

// An owned port must hear whatever the kernel behind its exception interface listens to: other
// MACs (VLANs, VRRP) and groups (neighbour discovery, routing). A virtual function that isn't
// trusted refuses some of it. False: not even the groups that IPv6 can't do without.
bool open_filter(const ReceiveFilter& filter);

}  // namespace turnpike::dataplane

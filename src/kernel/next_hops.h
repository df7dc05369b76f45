// The kernel's routes and neighbours, mirrored by netlink, so that `ip route`, `ip rule`, `ip
// neigh`, FRR and BIRD configure the relay; interfaces on a port's (VLANs) or over it (bonds) are
// ways through it. Control's thread runs it; shards and workers read.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/client_spread.h"
#include "base/qsbr.h"
#include "tables/next_hop.h"

namespace turnpike::kernel {

class NextHops : public flow::NextHopResolver {
 public:
  struct Port {
    std::string interface;  // of the kernel: the shared one or the exception TAP; empty: none
    std::uint16_t mtu = 1500;
    std::optional<std::array<std::uint8_t, 6>> static_next_hop;  // every destination, this MAC
    std::array<std::uint8_t, 6> mac{};                           // the device's
    bool keeps_tag_types = true;           // of the VLAN tags of what comes (KnownTags)
    std::optional<Transport> messages_of;  // a transport thread's: no route leads there
  };

  // Reads the kernel's tables once, and waits for them. Throws std::runtime_error when netlink
  // fails. `qsbr` is the workers'. `spread`: which of several transport threads has a client, in
  // the order of their ports.
  NextHops(std::vector<Port> ports, std::uint32_t max_next_hops, Qsbr& qsbr,
           const ClientSpread& spread = {});
  ~NextHops() override;

  flow::NextHopIndex resolve(const flow::Journey& journey) override;
  flow::NextHopIndex resolve_stream(const FiveTuple& client) override;
  flow::Reach reach(const flow::Journey& journey) const override;
  void release(flow::NextHopIndex hop) override;
  std::uint32_t epoch() const override;
  flow::NextHop* table() override;
  // The interface's MAC, which a bond may have given it, and the VLANs on it.
  const flow::Arrivals* arrivals() const override;

  // For poll(2): readable when the kernel has said something.
  int fd() const;
  // Takes in some of what the kernel said; asks it for MACs that workers want, and keeps those in
  // use alive. Control's thread, at least every 100 ms; never waits.
  void poll();

  // Whether a VLAN's interface is on the port's. Control's thread.
  bool has_vlans(std::size_t port) const;
  // The kernel's number for the port's interface, which changes when it is made anew; 0: there is
  // none now. Control's thread.
  std::uint32_t interface_index(std::size_t port) const;

  // Peers on this host, and behind its interfaces that are no ports, are reached by the port of
  // messages of kUdp from now on. Before anything is resolved.
  void set_host_door(flow::HostDoor& door);
  flow::HostDoor* host_door(flow::NextHopIndex hop) override;

  std::uint32_t in_use() const;
  std::uint32_t capacity() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace turnpike::kernel

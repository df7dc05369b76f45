// The kernel's interfaces and what stands on what: VLANs on an interface, bonds over several, VRFs
// around them. From it comes by which port, and with which tags and MTU, frames leave that a route
// sends to an interface.
#pragma once

#include <libmnl/libmnl.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tables/next_hop.h"

namespace turnpike::kernel {

class LinkStack {
 public:
  struct Link {
    enum class Kind : std::uint8_t { kOther, kVlan, kMacvlan, kBond, kBridge, kVrf };
    Kind kind = Kind::kOther;
    std::string name;
    std::vector<std::string> other_names;
    std::uint32_t mtu = 0;
    std::uint32_t on =
        0;  // a VLAN or macvlan: the interface below, if it is in this network namespace
    std::uint32_t master = 0;  // the bond, bridge or VRF it belongs to; 0: none
    std::uint32_t table = 0;   // a VRF's
    bool running = false;
    bool carries = true;                // of a bond's: takes part
    std::array<std::uint8_t, 4> tag{};  // a VLAN's, with the type that announces it
    std::optional<std::array<std::uint8_t, 6>> mac;

    bool operator==(const Link&) const = default;
  };

  // Takes in an RTM_NEWLINK or RTM_DELLINK. True if it said something new about an interface that
  // is one of `ends`, or leads to one, before or after.
  bool take(const nlmsghdr* message, const std::vector<std::string>& ends);

  std::uint32_t index_of(const std::string& name) const;  // 0: there is none
  const Link* find(std::uint32_t interface) const;
  std::vector<std::uint32_t> vrf_tables() const;

  struct Way {
    std::uint32_t interface = 0;     // the one frames leave by
    std::uint32_t mtu = UINT16_MAX;  // the least of all on the way
    flow::VlanTags tags;
  };
  // From `interface` down to one of `ends` (0: one that isn't there), if it isn't one itself; at
  // most two VLANs deep, since a frame has room for two tags. Of a bond's interfaces that are ends
  // and take part, `spread` chooses one.
  std::optional<Way> way_down(std::uint32_t interface, const std::vector<std::uint32_t>& ends,
                              std::uint32_t spread) const;

  // All from which there is a way down.
  std::set<std::uint32_t> with_way_down(const std::vector<std::uint32_t>& ends) const;

  bool has_vlans_on(std::uint32_t interface) const;
  // The tags of all VLANs whose frames may come by `interface`.
  std::vector<flow::VlanTags> tags_on(std::uint32_t interface) const;
  // The MACs of macvlans on it, or on its VLANs, without duplicates.
  std::vector<std::array<std::uint8_t, 6>> macs_on(std::uint32_t interface) const;

 private:
  std::uint32_t member_of(std::uint32_t bond, const std::vector<std::uint32_t>& ends,
                          std::uint32_t spread) const;
  bool leads_to(std::uint32_t interface, const std::vector<std::string>& ends) const;

  std::map<std::uint32_t, Link> links_;  // by index
};

// Which of a bond's interfaces: the same for all packets to a destination, so that they stay in
// order.
inline std::uint32_t spread_of(const Address& destination) {
  std::uint32_t sum = 0;
  for (const std::uint8_t byte : destination.view())
    sum = sum * 31 + byte;
  return sum;
}

}  // namespace turnpike::kernel

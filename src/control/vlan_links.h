// The kernel's VLAN interfaces: what stands on what, and which tags frames have below.
#pragma once

#include <libmnl/libmnl.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "flow/next_hop.h"

namespace turnpike::control {

class VlanLinks {
 public:
  // Takes in an RTM_NEWLINK; of links, only VLANs whose lower one is in this network namespace
  // count.
  void take(const nlmsghdr* message);

  struct Way {
    unsigned interface = 0;          // the one frames leave by
    std::uint32_t mtu = UINT16_MAX;  // the least of the VLANs on the way
    flow::VlanTags tags;
  };
  // From `interface` down to one of `ends`, if it isn't one itself; at most two VLANs deep, since a
  // frame has room for two tags.
  std::optional<Way> way_down(unsigned interface, const std::vector<unsigned>& ends) const;

  bool any_on(unsigned interface) const;

 private:
  struct Vlan {
    unsigned on = 0;
    std::uint32_t mtu = 0;
    std::array<std::uint8_t, 4> tag{};  // with the type that announces it
  };
  std::map<unsigned, Vlan> vlans_;  // by interface
};

}  // namespace turnpike::control

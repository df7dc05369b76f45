// What rtnetlink says, read into values; and what it is asked. Sizes are the kernel's word and are
// checked all the same.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "kernel/routes.h"
#include "tables/next_hop.h"

namespace turnpike::kernel {

// Of an RTM_NEWROUTE or RTM_DELROUTE. Nothing for routes that say nothing about the way of the
// relay's packets (multicast, cached ones, those for a type of service).
std::optional<RouteChange> read_route(const nlmsghdr* message);

struct RuleMessage {
  Family family = Family::kIpv4;
  Rule rule;
  // A condition that the relay's packets can't be held against, such as "fwmark"; empty: none.
  std::string not_honoured;
};
// Of an RTM_NEWRULE or RTM_DELRULE.
std::optional<RuleMessage> read_rule(const nlmsghdr* message);

struct NeighbourMessage {
  std::uint32_t interface = 0;
  Address address;
  flow::MacWord mac = 0;  // 0: not known, or not any more
};
// Of an RTM_NEWNEIGH or RTM_DELNEIGH.
std::optional<NeighbourMessage> read_neighbour(const nlmsghdr* message);

}  // namespace turnpike::kernel

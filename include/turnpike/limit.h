// The limits by which a server refuses a request, each once: its counter, its label among the
// metrics and its explanation there come from this list.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace turnpike {

// Of the answers' codes, 486 is a user's or a source's own lack of allocations; all else is 508.
#define TURNPIKE_LIMITS(X)                                                                    \
  X(kNone, "", "")                                                                            \
  X(kAllocations, "allocations", "the node has all of its allocations (508)")                 \
  X(kAllocationsPerUser, "allocations_per_user", "the user has all of his (486)")             \
  X(kAllocationsPerSource, "allocations_per_source",                                          \
    "the client's address (IPv6: /64) has all of its (486)")                                  \
  X(kPermissions, "permissions", "the tables are full of them (508)")                         \
  X(kPermissionsPerUser, "permissions_per_user", "the user has all of his (508)")             \
  X(kPermissionsPerAllocation, "permissions_per_allocation",                                  \
    "the allocation has all of its (508)")                                                    \
  X(kOnLinkPeers, "on_link_peers_per_allocation",                                             \
    "the allocation has all of its peers on the relay's own links (508)")                     \
  X(kHostSockets, "own_host_sockets",                                                         \
    "the user has his share of the sockets for peers on the relay's own host (508)")          \
  X(kChannels, "channels", "the tables are full of them (508)")                               \
  X(kChannelsPerUser, "channels_per_user", "the user has all of his (508)")                   \
  X(kChannelsPerAllocation, "channels_per_allocation", "the allocation has all of its (508)") \
  X(kReservations, "reservations", "they hold all the relay ports that they may (508)")       \
  X(kPorts, "ports", "no relay port of that family or kind is free (508)")                    \
  X(kStreams, "streams", "there are as many connections with peers as there may be (508)")    \
  X(kConnectionsPerUser, "connections_per_user",                                              \
    "the user has all of his connections with peers (508)")                                   \
  X(kConnectionsPerAllocation, "connections_per_allocation",                                  \
    "the allocation has all of its connections with peers (508)")                             \
  X(kConnecting, "connecting_per_allocation",                                                 \
    "as many of the allocation's Connects are under way as may be (508)")                     \
  X(kConnects, "connects_per_user", "the user asks for connections too fast (508)")

enum class Limit : std::uint8_t {
#define X(name, label, text) name,
  TURNPIKE_LIMITS(X)
#undef X
      kCount
};

struct LimitInfo {
  std::string_view label, explanation;
};

inline constexpr std::array<LimitInfo, static_cast<std::size_t>(Limit::kCount)> kLimitInfo{{
#define X(name, label, text) {label, text},
    TURNPIKE_LIMITS(X)
#undef X
}};

}  // namespace turnpike

// What a shard counts. Written by the shard's thread, read by any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "turnpike/counter.h"
#include "turnpike/limit.h"
#include "turnpike/server.h"

namespace turnpike {

// Every way a request can end: success, or an error code that this server sends.
inline constexpr std::array<std::uint16_t, 16> kResults{0,   300, 400, 401, 403, 405, 420, 437,
                                                        438, 440, 441, 442, 443, 486, 500, 508};
// The methods that reach a server, in the order of ServerCounters::requests.
inline constexpr std::array<stun::Method, 4> kMethods{
    stun::Method::kAllocate, stun::Method::kRefresh, stun::Method::kCreatePermission,
    stun::Method::kChannelBind};

struct PeerVerdictInfo {
  std::string_view label, explanation;
  std::string_view reason;  // in the answer, where it isn't the error code's own
};
// By PeerVerdict.
inline constexpr std::array<PeerVerdictInfo, static_cast<std::size_t>(PeerVerdict::kCount)>
    kPeerVerdictInfo{
        {{"", "", ""},
         {"forbidden", "the rules refuse it", ""},
         {"own_host", "it is on the relay's own host, or behind an interface that is no port",
          "Peer Is On The Relay's Host"}}};

struct ServerCounters {
  // [method][result], as kMethods and kResults say.
  std::array<std::array<Counter, kResults.size()>, kMethods.size()> requests;
  std::array<Counter, static_cast<std::size_t>(Discard::kCount)> discards;
  std::array<Counter, kPeerVerdictInfo.size()> peers;  // asked for, by verdict
  std::array<Counter, kLimitInfo.size()> limits;       // refusals, by Limit
  std::array<Counter, static_cast<std::size_t>(Unauthorized::kCount)> unauthorized;
  Counter moves;  // allocations that have gone on by another five-tuple
  // Now.
  Counter allocations;
  std::array<Counter, kMostRealms> realm_allocations;      // of them, by RealmIndex
  std::array<Counter, kTransports> transport_allocations;  // of them, by Transport of the client
  Counter permissions;
  Counter channels;
  Counter reservations;
  Counter free_ports;  // of all relayed addresses, resting ones not among them
};

}  // namespace turnpike

// Where clients come to. A node's listeners are one list that never changes; all who speak of one
// say its place there: workers, what carries requests to a shard, the flow tables.
#pragma once

#include <cstdint>

#include "turnpike/address.h"

namespace turnpike {

// Place in the node's list of listeners.
using ListenerIndex = std::uint16_t;

// Its realm isn't here: a node has one. Whoever has several keeps them by the listener's index.
struct Listener {
  Endpoint endpoint;  // as the wire of this node has it
  Transport transport = Transport::kUdp;
  // At most one of the two.
  bool stun_only = false;  // TURN methods are ignored as unknown
  bool turn_only = false;  // Binding likewise

  // Of a client that came here.
  FiveTuple five_tuple(const ClientEndpoint& client) const { return {client, endpoint, transport}; }
};

}  // namespace turnpike

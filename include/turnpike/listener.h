// Where clients come to. A node's listeners are one list that never changes; all who speak of one
// say its place there: workers, what carries requests to a shard, the flow tables.
#pragma once

#include <cstdint>
#include <optional>

#include "turnpike/address.h"
#include "turnpike/nat_discovery.h"
#include "turnpike/realm.h"

namespace turnpike {

// Place in the node's list of listeners.
using ListenerIndex = std::uint16_t;

struct Listener {
  Endpoint endpoint;  // as the wire of this node has it
  Transport transport = Transport::kUdp;
  // At most one of the two.
  bool stun_only = false;  // TURN methods are ignored as unknown
  bool turn_only = false;  // Binding likewise
  RealmIndex realm = 0;    // of those who do TURN here
  // How clients know its address, where a NAT stands before it.
  std::optional<Address> external{};
  // Of UDP: it is one of four, by which clients learn of their NATs.
  std::optional<NatDiscovery> discovery{};

  Endpoint public_endpoint() const { return {external.value_or(endpoint.address), endpoint.port}; }

  // Of a client that came here.
  FiveTuple five_tuple(const ClientEndpoint& client) const { return {client, endpoint, transport}; }
};

}  // namespace turnpike

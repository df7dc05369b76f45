// What the configuration says of NAT Behavior Discovery (RFC 5780): the two addresses of each
// family and the two ports, by which clients learn of their NATs. What rations it is in [limits].
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::config {

struct Config;

struct NatDiscoverySection {
  std::vector<Address> addresses;  // two of a family, or none of it; empty: there is no discovery
  std::vector<Address> external;  // by which clients know them; empty: as relayed addresses have it
  std::array<std::uint16_t, 2> ports{3478, 3479};

  // The other one of the family; nullopt: it is none of these.
  std::optional<Address> other(const Address& address) const;
  // Nothing but one of the two.
  std::uint16_t other(std::uint16_t port) const { return port == ports[0] ? ports[1] : ports[0]; }
  bool has(const Endpoint& endpoint) const;

  friend bool operator==(const NatDiscoverySection&, const NatDiscoverySection&) = default;
};

// By which clients know an address of this node's, where the configuration has another one for it.
std::optional<Address> face_of(const Config& config, const Address& address);

// Makes a listener of each address and port that is none yet, for Binding alone.
void add_discovery_listeners(Config& config);

}  // namespace turnpike::config

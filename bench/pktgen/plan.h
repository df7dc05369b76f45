// Who is who: flow k is a client, its allocation and one peer, and both their transport addresses
// follow from k by arithmetic, in both directions. So a million of them need no table, and whoever
// a packet comes to is known without a search.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "options.h"
#include "turnpike/address.h"

namespace turnpike::pktgen {

// Transport addresses out of a prefix, numbered: all addresses with the first port, then all with
// the next. The prefix's first and, of IPv4, last address stay unused: they mean networks.
class EndpointRange {
 public:
  EndpointRange(const Prefix& prefix, std::uint16_t first_port);

  Endpoint at(std::uint32_t number) const;
  std::optional<std::uint32_t> number_of(const Endpoint& endpoint) const;
  // The address alone: one that some number has, if there were as many numbers as can be.
  bool has(const Address& address) const;
  std::uint64_t size() const { return std::uint64_t{hosts_} * (65535U - first_port_ + 1); }
  const Prefix& prefix() const { return prefix_; }

 private:
  std::optional<std::uint32_t> host_of(const Address& address) const;

  Prefix prefix_;
  std::uint32_t hosts_;
  std::uint16_t first_port_;
};

class Plan {
 public:
  // Throws std::runtime_error if a prefix is too small for the allocations asked for.
  explicit Plan(const Options& options);

  std::uint32_t flows() const { return flows_; }
  // Flows from here on are hostile users': set up as all are, and without media.
  std::uint32_t media_flows() const { return flows_ - hostile_; }
  Family client_family(std::uint32_t flow) const { return shape_of(flow).client; }
  Family peer_family(std::uint32_t flow) const { return shape_of(flow).peer; }
  Endpoint client(std::uint32_t flow) const;
  Endpoint peer(std::uint32_t flow) const;
  const Endpoint& server(std::uint32_t flow) const {
    return *servers_[family_index(client_family(flow))];
  }
  std::optional<std::uint32_t> flow_of_client(const Endpoint& endpoint) const;
  std::optional<std::uint32_t> flow_of_peer(const Endpoint& endpoint) const;
  // Addresses that the generator speaks for: it answers ARP and neighbour solicitations for them.
  bool is_ours(const Address& address) const;
  bool is_attacker(const Address& address) const;
  const EndpointRange& attackers(Family family) const { return attackers_[family_index(family)]; }

 private:
  // Flows take the shapes in turn. A family's numbers are dealt out over the shapes that have it.
  struct Shape {
    Family client, peer;
    std::uint32_t client_rank, peer_rank;
  };
  const Shape& shape_of(std::uint32_t flow) const { return shapes_[flow % shapes_.size()]; }
  std::optional<std::uint32_t> flow_at(const std::vector<std::uint32_t>& shapes,
                                       std::uint32_t number) const;

  std::uint32_t flows_, hostile_;
  std::vector<Shape> shapes_;
  std::array<std::vector<std::uint32_t>, 2> with_client_, with_peer_;  // shapes, by family_index
  std::array<std::optional<Endpoint>, 2> servers_;
  std::vector<Address> addresses_;  // as next hop
  std::array<EndpointRange, 2> clients_, peers_, attackers_;
};

}  // namespace turnpike::pktgen

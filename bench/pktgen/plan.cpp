// The arithmetic from a flow's number to its addresses, and back.
#include "plan.h"

#include <algorithm>
#include <stdexcept>

#include "wire/headers.h"

namespace turnpike::pktgen {
namespace {

// A host's number is the low 32 bits of its address, or as many as the prefix leaves.
std::uint32_t hosts_in(const Prefix& prefix) {
  const unsigned bits = static_cast<unsigned>(prefix.address.size()) * 8 - prefix.length;
  if (bits == 0) return 1;
  const std::uint64_t all = std::uint64_t{1} << std::min(bits, 31U);
  const std::uint64_t unused = prefix.address.family == Family::kIpv4 ? 2 : 1;
  return static_cast<std::uint32_t>(all > unused ? all - unused : 1);
}

std::vector<Family> list(Families families) {
  switch (families) {
    case Families::kIpv4:
      return {Family::kIpv4};
    case Families::kIpv6:
      return {Family::kIpv6};
    case Families::kBoth:
      break;
  }
  return {Family::kIpv4, Family::kIpv6};
}

}  // namespace

EndpointRange::EndpointRange(const Prefix& prefix, std::uint16_t first_port)
    : prefix_(prefix), hosts_(hosts_in(prefix)), first_port_(first_port) {}

Endpoint EndpointRange::at(std::uint32_t number) const {
  Endpoint endpoint{prefix_.address, static_cast<std::uint16_t>(first_port_ + number / hosts_)};
  std::uint8_t* low = endpoint.address.bytes.data() + endpoint.address.size() - 4;
  if (hosts_ > 1) wire::store_be32(low, wire::load_be32(low) + 1 + number % hosts_);
  return endpoint;
}

std::optional<std::uint32_t> EndpointRange::host_of(const Address& address) const {
  if (address.family != prefix_.address.family) return std::nullopt;
  const std::size_t high = address.size() - 4;
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + static_cast<std::ptrdiff_t>(high),
                  prefix_.address.bytes.begin()))
    return std::nullopt;
  const std::uint32_t host = wire::load_be32(address.bytes.data() + high) -
                             wire::load_be32(prefix_.address.bytes.data() + high) -
                             (hosts_ > 1 ? 1 : 0);
  if (host >= hosts_) return std::nullopt;
  return host;
}

std::optional<std::uint32_t> EndpointRange::number_of(const Endpoint& endpoint) const {
  const auto host = host_of(endpoint.address);
  if (!host || endpoint.port < first_port_) return std::nullopt;
  const std::uint64_t number =
      std::uint64_t{*host} + std::uint64_t{hosts_} * (endpoint.port - first_port_);
  if (number > 0xFFFFFFFF) return std::nullopt;
  return static_cast<std::uint32_t>(number);
}

bool EndpointRange::has(const Address& address) const {
  return host_of(address).has_value();
}

Plan::Plan(const Options& options)
    : flows_(options.allocations),
      hostile_(has_hostile_users(options.attack) ? kHostileUsers : 0),
      servers_(options.servers),
      clients_{EndpointRange(options.clients[0], options.client_port),
               EndpointRange(options.clients[1], options.client_port)},
      peers_{EndpointRange(options.peers[0], options.peer_port),
             EndpointRange(options.peers[1], options.peer_port)},
      attackers_{EndpointRange(options.attackers[0], 1024),
                 EndpointRange(options.attackers[1], 1024)} {
  for (const auto& address : options.link.addresses) {
    if (address) addresses_.push_back(*address);
  }
  if (options.peer_link) {
    for (const auto& address : options.peer_link->addresses) {
      if (address) addresses_.push_back(*address);
    }
  }
  for (const Family client : list(options.client_families)) {
    const std::vector<Family> of_peers =
        options.peer_families ? list(*options.peer_families) : std::vector<Family>{client};
    for (const Family peer : of_peers) {
      auto& same_client = with_client_[family_index(client)];
      auto& same_peer = with_peer_[family_index(peer)];
      const auto shape = static_cast<std::uint32_t>(shapes_.size());
      shapes_.push_back({client, peer, static_cast<std::uint32_t>(same_client.size()),
                         static_cast<std::uint32_t>(same_peer.size())});
      same_client.push_back(shape);
      same_peer.push_back(shape);
    }
  }
  const std::uint64_t rounds = flows_ / shapes_.size() + 1;
  for (std::size_t family = 0; family < 2; ++family) {
    if (rounds * with_client_[family].size() > clients_[family].size())
      throw std::runtime_error("--clients " + clients_[family].prefix().to_string() +
                               " has too few addresses for --allocations " +
                               std::to_string(flows_));
    if (rounds * with_peer_[family].size() > peers_[family].size())
      throw std::runtime_error("--peers " + peers_[family].prefix().to_string() +
                               " has too few addresses for --allocations " +
                               std::to_string(flows_));
  }
}

Endpoint Plan::client(std::uint32_t flow) const {
  const Shape& shape = shape_of(flow);
  const std::size_t family = family_index(shape.client);
  const auto round = static_cast<std::uint32_t>(flow / shapes_.size());
  const auto share = static_cast<std::uint32_t>(with_client_[family].size());
  return clients_[family].at(round * share + shape.client_rank);
}

Endpoint Plan::peer(std::uint32_t flow) const {
  const Shape& shape = shape_of(flow);
  const std::size_t family = family_index(shape.peer);
  const auto round = static_cast<std::uint32_t>(flow / shapes_.size());
  const auto share = static_cast<std::uint32_t>(with_peer_[family].size());
  return peers_[family].at(round * share + shape.peer_rank);
}

std::optional<std::uint32_t> Plan::flow_at(const std::vector<std::uint32_t>& shapes,
                                           std::uint32_t number) const {
  if (shapes.empty()) return std::nullopt;
  const auto share = static_cast<std::uint32_t>(shapes.size());
  const std::uint64_t flow =
      std::uint64_t{number / share} * shapes_.size() + shapes[number % share];
  if (flow >= flows_) return std::nullopt;
  return static_cast<std::uint32_t>(flow);
}

std::optional<std::uint32_t> Plan::flow_of_client(const Endpoint& endpoint) const {
  const std::size_t family = family_index(endpoint.address.family);
  const auto number = clients_[family].number_of(endpoint);
  return number ? flow_at(with_client_[family], *number) : std::nullopt;
}

std::optional<std::uint32_t> Plan::flow_of_peer(const Endpoint& endpoint) const {
  const std::size_t family = family_index(endpoint.address.family);
  const auto number = peers_[family].number_of(endpoint);
  return number ? flow_at(with_peer_[family], *number) : std::nullopt;
}

bool Plan::is_ours(const Address& address) const {
  const std::size_t family = family_index(address.family);
  return std::find(addresses_.begin(), addresses_.end(), address) != addresses_.end() ||
         clients_[family].has(address) || peers_[family].has(address) || is_attacker(address);
}

bool Plan::is_attacker(const Address& address) const {
  return attackers_[family_index(address.family)].has(address);
}

}  // namespace turnpike::pktgen

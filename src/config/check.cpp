// What the values of a configuration say about each other: collisions, overlaps, what is missing;
// and what follows from the rest where it is left out.
#include <algorithm>
#include <bit>
#include <set>

#include "config/value.h"
#include "turnpike/stateless_answers.h"

namespace turnpike::config {
namespace {

constexpr std::uint16_t kStunPort = 3478;
// So many fit into an answer of 548 bytes (RFC 8489 §6.1) beside all else that it carries.
constexpr std::size_t kAlternatesMax = 8;

bool same_network(const InterfaceAddress& own, const Address& other) {
  Prefix network{own.address, own.length};
  for (unsigned bit = own.length; bit < 8 * own.address.size(); ++bit) {
    std::uint8_t& byte = network.address.bytes[bit / 8];
    byte = static_cast<std::uint8_t>(byte & ~(0x80U >> bit % 8));
  }
  return network.contains(other);
}

// Two relayed addresses can't share a public address: one that has none would be handed out as it
// is.
std::string misfit_of(const Config& config, Family family) {
  const auto bare = std::count_if(config.relayed.begin(), config.relayed.end(),
                                  [family](const RelayedAddress& relayed) {
                                    return !relayed.external && relayed.internal.family == family;
                                  });
  return bare == 1 ? ""
                   : "expected exactly one relayed address of this family without an external one "
                     "of its own, found " +
                         std::to_string(bare);
}

class Checker {
 public:
  Checker(const Config& config, const Origins& origins) : config_(config), origins_(origins) {}

  std::vector<ConfigError> run() {
    check_ports();
    check_workers();
    check_listeners();
    check_relayed();
    check_external();
    check_relay_ports();
    check_metrics();
    check_prefixes("clients.deny", config_.clients.allow, config_.clients.deny);
    check_clients();
    check_limits();
    return std::move(errors_);
  }

 private:
  void refuse(const std::string& path, std::string problem) {
    errors_.push_back(origins_.error(path, std::move(problem)));
  }

  bool one_shared_port() const {
    return config_.ports.size() == 1 && is_kernel_shared(config_.ports[0].driver);
  }

  void check_ports() {
    if (config_.ports.empty()) {
      refuse("port",
             "expected at least one port ([[port]] device = \"af_xdp:eth0\", or --port "
             "af_xdp:eth0), found none");
    }
    std::set<std::string> devices, exceptions;
    std::array<bool, 2> has_gateway{};
    for (std::size_t i = 0; i < config_.ports.size(); ++i) {
      const PortConfig& port = config_.ports[i];
      // Two drivers on one interface would take each other's packets.
      if (!devices.insert(port.device).second) {
        refuse(at("port", i, ".device"),
               "expected a device of its own, found " + port.device + " a second time");
      }
      if (!port.exception_name.empty() && port.exception_name != "none" &&
          !exceptions.insert(port.exception_name).second) {
        refuse(at("port", i, ".exception"),
               "expected a name of its own, found " + port.exception_name + " a second time");
      }
      check_port_kind(port, i);
      check_gateways(port, i, has_gateway);
    }
  }

  void check_port_kind(const PortConfig& port, std::size_t i) {
    if (is_kernel_shared(port.driver)) {
      if (!port.addresses.empty()) {
        refuse(at("port", i, ".addresses"),
               "expected no addresses on a port that the kernel shares: it has the interface's "
               "own; found " +
                   std::to_string(port.addresses.size()));
      }
      if (!port.exception_name.empty()) {
        refuse(at("port", i, ".exception"),
               "expected no exception interface on a port that the kernel shares, found \"" +
                   port.exception_name + "\"");
      }
    }
    if (!is_kernel_shared(port.driver) && port.exception_name == "none" && !port.static_next_hop) {
      refuse(at("port", i, ".exception"),
             "expected a next_hop where there is no exception interface: without either, no packet "
             "has a way out; found none");
    }
    // What buffers and drivers hold. A shared interface's own MTU is looked at when it starts.
    const unsigned most = port.driver == PortDriver::kAfXdp ? 2022
                          : port.driver == PortDriver::kTap || port.driver == PortDriver::kMemif
                              ? 1500
                              : 9600;
    if (port.mtu > most) {
      refuse(at("port", i, ".mtu"), "expected at most " + std::to_string(most) +
                                        " on a port of this driver, found " +
                                        std::to_string(port.mtu));
    }
    // More than four at once are more than DPDK's driver has room to tell of, which it doesn't
    // check.
    if (port.driver == PortDriver::kTap && port.queues > 4) {
      refuse(at("port", i, ".queues"),
             "expected at most 4 on a tap, found " + std::to_string(port.queues));
    }
    if (!std::has_single_bit(std::max<std::uint16_t>(port.descriptors, 1))) {
      refuse(at("port", i, ".descriptors"),
             "expected a power of two, found " + std::to_string(port.descriptors));
    }
    if (port.memif_server && port.driver != PortDriver::kMemif) {
      refuse(at("port", i, ".memif_server"), "expected only with device = \"memif:…\", found true");
    }
  }

  // A second default route of the same family would take the place of the first.
  void check_gateways(const PortConfig& port, std::size_t i, std::array<bool, 2>& has_gateway) {
    if (!port.gateways.empty() &&
        (is_kernel_shared(port.driver) || port.exception_name == "none")) {
      refuse(at("port", i, ".gateway"),
             "expected only on a port with an exception interface: " +
                 std::string(is_kernel_shared(port.driver)
                                 ? "the kernel's routes through a shared one are its own (ip route)"
                                 : "next_hop is the way of one without") +
                 "; found " + port.gateways[0].to_string());
      return;
    }
    for (std::size_t k = 0; k < port.gateways.size(); ++k) {
      const Address& gateway = port.gateways[k];
      const bool again = std::exchange(has_gateway[family_index(gateway.family)], true);
      const bool near =
          gateway.is_ipv6_link_local() ||
          std::any_of(port.addresses.begin(), port.addresses.end(),
                      [&](const InterfaceAddress& own) { return same_network(own, gateway); });
      if (again) {
        refuse(at("port", i, at(".gateway", k)),
               "expected one gateway of each family in all, found another: " + gateway.to_string());
      } else if (!near) {
        refuse(at("port", i, at(".gateway", k)),
               "expected an address in the network of one of the port's addresses, found " +
                   gateway.to_string());
      }
    }
  }

  void check_workers() {
    const auto& cores = config_.worker_cores;
    if (!cores.empty() && cores.size() != config_.workers) {
      refuse("worker_cores", "expected as many cores as workers (" +
                                 std::to_string(config_.workers) + "), found " +
                                 std::to_string(cores.size()));
    }
    for (std::size_t i = 0; i < cores.size(); ++i) {
      if (std::find(cores.begin(), cores.begin() + static_cast<std::ptrdiff_t>(i), cores[i]) !=
          cores.begin() + static_cast<std::ptrdiff_t>(i)) {
        refuse(at("worker_cores", i),
               "expected each core once, found " + std::to_string(cores[i]) + " again");
      }
    }
  }

  void check_listeners() {
    if (config_.listeners.empty() && !config_.ports.empty() && !one_shared_port()) {
      refuse("listener",
             "expected a listening address ([[listener]] address = \"192.0.2.1:3478\", or "
             "--listen): only a single af_xdp or af_packet port has one by default; found none");
    }
    std::set<std::pair<Endpoint, Transport>> seen;
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
      const ListenerConfig& listener = config_.listeners[i];
      const Transport transport = transport_of(listener.transport);
      const bool tls = listener.transport != ListenerTransport::kUdp &&
                       listener.transport != ListenerTransport::kTcp;
      if (!seen.emplace(listener.endpoint, transport).second) {
        const std::string of = transport == Transport::kTcp    ? " for TCP"
                               : transport == Transport::kDtls ? " for DTLS"
                                                               : "";
        refuse(at("listener", i, ".address"), "expected each listening address once" + of +
                                                  ", found " + listener.endpoint.to_string() +
                                                  " again");
      }
      if (tls && config_.certificates.empty()) {
        refuse(at("listener", i, ".transport"),
               "expected a [[certificate]] with its chain and key for TLS and DTLS, found none");
      }
      if (listener.stun_only && listener.turn_only) {
        refuse(at("listener", i, ".turn_only"),
               "expected at most one of stun_only and turn_only, found both");
      }
      check_redirect(listener, i);
    }
  }

  // RFC 8489 §10: a client follows within its family, and may take one of the other besides; sent
  // to where it came from it would go round.
  void check_redirect(const ListenerConfig& listener, std::size_t i) {
    if (listener.stun_only && (listener.anycast || !listener.alternates.empty())) {
      refuse(at("listener", i, listener.anycast ? ".anycast" : ".alternates"),
             "expected no redirection of Allocate where stun_only refuses it anyway, found one");
    }
    if (listener.anycast && listener.alternates.empty()) {
      refuse(at("listener", i, ".anycast"),
             "expected alternates, or a listener of the same family that is neither anycast nor "
             "stun_only, to send clients to; found none");
    }
    for (std::size_t k = 0; k < listener.alternates.size(); ++k) {
      const Endpoint& alternate = listener.alternates[k];
      if (alternate == listener.endpoint) {
        refuse(at("listener", i, at(".alternates", k)),
               "expected another server than the listener, found " + alternate.to_string());
      }
    }
    const auto same = std::count_if(listener.alternates.begin(), listener.alternates.end(),
                                    [&listener](const Endpoint& one) {
                                      return one.address.family == listener.endpoint.address.family;
                                    });
    if (!listener.alternates.empty() && same == 0) {
      refuse(at("listener", i, ".alternates"),
             "expected at least one server of the listener's family, found " +
                 listener.alternates.front().to_string());
    }
    if (listener.alternates.size() > kAlternatesMax) {
      refuse(at("listener", i, ".alternates"),
             "expected at most " + std::to_string(kAlternatesMax) + " servers, found " +
                 std::to_string(listener.alternates.size()));
    }
  }

  void check_relayed() {
    if (!config_.turn_enabled() || config_.ports.empty()) {
      return;
    }
    if (config_.relayed.empty() && !one_shared_port()) {
      refuse("relay",
             "expected a relayed address ([[relay]] address = \"192.0.2.1\", or --relay): only a "
             "single af_xdp or af_packet port has one by default; found none");
    }
    std::set<Address> internal, external;
    for (std::size_t i = 0; i < config_.relayed.size(); ++i) {
      const RelayedAddress& relayed = config_.relayed[i];
      if (!internal.insert(relayed.internal).second) {
        refuse(at("relayed", i), "expected each relayed address once, found " +
                                     relayed.internal.to_string() + " again");
      }
      if (relayed.external && !external.insert(*relayed.external).second) {
        refuse(at("relayed", i),
               "expected an external address for one relayed address only, found " +
                   relayed.external->to_string() + " again");
      }
    }
  }

  void check_external() {
    for (std::size_t i = 0; i < config_.external.size(); ++i) {
      const Family family = config_.external[i].family;
      const auto same = std::count_if(config_.external.begin(), config_.external.end(),
                                      [family](const Address& a) { return a.family == family; });
      if (same > 1) {
        refuse(at("external", i),
               "expected at most one address of each family, found " + std::to_string(same));
        continue;
      }
      if (const std::string misfit = misfit_of(config_, family);
          !misfit.empty() && !config_.relayed.empty()) {
        refuse(at("external", i), misfit);
      }
    }
  }

  bool in_relay_range(std::uint16_t port) const {
    return port >= config_.relay_ports.min && port <= config_.relay_ports.max;
  }

  void check_relay_ports() {
    const unsigned min = config_.relay_ports.min, max = config_.relay_ports.max;
    // Pairs (EVEN-PORT, RFC 8656 §7.2) are whole only in a range that starts even and ends odd.
    if (min % 2 != 0) {
      refuse("relay_ports.min", "expected an even number, found " + std::to_string(min));
    }
    if (max % 2 != 1) {
      refuse("relay_ports.max", "expected an odd number, found " + std::to_string(max));
    }
    const unsigned needed = 64U * config_.shards;
    if (max < min || max - min + 1 < needed) {
      refuse("relay_ports.max", "expected at least " + std::to_string(needed) +
                                    " ports from min (64 for each shard), found " +
                                    std::to_string(min) + " to " + std::to_string(max));
    }
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
      const Endpoint& endpoint = config_.listeners[i].endpoint;
      const bool relayed = std::any_of(
          config_.relayed.begin(), config_.relayed.end(),
          [&endpoint](const RelayedAddress& r) { return r.internal == endpoint.address; });
      // Where relayed addresses are left out they are the port's, as listeners may be.
      if (config_.turn_enabled() && (relayed || config_.relayed.empty()) &&
          in_relay_range(endpoint.port)) {
        refuse(at("listener", i, ".address"),
               "expected a port outside of relay_ports (" + std::to_string(min) + " to " +
                   std::to_string(max) + ") on a relayed address, found " + endpoint.to_string());
      }
    }
    if (config_.listeners.empty() && in_relay_range(kStunPort)) {
      refuse("relay_ports.min",
             "expected a range without 3478, where listeners are left out; found " +
                 std::to_string(min) + " to " + std::to_string(max));
    }
  }

  void check_metrics() {
    for (const ListenerConfig& listener : config_.listeners) {
      if (config_.metrics.enabled && listener.endpoint == config_.metrics.address) {
        refuse("metrics.address", "expected another address or port than a listener's, found " +
                                      config_.metrics.address.to_string());
      }
    }
  }

  void check_prefixes(std::string_view key, const std::vector<Prefix>& allow,
                      const std::vector<Prefix>& deny) {
    const std::set<Prefix> allowed(allow.begin(), allow.end());
    for (std::size_t i = 0; i < deny.size(); ++i) {
      if (allowed.contains(deny[i])) {
        refuse(at(key, i),
               "expected a prefix that is not also allowed, found " + deny[i].to_string());
      }
    }
  }

  // A list that failed to come should not open the node to everyone.
  void check_clients() {
    const ClientsSection& clients = config_.clients;
    const bool none = std::all_of(clients.allow_files.begin(), clients.allow_files.end(),
                                  [](const PrefixFile& file) { return file.prefixes.empty(); });
    if (clients.allow.empty() && !clients.allow_files.empty() && none) {
      refuse("clients.allow_files", "expected clients to answer, found no prefix in any of them");
    }
  }

  void check_limits() {
    if (config_.limits.lifetime_min_s > config_.limits.lifetime_max_s) {
      refuse("limits.lifetime_min_s", "expected no more than lifetime_max_s (" +
                                          std::to_string(config_.limits.lifetime_max_s) +
                                          "), found " +
                                          std::to_string(config_.limits.lifetime_min_s));
    }
    if (config_.limits.allocations < config_.shards) {
      refuse("limits.allocations", "expected at least one for each shard (" +
                                       std::to_string(config_.shards) + "), found " +
                                       std::to_string(config_.limits.allocations));
    }
  }

  const Config& config_;
  const Origins& origins_;
  std::vector<ConfigError> errors_;
};

// RFC 8155 §6: an anycast address only leads to a unicast one, this node's own if none is named.
void fill_alternates(Config& config) {
  for (ListenerConfig& listener : config.listeners) {
    if (!listener.anycast || !listener.alternates.empty()) {
      continue;
    }
    for (const ListenerConfig& other : config.listeners) {
      if (!other.anycast && !other.stun_only && other.alternates.empty() &&
          other.endpoint.address.family == listener.endpoint.address.family &&
          transport_of(other.transport) == transport_of(listener.transport)) {
        listener.alternates.push_back(other.endpoint);
      }
    }
  }
}

void fill_external(Config& config) {
  for (const Address& external : config.external) {
    for (RelayedAddress& relayed : config.relayed) {
      if (!relayed.external && relayed.internal.family == external.family) {
        relayed.external = external;
        break;  // two relayed addresses can't share a public address: the others keep their own
      }
    }
  }
}

}  // namespace

std::vector<ConfigError> check_relations(Config& config, const Origins& origins) {
  fill_alternates(config);
  std::vector<ConfigError> errors = Checker(config, origins).run();
  for (ConfigError& error : check_realms(config, origins))
    errors.push_back(std::move(error));
  if (errors.empty()) {
    fill_external(config);
    errors = check_nat_discovery(config, origins);
  }
  return errors;
}

std::string fill_defaults(Config& config, std::span<const Address> interface_addresses) {
  const bool listens = !config.listeners.empty(), relays = !config.relayed.empty();
  for (const Address& address : interface_addresses) {
    if (address.is_ipv6_link_local()) {
      continue;
    }
    if (!listens) {
      config.listeners.emplace_back().endpoint = {address, kStunPort};
    }
    if (!relays) {
      config.relayed.push_back({address, std::nullopt});
    }
  }
  for (const Address& external : config.external) {
    const std::string misfit = relays ? "" : misfit_of(config, external.family);
    if (!misfit.empty()) return "external " + external.to_string() + ": " + misfit;
  }
  fill_external(config);
  return "";
}

}  // namespace turnpike::config

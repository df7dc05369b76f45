// The keys of [nat_discovery], and what must hold between them, listeners and faces: above all that
// no client is ever told to ask at the address that it has just asked (RFC 5780 §7.4).
#include "config/nat_discovery.h"

#include <algorithm>

#include "config/reader.h"
#include "config/texts.h"

namespace turnpike::config {
namespace {

class Checker {
 public:
  Checker(const Config& config, const Origins& origins)
      : config_(config), section_(config.nat_discovery), origins_(origins) {}

  std::vector<ConfigError> run() {
    check_addresses();
    check_ports();
    check_listeners();
    if (errors_.empty()) check_faces();
    return std::move(errors_);
  }

 private:
  void refuse(const std::string& path, std::string problem) {
    errors_.push_back(origins_.error("nat_discovery" + path, std::move(problem)));
  }

  void check_addresses() {
    const std::vector<Address>& addresses = section_.addresses;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      const auto before = addresses.begin() + static_cast<std::ptrdiff_t>(i);
      const auto count = std::count_if(addresses.begin(), addresses.end(), [&](const Address& one) {
        return one.family == addresses[i].family;
      });
      if (std::find(addresses.begin(), before, addresses[i]) != before) {
        refuse(at(".addresses", i),
               "expected two different addresses, found " + addresses[i].to_string() + " again");
      } else if (count != 2) {
        refuse(at(".addresses", i), "expected two addresses of a family, or none of it, found " +
                                        std::to_string(count) + ": " + addresses[i].to_string());
      }
    }
  }

  void check_ports() {
    if (section_.ports[0] == section_.ports[1]) {
      refuse(".ports",
             "expected two different ports, found " + std::to_string(section_.ports[0]) + " twice");
    }
    const auto is_here = [&](const RelayedAddress& relayed) {
      const auto& here = section_.addresses;
      return std::find(here.begin(), here.end(), relayed.internal) != here.end();
    };
    const bool relayed = config_.relayed.empty() ||
                         std::any_of(config_.relayed.begin(), config_.relayed.end(), is_here);
    for (std::size_t i = 0; i < section_.ports.size(); ++i) {
      const std::uint16_t port = section_.ports[i];
      if (section_.addresses.empty() || !relayed || !config_.turn_enabled() ||
          port < config_.relay_ports.min || port > config_.relay_ports.max)
        continue;
      refuse(at(".ports", i), "expected a port outside of relay_ports (" +
                                  std::to_string(config_.relay_ports.min) + " to " +
                                  std::to_string(config_.relay_ports.max) + "), found " +
                                  std::to_string(port));
    }
  }

  void check_listeners() {
    for (const ListenerConfig& listener : config_.listeners) {
      if (listener.transport != ListenerTransport::kUdp || !section_.has(listener.endpoint))
        continue;
      if (listener.turn_only || listener.anycast) {
        refuse(".addresses",
               "expected addresses whose listeners answer Binding and are no other "
               "node's too, found " +
                   listener.endpoint.to_string() + ", which is " +
                   (listener.anycast ? "anycast" : "turn_only"));
      }
    }
  }

  // Behind a NAT each address needs a face of its own.
  void check_faces() {
    const std::vector<Address>& addresses = section_.addresses;
    const std::vector<Address>& external = section_.external;
    if (!external.empty() && external.size() != addresses.size()) {
      return refuse(".external", "expected as many as addresses (" +
                                     std::to_string(addresses.size()) +
                                     "), in their order, found " + std::to_string(external.size()));
    }
    for (std::size_t i = 0; i < external.size(); ++i) {
      if (external[i].family != addresses[i].family) {
        refuse(at(".external", i), "expected an address of the family of " +
                                       addresses[i].to_string() + ", found " +
                                       external[i].to_string());
      }
    }
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      const std::optional<Address> face = face_of(config_, addresses[i]);
      if (!face && is_behind_nat(addresses[i].family)) {
        refuse(".external", "expected the address by which clients know " +
                                addresses[i].to_string() +
                                ": other addresses of this node have an external one; found none");
      }
      const Address other = *section_.other(addresses[i]);
      if (face.value_or(addresses[i]) != face_of(config_, other).value_or(other)) continue;
      refuse(external.empty() ? at(".addresses", i) : at(".external", i),
             "expected two addresses that clients know by two, found " +
                 face.value_or(addresses[i]).to_string() +
                 " for both: who asked the one could be sent to the same again");
      return;
    }
  }

  bool is_behind_nat(Family family) const {
    const auto of_family = [family](const Address& one) { return one.family == family; };
    return std::any_of(config_.external.begin(), config_.external.end(), of_family) ||
           std::any_of(
               config_.relayed.begin(), config_.relayed.end(),
               [&](const RelayedAddress& one) { return one.external && of_family(*one.external); });
  }

  const Config& config_;
  const NatDiscoverySection& section_;
  const Origins& origins_;
  std::vector<ConfigError> errors_;
};

Take read_ports(std::array<std::uint16_t, 2>& ports) {
  return [&ports](Reader& reader, const Value& value, const std::string& path) {
    constexpr std::string_view kExpected = "a list of two ports, [3478, 3479]";
    const auto* values = value.as<Value::List>();
    if (values == nullptr || values->size() != ports.size()) {
      return reader.refuse(
          path, kExpected,
          values == nullptr ? describe_kind(value) : std::to_string(values->size()) + " of them");
    }
    for (std::size_t i = 0; i < ports.size(); ++i) {
      reader.note(at(path, i), (*values)[i]);
      integer(ports[i], 1, 65535)(reader, (*values)[i], at(path, i));
    }
  };
}

Take read_addresses(std::vector<Address>& addresses) {
  return list(
      addresses,
      [](Address& address) {
        return parsed(address, parse_unicast,
                      "a unicast address, such as 192.0.2.1 or 2001:db8::1");
      },
      "a list of addresses, [\"192.0.2.1\", \"192.0.2.2\"]");
}

}  // namespace

std::optional<Address> NatDiscoverySection::other(const Address& address) const {
  if (std::find(addresses.begin(), addresses.end(), address) == addresses.end())
    return std::nullopt;
  const auto found = std::find_if(addresses.begin(), addresses.end(), [&](const Address& one) {
    return one.family == address.family && one != address;
  });
  return found == addresses.end() ? std::nullopt : std::optional(*found);
}

bool NatDiscoverySection::has(const Endpoint& endpoint) const {
  return other(endpoint.address) && (endpoint.port == ports[0] || endpoint.port == ports[1]);
}

std::optional<Address> face_of(const Config& config, const Address& address) {
  const NatDiscoverySection& section = config.nat_discovery;
  for (std::size_t i = 0; i < section.external.size() && i < section.addresses.size(); ++i) {
    if (section.addresses[i] == address) return section.external[i];
  }
  for (const RelayedAddress& relayed : config.relayed) {
    if (relayed.internal == address) return relayed.external;
  }
  return std::nullopt;
}

void add_discovery_listeners(Config& config) {
  for (const Address& address : config.nat_discovery.addresses) {
    for (const std::uint16_t port : config.nat_discovery.ports) {
      const bool there = std::any_of(config.listeners.begin(), config.listeners.end(),
                                     [&](const ListenerConfig& one) {
                                       return one.endpoint == Endpoint{address, port} &&
                                              one.transport == ListenerTransport::kUdp;
                                     });
      if (there) continue;
      ListenerConfig& added = config.listeners.emplace_back();
      added.endpoint = {address, port};
      added.stun_only = true;
    }
  }
}

std::vector<ConfigError> check_nat_discovery(const Config& config, const Origins& origins) {
  return Checker(config, origins).run();
}

Take read_nat_discovery(NatDiscoverySection& section) {
  return Take([&section](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {{"addresses", read_addresses(section.addresses)},
                            {"external", read_addresses(section.external)},
                            {"ports", read_ports(section.ports)}};
    reader.read_table(value, path, fields);
  });
}

}  // namespace turnpike::config

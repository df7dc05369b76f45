// Which keys there are and what each takes: the page to open for a new one. Values are judged alone
// here; what they say about each other is check.cpp's.
#include <algorithm>
#include <tuple>

#include "config/config.h"
#include "config/prefix_file.h"
#include "config/reader.h"
#include "config/texts.h"
#include "config/value.h"

namespace turnpike::config {
namespace {

Take read_port(PortConfig& port) {
  return Take([&port](Reader& reader, const Value& value, const std::string& path) {
    Device device;
    const Field fields[] = {
        {"device", parsed(device, parse_device, kDeviceExpected)},
        {"queues", integer(port.queues, 0, 64)},
        {"mtu", integer(port.mtu, 1280, 9600, 0)},
        {"addresses", list(
                          port.addresses,
                          [](InterfaceAddress& address) {
                            return parsed(
                                address, parse_interface_address,
                                "an address with its network's length, such as 192.0.2.10/24");
                          },
                          "a list of addresses, [\"192.0.2.10/24\"]")},
        {"gateway", list(
                        port.gateways,
                        [](Address& address) {
                          return parsed(address, parse_unicast,
                                        "a unicast address, such as 192.0.2.1 or fe80::1");
                        },
                        "a list of addresses, [\"192.0.2.1\"]")},
        {"descriptors", integer(port.descriptors, 64, 8192, 0)},
        {"devargs", parsed(port.devargs, parse_devargs,
                           "what DPDK's driver takes, such as \"mprq_en=1,rxq_cqe_comp_en=0\"")},
        {"next_hop", parsed(port.static_next_hop, parse_next_hop,
                            "a unicast MAC such as 02:00:00:00:00:01, or \"\"")},
        {"exception",
         parsed(port.exception_name, parse_exception,
                "the name of an interface to make (at most 15 characters), \"none\" or \"\"")},
        {"memif_server", boolean(port.memif_server)},
        {"memif_zero_copy", boolean(port.memif_zero_copy)},
    };
    reader.read_table(value, path, fields);
    port.driver = device.driver;
    port.device = device.name;
    if (value.as<Value::Table>() && !has(value, "device")) {
      reader.refuse(path + ".device", kDeviceExpected, "nothing");
    }
  });
}

constexpr std::string_view kServerExpected =
    "a unicast address and a port from 1 to 65535, such as 192.0.2.1:3478 or "
    "[2001:db8::1]:3478";

Take read_listener(ListenerConfig& listener) {
  return Take([&listener](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"address", parsed(listener.endpoint, parse_server, kServerExpected)},
        {"transport", parsed(listener.transport, parse_transport,
                             "\"udp\", \"tcp\", \"tls\", \"auto\" or \"dtls\"")},
        {"stun_only", boolean(listener.stun_only)},
        {"turn_only", boolean(listener.turn_only)},
        {"anycast", boolean(listener.anycast)},
        {"realm", parsed(listener.realm, parse_realm, "the name of a realm")},
        {"alternates",
         list(
             listener.alternates,
             [](Endpoint& endpoint) { return parsed(endpoint, parse_server, kServerExpected); },
             "a list of addresses with ports, [\"192.0.2.2:3478\"]")},
    };
    reader.read_table(value, path, fields);
    if (value.as<Value::Table>() && !has(value, "address")) {
      reader.refuse(path + ".address", kServerExpected, "nothing");
    }
  });
}

// One [[relay]], which may give several addresses.
struct RelayTable {
  std::vector<Address> addresses, external;
};

Take read_relay(RelayTable& relay) {
  return Take([&relay](Reader& reader, const Value& value, const std::string& path) {
    constexpr std::string_view kExpected =
        "a unicast address such as 192.0.2.1, or a prefix of at most 256 of them, 192.0.2.0/24";
    const Field fields[] = {
        {"address", parsed(relay.addresses, parse_addresses, kExpected)},
        {"external", parsed(relay.external, parse_addresses, kExpected)},
    };
    reader.read_table(value, path, fields);
    if (value.as<Value::Table>() && !has(value, "address")) {
      reader.refuse(path + ".address", kExpected, "nothing");
    }
    if (!relay.addresses.empty() && !relay.external.empty() &&
        (relay.addresses.size() != relay.external.size() ||
         relay.addresses[0].family != relay.external[0].family)) {
      reader.refuse(
          path + ".external", "as many addresses as \"address\" gives, of its family",
          std::to_string(relay.external.size()) + " from " + relay.external[0].to_string());
    }
  });
}

// The addresses one by one, each with the place of its table.
Take read_relays(std::vector<RelayedAddress>& relayed) {
  return [&relayed](Reader& reader, const Value& value, const std::string& path) {
    std::vector<RelayTable> tables;
    list(tables, read_relay, "[[relay]] tables")(reader, value, path);
    for (std::size_t i = 0; i < tables.size(); ++i) {
      const RelayTable& relay = tables[i];
      const std::string key = at(path, i);
      const ConfigError place = reader.origins().error(key + ".address", "");
      for (std::size_t k = 0; k < relay.addresses.size(); ++k) {
        reader.note(at("relayed", relayed.size()), Origin{place.file, place.line, place.key});
        RelayedAddress& address = relayed.emplace_back();
        address.internal = relay.addresses[k];
        if (relay.external.size() == relay.addresses.size()) {
          address.external = relay.external[k];
        }
      }
    }
  };
}

Take read_user(UserConfig& user) {
  return Take([&user](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"name", parsed(user.username, parse_username,
                        "a username of 1 to 508 bytes, without control characters")},
        {"password", secret(user.password, parse_password,
                            "a password of 1 to 763 bytes, without control characters")},
        {"md5_key", secret(user.md5_key_hex, parse_md5_key,
                           "32 hexadecimal digits: MD5 of username:realm:password")},
    };
    reader.read_table(value, path, fields);
    if (!value.as<Value::Table>()) {
      return;
    }
    if (!has(value, "name")) {
      reader.refuse(path + ".name", "a username", "nothing");
    }
    if (has(value, "password") == has(value, "md5_key")) {
      reader.refuse(path + ".password", "either a password or an md5_key",
                    has(value, "password") ? "both" : "neither");
    }
  });
}

// The keys that [auth] and each [[other_realm]] have alike.
std::vector<Field> fields_of(RealmUsers& realm) {
  return {
      {"users",
       list(realm.users, read_user, "a list of users, [{ name = \"alice\", password = \"…\" }]")},
      {"rest_secrets",
       list(
           realm.rest_secrets,
           [](std::string& out) { return secret(out, parse_rest_secret, "a shared secret"); },
           "a list of shared secrets")},
      {"rest_format",
       parsed(realm.rest_format, parse_rest_format, "\"time:user\" or \"user:time\"")},
      {"strict_expiry", boolean(realm.strict_expiry)},
  };
}

// Likewise of [peers].
std::vector<Field> fields_of(RealmPeers& realm) {
  return {{"allow", prefixes(realm.allow)},
          {"deny", prefixes(realm.deny)},
          {"allow_files", prefix_files(realm.allow_files)},
          {"deny_files", prefix_files(realm.deny_files)}};
}

Take read_auth(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    std::vector<Field> fields = fields_of(static_cast<RealmUsers&>(config.auth));
    fields.push_back({"nonce_lifetime_s", integer(config.auth.nonce_lifetime_s, 1, 3600)});
    reader.read_table(value, path, fields);
  });
}

Take read_peers(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    std::vector<Field> fields = fields_of(static_cast<RealmPeers&>(config.peers));
    fields.push_back({"nat64_prefixes",
                      list(
                          config.peers.nat64_prefixes,
                          [](Prefix& prefix) {
                            return parsed(
                                prefix, parse_nat64,
                                "an IPv6 prefix of length 32, 40, 48, 56, 64 or 96 (RFC 6052)");
                          },
                          "a list of NAT64 prefixes")});
    reader.read_table(value, path, fields);
    // The analyser loses sight of std::function's destructor.
    // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks)
  });
}

constexpr std::string_view kRealmExpected =
    "a realm of 1 to 127 characters, without quotes, backslashes or control characters";

Take read_other_realm(RealmConfig& realm) {
  return Take([&realm](Reader& reader, const Value& value, const std::string& path) {
    std::vector<Field> fields = fields_of(static_cast<RealmUsers&>(realm));
    fields.push_back({"name", parsed(realm.name, parse_realm, kRealmExpected)});
    fields.push_back(
        {"peers", [&realm](Reader& below, const Value& peers, const std::string& peers_path) {
           below.read_table(peers, peers_path, fields_of(realm.peers));
         }});
    reader.read_table(value, path, fields);
    if (value.as<Value::Table>() && !has(value, "name")) {
      reader.refuse(path + ".name", kRealmExpected, "nothing");
    }
  });
}

// TOML has no key twice: the tables of further realms have another name.
Take read_realm(std::string& realm) {
  return [&realm](Reader& reader, const Value& value, const std::string& path) {
    if (value.as<std::string>()) {
      return parsed(realm, parse_realm, kRealmExpected)(reader, value, path);
    }
    reader.refuse(path, std::string(kRealmExpected) + "; further ones are [[other_realm]] tables",
                  describe_kind(value));
  };
}

Take read_clients(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"allow", prefixes(config.clients.allow)},
        {"deny", prefixes(config.clients.deny)},
        {"allow_files", prefix_files(config.clients.allow_files)},
        {"deny_files", prefix_files(config.clients.deny_files)},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_limits(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    constexpr std::int64_t kLeastBits = 16'000, kMostBits = 1'000'000'000'000;
    constexpr std::int64_t kLeastPackets = 10, kMostPackets = 1'000'000'000;
    RateLimits& bits = config.limits.bandwidth;
    RateLimits& packets = config.limits.packet_rate;
    const Field fields[] = {
        {"allocations", integer(config.limits.allocations, 1, 1'000'000)},
        {"permissions_per_allocation", integer(config.limits.permissions_per_allocation, 1, 4096)},
        {"channels_per_allocation", integer(config.limits.channels_per_allocation, 1, 4096)},
        {"on_link_peers_per_allocation",
         integer(config.limits.on_link_peers_per_allocation, 0, 4096)},
        {"permissions_average", integer(config.limits.permissions_average, 1, 4096)},
        {"channels_average", integer(config.limits.channels_average, 1, 4096)},
        {"allocations_per_user", integer(config.limits.allocations_per_user, 0, 1'000'000)},
        {"allocations_per_source", integer(config.limits.allocations_per_source, 0, 1'000'000)},
        {"requests_per_allocation_per_second",
         integer(config.limits.requests_per_allocation_per_second, 0, 1'000'000)},
        {"requests_per_allocation_burst",
         integer(config.limits.requests_per_allocation_burst, 1, 1'000'000)},
        {"requests_per_source_per_second",
         integer(config.limits.requests_per_source_per_second, 0, 1'000'000)},
        {"requests_per_source_burst",
         integer(config.limits.requests_per_source_burst, 1, 1'000'000)},
        {"challenges_per_source_per_second",
         integer(config.limits.challenges_per_source_per_second, 0, 1'000'000)},
        {"challenges_per_source_burst",
         integer(config.limits.challenges_per_source_burst, 1, 1'000'000)},
        {"challenges_per_second", integer(config.limits.challenges_per_second, 0, 100'000'000)},
        {"discovery_per_source_per_second",
         integer(config.limits.discovery_per_source_per_second, 0, 1'000'000)},
        {"discovery_per_source_burst",
         integer(config.limits.discovery_per_source_burst, 1, 1'000'000)},
        {"lifetime_min_s", integer(config.limits.lifetime_min_s, 1, 86400)},
        {"lifetime_max_s", integer(config.limits.lifetime_max_s, 1, 86400)},
        {"bandwidth", integer(bits.node, kLeastBits, kMostBits, 0)},
        {"bandwidth_per_realm", integer(bits.per_realm, kLeastBits, kMostBits, 0)},
        {"bandwidth_per_user", integer(bits.per_user, kLeastBits, kMostBits, 0)},
        {"bandwidth_per_allocation", integer(bits.per_allocation, kLeastBits, kMostBits, 0)},
        {"packet_rate", integer(packets.node, kLeastPackets, kMostPackets, 0)},
        {"packet_rate_per_realm", integer(packets.per_realm, kLeastPackets, kMostPackets, 0)},
        {"packet_rate_per_user", integer(packets.per_user, kLeastPackets, kMostPackets, 0)},
        {"packet_rate_per_allocation",
         integer(packets.per_allocation, kLeastPackets, kMostPackets, 0)},
        {"burst_ms", integer(config.limits.burst_ms, 10, 10'000)},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_relay_ports(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"min", integer(config.relay_ports.min, 1024, 65534)},
        {"max", integer(config.relay_ports.max, 1025, 65535)},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_own_host(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {{"udp", boolean(config.own_host.udp)}};
    reader.read_table(value, path, fields);
  });
}

Take read_metrics(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"address", parsed(config.metrics.address, parse_metrics,
                           "an address and a port from 1 to 65535, such as 127.0.0.1:9641")},
        {"enabled", boolean(config.metrics.enabled)},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_log(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"level", parsed(config.log.level, parse_log_level,
                         "\"trace\", \"debug\", \"info\", \"warning\" or \"error\"")},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_test(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {{"time_scale", integer(config.test.time_scale, 1, 100'000)}};
    reader.read_table(value, path, fields);
  });
}

Take read_root(Config& config) {
  return Take([&config](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"realm", read_realm(config.realm)},
        {"software", parsed(config.software, parse_software, "at most 127 characters")},
        {"classic_stun", boolean(config.classic_stun)},
        {"mobility", boolean(config.mobility)},
        {"channel_numbers",
         parsed(config.rfc5766_channels, parse_channel_numbers, "\"rfc8656\" or \"rfc5766\"")},
        {"ttl", parsed(config.resets_ttl, parse_ttl, "\"decrement\" or \"reset\"")},
        {"translated_mtu", integer(config.translated_mtu, 1280, 9600)},
        {"workers", integer(config.workers, 1, kMostWorkers)},
        {"shards", integer(config.shards, 1, kMostShards)},
        {"worker_cores", list(
                             config.worker_cores, [](int& core) { return integer(core, 0, 1023); },
                             "a list of CPU numbers, [0, 1]")},
        {"hugepages", boolean(config.hugepages)},
        {"user", parsed(config.user, parse_user, "a user of this host, or \"\"")},
        {"core_dumps", boolean(config.core_dumps)},
        {"idle_sleep_us", integer(config.idle_sleep_us, 0, 100'000)},
        {"external", list(
                         config.external,
                         [](Address& address) {
                           return parsed(address, parse_unicast,
                                         "a unicast address, such as 192.0.2.1 or 2001:db8::1");
                         },
                         "a list of addresses, [\"192.0.2.1\"]")},
        {"port", list(config.ports, read_port, "[[port]] tables")},
        {"listener", list(config.listeners, read_listener, "[[listener]] tables")},
        {"relay", read_relays(config.relayed)},
        {"streams", read_streams(config.streams)},
        {"tcp_relay", read_tcp_relay(config.tcp_relay)},
        {"own_host", read_own_host(config)},
        {"nat_discovery", read_nat_discovery(config.nat_discovery)},
        {"certificate", list(config.certificates, read_certificate, "[[certificate]] tables")},
        {"relay_ports", read_relay_ports(config)},
        {"auth", read_auth(config)},
        {"peers", read_peers(config)},
        {"other_realm", list(config.other_realms, read_other_realm, "[[other_realm]] tables")},
        {"clients", read_clients(config)},
        {"limits", read_limits(config)},
        {"payload", read_payload(config.payload)},
        {"identity", read_identity(config.identity)},
        {"metrics", read_metrics(config)},
        {"log", read_log(config)},
        {"test", read_test(config)},
    };
    reader.read_table(value, path, fields);
  });
}

}  // namespace

ConfigResult read_config(const Value& tree) {
  Config config;
  Reader reader(tree.origin);
  read_root(config)(reader, tree, "");
  // Relations between values that are themselves wrong would only add noise.
  std::vector<ConfigError> errors = std::move(reader.errors());
  if (errors.empty()) {
    errors = check_relations(config, reader.origins());
  }
  if (errors.empty()) {
    return config;
  }
  std::stable_sort(errors.begin(), errors.end(), [](const ConfigError& a, const ConfigError& b) {
    return std::tie(a.file, a.line) < std::tie(b.file, b.line);
  });
  return errors;
}

ConfigResult parse_config(std::string_view text, const std::string& name) {
  auto tree = read_toml(text, name);
  if (auto* errors = std::get_if<std::vector<ConfigError>>(&tree)) {
    return std::move(*errors);
  }
  return read_config(std::get<Value>(tree));
}

ConfigResult load_config(const std::string& path) {
  auto tree = read_toml_file(path);
  if (auto* errors = std::get_if<std::vector<ConfigError>>(&tree)) {
    return std::move(*errors);
  }
  return read_config(std::get<Value>(tree));
}

}  // namespace turnpike::config

// The configuration: one TOML file and a few flags, checked whole before anything starts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "turnpike/address.h"
#include "turnpike/server.h"

namespace turnpike::control {

enum class PortDriver : std::uint8_t { kPci, kAfXdp, kAfPacket, kTap, kMemif };

struct PortConfig {
  PortDriver driver = PortDriver::kAfXdp;
  std::string device;   // PCI address, interface name, or memif socket path
  std::uint16_t queues = 0;  // 0: one per worker, or the interface's channels (af_xdp)
  std::uint16_t mtu = 0;     // 0: the device's
  bool memif_server = false; // kMemif: role
  bool memif_zero_copy = true;
  std::vector<Prefix> addresses;     // owned ports: given to the exception interface. (host bits allowed: see `hosts`)
  std::vector<std::uint8_t> prefix_lengths;  // beside `addresses` kept as host addresses
  std::optional<std::array<std::uint8_t, 6>> static_next_hop;  // every destination on this port: this MAC
  std::string exception_name;  // owned ports: TAP's name; empty: "tpk<N>"; "none": no exception interface
};

struct UserConfig {
  std::string username;
  std::string password;          // secret; empty where only the MD5 key is known
  std::string md5_key_hex;       // secret
};

struct ListenerConfig {
  Endpoint endpoint;
  bool stun_only = false;
  bool turn_only = false;
  bool anycast = false;
  std::vector<Endpoint> alternates;
};

struct Config {
  std::vector<PortConfig> ports;
  std::vector<ListenerConfig> listeners;   // empty with one kernel-shared port: its addresses, port 3478
  std::vector<RelayedAddress> relayed;     // likewise
  std::string realm;
  std::vector<UserConfig> users;
  std::vector<std::string> rest_secrets;   // secrets
  bool strict_expiry = false;
  std::string software = "Turnpike";
  bool rfc5766_channels = false;
  std::vector<Prefix> allow_peers, deny_peers, nat64_prefixes;
  std::uint32_t nonce_lifetime_s = 3600;

  std::uint16_t workers = 1;
  std::uint8_t shards = 1;
  std::vector<int> worker_cores;  // empty: from core 0 up
  bool hugepages = true;          // used where there are some
  std::uint32_t idle_sleep_us = 0; // 0: workers poll always; else sleep after empty polls (shared hosts)

  std::uint16_t relay_port_min = 49152, relay_port_max = 65535;
  std::uint32_t lifetime_min_s = 600, lifetime_max_s = 3600;
  std::uint32_t max_allocations = 10000;
  std::uint32_t max_permissions_per_allocation = 256, max_channels_per_allocation = 256;
  std::uint32_t user_quota = 0;   // allocations per user; 0: none
  Endpoint metrics;               // default 127.0.0.1:9641
  bool metrics_enabled = true;
  std::uint32_t test_time_scale = 1;  // tests only: the engine's clock runs this much faster
  std::string log_level = "info";
};

}  // namespace turnpike::control

// The configuration: one TOML file and a few flags, checked whole before anything starts, so that a
// mistake costs its author one message with file, line and key, and never a call.
//
// Three steps: the file's text becomes a tree of values (toml.cpp), over which flags are
// laid (source.cpp); the tree becomes a Config, each value judged alone (schema.cpp); then
// what the values say about each other is judged (check.cpp, realms.cpp).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/nat_discovery.h"
#include "config/rules.h"
#include "config/streams.h"
#include "turnpike/address.h"
#include "turnpike/realm.h"
#include "turnpike/server.h"

namespace turnpike::config {

struct Value;  // value.h

inline constexpr std::uint16_t kMostWorkers = 64;
inline constexpr std::uint8_t kMostShards = 64;

enum class PortDriver : std::uint8_t { kPci, kAfXdp, kAfPacket, kTap, kMemif };

// Whether the kernel keeps the interface and its addresses; otherwise the port is owned, and what
// is not the relay's goes through an exception interface.
constexpr bool is_kernel_shared(PortDriver driver) {
  return driver == PortDriver::kAfXdp || driver == PortDriver::kAfPacket;
}

// An address of an interface with the length of its network: 192.0.2.10/24, host bits kept.
struct InterfaceAddress {
  Address address;
  std::uint8_t length = 0;  // in bits

  friend constexpr auto operator<=>(const InterfaceAddress&, const InterfaceAddress&) = default;
};

struct PortConfig {
  PortDriver driver = PortDriver::kAfXdp;
  std::string device;             // PCI address, interface name, or memif socket path
  std::uint16_t queues = 0;       // 0: one per worker, or the interface's channels (af_xdp)
  std::uint16_t mtu = 0;          // 0: the device's
  std::uint16_t descriptors = 0;  // of each ring; 0: the driver's usual
  std::string devargs;            // passed to DPDK's driver: "key=value,key=value"
  bool memif_server = false;      // kMemif: which end makes the socket
  bool memif_zero_copy = true;
  std::vector<InterfaceAddress> addresses;  // owned ports: given to the exception interface
  std::vector<Address> gateways;  // owned ports: where the default route leads, one of a family
  std::optional<std::array<std::uint8_t, 6>> static_next_hop;  // every destination: this MAC
  std::string exception_name;  // owned ports: its TAP; empty: "tpk<N>"; "none": no such interface

  friend bool operator==(const PortConfig&, const PortConfig&) = default;
};

struct UserConfig {
  std::string username;
  std::string password;     // secret; empty where only the MD5 key is known
  std::string md5_key_hex;  // secret; 32 hexadecimal digits, or empty

  friend bool operator==(const UserConfig&, const UserConfig&) = default;
};

// How a REST user's name is put together (docs/protocol.md 11).
enum class RestFormat : std::uint8_t { kTimeUser, kUserTime };

struct ListenerConfig {
  Endpoint endpoint;
  ListenerTransport transport = ListenerTransport::kUdp;
  bool stun_only = false;
  bool turn_only = false;
  bool anycast = false;
  std::string realm;  // of those who do TURN here; empty: the node's own
  // Where Allocate is sent instead (300). Filled in for anycast listeners that name none.
  std::vector<Endpoint> alternates;

  friend bool operator==(const ListenerConfig&, const ListenerConfig&) = default;
};

// What each realm has of its own: who is let in, and whom he may reach.
struct RealmUsers {
  std::vector<UserConfig> users;
  std::vector<std::string> rest_secrets;  // secrets
  RestFormat rest_format = RestFormat::kTimeUser;
  bool strict_expiry = false;

  friend bool operator==(const RealmUsers&, const RealmUsers&) = default;
};

// What a file of prefixes holds; its path is relative to where the program was started.
struct PrefixFile {
  std::string path;
  std::vector<Prefix> prefixes;

  friend bool operator==(const PrefixFile&, const PrefixFile&) = default;
};

struct RealmPeers {
  std::vector<Prefix> allow, deny;
  std::vector<PrefixFile> allow_files, deny_files;

  friend bool operator==(const RealmPeers&, const RealmPeers&) = default;
};

// One [[other_realm]].
struct RealmConfig : RealmUsers {
  std::string name;
  RealmPeers peers;

  friend bool operator==(const RealmConfig&, const RealmConfig&) = default;
};

// Each table of the file is a section, with the file's own words; one default for each fact, here.
struct AuthSection : RealmUsers {
  std::uint32_t nonce_lifetime_s = 3600;

  friend bool operator==(const AuthSection&, const AuthSection&) = default;
};

struct PeersSection : RealmPeers {
  std::vector<Prefix> nat64_prefixes;

  friend bool operator==(const PeersSection&, const PeersSection&) = default;
};

struct ClientsSection {
  std::vector<Prefix> allow, deny;
  std::vector<PrefixFile> allow_files, deny_files;

  friend bool operator==(const ClientsSection&, const ClientsSection&) = default;
};

struct RateLimits {
  std::uint64_t node = 0, per_realm = 0, per_user = 0, per_allocation = 0;

  bool any() const { return (node | per_realm | per_user | per_allocation) != 0; }
  friend bool operator==(const RateLimits&, const RateLimits&) = default;
};

struct LimitsSection {
  std::uint32_t allocations = 10000;  // of the node, all shards together
  std::uint32_t permissions_per_allocation = 256, channels_per_allocation = 256;
  std::uint32_t on_link_peers_per_allocation = 64;  // 0: no limit
  // What tables hold for each allocation on average; a single one may have all of its limit.
  std::uint32_t permissions_average = 8, channels_average = 2;
  std::uint32_t allocations_per_user = 32;   // 0: no limit of anything
  std::uint32_t allocations_per_source = 0;  // an IPv4 address, an IPv6 /64; 0: no limit
  // Requests that a worker hands to the engine, in a second and at once; 0: no limit.
  std::uint32_t requests_per_allocation_per_second = 20, requests_per_allocation_burst = 64;
  std::uint32_t requests_per_source_per_second = 500, requests_per_source_burst = 2000;
  // Challenges and errors to strangers, each worker for itself; 0: no limit.
  std::uint32_t challenges_per_source_per_second = 500, challenges_per_source_burst = 2000;
  std::uint32_t challenges_per_second = 50'000;
  // Of RFC 5780, what asks for PADDING or RESPONSE-PORT; likewise.
  std::uint32_t discovery_per_source_per_second = 10, discovery_per_source_burst = 50;
  std::uint32_t lifetime_min_s = 600, lifetime_max_s = 3600;
  // Of what is relayed, each direction for itself: bits of IP in a second on the peers' side, and
  // packets in a second. 0: no limit.
  RateLimits bandwidth, packet_rate;
  std::uint32_t burst_ms = 200;  // how long who was silent may send at once what comes in so long

  friend bool operator==(const LimitsSection&, const LimitsSection&) = default;
};

struct RelayPortsSection {
  std::uint16_t min = 49152;  // even
  std::uint16_t max = 65535;  // odd

  friend bool operator==(const RelayPortsSection&, const RelayPortsSection&) = default;
};

// Clients and peers on the relay's own host, and behind interfaces of it that are no ports.
struct OwnHostSection {
  bool udp = true;

  friend bool operator==(const OwnHostSection&, const OwnHostSection&) = default;
};

struct MetricsSection {
  Endpoint address{Address::v4(127, 0, 0, 1), 9641};
  bool enabled = true;

  friend bool operator==(const MetricsSection&, const MetricsSection&) = default;
};

struct LogSection {
  std::string level = "info";  // trace, debug, info, warning, error

  friend bool operator==(const LogSection&, const LogSection&) = default;
};

struct TestSection {
  std::uint32_t time_scale = 1;  // the engine's clock runs this much faster

  friend bool operator==(const TestSection&, const TestSection&) = default;
};

struct Config {
  std::vector<PortConfig> ports;
  std::vector<ListenerConfig> listeners;  // empty with one kernel-shared port: see fill_defaults()
  std::vector<RelayedAddress> relayed;    // likewise
  // At most one per family: that of relayed addresses without one.
  std::vector<Address> external;
  std::string realm;  // the node's own, with `auth` and `peers`; empty where none is needed
  std::string software = "Turnpike";
  bool classic_stun = true;             // Binding of RFC 3489 is answered
  bool mobility = true;                 // RFC 8016
  bool rfc5766_channels = false;        // channel_numbers
  bool resets_ttl = false;              // ttl
  std::uint16_t translated_mtu = 1280;  // of what comes from IPv4 without DF and leaves as IPv6

  std::uint16_t workers = 1;
  std::uint8_t shards = 1;
  std::vector<int> worker_cores;    // empty: as place_threads() says
  bool hugepages = true;            // used where there are some
  std::uint32_t idle_sleep_us = 0;  // 0: workers poll always; else they sleep after empty polls
  std::string user;                 // whom the process becomes once it runs; empty: stays who it is
  bool core_dumps = false;          // they hold keys and secrets

  AuthSection auth;
  PeersSection peers;
  std::vector<RealmConfig> other_realms;
  ClientsSection clients;
  LimitsSection limits;
  PayloadSection payload;
  IdentitySection identity;
  StreamsSection streams;
  TcpRelaySection tcp_relay;
  OwnHostSection own_host;
  NatDiscoverySection nat_discovery;
  std::vector<CertificateConfig> certificates;
  RelayPortsSection relay_ports;
  MetricsSection metrics;
  LogSection log;
  TestSection test;

  std::vector<std::string> warnings;  // what the operator should be told at the start

  // Whether any listener answers TURN: otherwise no realm, user or relayed address is needed.
  bool turn_enabled() const;
  // Whether any of them has the node's own realm.
  bool own_realm_used() const;
  // Whether clients come to any of them by it.
  bool is_used(Transport transport) const;
  // Whether kernel sockets serve clients and peers on this host: some port has routes of the
  // kernel.
  bool own_host_used() const;

  // All realms by RealmIndex: the node's own, then the others. Good as long as this is.
  struct RealmView {
    const std::string& name;
    const RealmUsers& users;
    const RealmPeers& peers;
  };
  std::vector<RealmView> realms() const;
  // Of the listener's; nullopt: there is no realm of that name.
  std::optional<RealmIndex> realm_of(const ListenerConfig& listener) const;

  friend bool operator==(const Config&, const Config&) = default;
};

// A mistake and where it is made.
struct ConfigError {
  std::string file;     // as the operator named it, or "command line"
  int line = 0;         // 0: of the command line, or of the file as a whole
  std::string key;      // "port[0].device", or the flag
  std::string problem;  // what was expected and what was found

  std::string to_string() const;  // "turnpike.toml:12: port[0].device: expected …, found …"
};

using ConfigResult = std::variant<Config, std::vector<ConfigError>>;

// Overwrites users' passwords and keys and the REST secrets: nobody needs them here once
// Credentials are made.
void forget_secrets(Config& config);

// The whole of a file, without flags. `name` is what errors call it.
ConfigResult parse_config(std::string_view text, const std::string& name);
ConfigResult load_config(const std::string& path);

// The same, of a file's tree of values with flags laid over it (value.h).
ConfigResult read_config(const Value& tree);

// What control does once the addresses of the one kernel-shared port are known (link-local ones are
// passed over): absent listeners are these at port 3478, absent relayed addresses these, and
// `external` is theirs. Returns what is wrong with that, or nothing.
std::string fill_defaults(Config& config, std::span<const Address> interface_addresses);

}  // namespace turnpike::config

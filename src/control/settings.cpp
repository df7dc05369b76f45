// Plain translations, field by field; what a field means is said where it is declared.
#include "control/settings.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "base/meter.h"
#include "control/accounts.h"
#include "flow/meters.h"
#include "policy/peer_rules.h"
#include "turnpike/stateless_answers.h"

namespace turnpike::control {
namespace {

std::string exception_name(const config::PortConfig& port, std::size_t number) {
  if (config::is_kernel_shared(port.driver) || port.exception_name == "none") return "";
  return port.exception_name.empty() ? "tpk" + std::to_string(number) : port.exception_name;
}

dataplane::Driver driver_of(config::PortDriver driver) {
  switch (driver) {
    case config::PortDriver::kPci:
      return dataplane::Driver::kPci;
    case config::PortDriver::kAfXdp:
      return dataplane::Driver::kAfXdp;
    case config::PortDriver::kAfPacket:
      return dataplane::Driver::kAfPacket;
    case config::PortDriver::kTap:
      return dataplane::Driver::kTap;
    case config::PortDriver::kMemif:
      return dataplane::Driver::kMemif;
  }
  throw std::logic_error("no such driver");
}

std::uint16_t channel_max(const config::Config& config) {
  return config.rfc5766_channels ? 0x7FFF : 0x4FFF;
}

std::vector<Realm> realms_of(const config::Config& config, const RealmCredentials& credentials) {
  std::vector<Realm> realms;
  for (const config::Config::RealmView& view : config.realms()) {
    const auth::Credentials& users = *credentials[realms.size()];
    Realm& realm = realms.emplace_back();
    realm.name = view.name;
    realm.sha256_offered = users.sha256_offered();
    realm.username_anonymity = users.anonymity_offered();
    realm.strict_expiry = view.users.strict_expiry;
  }
  return realms;
}

// Of all files, and `listed` besides.
policy::PrefixSet joined(const std::vector<config::PrefixFile>& files,
                         std::vector<Prefix> listed = {}) {
  for (const config::PrefixFile& file : files)
    listed.insert(listed.end(), file.prefixes.begin(), file.prefixes.end());
  return policy::PrefixSet(listed);
}

// What holds in all realms.
policy::PeerRules::Config peer_rules(const config::Config& config,
                                     const kernel::HostAddresses& host) {
  policy::PeerRules::Config rules;
  rules.nat64_prefixes = config.peers.nat64_prefixes;
  for (const config::ListenerConfig& listener : config.listeners)
    rules.ourselves.push_back(listener.endpoint.address);
  if (config.metrics.enabled) rules.ourselves.push_back(config.metrics.address.address);
  rules.ourselves.insert(rules.ourselves.end(), config.external.begin(), config.external.end());
  rules.ourselves.insert(rules.ourselves.end(), config.nat_discovery.external.begin(),
                         config.nat_discovery.external.end());
  for (const RelayedAddress& relayed : config.relayed) {
    rules.relayed.push_back(relayed.internal);
    if (relayed.external) rules.relayed.push_back(*relayed.external);
  }
  for (const kernel::HostAddresses::Entry& entry : host.all())
    rules.ourselves.push_back(entry.address);
  rules.broadcast = host.broadcast();
  return rules;
}

std::vector<engine::RealmPolicy> realm_policies(const config::Config& config,
                                                const RealmCredentials& credentials,
                                                const PrefixRules& prefixes,
                                                const kernel::HostAddresses& host) {
  policy::PeerRules::Config rules = peer_rules(config, host);
  std::vector<engine::RealmPolicy> policies;
  for (const config::Config::RealmView& realm : config.realms()) {
    rules.allow = realm.peers.allow;
    rules.deny = realm.peers.deny;
    rules.allow_also = prefixes.peers[policies.size()].allowed;
    rules.deny_also = prefixes.peers[policies.size()].denied;
    policies.push_back({policy::PeerRules(rules), credentials[policies.size()]});
  }
  return policies;
}

ServerPolicy server_policy(const config::Config& config, const std::vector<Realm>& realms) {
  ServerPolicy policy;
  policy.realms = realms;
  policy.software = config.software;
  policy.lifetime_min_s = config.limits.lifetime_min_s;
  policy.lifetime_max_s = config.limits.lifetime_max_s;
  policy.channel_max = channel_max(config);
  policy.mobility = config.mobility;
  policy.connects_burst = config.tcp_relay.connects_per_user_burst;
  policy.connects_per_second = config.tcp_relay.connects_per_user_per_second;
  for (const config::ListenerConfig& listener : config.listeners) {
    if (!listener.alternates.empty())
      policy.redirects.push_back(
          {listener.endpoint, listener.alternates, config::transport_of(listener.transport)});
  }
  return policy;
}

// Whoever may send at all may send a few packets at once.
MeterRate meter_rate(std::uint64_t per_second, const config::Config& config, std::uint64_t least) {
  return {per_second, std::max(per_second * config.limits.burst_ms / 1000, least), config.workers};
}

flow::MeterRates meter_rates(const config::Config& config) {
  constexpr std::uint64_t kLeastBytes = 20'000, kLeastPackets = 16;
  flow::MeterRates rates;
  const auto set = [&](flow::MeterLevel level, std::uint64_t bits, std::uint64_t packets) {
    rates.of(level, flow::MeterKind::kBytes) = meter_rate(bits / 8, config, kLeastBytes);
    rates.of(level, flow::MeterKind::kPackets) = meter_rate(packets, config, kLeastPackets);
  };
  const config::RateLimits& bits = config.limits.bandwidth;
  const config::RateLimits& packets = config.limits.packet_rate;
  set(flow::MeterLevel::kAllocation, bits.per_allocation, packets.per_allocation);
  set(flow::MeterLevel::kUser, bits.per_user, packets.per_user);
  set(flow::MeterLevel::kRealm, bits.per_realm, packets.per_realm);
  set(flow::MeterLevel::kNode, bits.node, packets.node);
  return rates;
}

flow::WorkerPolicy worker_policy(const config::Config& config, const StatelessAnswers& stateless,
                                 const PrefixRules& prefixes, const kernel::HostAddresses& host) {
  flow::WorkerPolicy policy(stateless);
  policy.clients = prefixes.clients;
  policy.broadcasts = flow::Broadcasts(host.broadcast());
  policy.channel_max = channel_max(config);
  policy.translated_mtu = config.translated_mtu;
  policy.resets_ttl = config.resets_ttl;
  policy.strangers.per_source = {config.limits.challenges_per_source_per_second,
                                 config.limits.challenges_per_source_burst};
  policy.strangers.all = {config.limits.challenges_per_second};
  policy.discovery_per_source = {config.limits.discovery_per_source_per_second,
                                 config.limits.discovery_per_source_burst};
  policy.requests.per_allocation = {config.limits.requests_per_allocation_per_second,
                                    config.limits.requests_per_allocation_burst};
  policy.requests.per_source = {config.limits.requests_per_source_per_second,
                                config.limits.requests_per_source_burst};
  policy.meters = meter_rates(config);
  return policy;
}

std::vector<transport::CertificateFiles> certificates_of(const config::Config& config) {
  std::vector<transport::CertificateFiles> files;
  for (const config::CertificateConfig& one : config.certificates)
    files.push_back({one.chain, one.key});
  return files;
}

transport::Liveness::Patience patience_of(const config::Config& config) {
  return {std::uint64_t{config.streams.handshake_s} * 1000,
          std::uint64_t{config.streams.idle_s} * 1000};
}

FacedEndpoint faced(const config::Config& config, const Endpoint& endpoint) {
  return {endpoint,
          {config::face_of(config, endpoint.address).value_or(endpoint.address), endpoint.port}};
}

// Of a listener of UDP that is one of the four.
std::optional<NatDiscovery> discovery_of(const config::Config& config,
                                         const config::ListenerConfig& listener) {
  const config::NatDiscoverySection& section = config.nat_discovery;
  if (listener.transport != config::ListenerTransport::kUdp || !section.has(listener.endpoint))
    return std::nullopt;
  const Endpoint& own = listener.endpoint;
  const Address other = *section.other(own.address);
  const std::uint16_t other_port = section.other(own.port);
  NatDiscovery discovery;
  discovery.origins[0] = faced(config, own);
  discovery.origins[kChangePort] = faced(config, {own.address, other_port});
  discovery.origins[kChangeAddress] = faced(config, {other, own.port});
  discovery.origins[kChangeBoth] = faced(config, {other, other_port});
  return discovery;
}

}  // namespace

std::vector<Listener> listeners(const config::Config& config) {
  std::vector<Listener> all;
  for (const config::ListenerConfig& listener : config.listeners)
    all.push_back({.endpoint = listener.endpoint,
                   .transport = config::transport_of(listener.transport),
                   .stun_only = listener.stun_only,
                   .turn_only = listener.turn_only,
                   .realm = config.realm_of(listener).value(),
                   .external = config::face_of(config, listener.endpoint.address),
                   .discovery = discovery_of(config, listener)});
  return all;
}

std::vector<Transport> stream_ports(const config::Config& config) {
  std::vector<Transport> ports;
  if (config.is_used(Transport::kTcp)) ports.assign(config.streams.threads, Transport::kTcp);
  if (config.is_used(Transport::kDtls)) ports.push_back(Transport::kDtls);
  if (config.own_host_used()) ports.push_back(Transport::kUdp);
  return ports;
}

dataplane::Options dataplane_options(const config::Config& config) {
  dataplane::Options options;
  for (std::size_t i = 0; i < config.ports.size(); ++i) {
    const config::PortConfig& port = config.ports[i];
    dataplane::PortSpec& spec = options.ports.emplace_back();
    spec.driver = driver_of(port.driver);
    spec.device = port.device;
    spec.queues = port.queues;
    spec.mtu = port.mtu;
    spec.descriptors = port.descriptors;
    spec.devargs = port.devargs;
    spec.memif_server = port.memif_server;
    spec.memif_zero_copy = port.memif_zero_copy;
    for (const config::InterfaceAddress& address : port.addresses)
      spec.addresses.push_back(address.address);
    spec.exception_name = exception_name(port, i);
  }
  options.workers = config.workers;
  options.worker_cores = config.worker_cores;
  options.shards = config.shards;
  options.stream_ports = stream_ports(config);
  options.hugepages = config.hugepages;
  options.idle_sleep_us = config.idle_sleep_us;
  options.test_time_scale = config.test.time_scale;
  options.listeners = datagram_listeners(config);
  options.relayed = config.relayed;
  options.relay_ports = {config.relay_ports.min, config.relay_ports.max};
  return options;
}

flow::TableLimits table_limits(const config::Config& config) {
  flow::TableLimits limits;
  limits.shards = config.shards;
  limits.allocations_per_shard =
      flow::allocations_of_shard(config.limits.allocations, config.shards);
  const auto share = [&](std::uint32_t most, std::uint32_t average) {
    const std::uint64_t all = std::uint64_t{limits.allocations_per_shard} * std::min(most, average);
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(std::max<std::uint64_t>(all, most), 1U << 28));
  };
  limits.permissions_per_shard =
      share(config.limits.permissions_per_allocation, config.limits.permissions_average);
  limits.channels_per_shard =
      share(config.limits.channels_per_allocation, config.limits.channels_average);
  return limits;
}

UserLimits user_limits(const config::Config& config, std::uint32_t allocations) {
  if (allocations == 0) return {0, 0, 0, config.tcp_relay.connections_per_user};
  const auto share = [&](std::uint32_t most, std::uint32_t average) {
    const std::uint64_t all = std::uint64_t{allocations} * std::min(most, average);
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(std::max<std::uint64_t>(all, most), 1U << 28));
  };
  return {allocations,
          share(config.limits.permissions_per_allocation, config.limits.permissions_average),
          share(config.limits.channels_per_allocation, config.limits.channels_average),
          config.tcp_relay.connections_per_user};
}

std::string why_one_user_can_take_all(const config::Config& config,
                                      const flow::TableLimits& limits) {
  const auto too_much = [](std::uint64_t of_user, std::uint64_t in_all) {
    return 2 * of_user > in_all;
  };
  const auto why = [&](std::uint32_t allocations, const std::string& key) -> std::string {
    const UserLimits user = user_limits(config, allocations);
    if (user.allocations == 0) return key + " is 0";
    if (too_much(user.allocations, config.limits.allocations))
      return key + " is more than half of limits.allocations";
    if (too_much(user.permissions, std::uint64_t{limits.shards} * limits.permissions_per_shard))
      return key + " or limits.permissions_per_allocation gives more than half of all there are";
    if (too_much(user.channels, std::uint64_t{limits.shards} * limits.channels_per_shard))
      return key + " or limits.channels_per_allocation gives more than half of all there are";
    return "";
  };
  std::string found = why(config.limits.allocations_per_user, "limits.allocations_per_user");
  for (const config::IdentityClassConfig& one : config.identity.classes) {
    if (!found.empty()) break;
    found = why(one.allocations_per_user, "allocations_per_user of identity.class " + one.name);
  }
  return found;
}

ServerConfig server_config(const config::Config& config, const flow::TableLimits& limits,
                           std::uint8_t shard) {
  ServerConfig server;
  server.relayed = config.relayed;
  server.port_min = config.relay_ports.min;
  server.port_max = config.relay_ports.max;
  server.max_allocations = limits.allocations_per_shard;
  server.max_permissions_per_allocation = config.limits.permissions_per_allocation;
  server.max_channels_per_allocation = config.limits.channels_per_allocation;
  server.max_on_link_peers_per_allocation = config.limits.on_link_peers_per_allocation;
  server.max_connections_per_allocation = config.tcp_relay.connections_per_allocation;
  server.max_connecting_per_allocation = config.tcp_relay.connecting_per_allocation;
  server.shard = shard;
  server.shard_count = config.shards;
  return server;
}

std::vector<Endpoint> datagram_listeners(const config::Config& config) {
  std::vector<Endpoint> endpoints;
  for (const Listener& listener : listeners(config)) {
    const bool known =
        std::find(endpoints.begin(), endpoints.end(), listener.endpoint) != endpoints.end();
    if (listener.transport != Transport::kTcp && !known) endpoints.push_back(listener.endpoint);
  }
  return endpoints;
}

transport::Gate::Config gate_config(const config::Config& config, const ClientSpread& spread) {
  using Kind = config::ListenerTransport;
  transport::Gate::Config made;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const config::ListenerConfig& listener = config.listeners[i];
    if (config::transport_of(listener.transport) != Transport::kTcp) continue;
    made.places.push_back({listener.endpoint, static_cast<ListenerIndex>(i),
                           listener.transport == Kind::kTcp   ? transport::Security::kPlain
                           : listener.transport == Kind::kTls ? transport::Security::kTls
                                                              : transport::Security::kAuto});
  }
  made.certificates = certificates_of(config);
  made.client_authorities = config.streams.client_authorities;
  made.proxies = config.streams.proxies;
  made.connections = config.streams.connections;
  made.connections_per_source = config.streams.connections_per_source;
  made.waiting_bytes = config.streams.waiting_kib * 1024;
  made.patience = patience_of(config);
  made.key = random_bytes<HashKey>();
  made.spread = spread;
  if (config.tcp_relay.enabled)
    made.peers = {config.tcp_relay.sockets, config.tcp_relay.own_host_peers};
  return made;
}

transport::DtlsThread::Config dtls_config(const config::Config& config, const flow::Setup& setup) {
  transport::DtlsThread::Config made;
  for (std::size_t i = 0; i < setup.listeners.size(); ++i) {
    if (setup.listeners[i].transport == Transport::kDtls)
      made.places.push_back({setup.listeners[i].endpoint, static_cast<ListenerIndex>(i)});
  }
  made.certificates = certificates_of(config);
  made.client_authorities = config.streams.client_authorities;
  made.server = {.associations = config.streams.connections,
                 .associations_per_source = config.streams.connections_per_source,
                 .patience = patience_of(config),
                 .key = random_bytes<HashKey>(),
                 .cookies = setup.cookie_key};
  return made;
}

NonceKeeper::Config nonce_config(const config::Config& config) {
  NonceKeeper::Config nonce;
  nonce.lifetime_s = config.auth.nonce_lifetime_s;
  nonce.key = random_bytes<decltype(nonce.key)>();
  return nonce;
}

RealmCredentials credentials_of(const config::Config& config) {
  RealmCredentials credentials;
  for (const config::Config::RealmView& realm : config.realms())
    credentials.push_back(std::make_shared<const auth::Credentials>(accounts_of(realm)));
  return credentials;
}

PrefixRules prefix_rules(const config::Config& config) {
  PrefixRules rules;
  for (const config::Config::RealmView& realm : config.realms())
    rules.peers.push_back({joined(realm.peers.allow_files), joined(realm.peers.deny_files)});
  rules.clients = {joined(config.clients.allow_files, config.clients.allow),
                   joined(config.clients.deny_files, config.clients.deny)};
  return rules;
}

std::unique_ptr<const Policy> make_policy(
    const config::Config& config, const RealmCredentials& credentials,
    const std::shared_ptr<const policy::PayloadRules>& payload,
    const std::shared_ptr<const policy::IdentityRules>& identity, const NonceKeeper& nonces,
    const PrefixRules& prefixes, const kernel::HostAddresses& host) {
  const std::vector<Realm> realms = realms_of(config, credentials);
  const StatelessAnswers stateless({.realms = realms, .classic = config.classic_stun}, nonces);
  flow::WorkerPolicy worker = worker_policy(config, stateless, prefixes, host);
  worker.payload = payload;
  return std::make_unique<const Policy>(
      Policy{.worker = std::move(worker),
             .engine = {.realms = realm_policies(config, credentials, prefixes, host),
                        .server = server_policy(config, realms),
                        .streams = {.own_host = config.tcp_relay.own_host_peers,
                                    .port_min = config.relay_ports.min,
                                    .port_max = config.relay_ports.max},
                        .identity = identity}});
}

flow::Setup flow_setup(const config::Config& config) {
  flow::Setup setup;
  setup.listeners = listeners(config);
  setup.relayed = config.relayed;
  setup.shard_count = config.shards;
  setup.strangers.key = random_bytes<HashKey>();
  setup.requests.key = random_bytes<HashKey>();
  setup.transaction_key = random_bytes<TransactionIds::Key>();
  setup.cookie_key = random_bytes<wire::DtlsCookies::Key>();
  return setup;
}

}  // namespace turnpike::control

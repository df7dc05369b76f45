// The object graph and control's loop. The order of Node's members is the order in which things
// come to be; they end in the opposite one, so that nothing is left by what still refers to it.
#include "control/node.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "auth/credentials.h"
#include "base/published.h"
#include "config/wipe.h"
#include "control/accounts.h"
#include "control/privileges.h"
#include "dataplane/clock.h"
#include "dataplane/dataplane.h"
#include "dataplane/sandbox.h"
#include "dataplane/shared_nic.h"
#include "engine/engine_thread.h"
#include "kernel/host_addresses.h"
#include "kernel/interfaces.h"
#include "kernel/neighbours.h"
#include "kernel/port_reservation.h"
#include "kernel/route_query.h"
#include "log/log.h"
#include "observe/conditions.h"
#include "observe/metrics.h"
#include "policy/peer_rules.h"
#include "turn/quota.h"
#include "wire/front_door.h"
#include "wire/nonce.h"
#include "wire/reservation_token.h"

namespace turnpike::control {
namespace {

constexpr std::uint32_t kNextHops = 16384;
constexpr std::uint64_t kLoginNotesMs = 10'000;  // a line of each shard in that time, at most
constexpr int kRoundMs = 5;           // control's round, where nothing is passed to the kernel
constexpr int kExceptionRoundMs = 1;  // and where it is

constexpr const char* kGatewayMetric = "65535";
constexpr std::uint64_t kGatewayAgainMs = 10'000;
constexpr std::uint64_t kGatewayGivenMs = 2'000;

// A configuration that is right by itself and wrong on this host.
class Misfit : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename T>
T random_bytes() {
  T value{};
  engine::fill_random({reinterpret_cast<std::uint8_t*>(&value), sizeof value});
  return value;
}

// --- The service manager ---

// To systemd, if it asked for it (sd_notify(3)'s protocol: one datagram).
void notify_manager(const char* state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path == nullptr || path[0] == 0 || std::strlen(path) >= sizeof to.sun_path) return;
  const std::size_t size = std::strlen(path);
  std::memcpy(to.sun_path, path, size);
  if (to.sun_path[0] == '@') to.sun_path[0] = 0;
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  if (sendto(fd, state, std::strlen(state), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to),
             length) < 0) {
    log::warning(std::string("the service manager does not listen: ") + std::strerror(errno));
  }
  close(fd);
}

// SIGINT, SIGTERM and SIGHUP, as a descriptor; made before any thread, which all inherit the mask.
class Signals {
 public:
  Signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP})
      sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    fd_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd_ < 0) throw std::runtime_error(std::string("signalfd: ") + std::strerror(errno));
  }
  ~Signals() { close(fd_); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int fd() const { return fd_; }
  // Whether one of those that wait means the end.
  bool ends() const {
    signalfd_siginfo info{};
    while (read(fd_, &info, sizeof info) == sizeof info) {
      if (info.ssi_signo != SIGHUP) return true;
      log::warning("SIGHUP: the configuration is read at the start only; restart to change it");
    }
    return false;
  }

 private:
  int fd_ = -1;
};

// --- The host ---

void run_ip(std::vector<std::string> words) {
  std::string line;
  std::vector<char*> arguments;
  for (std::string& word : words) {
    line += (line.empty() ? "" : " ") + word;
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  pid_t child = 0;
  int status = 0;
  const bool ran = posix_spawnp(&child, "ip", nullptr, nullptr, arguments.data(), environ) == 0 &&
                   waitpid(child, &status, 0) == child;
  if (!ran || status != 0) throw std::runtime_error("`" + line + "` failed");
}

void give_addresses_and_routes(const config::PortConfig& port, const std::string& interface) {
  for (const config::InterfaceAddress& given : port.addresses) {
    std::vector<std::string> words{
        "ip",  "address", "replace", given.address.to_string() + "/" + std::to_string(given.length),
        "dev", interface};
    // No duplicate address detection: until it is over the address would not be there.
    if (given.address.family == Family::kIpv6) words.emplace_back("nodad");
    run_ip(std::move(words));
  }
  // Behind every other default route: the host's own, through a management interface perhaps, is
  // neither replaced nor gone when this one goes with its interface.
  for (const Address& gateway : port.gateways) {
    run_ip({"ip", gateway.family == Family::kIpv4 ? "-4" : "-6", "route", "replace", "default",
            "via", gateway.to_string(), "dev", interface, "metric", kGatewayMetric});
  }
}

std::uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  std::uint64_t kib = 0;
  while (file >> word) {
    if (word == "MemAvailable:" && file >> kib) return kib * 1024;
  }
  return ~std::uint64_t{0};
}

// No core file, and no other process of the same user that reads the memory (prctl(2)).
void keep_memory_private() {
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0)
    log::warning(std::string("core dumps can't be switched off: ") + std::strerror(errno));
}

// --- From the configuration to each part's own ---

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
  options.hugepages = config.hugepages;
  options.idle_sleep_us = config.idle_sleep_us;
  options.test_time_scale = config.test_time_scale;
  for (const config::ListenerConfig& listener : config.listeners)
    options.listeners.push_back(listener.endpoint);
  options.relayed = config.relayed;
  options.relay_ports = {config.relay_port_min, config.relay_port_max};
  return options;
}

// Whether listeners or relayed addresses are left to be those of the one kernel-shared port.
bool is_by_default(const config::Config& config) {
  const bool incomplete =
      config.listeners.empty() || (config.relayed.empty() && config.turn_enabled());
  return incomplete && config.ports.size() == 1 && config::is_kernel_shared(config.ports[0].driver);
}

// Whether the interface has yet what is left for it to give: an address, and one for the face that
// is configured.
bool has_what_is_left_out(const config::Config& config, const std::vector<Address>& given) {
  return !given.empty() &&
         (!config.relayed.empty() ||
          std::all_of(config.external.begin(), config.external.end(), [&](const Address& external) {
            return std::any_of(given.begin(), given.end(), [&](const Address& address) {
              return address.family == external.family;
            });
          }));
}

// At boot the interface may be there before its address, for as long as a DHCP server takes. False:
// told to end meanwhile.
bool wait_for_addresses(const config::Config& config, kernel::HostAddresses& host,
                        const Signals& signals) {
  if (!is_by_default(config)) return true;
  const std::string& interface = config.ports[0].device;
  for (bool said = false;;) {
    if (const std::string problem = kernel::interface_problem(interface); !problem.empty())
      throw std::runtime_error("port " + interface + ": " + problem);
    if (has_what_is_left_out(config, host.of(interface))) return true;
    if (!std::exchange(said, true)) {
      const std::string what = "waiting for an address on interface " + interface;
      log::warning(what + ", to listen on and relay from");
      notify_manager(("STATUS=" + what).c_str());
    }
    // Longer than the manager waits for most.
    notify_manager("EXTEND_TIMEOUT_USEC=10000000");
    pollfd waits[] = {{signals.fd(), POLLIN, 0}, {host.fd(), POLLIN, 0}};
    poll(waits, std::size(waits), 1000);
    if (signals.ends()) return false;
    host.poll();
  }
}

// With one kernel-shared port, what is not configured is what the interface has.
config::Config completed(config::Config config, const kernel::HostAddresses& host) {
  const bool stun_only = !config.turn_enabled();
  if (is_by_default(config)) {
    const std::string problem = config::fill_defaults(config, host.of(config.ports[0].device));
    if (!problem.empty()) {
      throw Misfit(problem + " on interface " + config.ports[0].device +
                   "; --relay ADDRESS names the one");
    }
  }
  if (config.listeners.empty())
    throw Misfit("no listener is configured, and the port's interface has no address to be one");
  if (config.relayed.empty() && !stun_only)
    throw Misfit("no relayed address is configured, and the port's interface has none to be one");
  const config::ListenerConfig& first = config.listeners.front();
  for (const config::ListenerConfig& other : config.listeners) {
    if (other.stun_only != first.stun_only || other.turn_only != first.turn_only)
      throw Misfit("stun_only and turn_only must be the same for all listeners of a node");
  }
  return config;
}

// Cores outside of the process's mask can be had all the same: isolcpus keeps them out of it.
void check_cores(const config::Config& config) {
  const long there = sysconf(_SC_NPROCESSORS_CONF);
  for (const int core : config.worker_cores) {
    if (core < there) continue;
    throw Misfit("worker_cores: this machine has cores 0 to " + std::to_string(there - 1) +
                 ", not " + std::to_string(core));
  }
}

flow::TableLimits table_limits(const config::Config& config) {
  flow::TableLimits limits;
  limits.shards = config.shards;
  limits.allocations_per_shard = (config.max_allocations + config.shards - 1) / config.shards;
  // Five-tuples fall to shards by chance: the node is full before a shard is.
  if (config.shards > 1) limits.allocations_per_shard += limits.allocations_per_shard / 10 + 16;
  const auto share = [&](std::uint32_t most, std::uint32_t average) {
    const std::uint64_t all = std::uint64_t{limits.allocations_per_shard} * std::min(most, average);
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(std::max<std::uint64_t>(all, most), 1U << 28));
  };
  limits.permissions_per_shard =
      share(config.max_permissions_per_allocation, config.permissions_average);
  limits.channels_per_shard = share(config.max_channels_per_allocation, config.channels_average);
  return limits;
}

// As much as his allocations have on average, and what a single one may have.
UserLimits user_limits(const config::Config& config) {
  if (config.user_quota == 0) return {0};
  const auto share = [&](std::uint32_t most, std::uint32_t average) {
    const std::uint64_t all = std::uint64_t{config.user_quota} * std::min(most, average);
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(std::max<std::uint64_t>(all, most), 1U << 28));
  };
  return {config.user_quota,
          share(config.max_permissions_per_allocation, config.permissions_average),
          share(config.max_channels_per_allocation, config.channels_average)};
}

// Whether one user can keep others from what there is; empty: no.
std::string why_one_user_can_take_all(const config::Config& config,
                                      const flow::TableLimits& limits) {
  const UserLimits user = user_limits(config);
  const auto too_much = [](std::uint64_t of_user, std::uint64_t in_all) {
    return 2 * of_user > in_all;
  };
  if (user.allocations == 0) return "limits.allocations_per_user is 0";
  if (too_much(user.allocations, config.max_allocations))
    return "limits.allocations_per_user is more than half of limits.allocations";
  if (too_much(user.permissions, std::uint64_t{limits.shards} * limits.permissions_per_shard))
    return "limits.permissions_per_allocation is more than half of all there are";
  if (too_much(user.channels, std::uint64_t{limits.shards} * limits.channels_per_shard))
    return "limits.channels_per_allocation is more than half of all there are";
  return "";
}

// Rather a refusal at the start than the kernel's out-of-memory killer under load.
void check_memory(const flow::TableLimits& limits, std::uint16_t workers) {
  const std::uint64_t each_shard =
      limits.allocations_per_shard * (1536 + std::uint64_t{16} * workers) +
      limits.permissions_per_shard * std::uint64_t{256} +
      limits.channels_per_shard * std::uint64_t{320};
  const std::uint64_t wanted = each_shard * limits.shards, there = available_memory();
  if (wanted <= there) return;
  throw Misfit("limits: " + std::to_string(wanted >> 20) + " MiB would be needed and " +
               std::to_string(there >> 20) + " MiB are available; lower limits.allocations");
}

ServerConfig server_config(const config::Config& config, const flow::TableLimits& limits,
                           std::uint8_t shard, bool sha256) {
  ServerConfig server;
  server.realm = config.realm;
  server.software = config.software;
  server.relayed = config.relayed;
  server.port_min = config.relay_port_min;
  server.port_max = config.relay_port_max;
  server.lifetime_default_s = config.lifetime_min_s;
  server.lifetime_max_s = config.lifetime_max_s;
  server.channel_max = config.rfc5766_channels ? 0x7FFF : 0x4FFF;
  server.strict_expiry = config.strict_expiry;
  server.sha256_offered = sha256;
  server.max_allocations = limits.allocations_per_shard;
  server.max_permissions_per_allocation = config.max_permissions_per_allocation;
  server.max_channels_per_allocation = config.max_channels_per_allocation;
  for (const config::ListenerConfig& listener : config.listeners) {
    if (!listener.alternates.empty())
      server.redirects.push_back({listener.endpoint, listener.alternates});
  }
  server.shard = shard;
  server.shard_count = config.shards;
  return server;
}

NonceKeeper::Config nonce_config(const config::Config& config,
                                 const auth::Credentials& credentials) {
  NonceKeeper::Config nonce;
  nonce.realm = config.realm;
  nonce.lifetime_s = config.nonce_lifetime_s;
  nonce.username_anonymity = credentials.anonymity_offered();
  nonce.key = random_bytes<decltype(nonce.key)>();
  return nonce;
}

FrontDoor::Config door_config(const config::Config& config, const auth::Credentials& credentials) {
  FrontDoor::Config door;
  door.realm = config.realm;
  door.sha256_offered = credentials.sha256_offered();
  door.stun_only = config.listeners.front().stun_only;
  door.turn_only = config.listeners.front().turn_only;
  door.classic = config.classic_stun;
  return door;
}

policy::PeerRules peer_rules(const config::Config& config, const kernel::HostAddresses& host) {
  policy::PeerRules::Config rules;
  rules.allow = config.allow_peers;
  rules.deny = config.deny_peers;
  rules.nat64_prefixes = config.nat64_prefixes;
  for (const config::ListenerConfig& listener : config.listeners)
    rules.ourselves.push_back(listener.endpoint.address);
  if (config.metrics_enabled) rules.ourselves.push_back(config.metrics.address);
  rules.ourselves.insert(rules.ourselves.end(), config.external.begin(), config.external.end());
  for (const RelayedAddress& relayed : config.relayed) {
    rules.relayed.push_back(relayed.internal);
    if (relayed.external) rules.relayed.push_back(*relayed.external);
  }
  for (const kernel::HostAddresses::Entry& entry : host.all())
    rules.ourselves.push_back(entry.address);
  rules.broadcast = host.broadcast();
  return policy::PeerRules(rules);
}

// --- The node ---

class Node {
 public:
  Node(config::Config config, kernel::HostAddresses& addresses);
  ~Node();
  void run(const Signals& signals);

 private:
  void reserve_ports();
  std::unique_ptr<dataplane::Dataplane> make_dataplane();
  std::vector<kernel::Neighbours::Port> neighbour_ports();
  std::vector<std::atomic<std::uint64_t>*> live_ports() { return dataplane_->live_ports(); }
  flow::Setup make_setup();
  void make_engines();
  observe::MetricsSource metrics_source();
  void start_metrics();
  void say_what_runs() const;
  void warn_of_short_reach() const;
  void watch_links();
  void watch_peers();
  void watch_sandboxes();
  void watch_interfaces();
  void watch_gateways();
  void watch_addresses(bool changed);
  void make_engine_threads();
  void tell_routes();
  std::string missing_addresses() const;
  std::string late_addresses() const;
  void watch_logins();
  std::vector<std::string> kernel_interfaces() const;

  kernel::HostAddresses& addresses_;
  const kernel::RouteQuery routes_;
  const bool by_default_;  // listeners or relayed addresses are the interface's
  config::Config config_;  // changed by nobody once it is made; it keeps no secret
  const flow::TableLimits limits_;
  std::optional<kernel::PortReservation> reservation_;  // of relay ports, where there are any
  std::unique_ptr<dataplane::Dataplane> dataplane_;
  Qsbr qsbr_;
  kernel::Neighbours neighbours_;
  const auth::Credentials credentials_;
  NonceKeeper nonces_;
  const TokenSealer tokens_;
  const FrontDoor door_;
  Published<policy::PeerRules> peers_;
  flow::Broadcasts broadcasts_;
  QuotaLedger quotas_;
  flow::Tables tables_;
  const flow::Setup setup_;
  std::vector<std::unique_ptr<engine::EngineThread>> engines_;
  Heartbeat heartbeat_;        // control: wo, metrics: ro
  std::vector<bool> link_up_;  // by port, as last told
  observe::Conditions conditions_;
  std::vector<unsigned> interface_indexes_;  // by port, at the start; 0: none
  std::uint64_t gateways_due_ms_ = 0;
  bool said_own_host_ = false;
  bool told_of_endless_ = false;
  std::uint32_t routes_told_ = 0;  // the epoch that engines were last woken for
  std::optional<observe::Metrics> metrics_;
};

std::vector<Endpoint> listener_endpoints(const config::Config& config) {
  std::vector<Endpoint> endpoints;
  for (const config::ListenerConfig& listener : config.listeners)
    endpoints.push_back(listener.endpoint);
  return endpoints;
}

Node::Node(config::Config config, kernel::HostAddresses& addresses)
    : addresses_(addresses),
      by_default_(is_by_default(config)),
      config_(completed(std::move(config), addresses_)),
      limits_(table_limits(config_)),
      dataplane_(make_dataplane()),
      neighbours_(neighbour_ports(), kNextHops, qsbr_),
      credentials_(accounts_of(config_)),
      nonces_(nonce_config(config_, credentials_)),
      tokens_(random_bytes<std::array<std::uint8_t, 16>>()),
      door_(door_config(config_, credentials_), nonces_),
      peers_(peer_rules(config_, addresses_)),
      broadcasts_(addresses_.broadcast()),
      quotas_(user_limits(config_), config_.max_allocations, config_.shards > 1),
      tables_(limits_, config_.relayed, listener_endpoints(config_), random_bytes<HashKey>(),
              live_ports()),
      setup_(make_setup()) {
  make_engines();
  for (std::size_t i = 0; i < config_.ports.size(); ++i)
    interface_indexes_.push_back(if_nametoindex(dataplane_->kernel_interface(i).c_str()));
  config::forget_secrets(config_);
}

Node::~Node() {
  metrics_.reset();
  // Engines first: what workers still have in their rings is drained, not answered.
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_)
    engine->stop();
  dataplane_->stop();
}

// Before the ports: from then on the kernel's sockets would lose their answers to the relay.
void Node::reserve_ports() {
  if (!config_.turn_enabled()) return;
  reservation_.emplace(config_.relay_port_min, config_.relay_port_max);
  if (reservation_->holds()) return;
  const std::string range =
      std::to_string(config_.relay_port_min) + "-" + std::to_string(config_.relay_port_max);
  log::warning(
      "the kernel may give relay ports to its own sockets, whose answers the relay would take; "
      "where it can be set: sysctl net.ipv4.ip_local_reserved_ports=" +
      range);
}

std::unique_ptr<dataplane::Dataplane> Node::make_dataplane() {
  check_memory(limits_, config_.workers);
  check_cores(config_);
  reserve_ports();
  return std::make_unique<dataplane::Dataplane>(dataplane_options(config_));
}

std::vector<kernel::Neighbours::Port> Node::neighbour_ports() {
  std::vector<kernel::Neighbours::Port> ports;
  for (std::size_t i = 0; i < config_.ports.size(); ++i) {
    const std::string& interface = dataplane_->kernel_interface(i);
    if (!config::is_kernel_shared(config_.ports[i].driver) && !interface.empty())
      give_addresses_and_routes(config_.ports[i], interface);
    ports.push_back({interface, dataplane_->ports()[i].mtu, config_.ports[i].static_next_hop,
                     dataplane_->ports()[i].mac});
  }
  return ports;
}

flow::Setup Node::make_setup() {
  flow::Setup setup;
  setup.ports = dataplane_->ports();
  for (const config::ListenerConfig& listener : config_.listeners)
    setup.listeners.push_back({listener.endpoint});
  setup.relayed = config_.relayed;
  setup.broadcasts = &broadcasts_;
  setup.channel_max = config_.rfc5766_channels ? 0x7FFF : 0x4FFF;
  setup.shard_count = config_.shards;
  setup.strangers.per_source = {config_.challenges_per_source, config_.challenges_per_source_burst};
  setup.strangers.all = {config_.challenges};
  setup.strangers.key = random_bytes<HashKey>();
  setup.transaction_key = random_bytes<TransactionIds::Key>();
  setup.requests.per_allocation = {config_.requests_per_allocation,
                                   config_.requests_per_allocation_burst};
  setup.requests.per_source = {config_.requests_per_source, config_.requests_per_source_burst};
  setup.requests.key = random_bytes<HashKey>();
  setup.resets_ttl = config_.resets_ttl;
  setup.translated_mtu = config_.translated_mtu;
  return setup;
}

void Node::make_engines() {
  for (std::uint8_t shard = 0; shard < config_.shards; ++shard) {
    const engine::EngineThread::World world{
        dataplane_->engine_port(shard),
        {dataplane::clock_now, dataplane::real_ms, dataplane::real_ns_until},
        dataplane::enter_sandbox,
        tables_,
        qsbr_,
        neighbours_,
        credentials_,
        peers_,
        nonces_,
        tokens_,
        quotas_};
    engines_.push_back(std::make_unique<engine::EngineThread>(
        server_config(config_, limits_, shard, credentials_.sha256_offered()), world));
  }
}

observe::MetricsSource Node::metrics_source() {
  observe::MetricsSource source;
  for (std::uint16_t worker = 0; worker < config_.workers; ++worker)
    source.workers.push_back(&dataplane_->counters(worker));
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_)
    source.shards.push_back(&engine->counters());
  source.tables = &tables_;
  source.now_ms = dataplane::real_ms;
  source.hearts = [this] {
    std::vector<observe::Heart> hearts{{"control", &heartbeat_}};
    for (std::uint16_t worker = 0; worker < config_.workers; ++worker)
      hearts.push_back({"worker " + std::to_string(worker), &dataplane_->heartbeat(worker)});
    for (std::size_t shard = 0; shard < engines_.size(); ++shard)
      hearts.push_back({"engine " + std::to_string(shard), &engines_[shard]->heartbeat()});
    return hearts;
  };
  source.ports = [this] {
    std::vector<observe::PortHealth> ports;
    for (std::size_t i = 0; i < config_.ports.size(); ++i) {
      const dataplane::Dataplane::PortState state = dataplane_->port_state(i);
      ports.push_back({dataplane_->name(i), state.up, state.lost});
    }
    return ports;
  };
  source.buffers = [this] {
    const dataplane::Dataplane::PoolUse use = dataplane_->pool_use();
    return observe::Use{use.in_use, use.capacity};
  };
  source.next_hops = [this] { return observe::Use{neighbours_.in_use(), neighbours_.capacity()}; };
  source.conditions = &conditions_;
  source.tsc_hz = dataplane_->tsc_hz();
  source.version = TURNPIKE_VERSION;
  return source;
}

void Node::start_metrics() {
  if (!config_.metrics_enabled) return;
  try {
    metrics_.emplace(config_.metrics, metrics_source());
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(std::string("metrics: ") + error.what() +
                             "; metrics.address chooses another address, metrics.enabled = false "
                             "goes without");
  }
}

std::vector<std::string> Node::kernel_interfaces() const {
  std::vector<std::string> interfaces;
  for (std::size_t i = 0; i < config_.ports.size(); ++i) {
    if (!dataplane_->kernel_interface(i).empty())
      interfaces.push_back(dataplane_->kernel_interface(i));
  }
  return interfaces;
}

// Where there is a default route it leads to these.
Address far_away(Family family) {
  return family == Family::kIpv4 ? *Address::parse("1.1.1.1")
                                 : *Address::parse("2606:4700:4700::1111");
}

void Node::warn_of_short_reach() const {
  std::array<bool, 2> told{};
  for (const RelayedAddress& relayed : config_.relayed) {
    const Family family = relayed.internal.family;
    if (neighbours_.reach({relayed.internal, far_away(family)}) == flow::Reach::kPort ||
        std::exchange(told[family_index(family)], true))
      continue;
    log::warning(
        std::string("no default route of ") + (family == Family::kIpv4 ? "IPv4" : "IPv6") +
        " leads from " + relayed.internal.to_string() +
        " to a port: peers beyond the connected networks and the routes there are won't be "
        "reached; ip route add default via …, or `gateway` of a port of its own");
  }
}

void Node::say_what_runs() const {
  log::info("turnpike " TURNPIKE_VERSION ", " + std::to_string(config_.workers) + " worker(s), " +
            std::to_string(config_.shards) + " shard(s), flow tables of " +
            std::to_string(tables_.bytes() >> 20) + " MiB");
  for (std::size_t i = 0; i < config_.ports.size(); ++i)
    log::info("port " + std::to_string(i) + ": " + dataplane_->description(i));
  log::info("memory of DPDK: " + dataplane_->memory());
  for (const std::string& warning : dataplane_->warnings())
    log::warning(warning);
  for (std::size_t i = 0; i < config_.ports.size(); ++i) {
    const config::PortConfig& port = config_.ports[i];
    if (port.driver == config::PortDriver::kAfXdp && neighbours_.has_vlans(i) &&
        dataplane::strips_vlan_tags(port.device)) {
      log::warning("interface " + port.device +
                   " takes VLAN tags off before the XDP filter sees them; ethtool -K " +
                   port.device + " rxvlan off");
    }
  }
  for (const config::ListenerConfig& listener : config_.listeners)
    log::info("listening on " + listener.endpoint.to_string());
  for (const RelayedAddress& relayed : config_.relayed) {
    log::info("relaying from " + relayed.internal.to_string() +
              (relayed.external ? ", seen as " + relayed.external->to_string() : "") + ", ports " +
              std::to_string(config_.relay_port_min) + " to " +
              std::to_string(config_.relay_port_max));
  }
  if (config_.metrics_enabled) {
    log::info("metrics at http://" + config_.metrics.to_string() + "/metrics");
    if (observe::is_open_to_strangers(config_.metrics.address)) {
      log::warning("metrics ask for no password, and " + config_.metrics.address.to_string() +
                   " may be reached by strangers: a firewall, or metrics.address = \"127.0.0.1:" +
                   std::to_string(config_.metrics.port) + "\"");
    }
  }
  if (const std::string why = why_one_user_can_take_all(config_, limits_);
      !why.empty() && config_.turn_enabled())
    log::warning("one user can keep others from relaying: " + why);
  // Without a realm of such a length a challenge is at most three times the smallest request.
  if (config_.turn_enabled() && config_.realm.size() > FrontDoor::kRealmSmall) {
    log::warning(
        "realm: longer than " + std::to_string(FrontDoor::kRealmSmall) +
        " bytes: challenges can be more than three times their request, which is of use to "
        "whoever forges its source");
  }
  if (config_.test_time_scale != 1) {
    log::warning("test.time_scale: the clock runs " + std::to_string(config_.test_time_scale) +
                 " times too fast");
  }
}

// The kernel takes routes, and IPv6 addresses, from an exception interface whose link goes down,
// however shortly: what shows it is that the default route is not there.
void Node::watch_gateways() {
  for (std::size_t i = 0; i < config_.ports.size(); ++i) {
    const std::string& interface = dataplane_->kernel_interface(i);
    if (config_.ports[i].gateways.empty() || !kernel::interface_is_running(interface)) continue;
    const unsigned index = if_nametoindex(interface.c_str());
    const bool there = std::all_of(config_.ports[i].gateways.begin(),
                                   config_.ports[i].gateways.end(), [&](const Address& gateway) {
                                     const auto route =
                                         routes_.ask(far_away(gateway.family), index);
                                     return route && route->by_gateway;
                                   });
    if (there) continue;
    log::warning("interface " + interface + " has lost its default route, which is given again");
    // Not at each look: where it helps nothing it would be a program and a line each time.
    gateways_due_ms_ = dataplane::real_ms() + kGatewayGivenMs;
    try {
      give_addresses_and_routes(config_.ports[i], interface);
    } catch (const std::runtime_error& error) {
      log::error(error.what());
      gateways_due_ms_ = dataplane::real_ms() + kGatewayAgainMs;
    }
  }
}

// Engines write no log: the first of these peers is told from here.
void Node::watch_peers() {
  const bool asked = std::any_of(engines_.begin(), engines_.end(), [](const auto& engine) {
    return engine->counters().peers[static_cast<std::size_t>(PeerVerdict::kOwnHost)].get() != 0;
  });
  if (!asked || std::exchange(said_own_host_, true)) return;
  log::warning(
      "a client asked for a peer on the relay's own host, which no packet of the relay reaches: "
      "refused (403), as all such will be, without another line here");
}

// Engines enter theirs as they start, and not before control goes on.
void Node::watch_sandboxes() {
  std::string without = dataplane_->sandboxed() ? "" : "worker";
  if (std::any_of(engines_.begin(), engines_.end(),
                  [](const auto& engine) { return engine->unsandboxed(); }))
    without += without.empty() ? "engine" : ", engine";
  if (!conditions_.set(observe::Condition::kNoSandbox, without) || without.empty()) return;
  log::warning("the kernel takes no filter of system calls (seccomp) for threads: " + without +
               ". Whoever breaks into one could start programs and open files; the kernel needs "
               "CONFIG_SECCOMP_FILTER, and a container's profile must allow seccomp(2)");
}

// A driver's sockets stay with the device that was there at the start; one of the same name later
// is another, and only a start opens it. Until then what goes through the other ports goes on.
void Node::watch_interfaces() {
  std::string lost;
  for (std::size_t i = 0; i < config_.ports.size(); ++i) {
    const std::string& name = dataplane_->kernel_interface(i);
    std::array<char, IFNAMSIZ> now{};
    if (name.empty() || if_indextoname(interface_indexes_[i], now.data()) != nullptr) continue;
    if (!config::is_kernel_shared(config_.ports[i].driver))
      throw std::runtime_error("exception interface " + name + " is gone; a start makes it anew");
    if (if_nametoindex(name.c_str()) != 0) {
      throw std::runtime_error("interface " + name +
                               " was made anew: ending, for the service manager to start again");
    }
    lost += (lost.empty() ? "" : ", ") + name;
  }
  if (conditions_.set(observe::Condition::kLostInterface, lost) && !lost.empty())
    log::error("gone from this host: interface " + lost + "; ends when it is made anew");
}

void Node::watch_links() {
  dataplane_->look_at_links();
  link_up_.resize(config_.ports.size(), true);
  std::string down, lost;
  for (std::size_t i = 0; i < config_.ports.size(); ++i) {
    const dataplane::Dataplane::PortState state = dataplane_->port_state(i);
    const std::string& name = dataplane_->name(i);
    if (state.gone) lost += (lost.empty() ? "" : ", ") + name;
    if (!state.up && dataplane_->needs_link(i)) down += (down.empty() ? "" : ", ") + name;
    if (state.up == link_up_[i]) continue;
    link_up_[i] = state.up;
    log::warning("port " + name + (state.up ? ": the link is up again" : ": the link is down"));
  }
  conditions_.set(observe::Condition::kLinkDown, down);
  if (conditions_.set(observe::Condition::kLostDevice, lost) && !lost.empty())
    log::error("taken away, or in want of a reset: " + lost + "; restart when it is back");
}

// "203.0.113.7 (listening), 203.0.113.8 (relayed)", or nothing. A port without an interface of the
// kernel answers for its addresses by other means, which can't be seen from here.
std::string Node::missing_addresses() const {
  if (kernel_interfaces().size() < config_.ports.size()) return "";
  std::string missing;
  std::set<Address> seen;
  const auto check = [&](const Address& address, const char* what) {
    if (!seen.insert(address).second || addresses_.has(address)) return;
    missing += (missing.empty() ? "" : ", ") + address.to_string() + what;
  };
  for (const config::ListenerConfig& listener : config_.listeners)
    check(listener.endpoint.address, " (listening)");
  for (const RelayedAddress& relayed : config_.relayed)
    check(relayed.internal, " (relayed)");
  return missing;
}

// Where the interface's addresses are taken: those that came later than the start.
std::string Node::late_addresses() const {
  std::string late;
  if (!by_default_) return late;
  for (const Address& address : addresses_.of(config_.ports[0].device)) {
    const bool listened =
        std::any_of(config_.listeners.begin(), config_.listeners.end(),
                    [&](const config::ListenerConfig& l) { return l.endpoint.address == address; });
    const bool relayed =
        std::any_of(config_.relayed.begin(), config_.relayed.end(),
                    [&](const RelayedAddress& r) { return r.internal == address; });
    if (!listened && !relayed) late += (late.empty() ? "" : ", ") + address.to_string();
  }
  return late;
}

// A listening or relayed address may come later (a virtual one that moves between hosts), so
// its absence ends nothing; but nobody should have to find out by silence.
void Node::watch_addresses(bool changed) {
  if (changed) {
    peers_.publish(peer_rules(config_, addresses_));
    broadcasts_.replace(addresses_.broadcast(), qsbr_);
  }
  const std::string missing = missing_addresses();
  if (conditions_.set(observe::Condition::kMissingAddress, missing)) {
    std::string there;
    for (const std::string& interface : kernel_interfaces()) {
      for (const Address& address : addresses_.of(interface))
        there += (there.empty() ? "" : ", ") + address.to_string() + " on " + interface;
    }
    if (missing.empty()) {
      log::info("every listening and relayed address is there");
    } else {
      log::warning("on no interface of this host: " + missing + "; there is " +
                   (there.empty() ? "none" : there) +
                   ". Behind a 1:1 NAT the interface's own address is to be configured, and the "
                   "public one is its `external`");
    }
  }
  const std::string late = late_addresses();
  if (conditions_.set(observe::Condition::kLateAddress, late) && !late.empty()) {
    log::warning(
        "not listened on and not relayed from until a restart, having come after the "
        "start: " +
        late);
  }
}

void Node::watch_logins() {
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_) {
    if (const auto note = engine->take_login_note()) log::info(engine::describe(*note));
    if (told_of_endless_ || !engine->saw_endless_credential()) continue;
    told_of_endless_ = true;
    log::warning(
        "a credential came that is good for more than ten years: does the web server write "
        "milliseconds where seconds are meant?");
  }
}

// Flows follow a change of routes at once, not when their engine wakes for another reason.
void Node::tell_routes() {
  const std::uint32_t epoch = neighbours_.epoch();
  if (epoch == routes_told_) return;
  routes_told_ = epoch;
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_)
    engine->wake();
}

// While the process has the capability that their priority takes.
void Node::make_engine_threads() {
  bool urgent = true;
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_)
    urgent &= engine->make_thread(dataplane_->workers_apart());
  if (!urgent)
    log::info(
        "requests wait for the turn of what else runs on their core: real-time priority needs "
        "CAP_SYS_NICE at the start");
}

void Node::run(const Signals& signals) {
  make_engine_threads();
  drop_privileges(config_);
  // Becoming another user has switched them off.
  if (config_.core_dumps) prctl(PR_SET_DUMPABLE, 1);
  dataplane_->start(setup_, tables_, neighbours_, door_, tokens_, qsbr_);
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_)
    engine->start();
  heartbeat_.beat(dataplane::real_ms());
  start_metrics();
  say_what_runs();
  warn_of_short_reach();
  watch_addresses(true);
  log::info("ready");
  notify_manager("READY=1");

  const bool exceptions =
      std::any_of(config_.ports.begin(), config_.ports.end(), [](const config::PortConfig& port) {
        return !config::is_kernel_shared(port.driver) && port.exception_name != "none";
      });
  // An interface that gets an XDP program may go down for a moment, and the kernel tells late that
  // it is up.
  std::uint64_t losses_due = 0;
  std::uint64_t links_due = dataplane::real_ms() + 3000;
  std::uint64_t addresses_due = dataplane::real_ms();
  std::uint64_t logins_due = 0;
  const std::uint64_t nonce_life_ms = std::uint64_t{config_.nonce_lifetime_s} * 1000;
  std::uint64_t nonce_key_due = dataplane::real_ms() + nonce_life_ms;
  pollfd waits[] = {
      {signals.fd(), POLLIN, 0}, {neighbours_.fd(), POLLIN, 0}, {addresses_.fd(), POLLIN, 0}};
  for (;;) {
    poll(waits, std::size(waits), exceptions ? kExceptionRoundMs : kRoundMs);
    if (signals.ends()) break;
    neighbours_.poll();
    tell_routes();
    dataplane_->poll_exceptions();
    const std::uint64_t now = dataplane::real_ms();
    heartbeat_.beat(now);
    if (now >= nonce_key_due) {
      nonces_.rotate(random_bytes<std::array<std::uint8_t, 16>>());
      nonce_key_due = now + nonce_life_ms;
    }
    const bool moved = addresses_.poll();
    if (moved || now >= addresses_due) {
      watch_addresses(moved);
      addresses_due = now + 500;
    }
    if (now >= logins_due) {
      watch_logins();
      logins_due = now + kLoginNotesMs;
    }
    if (now >= losses_due) {
      dataplane_->count_losses();
      losses_due = now + 100;
    }
    if (now >= links_due) {
      watch_peers();
      watch_sandboxes();
      watch_interfaces();
      watch_links();
      links_due = now + 100;
      if (now >= gateways_due_ms_) {
        gateways_due_ms_ = now + 500;
        watch_gateways();
      }
    }
  }
  log::info("stopping");
  notify_manager("STOPPING=1");
}

}  // namespace

int run_node(config::Config config) {
  log::start(config.log_level);
  for (const std::string& warning : config.warnings)
    log::warning(warning);
  if (!config.core_dumps) keep_memory_private();
  if (const std::string missing = missing_capabilities(config); !missing.empty())
    throw std::runtime_error(missing + "; run it as root, or give it these (AmbientCapabilities=)");
  const Signals signals;
  try {
    kernel::HostAddresses addresses;
    if (!wait_for_addresses(config, addresses, signals)) return 0;
    Node node(std::move(config), addresses);
    config::wipe_stack();
    node.run(signals);
  } catch (const Misfit& misfit) {
    log::error(misfit.what());
    return 2;
  }
  log::info("stopped");
  return 0;
}

}  // namespace turnpike::control

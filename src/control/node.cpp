// The object graph and control's loop. The order of Node's members is the order in which things
// come to be; they end in the opposite one, so that nothing is left by what still refers to it.
#include "control/node.h"

#include <poll.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "auth/credentials.h"
#include "base/published.h"
#include "config/wipe.h"
#include "control/fit.h"
#include "control/identity.h"
#include "control/patterns.h"
#include "control/payload.h"
#include "control/policy.h"
#include "control/privileges.h"
#include "control/service.h"
#include "control/settings.h"
#include "control/timers.h"
#include "control/transports.h"
#include "control/watch.h"
#include "dataplane/clock.h"
#include "dataplane/dataplane.h"
#include "dataplane/sandbox.h"
#include "dataplane/shared_nic.h"
#include "engine/engine_thread.h"
#include "kernel/host_addresses.h"
#include "kernel/next_hops.h"
#include "kernel/port_reservation.h"
#include "log/log.h"
#include "observe/conditions.h"
#include "observe/metrics.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/stateless_answers.h"

namespace turnpike::control {
namespace {

constexpr std::uint32_t kNextHops = 16384;
static_assert(config::kMostWorkers + config::kMostShards <= Qsbr::kMaxReaders);
// How often control looks at what.
constexpr std::uint64_t kAddressesMs = 500;
constexpr std::uint64_t kLossesMs = 100;
constexpr std::uint64_t kLinksMs = 100;
constexpr std::uint64_t kOldPolicyMs = 100;
constexpr std::uint64_t kNotesMs = 10'000;  // a line of each shard in that time, at most
// An interface that gets an XDP program may go down for a moment, and the kernel tells late that it
// is up.
constexpr std::uint64_t kLinksFirstMs = 3000;
constexpr int kRoundMs = 5;  // control's round

class Node {
 public:
  Node(config::Config config, kernel::HostAddresses& addresses);
  ~Node();
  void run(const Signals& signals);

 private:
  void reserve_ports();
  std::unique_ptr<dataplane::Dataplane> make_dataplane();
  std::vector<kernel::NextHops::Port> next_hop_ports();
  std::vector<std::atomic<std::uint64_t>*> live_ports() { return dataplane_->live_ports(); }
  // Workers come first.
  std::size_t policy_reader(std::uint8_t shard) const {
    return std::size_t{config_.workers} + shard;
  }
  void make_engines();
  observe::MetricsSource metrics_source();
  void start_metrics();
  void say_what_runs() const;
  void make_engine_threads();
  void tell_routes();
  void tell_addresses();
  Timers chores();
  void reload();

  kernel::HostAddresses& addresses_;
  const bool by_default_;  // listeners or relayed addresses are the interface's
  config::Config config_;  // changed by nobody once it is made; it keeps no secret
  const flow::TableLimits limits_;
  // Compiled before DPDK has threads, and before anything of the host's is touched.
  const std::shared_ptr<const policy::PayloadRules> payload_;    // nullptr: none
  const std::shared_ptr<const policy::IdentityRules> identity_;  // nullptr: none
  std::optional<kernel::PortReservation> reservation_;  // of relay ports, where there are any
  std::unique_ptr<dataplane::Dataplane> dataplane_;
  Qsbr qsbr_;
  const ClientSpread spread_;  // over transport threads
  kernel::NextHops next_hops_;
  const RealmCredentials credentials_;
  NonceKeeper nonces_;
  const PrefixRules prefixes_;
  const TokenSealer tokens_;
  Published<Policy> policy_;
  QuotaLedger quotas_;
  flow::Tables tables_;
  std::optional<flow::SharedMeters> meters_;  // where something is limited at the start
  flow::Setup setup_;
  std::optional<transport::PeerMail> peer_mail_;  // none: no allocations of TCP's
  std::vector<std::unique_ptr<engine::EngineThread>> engines_;
  std::optional<Transports> transports_;
  Heartbeat heartbeat_;  // control: wo, metrics: ro
  observe::Conditions conditions_;
  std::optional<Watch> watch_;
  std::uint32_t routes_told_ = 0;  // the epoch that engines were last woken for
  std::optional<observe::Metrics> metrics_;
};

Node::Node(config::Config config, kernel::HostAddresses& addresses)
    : addresses_(addresses),
      by_default_(is_by_default(config)),
      config_(completed(std::move(config), addresses_)),
      limits_(table_limits(config_)),
      payload_(make_payload_rules(config_)),
      identity_(make_identity_rules(config_)),
      dataplane_(make_dataplane()),
      spread_{random_bytes<HashKey>()},
      next_hops_(next_hop_ports(), kNextHops, qsbr_, spread_),
      credentials_(credentials_of(config_)),
      nonces_(nonce_config(config_)),
      prefixes_(prefix_rules(config_)),
      tokens_(random_bytes<std::array<std::uint8_t, 16>>()),
      policy_(
          make_policy(config_, credentials_, payload_, identity_, nonces_, prefixes_, addresses_)),
      quotas_(user_limits(config_, config_.limits.allocations_per_user), config_.limits.allocations,
              config_.shards > 1, config_.limits.allocations_per_source),
      tables_(limits_, config_.relayed, listeners(config_), random_bytes<HashKey>(), live_ports()),
      setup_(flow_setup(config_)) {
  setup_.ports = dataplane_->ports();
  if (config_.limits.bandwidth.any() || config_.limits.packet_rate.any()) {
    const std::size_t allocations = std::size_t{limits_.shards} * limits_.allocations_per_shard;
    // Numbers go up to twice as many users as there are at once, who may have reservations alone.
    meters_.emplace(allocations, 4 * allocations);
    setup_.meters = &*meters_;
  }
  make_engines();
  transports_.emplace(config_, setup_, *dataplane_, next_hops_, prefixes_.clients, spread_,
                      peer_mail_ ? &*peer_mail_ : nullptr);
  watch_.emplace(Watch::World{config_, by_default_, *dataplane_, next_hops_, addresses_, engines_,
                              conditions_, payload_.get(), transports_->host_counters()});
  config::forget_secrets(config_);
}

Node::~Node() {
  metrics_.reset();
  if (transports_) transports_->stop();
  // Engines first: what workers still have in their rings is drained, not answered.
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_)
    engine->stop();
  dataplane_->stop();
}

// Before the ports: from then on the kernel's sockets would lose their answers to the relay.
void Node::reserve_ports() {
  if (!config_.turn_enabled()) return;
  reservation_.emplace(config_.relay_ports.min, config_.relay_ports.max);
  if (reservation_->holds()) return;
  const std::string range =
      std::to_string(config_.relay_ports.min) + "-" + std::to_string(config_.relay_ports.max);
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

std::vector<kernel::NextHops::Port> Node::next_hop_ports() {
  std::vector<kernel::NextHops::Port> ports;
  for (std::size_t i = 0; i < config_.ports.size(); ++i) {
    const std::string& interface = dataplane_->kernel_interface(i);
    if (!config::is_kernel_shared(config_.ports[i].driver) && !interface.empty())
      give_addresses_and_routes(config_.ports[i], interface);
    ports.push_back({interface, dataplane_->ports()[i].mtu, config_.ports[i].static_next_hop,
                     dataplane_->ports()[i].mac,
                     config_.ports[i].driver != config::PortDriver::kAfPacket});
  }
  for (std::size_t i = config_.ports.size(); i < dataplane_->ports().size(); ++i) {
    const flow::PortInfo& streams = dataplane_->ports()[i];
    ports.push_back({.interface = "",
                     .mtu = streams.mtu,
                     .static_next_hop = streams.mac,
                     .mac = streams.mac,
                     .messages_of = streams.messages_of});
  }
  return ports;
}

void Node::make_engines() {
  std::vector<dataplane::Doorbell*> bells;
  for (dataplane::StreamPort* const streams : dataplane_->stream_ports(Transport::kTcp))
    bells.push_back(&streams->bell());
  if (config_.tcp_relay.enabled && !bells.empty()) {
    std::vector<EnginePort*> shards;
    for (std::uint8_t shard = 0; shard < config_.shards; ++shard)
      shards.push_back(&dataplane_->engine_port(shard));
    peer_mail_.emplace(shards, bells, spread_);
  }
  for (std::uint8_t shard = 0; shard < config_.shards; ++shard) {
    const engine::EngineThread::World world{
        dataplane_->engine_port(shard),
        {dataplane::clock_now, dataplane::real_ms, dataplane::real_ns_until},
        dataplane::enter_sandbox,
        setup_.listeners,
        tables_,
        qsbr_,
        next_hops_,
        policy_.part<&Policy::engine>(),
        policy_reader(shard),
        nonces_,
        tokens_,
        quotas_,
        peer_mail_ ? &peer_mail_->port(shard) : nullptr};
    engines_.push_back(
        std::make_unique<engine::EngineThread>(server_config(config_, limits_, shard), world));
  }
}

observe::MetricsSource Node::metrics_source() {
  observe::MetricsSource source;
  for (std::uint16_t worker = 0; worker < config_.workers; ++worker)
    source.workers.push_back(&dataplane_->counters(worker));
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_)
    source.shards.push_back(&engine->counters());
  transports_->tell(source);
  for (const config::Config::RealmView& realm : config_.realms())
    source.realms.push_back(realm.name);
  source.tables = &tables_;
  source.now_ms = dataplane::real_ms;
  source.hearts = [this] {
    std::vector<observe::Heart> hearts{{"control", &heartbeat_}};
    for (std::uint16_t worker = 0; worker < config_.workers; ++worker)
      hearts.push_back({"worker " + std::to_string(worker), &dataplane_->heartbeat(worker)});
    for (std::size_t shard = 0; shard < engines_.size(); ++shard)
      hearts.push_back({"engine " + std::to_string(shard), &engines_[shard]->heartbeat()});
    if (const Heartbeat* const exceptions = dataplane_->exception_heartbeat())
      hearts.push_back({"exceptions", exceptions});
    transports_->add_hearts(hearts);
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
  source.next_hops = [this] { return observe::Use{next_hops_.in_use(), next_hops_.capacity()}; };
  if (payload_) source.payload_rules = [this] { return use_of(*payload_); };
  if (identity_) source.identity_rules = [this] { return use_of(*identity_); };
  source.conditions = &conditions_;
  source.tsc_hz = dataplane_->tsc_hz();
  source.version = TURNPIKE_VERSION;
  return source;
}

void Node::start_metrics() {
  if (!config_.metrics.enabled) return;
  try {
    metrics_.emplace(config_.metrics.address, metrics_source());
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(std::string("metrics: ") + error.what() +
                             "; metrics.address chooses another address, metrics.enabled = false "
                             "goes without");
  }
}

void say_prefixes(const std::string& key, const policy::PrefixSet& set) {
  if (set.empty()) return;
  log::info(key + ": " + std::to_string(set.ranges()) + " ranges of addresses, " +
            std::to_string((set.bytes() + 1023) >> 10) + " KiB");
}

std::string spoken_at(const config::ListenerConfig& listener) {
  switch (listener.transport) {
    case config::ListenerTransport::kTcp:
      return ", TCP";
    case config::ListenerTransport::kTls:
      return ", TLS";
    case config::ListenerTransport::kAuto:
      return ", TCP and TLS";
    case config::ListenerTransport::kDtls:
      return ", DTLS";
    case config::ListenerTransport::kUdp:
      break;
  }
  return "";
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
  for (const std::string& warning : transports_->warnings())
    log::warning(warning);
  for (std::size_t i = 0; i < config_.ports.size(); ++i) {
    const config::PortConfig& port = config_.ports[i];
    if (port.driver == config::PortDriver::kAfXdp && next_hops_.has_vlans(i) &&
        dataplane::strips_vlan_tags(port.device)) {
      log::warning("interface " + port.device +
                   " takes VLAN tags off before the XDP filter sees them; ethtool -K " +
                   port.device + " rxvlan off");
    }
  }
  for (const config::ListenerConfig& listener : config_.listeners)
    log::info("listening on " + listener.endpoint.to_string() + spoken_at(listener) +
              (listener.realm.empty() ? "" : ", realm " + listener.realm));
  for (const RelayedAddress& relayed : config_.relayed) {
    log::info("relaying from " + relayed.internal.to_string() +
              (relayed.external ? ", seen as " + relayed.external->to_string() : "") + ", ports " +
              std::to_string(config_.relay_ports.min) + " to " +
              std::to_string(config_.relay_ports.max));
  }
  const std::vector<config::Config::RealmView> realms = config_.realms();
  for (std::size_t i = 0; i < realms.size(); ++i) {
    const std::string of = i == 0 ? "" : " of realm " + std::string(realms[i].name);
    say_prefixes("peers.allow_files" + of, prefixes_.peers[i].allowed);
    say_prefixes("peers.deny_files" + of, prefixes_.peers[i].denied);
  }
  if (!prefixes_.clients.answer_everyone()) log::info("clients: not all are answered ([clients])");
  if (config_.metrics.enabled) {
    log::info("metrics at http://" + config_.metrics.address.to_string() + "/metrics");
    if (observe::is_open_to_strangers(config_.metrics.address.address)) {
      log::warning("metrics ask for no password, and " +
                   config_.metrics.address.address.to_string() +
                   " may be reached by strangers: a firewall, or metrics.address = \"127.0.0.1:" +
                   std::to_string(config_.metrics.address.port) + "\"");
    }
  }
  policy::PatternOrigin origin;
  if (payload_) {
    say_patterns(config_, "payload", payload_->rules().size(), payload_->bytes(),
                 payload_->origin());
    origin.add(payload_->origin());
  }
  if (identity_) {
    say_patterns(config_, "identity", identity_->rules().size(), identity_->bytes(),
                 identity_->origin());
    origin.add(identity_->origin());
  }
  warn_of_cache(origin);
  if (const std::string why = why_one_user_can_take_all(config_, limits_);
      !why.empty() && config_.turn_enabled())
    log::warning("one user can keep others from relaying: " + why);
  // Without a realm of such a length a challenge is at most three times the smallest request.
  for (const config::Config::RealmView& realm : config_.realms()) {
    if (!config_.turn_enabled() || realm.name.size() <= StatelessAnswers::kRealmSmall) continue;
    log::warning(
        "realm " + realm.name + ": longer than " + std::to_string(StatelessAnswers::kRealmSmall) +
        " bytes: challenges can be more than three times their request, which is of use to "
        "whoever forges its source");
  }
  if (config_.test.time_scale != 1) {
    log::warning("test.time_scale: the clock runs " + std::to_string(config_.test.time_scale) +
                 " times too fast");
  }
}

// Flows follow a change of routes at once, not when their engine wakes for another reason.
void Node::tell_routes() {
  const std::uint32_t epoch = next_hops_.epoch();
  if (epoch == routes_told_) return;
  routes_told_ = epoch;
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_)
    engine->wake();
}

// What depends on the addresses that the host has.
void Node::tell_addresses() {
  policy_.publish(
      make_policy(config_, credentials_, payload_, identity_, nonces_, prefixes_, addresses_));
  watch_->look_at_addresses();
}

Timers Node::chores() {
  const std::uint64_t now = dataplane::real_ms();
  const std::uint64_t nonce_life_ms = std::uint64_t{config_.auth.nonce_lifetime_s} * 1000;
  Timers timers;
  timers.add(now + nonce_life_ms, nonce_life_ms,
             [this] { nonces_.rotate(random_bytes<std::array<std::uint8_t, 16>>()); });
  timers.add(now, kAddressesMs, [this] { watch_->look_at_addresses(); });
  timers.add(now, kNotesMs, [this] { watch_->look_at_notes(); });
  timers.add(now, kOldPolicyMs, [this] { policy_.reclaim(); });
  timers.add(now, kLossesMs, [this] { dataplane_->count_losses(); });
  timers.add(now + kLinksFirstMs, kLinksMs, [this] { watch_->look(); });
  return timers;
}

// Certificates alone, as yet.
void Node::reload() {
  log::warning("SIGHUP: certificates are read again; all else is read at the start only");
  transports_->reload();
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
  dataplane_->start(setup_, tables_, next_hops_, policy_.part<&Policy::worker>(), tokens_, qsbr_);
  for (const std::unique_ptr<engine::EngineThread>& engine : engines_)
    engine->start();
  transports_->start();
  heartbeat_.beat(dataplane::real_ms());
  start_metrics();
  say_what_runs();
  watch_->warn_of_short_reach();
  tell_addresses();
  log::info("ready");
  notify_manager("READY=1");

  Timers timers = chores();
  pollfd waits[] = {
      {signals.fd(), POLLIN, 0}, {next_hops_.fd(), POLLIN, 0}, {addresses_.fd(), POLLIN, 0}};
  for (;;) {
    poll(waits, std::size(waits), kRoundMs);
    const Signals::Wish wish = signals.take();
    if (wish == Signals::Wish::kEnd) break;
    if (wish == Signals::Wish::kReload) reload();
    next_hops_.poll();
    tell_routes();
    if (addresses_.poll()) tell_addresses();
    const std::uint64_t now = dataplane::real_ms();
    heartbeat_.beat(now);
    timers.run_due(now);
  }
  log::info("stopping");
  notify_manager("STOPPING=1");
}

}  // namespace

int run_node(config::Config config) {
  log::start(config.log.level);
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

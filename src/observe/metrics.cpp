// prometheus-cpp writes the text; the server is ours: its own has no room for /healthz and /readyz,
// and what it is made of (civetweb) has no IPv6 in Debian and is held up by silent connections.
#include "observe/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <span>
#include <sstream>
#include <tuple>
#include <utility>

#include "observe/family.h"
#include "observe/stream_metrics.h"

namespace turnpike::observe {
namespace {

constexpr std::uint64_t kNotReadyMs = 3000;

const char* name_of(stun::Method method) {
  switch (method) {
    case stun::Method::kAllocate:
      return "allocate";
    case stun::Method::kRefresh:
      return "refresh";
    case stun::Method::kCreatePermission:
      return "create_permission";
    case stun::Method::kChannelBind:
      return "channel_bind";
    case stun::Method::kConnect:
      return "connect";
    case stun::Method::kConnectionBind:
      return "connection_bind";
    default:
      return "other";
  }
}

template <typename Counters>
using Member = Counter Counters::*;

template <typename Counters>
void by_number(std::vector<MetricFamily>& out, MetricType type, const char* name, const char* help,
               const char* label, const std::vector<const Counters*>& all,
               Member<Counters> member) {
  FamilyWriter family(out, type, name, help);
  for (std::size_t i = 0; i < all.size(); ++i)
    family.add({{label, std::to_string(i)}}, (all[i]->*member).get());
}

void collect_stalls(std::vector<MetricFamily>& out, const MetricsSource& source) {
  FamilyWriter family(out, MetricType::Counter, "worker_stalls_total",
                      "Rounds that began later than this after the one before: the worker was kept "
                      "from polling, or had so much to do");
  for (std::size_t worker = 0; worker < source.workers.size(); ++worker) {
    for (std::size_t i = 0; i < flow::kStallBounds.size(); ++i) {
      family.add({{"worker", std::to_string(worker)}, {"over", flow::kStallBounds[i].label}},
                 source.workers[worker]->stalls[i].get());
    }
  }
}

void collect_burst_times(std::vector<MetricFamily>& out, const MetricsSource& source) {
  FamilyWriter family(out, MetricType::Histogram, "burst_seconds",
                      "How long bursts stay: from receive's return to transmit's");
  for (std::size_t worker = 0; worker < source.workers.size(); ++worker) {
    family.add({{"worker", std::to_string(worker)}}, source.workers[worker]->burst_time,
               source.tsc_hz);
  }
}

void collect_traffic(std::vector<MetricFamily>& out, const MetricsSource& source, bool bytes) {
  using Directions = std::array<flow::Traffic, 2> flow::WorkerCounters::*;
  static constexpr std::pair<const char*, Directions> kDirections[] = {
      {"client_in", &flow::WorkerCounters::client_in},
      {"client_out", &flow::WorkerCounters::client_out},
      {"peer_in", &flow::WorkerCounters::peer_in},
      {"peer_out", &flow::WorkerCounters::peer_out}};
  FamilyWriter family(out, MetricType::Counter,
                      bytes ? "relayed_bytes_total" : "relayed_packets_total",
                      bytes ? "UDP payload relayed, without TURN's framing" : "Packets relayed");
  for (const auto& [direction, member] : kDirections) {
    for (const Family version : {Family::kIpv4, Family::kIpv6}) {
      std::uint64_t sum = 0;
      for (const flow::WorkerCounters* worker : source.workers) {
        const flow::Traffic& traffic = (worker->*member)[family_index(version)];
        sum += bytes ? traffic.bytes.get() : traffic.packets.get();
      }
      family.add({{"direction", direction}, {"family", version == Family::kIpv4 ? "ipv4" : "ipv6"}},
                 sum);
    }
  }
}

void collect_drops(std::vector<MetricFamily>& out, const MetricsSource& source) {
  std::string help = "Packets that ended here, by reason.";
  for (std::size_t i = 1; i < flow::kDropInfo.size(); ++i) {
    help.append(" ").append(flow::kDropInfo[i].label).append(": ");
    help.append(flow::kDropInfo[i].explanation).append(".");
  }
  FamilyWriter family(out, MetricType::Counter, "dropped_packets_total", help);
  for (std::size_t i = 1; i < flow::kDropInfo.size(); ++i) {
    std::uint64_t sum = 0;
    for (const flow::WorkerCounters* worker : source.workers)
      sum += worker->drops[i].get();
    family.add({{"reason", std::string(flow::kDropInfo[i].label)}}, sum);
  }
}

void collect_ports(std::vector<MetricFamily>& out, const std::vector<PortHealth>& ports) {
  {
    FamilyWriter up(out, MetricType::Gauge, "port_up", "Whether the port's link is up");
    for (const PortHealth& port : ports)
      up.add({{"port", port.name}}, port.up ? 1.0 : 0.0);
  }
  std::string help = "Packets that no worker saw, lost by a port's device or the kernel before it.";
  for (const flow::DropInfo& info : flow::kPortDropInfo)
    help.append(" ").append(info.label).append(": ").append(info.explanation).append(".");
  FamilyWriter lost(out, MetricType::Counter, "port_dropped_packets_total", help);
  for (const PortHealth& port : ports) {
    for (std::size_t i = 0; i < port.lost.size(); ++i) {
      lost.add({{"port", port.name}, {"reason", std::string(flow::kPortDropInfo[i].label)}},
               port.lost[i]);
    }
  }
}

// One family of workers' counters, told apart by a label.
using WorkerMember = std::pair<const char*, Member<flow::WorkerCounters>>;
void collect_by_label(std::vector<MetricFamily>& out, const MetricsSource& source, const char* name,
                      const char* help, const char* label, std::span<const WorkerMember> members) {
  FamilyWriter family(out, MetricType::Counter, name, help);
  for (const auto& [value, member] : members) {
    std::uint64_t sum = 0;
    for (const flow::WorkerCounters* worker : source.workers)
      sum += (worker->*member).get();
    family.add({{label, value}}, sum);
  }
}

void collect_answers(std::vector<MetricFamily>& out, const MetricsSource& source) {
  using Worker = flow::WorkerCounters;
  static constexpr WorkerMember kAnswers[] = {{"binding_success", &Worker::binding_success},
                                              {"400", &Worker::answered_400},
                                              {"401", &Worker::answered_401},
                                              {"420", &Worker::answered_420},
                                              {"438", &Worker::answered_438}};
  collect_by_label(out, source, "stateless_answers_total",
                   "Answers that workers gave by themselves, without state", "result", kAnswers);
  static constexpr WorkerMember kDiscovery[] = {{"from_elsewhere", &Worker::from_elsewhere},
                                                {"to_elsewhere", &Worker::to_elsewhere},
                                                {"padded", &Worker::padded},
                                                {"brief", &Worker::brief}};
  collect_by_label(out, source, "nat_discovery_answers_total",
                   "Bindings answered as RFC 5780 has it, or briefly where there were too many",
                   "kind", kDiscovery);
}

void collect_rules(std::vector<MetricFamily>& out, const std::vector<RuleUse>& rules) {
  const auto family = [&](const char* name, const char* help, std::uint64_t RuleUse::*member) {
    FamilyWriter writer(out, MetricType::Counter, name, help);
    for (const RuleUse& rule : rules)
      writer.add({{"rule", rule.name}}, rule.*member);
  };
  family("payload_rule_packets_total",
         "Packets that a payload rule matched, or of flows that it has decided", &RuleUse::packets);
  family("payload_rule_bytes_total", "Their bytes, without TURN's framing", &RuleUse::bytes);
  family("payload_rule_flows_total", "Flows decided by a payload rule, each direction for itself",
         &RuleUse::flows);
}

void collect_identity_rules(std::vector<MetricFamily>& out,
                            const std::vector<IdentityRuleUse>& rules) {
  FamilyWriter family(out, MetricType::Counter, "identity_rule_requests_total",
                      "Allocates that an identity rule has decided");
  for (const IdentityRuleUse& rule : rules)
    family.add({{"rule", rule.name}}, rule.requests);
}

void collect_workers(std::vector<MetricFamily>& out, const MetricsSource& source) {
  using Worker = flow::WorkerCounters;
  struct Series {
    const char* name;
    const char* help;
    Member<Worker> member;
  };
  static constexpr Series kSeries[] = {
      {"busy_cycles_total", "TSC cycles of rounds that had packets", &Worker::busy_cycles},
      {"polls_total", "Rounds", &Worker::polls},
      {"bursts_total", "Receive bursts that were not empty", &Worker::bursts},
      {"received_packets_total", "Frames received", &Worker::received_packets},
      {"transmitted_packets_total", "Frames sent", &Worker::transmitted_packets},
      {"dtls_cookies_sent_total", "DTLS hellos without a good cookie, which were answered with one",
       &Worker::cookies_sent},
      {"dtls_cookies_shown_total", "DTLS hellos with a good cookie", &Worker::cookies_shown},
      {"to_engine_total", "Requests handed to an engine", &Worker::to_engine},
      {"to_kernel_total",
       "Frames that weren't the relay's: handed to the kernel by the port's exception interface; "
       "where there is none they end here, and af_packet's are copies of what the kernel has",
       &Worker::to_kernel},
      {"hairpin_packets_total", "Packets from one client of this node to another",
       &Worker::hairpin},
      {"icmp_sent_total", "ICMP errors of our own", &Worker::icmp_sent},
      {"icmp_relayed_total", "ICMP errors from peers' networks told to clients",
       &Worker::icmp_relayed}};
  for (const Series& series : kSeries) {
    by_number(out, MetricType::Counter, (std::string("worker_") + series.name).c_str(), series.help,
              "worker", source.workers, series.member);
  }
}

// Since the start; rate() over the counters tells what it is now.
void collect_ratio(std::vector<MetricFamily>& out, const MetricsSource& source, const char* name,
                   const char* help, Member<flow::WorkerCounters> above,
                   Member<flow::WorkerCounters> below) {
  FamilyWriter family(out, MetricType::Gauge, name, help);
  for (std::size_t i = 0; i < source.workers.size(); ++i) {
    const std::uint64_t divisor = (source.workers[i]->*below).get();
    const auto dividend = static_cast<double>((source.workers[i]->*above).get());
    family.add({{"worker", std::to_string(i)}},
               divisor == 0 ? 0.0 : dividend / static_cast<double>(divisor));
  }
}

void collect_shards(std::vector<MetricFamily>& out, const MetricsSource& source) {
  const auto gauge = [&](const char* name, const char* help, Member<ServerCounters> member) {
    by_number(out, MetricType::Gauge, name, help, "shard", source.shards, member);
  };
  gauge("allocations", "Allocations now", &ServerCounters::allocations);
  gauge("permissions", "Permissions now", &ServerCounters::permissions);
  gauge("channels", "Channels now", &ServerCounters::channels);
  gauge("reservations", "Reserved relay ports now", &ServerCounters::reservations);
  gauge("free_relay_ports", "Relay ports to be had now", &ServerCounters::free_ports);

  FamilyWriter requests(out, MetricType::Counter, "requests_total",
                        "Requests answered by engines, by method and result (error code)");
  for (std::size_t method = 0; method < kMethods.size(); ++method) {
    for (std::size_t result = 0; result < kResults.size(); ++result) {
      std::uint64_t sum = 0;
      for (const ServerCounters* shard : source.shards)
        sum += shard->requests[method][result].get();
      requests.add(
          {{"method", name_of(kMethods[method])},
           {"result", kResults[result] == 0 ? "success" : std::to_string(kResults[result])}},
          sum);
    }
  }
}

void collect_clients(std::vector<MetricFamily>& out, const MetricsSource& source) {
  static constexpr std::array<const char*, kTransports> kNames{"udp", "tcp", "dtls"};
  FamilyWriter family(out, MetricType::Gauge, "client_allocations",
                      "Allocations now, by what their clients speak; TLS's are TCP's");
  for (std::size_t transport = 0; transport < kTransports; ++transport) {
    std::uint64_t sum = 0;
    for (const ServerCounters* shard : source.shards)
      sum += shard->transport_allocations[transport].get();
    family.add({{"transport", kNames[transport]}}, sum);
  }
}

// Where there are several.
void collect_realms(std::vector<MetricFamily>& out, const MetricsSource& source) {
  if (source.realms.size() < 2) return;
  FamilyWriter family(out, MetricType::Gauge, "realm_allocations", "Allocations now, by realm");
  for (std::size_t realm = 0; realm < source.realms.size(); ++realm) {
    if (source.realms[realm].empty()) continue;
    std::uint64_t sum = 0;
    for (const ServerCounters* shard : source.shards)
      sum += shard->realm_allocations[realm].get();
    family.add({{"realm", source.realms[realm]}}, sum);
  }
}

void collect_unauthorized(std::vector<MetricFamily>& out, const MetricsSource& source) {
  static constexpr std::array<const char*, static_cast<std::size_t>(Unauthorized::kCount)> kReasons{
      "unknown_user", "wrong_key", "expired", "no_timestamp", "wrong_realm"};
  FamilyWriter family(out, MetricType::Counter, "unauthorized_total",
                      "Requests whose credentials were refused (401), by reason. expired: its time "
                      "is over. no_timestamp: a REST user's name without one");
  for (std::size_t i = 0; i < kReasons.size(); ++i) {
    std::uint64_t sum = 0;
    for (const ServerCounters* shard : source.shards)
      sum += shard->unauthorized[i].get();
    family.add({{"reason", kReasons[i]}}, sum);
  }
}

void collect_moves(std::vector<MetricFamily>& out, const MetricsSource& source) {
  FamilyWriter family(out, MetricType::Counter, "moves_total",
                      "Allocations that have gone on by another five-tuple of their client's "
                      "(RFC 8016): data have come by it");
  std::uint64_t sum = 0;
  for (const ServerCounters* shard : source.shards)
    sum += shard->moves.get();
  family.add({}, sum);
}

void collect_discards(std::vector<MetricFamily>& out, const MetricsSource& source) {
  static constexpr std::array<const char*, static_cast<std::size_t>(Discard::kCount)> kReasons{
      "malformed", "key_timeout", "parking_full", "duplicate_parked"};
  FamilyWriter family(out, MetricType::Counter, "discarded_requests_total",
                      "Requests that an engine gave up without an answer");
  for (std::size_t i = 0; i < kReasons.size(); ++i) {
    std::uint64_t sum = 0;
    for (const ServerCounters* shard : source.shards)
      sum += shard->discards[i].get();
    family.add({{"reason", kReasons[i]}}, sum);
  }
}

void collect_peers(std::vector<MetricFamily>& out, const MetricsSource& source) {
  std::string help = "Peers refused by 403, by reason.";
  for (std::size_t i = 1; i < kPeerVerdictInfo.size(); ++i) {
    help.append(" ").append(kPeerVerdictInfo[i].label).append(": ");
    help.append(kPeerVerdictInfo[i].explanation).append(".");
  }
  FamilyWriter family(out, MetricType::Counter, "refused_peers_total", help);
  for (std::size_t i = 1; i < kPeerVerdictInfo.size(); ++i) {
    std::uint64_t sum = 0;
    for (const ServerCounters* shard : source.shards)
      sum += shard->peers[i].get();
    family.add({{"reason", std::string(kPeerVerdictInfo[i].label)}}, sum);
  }
}

void collect_limits(std::vector<MetricFamily>& out, const MetricsSource& source) {
  std::string help = "Requests refused by a limit, by which.";
  for (std::size_t i = 1; i < kLimitInfo.size(); ++i) {
    help.append(" ").append(kLimitInfo[i].label).append(": ");
    help.append(kLimitInfo[i].explanation).append(".");
  }
  FamilyWriter family(out, MetricType::Counter, "limit_refusals_total", help);
  for (std::size_t i = 1; i < kLimitInfo.size(); ++i) {
    std::uint64_t sum = 0;
    for (const ServerCounters* shard : source.shards)
      sum += shard->limits[i].get();
    family.add({{"limit", std::string(kLimitInfo[i].label)}}, sum);
  }
}

void collect_memory(std::vector<MetricFamily>& out, const MetricsSource& source) {
  using Rows = std::vector<std::tuple<std::string, std::uint64_t, std::uint64_t>>;
  Rows rows;
  if (source.tables != nullptr) {
    flow::Tables::Usage sum{};
    const flow::TableLimits& limits = source.tables->limits();
    for (std::uint8_t shard = 0; shard < limits.shards; ++shard) {
      const flow::Tables::Usage use = source.tables->usage(shard);
      sum.allocations += use.allocations;
      sum.permissions += use.permissions;
      sum.channels += use.channels;
    }
    const std::uint64_t shards = limits.shards;
    rows.emplace_back("allocations", sum.allocations, shards * limits.allocations_per_shard);
    rows.emplace_back("permissions", sum.permissions, shards * limits.permissions_per_shard);
    rows.emplace_back("channels", sum.channels, shards * limits.channels_per_shard);
    FamilyWriter bytes(out, MetricType::Gauge, "table_bytes", "Memory of the flow tables");
    bytes.add({}, std::uint64_t{source.tables->bytes()});
  }
  const Use buffers = source.buffers(), next_hops = source.next_hops();
  rows.emplace_back("buffers", buffers.in_use, buffers.capacity);
  rows.emplace_back("next_hops", next_hops.in_use, next_hops.capacity);
  {
    FamilyWriter used(out, MetricType::Gauge, "pool_used", "Entries in use, by pool");
    for (const auto& [pool, in_use, capacity] : rows)
      used.add({{"pool", pool}}, in_use);
  }
  FamilyWriter limit(out, MetricType::Gauge, "pool_limit", "Entries there are, by pool");
  for (const auto& [pool, in_use, capacity] : rows)
    limit.add({{"pool", pool}}, capacity);
}

void collect_conditions(std::vector<MetricFamily>& out, const Conditions& conditions) {
  std::string help = "What is wrong around the node: 1 where it holds.";
  for (const ConditionInfo& info : kConditionInfo) {
    help.append(" ").append(info.label).append(": ").append(info.explanation);
    help.append(info.unready ? " (not ready)." : ".");
  }
  FamilyWriter family(out, MetricType::Gauge, "condition", help);
  const auto words = conditions.all();
  for (std::size_t i = 0; i < words.size(); ++i)
    family.add({{"condition", std::string(kConditionInfo[i].label)}}, words[i].empty() ? 0.0 : 1.0);
}

std::uint64_t age_ms(const Heart& heart, std::uint64_t now_ms) {
  const std::uint64_t last = heart.beat->last_ms();
  return now_ms > last ? now_ms - last : 0;
}

void collect_health(std::vector<MetricFamily>& out, const MetricsSource& source) {
  const std::vector<Heart> hearts = source.hearts();
  if (source.conditions != nullptr) collect_conditions(out, *source.conditions);
  {
    FamilyWriter age(out, MetricType::Gauge, "heartbeat_age_seconds",
                     "How long ago a thread last went round; over 3 the node isn't ready");
    const std::uint64_t now = source.now_ms();
    for (const Heart& heart : hearts)
      age.add({{"thread", heart.thread}}, static_cast<double>(age_ms(heart, now)) / 1000.0);
  }
  {
    FamilyWriter late(out, MetricType::Counter, "heartbeat_stalls_total",
                      "How often a thread did not go round for over a second");
    for (const Heart& heart : hearts)
      late.add({{"thread", heart.thread}}, heart.beat->late());
  }
  {
    FamilyWriter hz(out, MetricType::Gauge, "tsc_hertz", "TSC cycles in a second");
    hz.add({}, source.tsc_hz);
  }
  FamilyWriter build(out, MetricType::Gauge, "build_info", "Always 1; the version is a label");
  build.add({{"version", source.version}}, 1.0);
}

HttpServer::Answer serve(std::string_view path, const MetricsSource& source) {
  if (path == "/metrics") {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, collect(source));
    return {200, text.str()};
  }
  if (path == "/healthz") return {200, "alive\n"};
  if (path == "/readyz") {
    const std::string why = why_not_ready(source);
    return why.empty() ? HttpServer::Answer{200, "ready\n"} : HttpServer::Answer{503, why + "\n"};
  }
  return {404, "there are /metrics, /healthz and /readyz\n"};
}

}  // namespace

std::vector<MetricFamily> collect(const MetricsSource& source) {
  using Worker = flow::WorkerCounters;
  std::vector<MetricFamily> out;
  out.reserve(96);  // a FamilyWriter keeps a reference into it
  collect_shards(out, source);
  collect_clients(out, source);
  collect_realms(out, source);
  collect_unauthorized(out, source);
  collect_moves(out, source);
  collect_discards(out, source);
  collect_peers(out, source);
  collect_limits(out, source);
  collect_traffic(out, source, false);
  collect_traffic(out, source, true);
  collect_answers(out, source);
  collect_drops(out, source);
  if (source.ports) collect_ports(out, source.ports());
  if (!source.streams.tcp.empty() || !source.streams.udp.empty())
    collect_streams(out, source.streams);
  if (!source.peer_streams.empty()) collect_peer_streams(out, source.peer_streams, source.shards);
  if (source.host != nullptr) collect_host(out, *source.host);
  collect_workers(out, source);
  if (source.payload_rules) collect_rules(out, source.payload_rules());
  if (source.identity_rules) collect_identity_rules(out, source.identity_rules());
  collect_stalls(out, source);
  collect_burst_times(out, source);
  collect_ratio(out, source, "worker_cycles_per_packet",
                "TSC cycles for each frame received, since the start", &Worker::busy_cycles,
                &Worker::received_packets);
  collect_ratio(out, source, "worker_burst_fill", "Packets for each burst, since the start",
                &Worker::received_packets, &Worker::bursts);
  collect_memory(out, source);
  collect_health(out, source);
  return out;
}

std::string why_not_ready(const MetricsSource& source) {
  std::string stalled;
  const std::vector<Heart> hearts = source.hearts();
  const std::uint64_t now = source.now_ms();
  for (const Heart& heart : hearts) {
    if (age_ms(heart, now) <= kNotReadyMs) continue;
    stalled += (stalled.empty() ? "stalled: " : ", ") + heart.thread;
  }
  if (source.conditions == nullptr) return stalled;
  std::string why = stalled;
  const auto words = source.conditions->all();
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].empty() || !kConditionInfo[i].unready) continue;
    why += (why.empty() ? "" : "\n") + std::string(kConditionInfo[i].label) + ": " + words[i];
  }
  return why;
}

Metrics::Metrics(const Endpoint& address, MetricsSource source)
    : source_(std::move(source)),
      server_(address, [this](std::string_view path) { return serve(path, source_); }) {}

bool is_open_to_strangers(const Address& address) {
  static constexpr std::array<const char*, 9> kInside{
      "127.0.0.0/8",    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
      "169.254.0.0/16", "::1",        "fc00::/7",      "fe80::/10"};
  return std::none_of(kInside.begin(), kInside.end(),
                      [&](const char* inside) { return Prefix::parse(inside)->contains(address); });
}

}  // namespace turnpike::observe

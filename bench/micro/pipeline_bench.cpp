// What a worker does to a burst, from frames to frames: classify, look up, rewrite, by conversion,
// by the families of client and peer, and by the number of allocations and of relayed addresses.
// `cycles` is of the time stamp counter, for each packet, between the moment the burst lies in
// memory and the moment it could be handed to the device; making the frames is not counted. Clients
// come in random order.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "flow/pipeline.h"
#include "node.h"
#include "policy/protocols.h"
#include "turnpike/stun.h"
#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::bench {
namespace {

using namespace wire;

constexpr std::size_t kBurst = 32;
constexpr std::size_t kRoom = 128;
constexpr std::size_t kBuffer = 2048;
constexpr std::size_t kBuffers = 1024;  // as many as a queue has descriptors
constexpr std::size_t kBody = 160;

enum class Conversion : std::uint8_t { kChannelData, kSend, kPeerToChannel, kPeerToData, kBinding };

std::vector<std::uint8_t> udp_frame(const Endpoint& from, const Endpoint& to, stun::Bytes payload) {
  const bool v4 = from.address.family == Family::kIpv4;
  const std::size_t ip_size = v4 ? ipv4::kMinSize : ipv6::kSize;
  const std::size_t udp_size = udp::kSize + payload.size();
  std::vector<std::uint8_t> frame(ethernet::kSize + ip_size + udp_size);
  std::memcpy(frame.data(), "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", 12);
  store_be16(frame.data() + ethernet::kType, v4 ? ether_type::kIpv4 : ether_type::kIpv6);
  std::uint8_t* ip = frame.data() + ethernet::kSize;
  std::uint8_t* header = ip + ip_size;
  store_be16(header, from.port);
  store_be16(header + 2, to.port);
  store_be16(header + udp::kLength, static_cast<std::uint16_t>(udp_size));
  std::memcpy(header + udp::kSize, payload.data(), payload.size());
  std::uint8_t* addresses = ip + (v4 ? ipv4::kSource : ipv6::kSource);
  std::memcpy(addresses, from.address.bytes.data(), from.address.size());
  std::memcpy(addresses + from.address.size(), to.address.bytes.data(), to.address.size());
  if (v4) {
    ip[0] = 0x45;
    store_be16(ip + ipv4::kTotalLength, static_cast<std::uint16_t>(ip_size + udp_size));
    ip[ipv4::kTtl] = 64;
    ip[ipv4::kProtocol] = ip_protocol::kUdp;
    store_be16(ip + ipv4::kChecksum, ipv4_header_checksum(ip, ipv4::kMinSize));
    store_be16(header + udp::kChecksum,
               udp_checksum_v4(ip + ipv4::kSource, ip + ipv4::kDestination, header, udp_size));
  } else {
    ip[0] = 0x60;
    store_be16(ip + ipv6::kPayloadLength, static_cast<std::uint16_t>(udp_size));
    ip[ipv6::kNextHeader] = ip_protocol::kUdp;
    ip[ipv6::kHopLimit] = 64;
    store_be16(header + udp::kChecksum,
               udp_checksum_v6(ip + ipv6::kSource, ip + ipv6::kDestination, header, udp_size));
  }
  return frame;
}

std::vector<std::uint8_t> channel_data() {
  std::vector<std::uint8_t> payload(4 + kBody, 0x5A);
  store_be16(payload.data(), 0x4000);
  store_be16(payload.data() + 2, kBody);
  return payload;
}

std::vector<std::uint8_t> send_indication(const Endpoint& peer) {
  std::array<std::uint8_t, 512> buffer{};
  stun::MessageWriter writer(buffer, stun::Class::kIndication, stun::Method::kSend, {1, 2, 3});
  writer.add_xor_address(stun::Attribute::kXorPeerAddress, peer);
  const std::vector<std::uint8_t> body(kBody, 0x5A);
  writer.add(stun::Attribute::kData, body);
  const auto bytes = writer.finish();
  return {bytes.begin(), bytes.end()};
}

std::vector<std::uint8_t> binding() {
  std::array<std::uint8_t, 64> buffer{};
  stun::MessageWriter writer(buffer, stun::Class::kRequest, stun::Method::kBinding, {1, 2, 3});
  const auto bytes = writer.finish();
  return {bytes.begin(), bytes.end()};
}

// Frames of one conversion for every allocation of a node, made as they are asked for.
class Traffic {
 public:
  Traffic(const Node& node, Conversion conversion) : node_(node), conversion_(conversion) {}

  std::vector<std::uint8_t> next() {
    const std::size_t i = next_;
    next_ = next_ + 1 == node_.clients.size() ? 0 : next_ + 1;
    // The keys of a node are shuffled each by its own: what belongs to one client is told by
    // number.
    const Endpoint client = node_.clients[i].client;
    const Endpoint listener = listener_of(node_.shape.client);
    switch (conversion_) {
      case Conversion::kChannelData:
        return udp_frame(client, listener, channel_data());
      case Conversion::kSend:
        return udp_frame(client, listener, send_indication(node_.peer_of(node_.clients[i])));
      case Conversion::kPeerToChannel:
      case Conversion::kPeerToData:
        return udp_frame(node_.peer_of(node_.relays[i]),
                         {node_.relays[i].relayed, node_.relays[i].port},
                         std::vector<std::uint8_t>(kBody, 0xA5));
      case Conversion::kBinding:
        return udp_frame(client, listener, binding());
    }
    std::abort();
  }

 private:
  const Node& node_;
  Conversion conversion_;
  std::size_t next_ = 0;
};

// What stands behind the law.
enum class Watch : std::uint8_t {
  kNothing,
  kVerdict,  // rules, all flows decided
  kScan,     // rules, each packet looked into: a flow of its own, as an attacker would have it
  kMeters,
};

// The built-in protocols, and a thousand patterns that nobody matches.
std::shared_ptr<const policy::PayloadRules> many_rules() {
  policy::PayloadRules::Config config;
  for (const std::string_view name : policy::protocols_named(policy::kAbuse))
    config.rules.push_back({.name = std::string(name),
                            .patterns = policy::patterns_of(name, 0),
                            .action = policy::RuleAction::kDrop});
  for (int i = 0; i < 1000; ++i) {
    const std::string number = std::to_string(1000 + i);
    config.rules.push_back({.name = "r" + number,
                            .patterns = {{"^(GET|PUT) /" + number + "[a-z]+" + number + "|" +
                                          number + "(ab|cd)" + number}},
                            .action = policy::RuleAction::kDrop});
  }
  config.scanned = 1;
  return std::get<std::shared_ptr<const policy::PayloadRules>>(
      policy::PayloadRules::make(std::move(config)));
}

void watch(Watch watch, WorkerPolicy& policy) {
  if (watch == Watch::kVerdict || watch == Watch::kScan) {
    static const auto rules = many_rules();
    policy.payload = rules;
  }
  if (watch != Watch::kMeters) return;
  for (const MeterLevel level : {MeterLevel::kAllocation, MeterLevel::kUser, MeterLevel::kNode})
    policy.meters.of(level, MeterKind::kBytes) = MeterRate(100'000'000'000, 10'000'000'000, 1);
}

void burst(benchmark::State& state, Conversion conversion, const Shape& shape,
           Watch watching = Watch::kNothing) {
  Node& at = node(shape);
  Traffic traffic(at, conversion);
  Setup setup;
  setup.ports.resize(1);
  setup.ports[0].mac = {2, 0, 0, 0, 0, 1};
  setup.listeners = {{listener_of(shape.client)}};
  setup.relayed = at.relayed;
  OneRoute routes;
  const NonceKeeper nonces({.key = {1}});
  WorkerPolicy policy(StatelessAnswers({.realms = {{.name = "example.org"}}}, nonces));
  policy.strangers = {.per_source = {0}, .all = {0}};
  const TokenSealer tokens({2});
  watch(watching, policy);
  SharedMeters meters(watching == Watch::kMeters ? shape.count : 1, 1024);
  if (watching == Watch::kMeters) setup.meters = &meters;
  WorkerCounters counters;
  Pipeline pipeline(setup, at.tables(), routes, policy, tokens, counters);

  std::vector<std::uint8_t> buffers(kBuffer * kBuffers);
  std::size_t next = 0;
  std::uint64_t cycles = 0, packets = 0;
  const Verdict wanted =
      conversion == Conversion::kBinding ? Verdict::kTransmitBack : Verdict::kTransmit;
  for (auto _ : state) {
    std::array<Packet, kBurst> frames;
    for (Packet& packet : frames) {
      const std::vector<std::uint8_t> bytes = traffic.next();
      packet = Packet{};
      packet.data = buffers.data() + next * kBuffer + kRoom;
      std::memcpy(packet.data, bytes.data(), bytes.size());
      packet.length = static_cast<std::uint32_t>(bytes.size());
      packet.headroom = kRoom;
      packet.tailroom = static_cast<std::uint16_t>(kBuffer - kRoom - bytes.size());
      next = (next + 1) % kBuffers;
    }
    if (watching == Watch::kScan) at.forget_verdicts();
    const std::uint64_t begin = cycles_now();
    pipeline.process(Instant{1'000'000}, frames);
    cycles += cycles_now() - begin;
    packets += kBurst;
    for (const Packet& packet : frames) {
      if (packet.verdict != wanted) state.SkipWithError("a packet was not relayed");
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(packets));
  state.counters["cycles"] = benchmark::Counter(
      static_cast<double>(cycles) / static_cast<double>(packets), benchmark::Counter::kAvgThreads);
}

// Named as they always were for IPv4, with the families behind the name for others.
void add(const std::string& name, Conversion conversion, Shape shape, int threads = 1,
         Watch watching = Watch::kNothing) {
  constexpr Family k4 = Family::kIpv4;
  shape.channels = conversion != Conversion::kPeerToData;
  const bool from_peer =
      conversion == Conversion::kPeerToChannel || conversion == Conversion::kPeerToData;
  const Family from = from_peer ? shape.peer : shape.client;
  const Family to = from_peer ? shape.client : shape.peer;
  std::string families;
  if (from != k4 && to != k4) families = "_v6";
  if (from != k4 && to == k4) families = "_v6_to_v4";
  if (from == k4 && to != k4) families = "_v4_to_v6";
  const std::string addresses =
      shape.relayed == 0 ? "" : "/relayed_" + std::to_string(shape.relayed);
  auto* const one = benchmark::RegisterBenchmark(
      (name + families + "/" + std::to_string(shape.count) + addresses).c_str(),
      [=](benchmark::State& state) { burst(state, conversion, shape, watching); });
  if (threads != 1) one->Threads(threads);
}

void add_all() {
  constexpr std::array kFamilies{Family::kIpv4, Family::kIpv6};
  const std::array kMedia{std::pair{"channel_data_to_peer", Conversion::kChannelData},
                          std::pair{"peer_to_channel_data", Conversion::kPeerToChannel},
                          std::pair{"send_to_peer", Conversion::kSend},
                          std::pair{"peer_to_data", Conversion::kPeerToData}};
  for (const auto& [name, conversion] : kMedia) {
    for (const std::uint32_t count : {1000, 100'000, 1'000'000}) {
      for (const Family client : kFamilies) {
        for (const Family peer : kFamilies)
          add(name, conversion, {.count = count, .client = client, .peer = peer});
      }
    }
    for (const Family family : kFamilies)
      add(name, conversion, {.count = 1000, .client = family, .peer = family, .relayed = 256});
    // Two workers with the same tables: what one does must not slow the other.
    add(name, conversion, {.count = 1000}, 2);
  }
  for (const Family client : kFamilies) {
    for (const Family peer : kFamilies)
      add("hairpin", Conversion::kChannelData,
          {.count = 1000, .client = client, .peer = peer, .hairpin = true});
  }
  add("binding", Conversion::kBinding, {.count = 1000});
  for (const Family family : kFamilies) {
    const Shape shape{.count = 1000, .client = family, .peer = family};
    for (const auto& [watched, watching] :
         {std::pair{"verdict", Watch::kVerdict}, std::pair{"scan", Watch::kScan},
          std::pair{"meters", Watch::kMeters}}) {
      add(std::string(watched) + "/channel_data_to_peer", Conversion::kChannelData, shape, 1,
          watching);
      add(std::string(watched) + "/peer_to_channel_data", Conversion::kPeerToChannel, shape, 1,
          watching);
    }
  }
}

}  // namespace
}  // namespace turnpike::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  turnpike::bench::add_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

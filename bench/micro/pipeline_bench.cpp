// What a worker does to a burst, from frames to frames: classify, look up, rewrite, by conversion
// and by the number of allocations. `cycles` is of the time stamp counter, for each packet, between
// the moment the burst lies in memory and the moment it could be handed to the device; making the
// frames is not counted. Clients come in random order.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "flow/pipeline.h"
#include "node.h"
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
  std::vector<std::uint8_t> frame(ethernet::kSize + ipv4::kMinSize + udp::kSize + payload.size());
  std::memcpy(frame.data(), "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00", 14);
  std::uint8_t* ip = frame.data() + ethernet::kSize;
  ip[0] = 0x45;
  store_be16(ip + ipv4::kTotalLength, static_cast<std::uint16_t>(28 + payload.size()));
  ip[ipv4::kTtl] = 64;
  ip[ipv4::kProtocol] = ip_protocol::kUdp;
  std::memcpy(ip + ipv4::kSource, from.address.bytes.data(), 4);
  std::memcpy(ip + ipv4::kDestination, to.address.bytes.data(), 4);
  store_be16(ip + ipv4::kChecksum, ipv4_header_checksum(ip, ipv4::kMinSize));
  std::uint8_t* header = ip + ipv4::kMinSize;
  store_be16(header, from.port);
  store_be16(header + 2, to.port);
  store_be16(header + udp::kLength, static_cast<std::uint16_t>(8 + payload.size()));
  std::memcpy(header + udp::kSize, payload.data(), payload.size());
  store_be16(header + udp::kChecksum, udp_checksum_v4(ip + ipv4::kSource, ip + ipv4::kDestination,
                                                      header, 8 + payload.size()));
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
    switch (conversion_) {
      case Conversion::kChannelData:
        return udp_frame(client, kListener, channel_data());
      case Conversion::kSend:
        return udp_frame(client, kListener, send_indication(peer_of(client)));
      case Conversion::kPeerToChannel:
      case Conversion::kPeerToData:
        return udp_frame(node_.peer_of_relay(node_.relays[i]),
                         {node_.relays[i].relayed, node_.relays[i].port},
                         std::vector<std::uint8_t>(kBody, 0xA5));
      case Conversion::kBinding:
        return udp_frame(client, kListener, binding());
    }
    std::abort();
  }

 private:
  static Endpoint peer_of(const Endpoint& client) {
    Endpoint peer = client;
    peer.address.bytes[0] = 11;
    peer.port = 6000;
    return peer;
  }

  const Node& node_;
  Conversion conversion_;
  std::size_t next_ = 0;
};

void burst(benchmark::State& state, Conversion conversion) {
  const bool channels = conversion != Conversion::kPeerToData;
  Node& at = node(state.range(0), channels);
  Traffic traffic(at, conversion);
  Setup setup;
  setup.ports.resize(1);
  setup.ports[0].mac = {2, 0, 0, 0, 0, 1};
  setup.listeners = {{kListener}};
  setup.relayed = at.relayed;
  setup.strangers = {.per_source = {0}, .all = {0}};
  OneRoute routes;
  const NonceKeeper nonces({.realm = "example.org", .key = {1}});
  const FrontDoor door({.realm = "example.org"}, nonces);
  const TokenSealer tokens({2});
  WorkerCounters counters;
  Pipeline pipeline(setup, at.tables(), routes, door, tokens, counters);

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

void channel_data_to_peer(benchmark::State& state) {
  burst(state, Conversion::kChannelData);
}
void send_to_peer(benchmark::State& state) {
  burst(state, Conversion::kSend);
}
void peer_to_channel_data(benchmark::State& state) {
  burst(state, Conversion::kPeerToChannel);
}
void peer_to_data(benchmark::State& state) {
  burst(state, Conversion::kPeerToData);
}
void binding(benchmark::State& state) {
  burst(state, Conversion::kBinding);
}

BENCHMARK(channel_data_to_peer)->Arg(1000)->Arg(100000)->Arg(1000000);
// Two workers with the same tables: what one does must not slow the other.
BENCHMARK(channel_data_to_peer)->Arg(1000)->Threads(2);
BENCHMARK(peer_to_channel_data)->Arg(1000)->Threads(2);
BENCHMARK(peer_to_channel_data)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(send_to_peer)->Arg(1000)->Arg(100000);
BENCHMARK(peer_to_data)->Arg(1000)->Arg(100000);
BENCHMARK(binding)->Arg(1000);

}  // namespace
}  // namespace turnpike::bench

BENCHMARK_MAIN();

// What a look-up in the flow tables costs, by the number of allocations, each with one permission
// and one channel; and what they weigh. `cycles` is of the time stamp counter, for each key, over a
// random order of keys, so that at a million allocations nearly every look-up misses the caches.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>

#include "flow/tables.h"

namespace turnpike::flow {
namespace {

constexpr std::size_t kBurst = 64;
constexpr std::uint32_t kPorts = 65536;
const Endpoint kListener{Address::v4(192, 0, 2, 1), 3478};
const HashKey kKey{0x0123456789abcdef, 0xfedcba9876543210, 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f};

std::uint64_t cycles_now() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return 0;
#endif
}

class OneRoute final : public NextHopResolver {
 public:
  NextHopIndex resolve(const Address&) override { return NextHopIndex{1}; }
  std::uint32_t epoch() const override { return 0; }
  NextHop* table() override { return nullptr; }
};

Address numbered(std::uint8_t net, std::uint32_t n) {
  return Address::v4(net, static_cast<std::uint8_t>(n >> 16), static_cast<std::uint8_t>(n >> 8),
                     static_cast<std::uint8_t>(n));
}

// `count` allocations with a permission and a channel each, and the keys to all of them, shuffled.
class Node {
 public:
  explicit Node(std::uint32_t count) {
    std::vector<RelayedAddress> relayed;
    for (std::uint32_t i = 0; i <= (count - 1) / kPorts; ++i) {
      relayed.push_back({numbered(192, i), std::nullopt});
    }
    TableLimits limits;
    limits.allocations_per_shard = limits.permissions_per_shard = limits.channels_per_shard = count;
    tables_ = std::make_unique<Tables>(limits, relayed, std::vector<Endpoint>{kListener}, kKey,
                                       std::vector<std::atomic<std::uint64_t>*>{});
    TableWriter writer(*tables_, 0, qsbr_, routes_);
    for (std::uint32_t n = 0; n < count; ++n)
      publish(writer, relayed[n / kPorts].internal, n);
    std::mt19937_64 random(1);
    std::shuffle(clients.begin(), clients.end(), random);
    std::shuffle(relays.begin(), relays.end(), random);
    std::shuffle(numbers.begin(), numbers.end(), random);
    std::shuffle(peers.begin(), peers.end(), random);
    std::shuffle(permissions.begin(), permissions.end(), random);
  }

  const Tables& tables() const { return *tables_; }

  std::vector<ClientKey> clients;
  std::vector<RelayKey> relays;
  std::vector<NumberKey> numbers;
  std::vector<PeerKey> peers;
  std::vector<PermissionKey> permissions;

 private:
  void publish(TableWriter& writer, const Address& relayed, std::uint32_t n) {
    AllocationFlow flow;
    flow.five_tuple.client = ClientEndpoint{{numbered(10, n), 5000}};
    flow.five_tuple.server = kListener;
    flow.relayed[0] = RelayEndpoint{{relayed, static_cast<std::uint16_t>(n % kPorts)}};
    flow.expires_s[0] = 600;
    const Endpoint peer{numbered(11, n), 6000};
    const AllocationSlot slot = writer.publish_allocation(flow).value();
    const PermissionSlot permission = writer.publish_permission({slot, peer.address, 300}).value();
    writer.publish_channel({slot, permission, 0x4000, PeerEndpoint{peer}, 600}).value();
    clients.push_back({flow.five_tuple.client, 0});
    relays.push_back({relayed, flow.relayed[0]->port});
    numbers.push_back({slot, 0x4000});
    peers.push_back({slot, peer});
    permissions.push_back({slot, peer.address});
  }

  Qsbr qsbr_;
  OneRoute routes_;
  std::unique_ptr<Tables> tables_;
};

Node& node(std::int64_t count) {
  static std::map<std::int64_t, std::unique_ptr<Node>> nodes;
  std::unique_ptr<Node>& made = nodes[count];
  if (made == nullptr) made = std::make_unique<Node>(static_cast<std::uint32_t>(count));
  return *made;
}

// Calls `look_up` with one burst of keys after the other.
template <typename Key, typename LookUp>
void measure(benchmark::State& state, const std::vector<Key>& keys, LookUp look_up) {
  std::size_t next = 0;
  std::uint64_t looked_up = 0;
  const std::uint64_t start = cycles_now();
  for (auto _ : state) {
    if (next + kBurst > keys.size()) next = 0;
    look_up(std::span<const Key>(&keys[next], kBurst));
    next += kBurst;
    looked_up += kBurst;
  }
  const std::uint64_t spent = cycles_now() - start;
  state.SetItemsProcessed(static_cast<std::int64_t>(looked_up));
  state.counters["cycles"] = static_cast<double>(spent) / static_cast<double>(looked_up);
}

// What a worker does with what it found: it reads the expiry.
void read_all(const Tables& tables, std::span<const AllocationSlot> slots) {
  std::uint32_t sum = 0;
  for (const AllocationSlot slot : slots)
    sum += tables.allocation(slot).expires_s[0];
  benchmark::DoNotOptimize(sum);
}
void read_all(const Tables& tables, std::span<const PermissionSlot> slots) {
  std::uint32_t sum = 0;
  for (const PermissionSlot slot : slots)
    sum += tables.permission(slot).expires_s;
  benchmark::DoNotOptimize(sum);
}
void read_all(const Tables& tables, std::span<const ChannelSlot> slots) {
  std::uint32_t sum = 0;
  for (const ChannelSlot slot : slots)
    sum += tables.channel(slot).expires_s;
  benchmark::DoNotOptimize(sum);
}

void clients_bulk(benchmark::State& state) {
  const Node& at = node(state.range(0));
  std::array<AllocationSlot, kBurst> out;
  measure(state, at.clients, [&](std::span<const ClientKey> keys) {
    at.tables().find_clients(keys, out);
    read_all(at.tables(), out);
  });
}

void clients_single(benchmark::State& state) {
  const Node& at = node(state.range(0));
  std::array<AllocationSlot, kBurst> out;
  measure(state, at.clients, [&](std::span<const ClientKey> keys) {
    for (std::size_t i = 0; i < keys.size(); ++i) {
      out[i] = *at.tables().find_client(keys[i].listener, keys[i].client);
    }
    read_all(at.tables(), out);
  });
}

void relays_bulk(benchmark::State& state) {
  const Node& at = node(state.range(0));
  std::array<AllocationSlot, kBurst> out;
  measure(state, at.relays, [&](std::span<const RelayKey> keys) {
    at.tables().find_relays(keys, out);
    read_all(at.tables(), out);
  });
}

void channels_by_number_bulk(benchmark::State& state) {
  const Node& at = node(state.range(0));
  std::array<ChannelSlot, kBurst> out;
  measure(state, at.numbers, [&](std::span<const NumberKey> keys) {
    at.tables().find_channels(keys, out);
    read_all(at.tables(), out);
  });
}

void channels_by_peer_bulk(benchmark::State& state) {
  const Node& at = node(state.range(0));
  std::array<ChannelSlot, kBurst> out;
  measure(state, at.peers, [&](std::span<const PeerKey> keys) {
    at.tables().find_channels(keys, out);
    read_all(at.tables(), out);
  });
}

void permissions_bulk(benchmark::State& state) {
  const Node& at = node(state.range(0));
  std::array<PermissionSlot, kBurst> out;
  measure(state, at.permissions, [&](std::span<const PermissionKey> keys) {
    at.tables().find_permissions(keys, out);
    read_all(at.tables(), out);
  });
}

// Not a speed: the counters are what counts.
void memory(benchmark::State& state) {
  const Node& at = node(state.range(0));
  for (auto _ : state)
    benchmark::DoNotOptimize(at.tables().bytes());
  const auto bytes = static_cast<double>(at.tables().bytes());
  state.counters["bytes"] = bytes;
  state.counters["bytes_per_allocation"] = bytes / static_cast<double>(state.range(0));
}

BENCHMARK(clients_bulk)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(clients_single)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(relays_bulk)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(channels_by_number_bulk)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(channels_by_peer_bulk)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(permissions_bulk)->Arg(1000)->Arg(100000)->Arg(1000000);
BENCHMARK(memory)->Arg(1000000);

}  // namespace
}  // namespace turnpike::flow

BENCHMARK_MAIN();

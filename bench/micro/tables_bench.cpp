// What a look-up in the flow tables costs, by the number of allocations, each with one permission
// and one channel; and what they weigh. `cycles` is of the time stamp counter, for each key, over a
// random order of keys, so that at a million allocations nearly every look-up misses the caches.
#include <benchmark/benchmark.h>

#include "node.h"

namespace turnpike::bench {
namespace {

constexpr std::size_t kBurst = 64;

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
}  // namespace turnpike::bench

BENCHMARK_MAIN();

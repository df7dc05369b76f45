// What the threads of the engine race share: time, tables, and of each client one word that says
// what it knows of its allocation.
#pragma once

#include <array>
#include <atomic>
#include <vector>

#include "flow_world.h"
#include "turnpike/quota.h"
#include "turnpike/server.h"

namespace turnpike::flow::test::race {

inline constexpr std::uint64_t kStartMs = 1'000'000;
inline constexpr std::uint64_t kStepMs = 500;
inline constexpr std::uint32_t kSteps = 800;
inline constexpr std::uint32_t kRestSeconds = 3;  // more than two steps, and a second of rounding
inline constexpr std::uint32_t kMaxShards = 3;
inline constexpr std::size_t kReaders = 2;
inline constexpr std::uint32_t kOwnClients = 6;  // of each shard
inline constexpr std::uint32_t kSharedClients = 3;
inline constexpr std::uint32_t kQuota = 4;  // of the user whom all shards serve
inline constexpr std::uint16_t kFirstPort = 49152;
inline constexpr std::uint16_t kPortsPerShard =
    16;  // the first of its block: few, so that reuse never ends
inline constexpr const char* kRealm = "example.org";

// What a client knows, as flags of its word:
//
//   opening → open → ending → closed
//
// Opening from before the request until its success is told, ending from before the request that
// closes, or half a second before time does, until that is told or past. Open is one of the first
// three; in between a packet may pass or not.
inline constexpr std::uint64_t kAllocated = 1, kPermitted = 2, kBound = 4;
inline constexpr std::uint64_t kOpening = 8;  // what is not there may be
inline constexpr std::uint64_t kEnding = 16;  // what is there may not be
// `change` makes it another word whenever a client knows something new, if only for a moment.
inline std::uint64_t word_of(std::uint32_t change, std::uint16_t port, ChannelNumber number,
                             std::uint64_t flags) {
  return std::uint64_t{change} << 32 | std::uint64_t{port} << 8 | (number & 3U) << 5 | flags;
}
inline std::uint16_t port_in(std::uint64_t word) {
  return static_cast<std::uint16_t>(word >> 8);
}
inline ChannelNumber number_in(std::uint64_t word) {
  return static_cast<ChannelNumber>(0x4000 | (word >> 5 & 3));
}

// Peers differ by port alone: a permission of any client lets all of them in.
inline ClientEndpoint client_at(std::uint32_t n) {
  return {{kClient4, static_cast<std::uint16_t>(2000 + n)}};
}
inline PeerEndpoint peer_of(std::uint32_t n) {
  return {{kPeer4, static_cast<std::uint16_t>(7000 + n)}};
}

struct alignas(64) Client {
  std::atomic<std::uint64_t> word{0};   // its shard: wo, readers: ro
  std::atomic<std::uint32_t> owner{0};  // a shared one's shard + 1, as far as successes tell
};

// What all threads share.
struct Common {
  explicit Common(std::uint32_t shard_count)
      : shards(shard_count),
        clients(shard_count * kOwnClients + kSharedClients),
        tables({static_cast<std::uint8_t>(shard_count), kOwnClients + kSharedClients + 2, 14, 14},
               {{kRelay4, std::nullopt}}, {{{kServer4, kPort}}}, kHashKey, {live_ports.data()}) {}

  bool is_shared(std::uint32_t client) const { return client >= shards * kOwnClients; }
  Instant now() const { return {now_ms.load(std::memory_order_acquire)}; }
  std::uint32_t step() const { return static_cast<std::uint32_t>((now().ms - kStartMs) / kStepMs); }

  const std::uint32_t shards;
  std::vector<Client> clients;
  std::vector<std::atomic<std::uint64_t>> live_ports =
      std::vector<std::atomic<std::uint64_t>>(65536 / 64);
  Tables tables;
  Qsbr qsbr;
  OneHop hop;
  NonceKeeper nonces{{.key = {1}}};
  TokenSealer tokens{{2}};
  QuotaLedger quotas{kQuota, 0, true};
  const WorkerPolicy policy{StatelessAnswers({.realms = {{.name = kRealm}}}, nonces)};
  std::atomic<std::uint32_t> changes{0};        // of all words
  std::atomic<std::int32_t> served_to_all{0};   // allocations of the user whom all shards serve
  std::atomic<std::uint64_t> now_ms{kStartMs};  // the first shard: rw, others: ro
  std::array<std::atomic<std::uint32_t>, kMaxShards> ready_for{};  // a step; its shard: wo
  std::array<std::atomic<std::uint32_t>, kReaders> bursts{};       // brought home; its reader: wo
};

}  // namespace turnpike::flow::test::race

// The flow tables: what workers look packets up in, and how a shard publishes into them.
//
// Each shard is the only writer of its own part; every worker reads all parts without a lock.
//   client side: (listener, client endpoint) → allocation, in a hash per shard;
//                (allocation, channel number) → channel.
//   peer side:   [relayed address][port] → allocation, a direct index;
//                (allocation, peer endpoint) → channel; (allocation, peer address) → permission.
// An entry is immutable but for its expiry and next-hop words, for what a path's MTU is told to be,
// for what payload rules have found of its flow, and for an allocation's client when that moves,
// which nobody can be reading then (moves.cpp). A withdrawn entry's slot waits on
// its shard's retire list until every worker has passed a quiescent state (base/qsbr.h): what a
// reader has found stays what it was until that reader's next quiescent().
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/keyed_hash.h"
#include "base/qsbr.h"
#include "tables/next_hop.h"
#include "tables/path_mtu.h"
#include "turnpike/address.h"
#include "turnpike/flow_sink.h"
#include "turnpike/listener.h"
#include "turnpike/server.h"

namespace turnpike::flow {

// What a shard has room for, of so many in all. Five-tuples fall to shards by chance, which gives
// none so many that a shard is full before all together are; of a few, one may have them all.
constexpr std::uint32_t allocations_of_shard(std::uint32_t all, std::uint32_t shards) {
  const std::uint32_t share = (all + shards - 1) / shards;
  return shards == 1 ? all : std::min(all, share + share / 10 + 256);
}

struct TableLimits {
  std::uint8_t shards = 1;
  std::uint32_t allocations_per_shard = 1024;
  std::uint32_t permissions_per_shard = 4096;
  std::uint32_t channels_per_shard = 4096;
};

// Where a bulk look-up, or a look among the first of a kind, found nothing.
inline constexpr std::uint32_t kNoSlot = 0xFFFF'FFFF;

// An allocation's first channels or permissions, in the allocation itself: most have no more, and a
// worker is spared the index. One that found no place gets one when it is refreshed and there is a
// place by then. A word is a tag of 32 bits and a slot + 1; 0: free.
// Shard: rw, workers: ro.
template <std::size_t kCount>
class FirstSlots {
 public:
  // False if there is no room.
  bool add(std::uint32_t tag, std::uint32_t slot) {
    for (std::atomic<std::uint64_t>& word : words_) {
      if (word.load(std::memory_order_relaxed) != 0) continue;
      word.store(std::uint64_t{tag} << 32 | (slot + 1), std::memory_order_release);
      return true;
    }
    return false;
  }
  // False if it is not among them.
  bool remove(std::uint32_t slot) {
    for (std::atomic<std::uint64_t>& word : words_) {
      if (static_cast<std::uint32_t>(word.load(std::memory_order_relaxed)) != slot + 1) continue;
      word.store(0, std::memory_order_release);
      return true;
    }
    return false;
  }
  // A slot whose tag is `tag` in the bits of `mask`, or kNoSlot; whether it is the right one, its
  // entry says.
  std::uint32_t find(std::uint32_t tag, std::uint32_t mask = 0xFFFF'FFFF) const {
    std::uint32_t found = 0;
#pragma GCC unroll 8
    for (const std::atomic<std::uint64_t>& word : words_) {
      const std::uint64_t value = word.load(std::memory_order_acquire);
      const bool right = ((static_cast<std::uint32_t>(value >> 32) ^ tag) & mask) == 0;
      found = right && static_cast<std::uint32_t>(value) != 0 ? static_cast<std::uint32_t>(value)
                                                              : found;
    }
    return found - 1;  // 0 becomes kNoSlot
  }

 private:
  std::array<std::atomic<std::uint64_t>, kCount> words_{};
};

// A relayed transport address of this node.
struct RelayPort {
  std::uint16_t relayed = 0;  // index into Setup::relayed
  std::uint16_t port = 0;
};

struct alignas(64) AllocationEntry {
  // First line: what most packets need.
  Endpoint client;
  ListenerIndex listener = 0;
  std::uint8_t shard = 0;
  // path_mtu in units of kFitsUnit, rounded down, or kFitsAll: what is no longer needs no look at
  // the second line; like that, any worker's to write.
  mutable std::atomic<std::uint8_t> fits{kFitsAll};
  std::atomic<std::uint32_t> client_next_hop{0};          // shard: wo, workers: ro
  std::array<std::atomic<std::uint32_t>, 2> expires_s{};  // by family; shard: wo, workers: ro
  // How many channels are not in first_channels; shard: rw, workers: ro.
  std::atomic<std::uint32_t> further_channels{0};
  FirstSlots<3> first_channels;  // tag: 16 bits of the peer's hash, 16 of the channel number
  // Second line: what Send needs. As published: a family that has been withdrawn since keeps its
  // place here and has an expiry of 0.
  alignas(64) std::array<RelayPort, 2> relayed;
  std::array<bool, 2> has_relayed{};
  // Of the slot's allocations, which one this is; fixed once published. Who keeps something by slot
  // knows by it that the slot has a new owner.
  std::uint16_t generation = 0;
  PathMtu path_mtu;                 // to the client
  FirstSlots<6> first_permissions;  // tag: of the peer's address

  static constexpr std::size_t kFitsUnit = 64;
  static constexpr std::uint8_t kFitsAll = 255;  // more than any link's MTU that we have
  void lower_path_mtu(std::uint32_t seconds, std::uint16_t mtu) const {
    path_mtu.lower(seconds, client.address.family, mtu);
    fits.store(
        static_cast<std::uint8_t>(std::min<std::size_t>(path_mtu.told() / kFitsUnit, kFitsAll)),
        std::memory_order_relaxed);
  }
  // PathMtu::kNone, from the time on when it is over.
  std::uint16_t path_mtu_at(std::uint32_t seconds) const {
    if (fits.load(std::memory_order_relaxed) == kFitsAll) return PathMtu::kNone;
    const std::uint16_t mtu = path_mtu.at(seconds);
    if (mtu == PathMtu::kNone) fits.store(kFitsAll, std::memory_order_relaxed);
    return mtu;
  }
  void forget_path_mtu() const {
    path_mtu.forget();
    fits.store(kFitsAll, std::memory_order_relaxed);
  }
};
static_assert(sizeof(AllocationEntry) == 128);
static_assert(alignof(AllocationEntry) == 64);

struct alignas(64) PermissionEntry {
  Address peer;
  std::uint32_t allocation = 0;
  std::atomic<std::uint32_t> peer_next_hop{0};
  std::atomic<std::uint32_t> expires_s{0};
  PathMtu path_mtu;  // to the peer
  // flow/verdict.h; workers: rw, shard: 0 when it publishes the entry.
  mutable std::atomic<std::uint64_t> payload_verdict{0};
  std::uint16_t generation = 0;  // its allocation's
  bool to_ourselves = false;     // the peer is a relayed address of this node: hairpin
  bool among_first = false;      // of its allocation's; shard: rw
};
static_assert(sizeof(PermissionEntry) == 64);
static_assert(alignof(PermissionEntry) == 64);

struct alignas(64) ChannelEntry {
  PeerEndpoint peer;
  RelayPort relayed;
  std::uint32_t allocation = 0;
  ChannelNumber number = 0;
  bool to_ourselves = false;
  bool among_first = false;  // of its allocation's; shard: rw
  std::atomic<std::uint32_t> peer_next_hop{0};
  std::atomic<std::uint32_t> expires_s{0};
  PathMtu path_mtu;                                       // to the peer
  mutable std::atomic<std::uint64_t> payload_verdict{0};  // as a permission's
  std::uint16_t generation = 0;                           // its allocation's
};
static_assert(sizeof(ChannelEntry) == 64);
static_assert(alignof(ChannelEntry) == 64);

// A five-tuple by which a client comes to its allocation besides the one in the entry there.
struct alignas(64) MoveEntry {
  Endpoint client;
  ListenerIndex listener = 0;
  std::uint32_t allocation = 0;
  std::uint16_t generation = 0;           // its allocation's
  std::uint16_t number = 0;               // as it was published
  mutable std::atomic<bool> told{false};  // that data have come; workers: rw, shard: as published
  // From its completion on; shard: wo, workers: ro.
  std::atomic<std::uint32_t> client_next_hop{0};
};
static_assert(sizeof(MoveEntry) == 64);

inline constexpr AllocationSlot kNoAllocationSlot{kNoSlot};
inline constexpr PermissionSlot kNoPermissionSlot{kNoSlot};
inline constexpr ChannelSlot kNoChannelSlot{kNoSlot};
enum class MoveSlot : std::uint32_t {};

// What bulk look-ups take. Every allocation named in a key must be one that was found.
struct ClientKey {
  Endpoint client;
  ListenerIndex listener = 0;
};
struct RelayKey {
  Address relayed;
  std::uint16_t port = 0;
};
struct NumberKey {
  AllocationSlot allocation{};
  ChannelNumber number = 0;
};
struct PeerKey {
  AllocationSlot allocation{};
  Endpoint peer;
};
struct PermissionKey {
  AllocationSlot allocation{};
  Address peer;
};

class Tables;

// One shard's writing end: a FlowSink. Also: reclaim() and re-resolving of next hops.
class TableWriter final : public FlowSink {
 public:
  TableWriter(Tables& tables, std::uint8_t shard, Qsbr& qsbr, NextHopResolver& next_hops);
  ~TableWriter() override;

  std::optional<AllocationSlot> publish_allocation(const AllocationFlow& flow) override;
  std::optional<PermissionSlot> publish_permission(const PermissionFlow& flow) override;
  std::optional<ChannelSlot> publish_channel(const ChannelFlow& flow) override;
  bool lacked_socket() const override;
  void extend_relayed(AllocationSlot slot, Family family, std::uint32_t expires_s) override;
  void extend_permission(PermissionSlot slot, std::uint32_t expires_s) override;
  void extend_channel(ChannelSlot slot, std::uint32_t expires_s) override;
  void withdraw_relayed(AllocationSlot slot, Family family) override;
  void withdraw_channel(ChannelSlot slot) override;
  void withdraw_permission(PermissionSlot slot) override;
  void withdraw_allocation(AllocationSlot slot) override;
  bool begin_move(const MoveFlow& flow) override;
  void complete_move(AllocationSlot slot) override;
  void cancel_move(AllocationSlot slot) override;

  // Whether the slot's allocation is published, and is its `generation`th.
  bool has(AllocationSlot slot, std::uint16_t generation) const;

  // Gives back slots whose grace period has passed; brings moves to their end; re-resolves a
  // bounded number of entries if the resolver's epoch has changed. Call often; returns quickly.
  // True if there is more to be done at once.
  bool housekeeping();

  std::uint32_t retired() const;  // slots, and moves, that wait for their grace period

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// All shards' tables. Sized at construction; never grows.
class Tables {
 public:
  // `live_ports` are bitmaps of 65,536 bits per relayed address, in their order, kept in step with
  // the allocations' relay ports (the XDP filter of each port reads one); bit p of an address is
  // bit p % 64 of word p / 64.
  Tables(const TableLimits& limits, const std::vector<RelayedAddress>& relayed,
         const std::vector<Listener>& listeners, const HashKey& key,
         std::vector<std::atomic<std::uint64_t>*> live_ports);
  ~Tables();

  // Reader side. All return nullptr/nullopt if there is none; expiry is the caller's to check.
  std::optional<AllocationSlot> find_client(ListenerIndex listener, const Endpoint& client) const;
  // Of those that find_client() doesn't know.
  std::optional<MoveSlot> find_move(ListenerIndex listener, const Endpoint& client) const;
  // By internal or external address.
  std::optional<AllocationSlot> find_relay(const Address& relayed, std::uint16_t port) const;
  // Of a relayed address of this node, in either form.
  const Address& internal_of(const Address& relayed) const;
  std::optional<ChannelSlot> find_channel(AllocationSlot allocation, ChannelNumber number) const;
  std::optional<ChannelSlot> find_channel(AllocationSlot allocation, const Endpoint& peer) const;
  std::optional<PermissionSlot> find_permission(AllocationSlot allocation,
                                                const Address& peer) const;

  // The same for a burst: the cache misses of all keys overlap, and the entries found are in the
  // cache, or on their way to it, afterwards. `out` has a place for each key; kNoSlot: none.
  void find_clients(std::span<const ClientKey> keys, std::span<AllocationSlot> out) const;
  void find_relays(std::span<const RelayKey> keys, std::span<AllocationSlot> out) const;
  void find_channels(std::span<const NumberKey> keys, std::span<ChannelSlot> out) const;
  void find_channels(std::span<const PeerKey> keys, std::span<ChannelSlot> out) const;
  void find_permissions(std::span<const PermissionKey> keys, std::span<PermissionSlot> out) const;

  const AllocationEntry& allocation(AllocationSlot slot) const;
  const MoveEntry& move(MoveSlot slot) const;
  // Of an allocation whose client has no next hop: where the client has moved to, while the entry
  // doesn't say so yet. nullptr: it has not moved, there is no way to it.
  const MoveEntry* moved(AllocationSlot slot) const;
  // Its user's number (AllocationFlow), and its realm.
  std::uint32_t user(AllocationSlot slot) const;
  RealmIndex realm(AllocationSlot slot) const;
  const PermissionEntry& permission(PermissionSlot slot) const;
  const ChannelEntry& channel(ChannelSlot slot) const;
  // As the wire of this node has it.
  RelayEndpoint relayed(RelayPort relay) const;

  // A keyed hash of the client, for choosing an unknown five-tuple's shard.
  std::uint8_t home_shard(ListenerIndex listener, const Endpoint& client) const;

  // Use against limits, for metrics; any thread.
  struct Usage {
    std::uint32_t allocations, permissions, channels;
  };
  Usage usage(std::uint8_t shard) const;
  std::size_t bytes() const;  // of all tables together, for the memory budget and metrics
  const TableLimits& limits() const;

 private:
  friend class TableWriter;
  friend class FastLane;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace turnpike::flow

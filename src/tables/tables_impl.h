// What Tables and TableWriter share: the arrays, the indices and their keys. Private to src/flow.
//
// Entries of one kind are one array, in equal parts, one for each shard: a slot's number tells its
// shard. Indices are a shard's own, because an index has one writer.
#pragma once

#include <atomic>
#include <bit>
#include <cassert>
#include <cstring>
#include <memory>
#include <vector>

#include "tables/address_map.h"
#include "tables/hash_index.h"
#include "tables/large_array.h"
#include "tables/tables.h"

namespace turnpike::flow {

// The padding keeps what shards write off the line of what never changes.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
struct TableParts {
  struct Shard {
    explicit Shard(const TableLimits& limits)
        : clients(limits.allocations_per_shard),
          moves(limits.allocations_per_shard),
          permissions(limits.permissions_per_shard),
          channels_by_number(limits.channels_per_shard),
          channels_by_peer(limits.channels_per_shard) {}

    HashIndex clients;
    HashIndex moves;
    HashIndex permissions;
    HashIndex channels_by_number;
    HashIndex channels_by_peer;
    // Live entries; shard: wo, any: ro.
    alignas(64) std::atomic<std::uint32_t> allocations_used{0};
    std::atomic<std::uint32_t> permissions_used{0};
    std::atomic<std::uint32_t> channels_used{0};
  };
  struct Relayed {
    RelayedAddress address;
    // By port: slot + 1, or 0. Each cell has the port's shard as its only writer.
    std::atomic<std::uint32_t>* ports;  // kPorts of relay_ports
  };
  static constexpr std::size_t kPorts = 65536;
  TableParts(const TableLimits& table_limits, const std::vector<RelayedAddress>& relayed_addresses,
             const std::vector<Listener>& listening, const HashKey& hash_key,
             std::vector<std::atomic<std::uint64_t>*> live);

  // The family goes into the third word: 10.0.0.1 and a00:1:: have the same bytes.
  [[gnu::always_inline]] std::uint64_t hash(const AddressWords& words, Family family,
                                            std::uint64_t more) const {
    return table_hash(key, words[0], words[1], more << 8 | static_cast<std::uint64_t>(family));
  }
  std::uint64_t hash(const Address& address, std::uint64_t more) const {
    return hash(words_of(address), address.family, more);
  }
  [[gnu::always_inline]] std::uint64_t client_hash(ListenerIndex listener,
                                                   const AddressWords& client, Family family,
                                                   std::uint16_t port) const {
    return hash(client, family, std::uint64_t{listener} << 16 | port);
  }
  std::uint64_t client_hash(ListenerIndex listener, const Endpoint& client) const {
    return client_hash(listener, words_of(client.address), client.address.family, client.port);
  }
  std::uint64_t permission_hash(std::uint32_t allocation, const Address& peer) const {
    return hash(peer, allocation);
  }
  std::uint64_t peer_hash(std::uint32_t allocation, const Endpoint& peer) const {
    return hash(peer.address, std::uint64_t{allocation} << 16 | peer.port);
  }
  std::uint64_t number_hash(std::uint32_t allocation, ChannelNumber number) const {
    return table_hash(key, allocation, number, 0);
  }

  // Tags of FirstSlots. Not keyed: whoever makes two alike gains a compare.
  static std::uint32_t permission_tag(const AddressWords& peer) {
    return static_cast<std::uint32_t>(((peer[0] ^ std::rotl(peer[1], 29)) * kMix) >> 32);
  }
  // In the upper 16 bits; the channel number is in the lower ones.
  static std::uint32_t peer_tag(const AddressWords& peer, std::uint16_t port) {
    const std::uint64_t mixed =
        (peer[0] ^ std::rotl(peer[1], 29) ^ std::uint64_t{port} << 40) * kMix;
    return static_cast<std::uint32_t>(mixed >> 32) & kPeerTagMask;
  }
  static std::uint32_t channel_tag(const Endpoint& peer, ChannelNumber number) {
    return peer_tag(words_of(peer.address), peer.port) | number;
  }
  static constexpr std::uint32_t kPeerTagMask = 0xFFFF'0000;
  static constexpr std::uint32_t kNumberMask = 0x0000'FFFF;
  static constexpr std::uint64_t kMix = 0x9E37'79B9'7F4A'7C15;

  // From the hash's upper half: buckets are chosen by the lower one.
  std::uint8_t home_shard(std::uint64_t hash_of_client) const {
    return static_cast<std::uint8_t>((hash_of_client >> 32) * limits.shards >> 32);
  }
  const Shard& shard_of_allocation(std::uint32_t slot) const {
    assert(slot < allocation_count);
    return limits.shards == 1 ? *shards[0] : *shards[slot / limits.allocations_per_shard];
  }
  // Index into `relayed`, by internal or external address; relayed.size(): none of ours.
  std::size_t relayed_index(const Address& address) const {
    const std::uint32_t* index = by_address.find(address);
    return index == nullptr ? relayed.size() : *index;
  }
  // The place of a relay port in its index.
  const std::atomic<std::uint32_t>* relay_port(std::uint32_t relayed_index,
                                               std::uint16_t port) const {
    return &relay_ports[relayed_index * kPorts + port];
  }

  const TableLimits limits;
  const HashKey key;
  const std::vector<Listener> listeners;
  std::uint32_t allocation_count;  // of slots, over all shards
  std::uint32_t permission_count;
  std::uint32_t channel_count;
  std::vector<Relayed> relayed;
  AddressMap<std::uint32_t>
      by_address;  // index into relayed; where two are equal, internal ones count
  std::vector<std::unique_ptr<Shard>> shards;
  LargeArray<std::atomic<std::uint32_t>> relay_ports;
  LargeArray<AllocationEntry> allocations;
  // By allocation; as published with it.
  struct Owner {
    std::uint32_t user = 0;
    RealmIndex realm = 0;
  };
  LargeArray<Owner> owners;
  LargeArray<MoveEntry> moves;  // as many, in the same parts
  // By allocation: the slot + 1 of the move that has its client, or 0. Shards: rw, workers: ro.
  LargeArray<std::atomic<std::uint32_t>> moved;
  LargeArray<PermissionEntry> permissions;
  LargeArray<ChannelEntry> channels;
  const std::vector<std::atomic<std::uint64_t>*> live_ports;  // one per filter; may be empty
  // Allocations whose shard isn't their client's home (reserved ports, mobility), and moves,
  // counted by some bits of the client's hash. Where there are none, a look-up that misses at home
  // is over: a few that are away must not send every stranger's packet through all shards. Shards:
  // rw, workers: ro.
  static constexpr std::size_t kAwayPlaces = 16384;
  std::atomic<std::uint32_t>& away(std::uint64_t hash) {
    return away_from_home[hash >> 20 & (kAwayPlaces - 1)];
  }
  const std::atomic<std::uint32_t>& away(std::uint64_t hash) const {
    return away_from_home[hash >> 20 & (kAwayPlaces - 1)];
  }
  LargeArray<std::atomic<std::uint32_t>> away_from_home{kAwayPlaces};
};

struct Tables::Impl : TableParts {
  using TableParts::TableParts;
};

}  // namespace turnpike::flow

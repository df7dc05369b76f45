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
          permissions(limits.permissions_per_shard),
          channels_by_number(limits.channels_per_shard),
          channels_by_peer(limits.channels_per_shard) {}

    HashIndex clients;
    HashIndex permissions;
    HashIndex channels_by_number;
    HashIndex channels_by_peer;
    // Live entries; shard: wo, any: ro.
    alignas(64) std::atomic<std::uint32_t> allocations_used{0};
    std::atomic<std::uint32_t> permissions_used{0};
    std::atomic<std::uint32_t> channels_used{0};
  };
  // One of our faces, laid out for a quick scan: a node has a handful.
  struct Face {
    std::array<std::uint64_t, 2> words;
    std::uint64_t family;
    std::uint64_t index;  // into relayed
  };
  struct Relayed {
    RelayedAddress address;
    // By port: slot + 1, or 0. Each cell has the port's shard as its only writer.
    std::atomic<std::uint32_t>* ports;  // kPorts of relay_ports
  };
  static constexpr std::size_t kPorts = 65536;
  // A place of the hash of relayed IPv4 addresses, which is at most a quarter full; without ports:
  // empty.
  struct RelayedV4 {
    std::uint32_t address = 0;
    const std::atomic<std::uint32_t>* ports = nullptr;
  };
  static constexpr std::uint32_t kRelayedMix = 0x9E37'79B1;

  TableParts(const TableLimits& table_limits, const std::vector<RelayedAddress>& relayed_addresses,
             const std::vector<Endpoint>& listening, const HashKey& hash_key,
             std::vector<std::atomic<std::uint64_t>*> live);

  static std::array<std::uint64_t, 2> words_of(const Address& address) {
    std::array<std::uint64_t, 2> words;
    std::memcpy(words.data(), address.bytes.data(), sizeof(words));
    return words;
  }
  // The family goes into the third word: 10.0.0.1 and a00:1:: have the same bytes.
  std::uint64_t hash(const Address& address, std::uint64_t more) const {
    const auto words = words_of(address);
    return table_hash(key, words[0], words[1],
                      more << 8 | static_cast<std::uint64_t>(address.family));
  }
  std::uint64_t client_hash(std::uint16_t listener, const Endpoint& client) const {
    return hash(client.address, std::uint64_t{listener} << 16 | client.port);
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

  // The same for IPv4, whose address makes the words `address` and zero.
  std::uint64_t client_hash_v4(std::uint16_t listener, std::uint64_t address,
                               std::uint16_t port) const {
    const std::uint64_t more = std::uint64_t{listener} << 16 | port;
    return table_hash(key, address, 0, more << 8 | static_cast<std::uint64_t>(Family::kIpv4));
  }
  // Tags of FirstSlots. Not keyed: whoever makes two alike gains a compare.
  static std::uint32_t permission_tag(std::uint64_t word0, std::uint64_t word1) {
    return static_cast<std::uint32_t>(((word0 ^ std::rotl(word1, 29)) * kMix) >> 32);
  }
  static std::uint32_t permission_tag(const Address& peer) {
    const auto words = words_of(peer);
    return permission_tag(words[0], words[1]);
  }
  // In the upper 16 bits; the channel number is in the lower ones.
  static std::uint32_t peer_tag(std::uint64_t word0, std::uint64_t word1, std::uint16_t port) {
    const std::uint64_t mixed = (word0 ^ std::rotl(word1, 29) ^ std::uint64_t{port} << 40) * kMix;
    return static_cast<std::uint32_t>(mixed >> 32) & kPeerTagMask;
  }
  static std::uint32_t channel_tag(const Endpoint& peer, ChannelNumber number) {
    const auto words = words_of(peer.address);
    return peer_tag(words[0], words[1], peer.port) | number;
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
  // Index into `relayed`, by internal or external face; relayed.size(): none of ours.
  std::size_t relayed_index(const Address& address) const {
    const auto words = words_of(address);
    const auto family = static_cast<std::uint64_t>(address.family);
    std::size_t index = relayed.size();
    // All of them, without a branch on what is compared: which one it is can't be predicted.
    for (const Face& face : faces) {
      const std::uint64_t difference =
          (face.words[0] ^ words[0]) | (face.words[1] ^ words[1]) | (face.family ^ family);
      index = difference == 0 ? face.index : index;
    }
    return index;
  }

  // The place of a relay port in its index, by the internal face as loaded from the wire; nullptr:
  // no relayed address of ours.
  const std::atomic<std::uint32_t>* relay_port_v4(std::uint32_t address, std::uint16_t port) const {
    for (std::uint32_t at = address * kRelayedMix >> relayed_v4_shift;; ++at) {
      const RelayedV4& place = relayed_v4[at & (relayed_v4.size() - 1)];
      if (place.ports == nullptr) return nullptr;
      if (place.address == address) return place.ports + port;
    }
  }

  const TableLimits limits;
  const HashKey key;
  const std::vector<Endpoint> listeners;
  std::uint32_t allocation_count;  // of slots, over all shards
  std::uint32_t permission_count;
  std::uint32_t channel_count;
  std::vector<Relayed> relayed;
  std::vector<Face> faces;  // external ones first: where two are equal, the last one counts
  std::vector<RelayedV4> relayed_v4;
  unsigned relayed_v4_shift = 0;
  std::vector<std::unique_ptr<Shard>> shards;
  LargeArray<std::atomic<std::uint32_t>> relay_ports;
  LargeArray<AllocationEntry> allocations;
  LargeArray<PermissionEntry> permissions;
  LargeArray<ChannelEntry> channels;
  const std::vector<std::atomic<std::uint64_t>*> live_ports;  // one per filter; may be empty
  // Allocations whose shard isn't their client's home (reserved ports, mobility), counted by some
  // bits of the client's hash. Where there are none, a look-up that misses at home is over: a few
  // that are away must not send every stranger's packet through all shards. Shards: rw, workers:
  // ro.
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

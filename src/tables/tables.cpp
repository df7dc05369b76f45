// The reading end of the flow tables. Every look-up is a small struct that says how to hash its
// key, in which index it lies and what the right entry is; single and bulk look-ups are then
// written once.
#include "tables/tables.h"

#include <algorithm>

#include "tables/tables_impl.h"

namespace turnpike::flow {

namespace {

// More than a worker's burst has; what their hashes and candidates take fits the stack and L1.
constexpr std::size_t kChunk = 64;

struct ByClient {
  const TableParts& t;
  std::uint64_t hash(const ClientKey& key) const { return t.client_hash(key.listener, key.client); }
  const HashIndex& index(const ClientKey&, std::uint64_t hash) const {
    return t.shards[t.home_shard(hash)]->clients;
  }
  const void* entry(std::uint32_t slot) const { return &t.allocations[slot]; }
  bool matches(std::uint32_t slot, const ClientKey& key) const {
    const AllocationEntry& entry = t.allocations[slot];
    return entry.client == key.client && entry.listener == key.listener;
  }
  std::uint32_t elsewhere(const ClientKey& key, std::uint64_t hash) const {
    if (t.shards.size() == 1 || t.away(hash).load(std::memory_order_acquire) == 0) return kNoSlot;
    const std::size_t home = t.home_shard(hash);
    for (std::size_t shard = 0; shard < t.shards.size(); ++shard) {
      if (shard == home) continue;
      const std::uint32_t slot = t.shards[shard]->clients.find(
          hash, [&](std::uint32_t candidate) { return matches(candidate, key); });
      if (slot != kNoSlot) return slot;
    }
    return kNoSlot;
  }
};

struct ByNumber {
  const TableParts& t;
  std::uint64_t hash(const NumberKey& key) const {
    return t.number_hash(static_cast<std::uint32_t>(key.allocation), key.number);
  }
  const HashIndex& index(const NumberKey& key, std::uint64_t) const {
    return t.shard_of_allocation(static_cast<std::uint32_t>(key.allocation)).channels_by_number;
  }
  const void* entry(std::uint32_t slot) const { return &t.channels[slot]; }
  bool matches(std::uint32_t slot, const NumberKey& key) const {
    const ChannelEntry& entry = t.channels[slot];
    return entry.allocation == static_cast<std::uint32_t>(key.allocation) &&
           entry.number == key.number;
  }
  static std::uint32_t elsewhere(const NumberKey&, std::uint64_t) { return kNoSlot; }
};

struct ByPeer {
  const TableParts& t;
  std::uint64_t hash(const PeerKey& key) const {
    return t.peer_hash(static_cast<std::uint32_t>(key.allocation), key.peer);
  }
  const HashIndex& index(const PeerKey& key, std::uint64_t) const {
    return t.shard_of_allocation(static_cast<std::uint32_t>(key.allocation)).channels_by_peer;
  }
  const void* entry(std::uint32_t slot) const { return &t.channels[slot]; }
  bool matches(std::uint32_t slot, const PeerKey& key) const {
    const ChannelEntry& entry = t.channels[slot];
    return entry.allocation == static_cast<std::uint32_t>(key.allocation) &&
           static_cast<const Endpoint&>(entry.peer) == key.peer;
  }
  static std::uint32_t elsewhere(const PeerKey&, std::uint64_t) { return kNoSlot; }
};

struct ByPermission {
  const TableParts& t;
  std::uint64_t hash(const PermissionKey& key) const {
    return t.permission_hash(static_cast<std::uint32_t>(key.allocation), key.peer);
  }
  const HashIndex& index(const PermissionKey& key, std::uint64_t) const {
    return t.shard_of_allocation(static_cast<std::uint32_t>(key.allocation)).permissions;
  }
  const void* entry(std::uint32_t slot) const { return &t.permissions[slot]; }
  bool matches(std::uint32_t slot, const PermissionKey& key) const {
    const PermissionEntry& entry = t.permissions[slot];
    return entry.allocation == static_cast<std::uint32_t>(key.allocation) && entry.peer == key.peer;
  }
  static std::uint32_t elsewhere(const PermissionKey&, std::uint64_t) { return kNoSlot; }
};

template <typename By, typename Key>
std::uint32_t find_hashed(const By& by, const Key& key, std::uint64_t hash) {
  const std::uint32_t slot = by.index(key, hash).find(
      hash, [&](std::uint32_t candidate) { return by.matches(candidate, key); });
  return slot != kNoSlot ? slot : by.elsewhere(key, hash);
}

template <typename Slot, typename By, typename Key>
std::optional<Slot> find_one(const By& by, const Key& key) {
  const std::uint32_t slot = find_hashed(by, key, by.hash(key));
  if (slot == kNoSlot) return std::nullopt;
  return Slot{slot};
}

// All buckets are asked for before the first is read, and all entries before the first is compared.
template <typename By, typename Key, typename Slot>
void find_chunk(const By& by, std::span<const Key> keys, Slot* out) {
  std::array<std::uint64_t, kChunk> hashes;
  std::array<std::uint32_t, kChunk> candidates;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    hashes[i] = by.hash(keys[i]);
    by.index(keys[i], hashes[i]).prefetch(hashes[i]);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    candidates[i] = by.index(keys[i], hashes[i]).candidate(hashes[i]);
    if (candidates[i] != kNoSlot) __builtin_prefetch(by.entry(candidates[i]));
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const bool right = candidates[i] != kNoSlot && by.matches(candidates[i], keys[i]);
    out[i] = Slot{right ? candidates[i] : find_hashed(by, keys[i], hashes[i])};
  }
}

template <typename By, typename Key, typename Slot>
void find_bulk(const By& by, std::span<const Key> keys, std::span<Slot> out) {
  assert(out.size() >= keys.size());
  for (std::size_t first = 0; first < keys.size(); first += kChunk) {
    find_chunk(by, keys.subspan(first, std::min(kChunk, keys.size() - first)), &out[first]);
  }
}

}  // namespace

TableParts::TableParts(const TableLimits& table_limits,
                       const std::vector<RelayedAddress>& relayed_addresses,
                       const std::vector<Listener>& listening, const HashKey& hash_key,
                       std::vector<std::atomic<std::uint64_t>*> live)
    : limits(table_limits),
      key(hash_key),
      listeners(listening),
      allocation_count(limits.shards * limits.allocations_per_shard),
      permission_count(limits.shards * limits.permissions_per_shard),
      channel_count(limits.shards * limits.channels_per_shard),
      by_address(2 * relayed_addresses.size()),
      relay_ports(relayed_addresses.size() * kPorts),
      allocations(allocation_count),
      owners(allocation_count),
      moves(allocation_count),
      moved(allocation_count),
      permissions(permission_count),
      channels(channel_count),
      live_ports(std::move(live)) {
  assert(limits.shards > 0);
  for (const std::uint32_t per_shard :
       {limits.allocations_per_shard, limits.permissions_per_shard, limits.channels_per_shard}) {
    assert(std::uint64_t{per_shard} * limits.shards < kNoSlot);
  }
  for (const RelayedAddress& address : relayed_addresses) {
    relayed.push_back({address, &relay_ports[relayed.size() * kPorts]});
  }
  for (std::size_t i = 0; i < relayed.size(); ++i) {
    if (relayed[i].address.external)
      by_address[*relayed[i].address.external] = static_cast<std::uint32_t>(i);
  }
  for (std::size_t i = 0; i < relayed.size(); ++i)
    by_address[relayed[i].address.internal] = static_cast<std::uint32_t>(i);
  for (std::size_t i = 0; i < limits.shards; ++i) {
    shards.push_back(std::make_unique<Shard>(limits));
  }
}

Tables::Tables(const TableLimits& limits, const std::vector<RelayedAddress>& relayed,
               const std::vector<Listener>& listeners, const HashKey& key,
               std::vector<std::atomic<std::uint64_t>*> live_ports)
    : impl_(std::make_unique<Impl>(limits, relayed, listeners, key, std::move(live_ports))) {}

Tables::~Tables() = default;

std::optional<AllocationSlot> Tables::find_client(ListenerIndex listener,
                                                  const Endpoint& client) const {
  return find_one<AllocationSlot>(ByClient{*impl_}, ClientKey{client, listener});
}

// In any shard's: a ticket names it, not the five-tuple.
std::optional<MoveSlot> Tables::find_move(ListenerIndex listener, const Endpoint& client) const {
  const std::uint64_t hash = impl_->client_hash(listener, client);
  if (impl_->away(hash).load(std::memory_order_acquire) == 0) return std::nullopt;
  for (const auto& shard : impl_->shards) {
    const std::uint32_t slot = shard->moves.find(hash, [&](std::uint32_t candidate) {
      const MoveEntry& entry = impl_->moves[candidate];
      return entry.client == client && entry.listener == listener;
    });
    if (slot != kNoSlot) return MoveSlot{slot};
  }
  return std::nullopt;
}

std::optional<AllocationSlot> Tables::find_relay(const Address& relayed, std::uint16_t port) const {
  const std::size_t index = impl_->relayed_index(relayed);
  if (index == impl_->relayed.size()) return std::nullopt;
  const std::uint32_t cell = impl_->relayed[index].ports[port].load(std::memory_order_acquire);
  if (cell == 0) return std::nullopt;
  return AllocationSlot{cell - 1};
}

const Address& Tables::internal_of(const Address& relayed) const {
  return impl_->relayed[impl_->relayed_index(relayed)].address.internal;
}

std::optional<ChannelSlot> Tables::find_channel(AllocationSlot allocation,
                                                ChannelNumber number) const {
  return find_one<ChannelSlot>(ByNumber{*impl_}, NumberKey{allocation, number});
}

std::optional<ChannelSlot> Tables::find_channel(AllocationSlot allocation,
                                                const Endpoint& peer) const {
  return find_one<ChannelSlot>(ByPeer{*impl_}, PeerKey{allocation, peer});
}

std::optional<PermissionSlot> Tables::find_permission(AllocationSlot allocation,
                                                      const Address& peer) const {
  return find_one<PermissionSlot>(ByPermission{*impl_}, PermissionKey{allocation, peer});
}

void Tables::find_clients(std::span<const ClientKey> keys, std::span<AllocationSlot> out) const {
  find_bulk(ByClient{*impl_}, keys, out);
}

void Tables::find_channels(std::span<const NumberKey> keys, std::span<ChannelSlot> out) const {
  find_bulk(ByNumber{*impl_}, keys, out);
}

void Tables::find_channels(std::span<const PeerKey> keys, std::span<ChannelSlot> out) const {
  find_bulk(ByPeer{*impl_}, keys, out);
}

void Tables::find_permissions(std::span<const PermissionKey> keys,
                              std::span<PermissionSlot> out) const {
  find_bulk(ByPermission{*impl_}, keys, out);
}

void Tables::find_relays(std::span<const RelayKey> keys, std::span<AllocationSlot> out) const {
  assert(out.size() >= keys.size());
  for (std::size_t first = 0; first < keys.size(); first += kChunk) {
    const std::size_t count = std::min(kChunk, keys.size() - first);
    std::array<const std::atomic<std::uint32_t>*, kChunk> cells;
    for (std::size_t i = 0; i < count; ++i) {
      const RelayKey& key = keys[first + i];
      const std::size_t index = impl_->relayed_index(key.relayed);
      cells[i] = index == impl_->relayed.size() ? nullptr : &impl_->relayed[index].ports[key.port];
      if (cells[i] != nullptr) __builtin_prefetch(cells[i]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t cell =
          cells[i] == nullptr ? 0 : cells[i]->load(std::memory_order_acquire);
      if (cell != 0) __builtin_prefetch(&impl_->allocations[cell - 1]);
      out[first + i] = AllocationSlot{cell - 1};  // 0 becomes kNoSlot
    }
  }
}

const AllocationEntry& Tables::allocation(AllocationSlot slot) const {
  assert(static_cast<std::uint32_t>(slot) < impl_->allocation_count);
  return impl_->allocations[static_cast<std::uint32_t>(slot)];
}

std::uint32_t Tables::user(AllocationSlot slot) const {
  assert(static_cast<std::uint32_t>(slot) < impl_->allocation_count);
  return impl_->owners[static_cast<std::uint32_t>(slot)].user;
}

RealmIndex Tables::realm(AllocationSlot slot) const {
  assert(static_cast<std::uint32_t>(slot) < impl_->allocation_count);
  return impl_->owners[static_cast<std::uint32_t>(slot)].realm;
}

const MoveEntry& Tables::move(MoveSlot slot) const {
  assert(static_cast<std::uint32_t>(slot) < impl_->allocation_count);
  return impl_->moves[static_cast<std::uint32_t>(slot)];
}

const MoveEntry* Tables::moved(AllocationSlot slot) const {
  const std::uint32_t move =
      impl_->moved[static_cast<std::uint32_t>(slot)].load(std::memory_order_acquire);
  return move == 0 ? nullptr : &impl_->moves[move - 1];
}

const PermissionEntry& Tables::permission(PermissionSlot slot) const {
  assert(static_cast<std::uint32_t>(slot) < impl_->permission_count);
  return impl_->permissions[static_cast<std::uint32_t>(slot)];
}

RelayEndpoint Tables::relayed(RelayPort relay) const {
  return {{impl_->relayed[relay.relayed].address.internal, relay.port}};
}

const ChannelEntry& Tables::channel(ChannelSlot slot) const {
  assert(static_cast<std::uint32_t>(slot) < impl_->channel_count);
  return impl_->channels[static_cast<std::uint32_t>(slot)];
}

std::uint8_t Tables::home_shard(ListenerIndex listener, const Endpoint& client) const {
  return impl_->home_shard(impl_->client_hash(listener, client));
}

Tables::Usage Tables::usage(std::uint8_t shard) const {
  assert(shard < impl_->shards.size());
  const TableParts::Shard& part = *impl_->shards[shard];
  return {part.allocations_used.load(std::memory_order_relaxed),
          part.permissions_used.load(std::memory_order_relaxed),
          part.channels_used.load(std::memory_order_relaxed)};
}

std::size_t Tables::bytes() const {
  std::size_t total =
      impl_->allocation_count * (sizeof(AllocationEntry) + sizeof(TableParts::Owner) +
                                 sizeof(MoveEntry) + sizeof(std::uint32_t)) +
      impl_->permission_count * sizeof(PermissionEntry) +
      impl_->channel_count * sizeof(ChannelEntry) +
      impl_->relayed.size() * TableParts::kPorts * sizeof(std::uint32_t);
  for (const auto& shard : impl_->shards) {
    total += shard->clients.bytes() + shard->moves.bytes() + shard->permissions.bytes() +
             shard->channels_by_number.bytes() + shard->channels_by_peer.bytes();
  }
  return total;
}

const TableLimits& Tables::limits() const {
  return impl_->limits;
}

}  // namespace turnpike::flow

// The writing end of the flow tables: a shard publishes, extends and withdraws here, alone.
//
// Publishing fills an entry that no reader can reach and then stores the words that lead to it
// (release). Withdrawing clears those words and sends the slot to its pool's retire list; the entry
// itself is left as it was, because a reader may hold it until the end of its burst.
#include <algorithm>

#include "tables/table_writer_impl.h"

namespace turnpike::flow {

namespace {

// What one housekeeping() does at most, so that it stays in the tens of microseconds.
constexpr std::uint32_t kResolvesPerCall = 256;
constexpr std::uint32_t kVisitsPerCall = 8192;

constexpr std::array<Family, 2> kFamilies{Family::kIpv4, Family::kIpv6};

// Who reads it afterwards sees all that was written before.
void change(std::atomic<std::uint32_t>& used, std::uint32_t by) {
  used.store(used.load(std::memory_order_relaxed) + by, std::memory_order_release);
}

}  // namespace

// The index first, then the bitmap: a packet that the filter lets in finds its allocation.
void TableWriter::Impl::open_port(RelayPort relay, std::uint32_t slot) {
  std::atomic<std::uint32_t>& cell = parts.relayed[relay.relayed].ports[relay.port];
  assert(cell.load(std::memory_order_relaxed) == 0);
  cell.store(slot + 1, std::memory_order_release);
  // A word is a block of 64 ports and so has one shard for its writer; but that is the ports'
  // law, not this file's, and an atomic or costs nothing here.
  for (std::atomic<std::uint64_t>* const bits : parts.live_ports) {
    bits[relay.relayed * (TableParts::kPorts / 64) + relay.port / 64].fetch_or(
        std::uint64_t{1} << relay.port % 64, std::memory_order_release);
  }
}

// A port closed earlier, when one of two families ended, may have another owner by now: its cell
// says whose it is.
void TableWriter::Impl::close_port(RelayPort relay, std::uint32_t slot) {
  std::atomic<std::uint32_t>& cell = parts.relayed[relay.relayed].ports[relay.port];
  if (cell.load(std::memory_order_relaxed) != slot + 1) return;
  for (std::atomic<std::uint64_t>* const bits : parts.live_ports) {
    bits[relay.relayed * (TableParts::kPorts / 64) + relay.port / 64].fetch_and(
        ~(std::uint64_t{1} << relay.port % 64), std::memory_order_release);
  }
  cell.store(0, std::memory_order_release);
  const Address& address = parts.relayed[relay.relayed].address.internal;
  HostDoor*& opened = at_door[slot - allocations.first()][family_index(address.family)];
  if (opened != nullptr) opened->close({address, relay.port}, parts.owners[slot].user);
  opened = nullptr;
}

// Once for each relayed transport address; for want of room, again with its next peer.
void TableWriter::Impl::open_door(HostDoor& door, RelayPort relay, std::uint32_t allocation) {
  const RelayedAddress& relayed = parts.relayed[relay.relayed].address;
  HostDoor*& opened =
      at_door[allocation - allocations.first()][family_index(relayed.internal.family)];
  if (opened == nullptr && door.open({relayed.internal, relay.port}, parts.owners[allocation].user))
    opened = &door;
}

bool TableWriter::Impl::lacks_socket(std::uint32_t hop, std::uint32_t allocation, Family family) {
  return next_hops.host_door(NextHopIndex{hop}) != nullptr &&
         at_door[allocation - allocations.first()][family_index(family)] == nullptr;
}

void TableWriter::Impl::link_client(std::uint32_t slot) {
  const AllocationEntry& entry = parts.allocations[slot];
  const std::uint64_t hash = parts.client_hash(entry.listener, entry.client);
  if (parts.home_shard(hash) != index) parts.away(hash).fetch_add(1, std::memory_order_acq_rel);
  shard.clients.insert(hash, slot);
}

void TableWriter::Impl::unlink_client(std::uint32_t slot) {
  const AllocationEntry& entry = parts.allocations[slot];
  const std::uint64_t hash = parts.client_hash(entry.listener, entry.client);
  shard.clients.erase(hash, slot);
  if (parts.home_shard(hash) != index) parts.away(hash).fetch_sub(1, std::memory_order_acq_rel);
}

// If it isn't, and there is room.
void TableWriter::Impl::place_among_first(std::uint32_t slot, PermissionEntry& permission) {
  if (permission.among_first) return;
  permission.among_first = parts.allocations[permission.allocation].first_permissions.add(
      TableParts::permission_tag(words_of(permission.peer)), slot);
}

bool TableWriter::Impl::place_among_first(std::uint32_t slot, ChannelEntry& channel) {
  channel.among_first = parts.allocations[channel.allocation].first_channels.add(
      TableParts::channel_tag(channel.peer, channel.number), slot);
  return channel.among_first;
}

TableWriter::TableWriter(Tables& tables, std::uint8_t shard, Qsbr& qsbr, NextHopResolver& next_hops)
    : impl_(std::make_unique<Impl>(*tables.impl_, shard, qsbr, next_hops)) {}

TableWriter::~TableWriter() = default;

std::optional<AllocationSlot> TableWriter::publish_allocation(const AllocationFlow& flow) {
  const auto slot = impl_->take(impl_->allocations);
  if (!slot) return std::nullopt;

  AllocationEntry& entry = impl_->parts.allocations[*slot];
  entry.client = flow.five_tuple.client;
  entry.listener = impl_->listener_of(flow.five_tuple);
  entry.shard = impl_->index;
  if (++entry.generation == 0) entry.generation = 1;  // 0 is nobody's
  impl_->parts.owners[*slot] = {flow.user, impl_->parts.listeners[entry.listener].realm};
  entry.forget_path_mtu();
  for (std::size_t family = 0; family < kFamilies.size(); ++family) {
    const bool has = flow.relayed[family].has_value();
    entry.has_relayed[family] = has;
    entry.relayed[family] = has ? impl_->relay_port(*flow.relayed[family]) : RelayPort{};
    entry.expires_s[family].store(has ? flow.expires_s[family] : 0, std::memory_order_relaxed);
  }
  entry.client_next_hop.store(impl_->resolve_client(entry, *slot), std::memory_order_relaxed);

  impl_->link_client(*slot);
  for (std::size_t family = 0; family < kFamilies.size(); ++family) {
    if (entry.has_relayed[family]) impl_->open_port(entry.relayed[family], *slot);
  }
  change(impl_->shard.allocations_used, 1);
  return AllocationSlot{*slot};
}

std::optional<PermissionSlot> TableWriter::publish_permission(const PermissionFlow& flow) {
  const auto allocation = static_cast<std::uint32_t>(flow.allocation);
  assert(impl_->allocations.is_live(allocation));
  const bool to_ourselves = impl_->is_ours(flow.peer);
  const std::uint32_t hop = impl_->resolve_peer(allocation, flow.peer, to_ourselves);
  // Other clients at our own address are reached without a socket.
  impl_->lacked_socket = !to_ourselves && impl_->lacks_socket(hop, allocation, flow.peer.family);
  const auto slot = impl_->lacked_socket ? std::nullopt : impl_->take(impl_->permissions);
  if (!slot) {
    impl_->release_hop(hop);
    return std::nullopt;
  }

  PermissionEntry& entry = impl_->parts.permissions[*slot];
  entry.peer = flow.peer;
  entry.allocation = allocation;
  entry.to_ourselves = to_ourselves;
  entry.peer_next_hop.store(hop, std::memory_order_relaxed);
  entry.expires_s.store(flow.expires_s, std::memory_order_relaxed);
  entry.path_mtu.forget();
  entry.payload_verdict.store(0, std::memory_order_relaxed);
  entry.generation = impl_->parts.allocations[allocation].generation;

  impl_->shard.permissions.insert(impl_->parts.permission_hash(allocation, flow.peer), *slot);
  entry.among_first = false;
  impl_->place_among_first(*slot, entry);
  change(impl_->shard.permissions_used, 1);
  return PermissionSlot{*slot};
}

std::optional<ChannelSlot> TableWriter::publish_channel(const ChannelFlow& flow) {
  const auto allocation = static_cast<std::uint32_t>(flow.allocation);
  const std::size_t family = family_index(flow.peer.address.family);
  assert(impl_->allocations.is_live(allocation));
  assert(impl_->permissions.is_live(static_cast<std::uint32_t>(flow.permission)));
  assert(impl_->parts.allocations[allocation].has_relayed[family]);
  const auto slot = impl_->take(impl_->channels);
  if (!slot) return std::nullopt;

  ChannelEntry& entry = impl_->parts.channels[*slot];
  entry.peer = flow.peer;
  entry.relayed = impl_->parts.allocations[allocation].relayed[family];
  entry.allocation = allocation;
  entry.number = flow.number;
  entry.to_ourselves = impl_->is_ours(flow.peer.address);
  entry.peer_next_hop.store(impl_->resolve_peer(allocation, flow.peer.address, entry.to_ourselves),
                            std::memory_order_relaxed);
  entry.expires_s.store(flow.expires_s, std::memory_order_relaxed);
  entry.path_mtu.forget();
  entry.payload_verdict.store(0, std::memory_order_relaxed);
  entry.generation = impl_->parts.allocations[allocation].generation;

  impl_->shard.channels_by_number.insert(impl_->parts.number_hash(allocation, flow.number), *slot);
  impl_->shard.channels_by_peer.insert(impl_->parts.peer_hash(allocation, flow.peer), *slot);
  entry.among_first = false;
  if (!impl_->place_among_first(*slot, entry))
    change(impl_->parts.allocations[allocation].further_channels, 1);
  change(impl_->shard.channels_used, 1);
  return ChannelSlot{*slot};
}

void TableWriter::extend_relayed(AllocationSlot slot, Family family, std::uint32_t expires_s) {
  assert(impl_->allocations.is_live(static_cast<std::uint32_t>(slot)));
  AllocationEntry& entry = impl_->parts.allocations[static_cast<std::uint32_t>(slot)];
  assert(entry.has_relayed[family_index(family)]);
  entry.expires_s[family_index(family)].store(expires_s, std::memory_order_release);
}

void TableWriter::extend_permission(PermissionSlot slot, std::uint32_t expires_s) {
  assert(impl_->permissions.is_live(static_cast<std::uint32_t>(slot)));
  const auto number = static_cast<std::uint32_t>(slot);
  PermissionEntry& entry = impl_->parts.permissions[number];
  entry.expires_s.store(expires_s, std::memory_order_release);
  impl_->place_among_first(number, entry);
}

void TableWriter::extend_channel(ChannelSlot slot, std::uint32_t expires_s) {
  assert(impl_->channels.is_live(static_cast<std::uint32_t>(slot)));
  const auto number = static_cast<std::uint32_t>(slot);
  ChannelEntry& entry = impl_->parts.channels[number];
  entry.expires_s.store(expires_s, std::memory_order_release);
  // The count last: a worker that reads it first, and then doesn't find the channel among the
  // first, looks in the index, where it stands in any case.
  if (!entry.among_first && impl_->place_among_first(number, entry))
    change(impl_->parts.allocations[entry.allocation].further_channels, ~std::uint32_t{0});
}

void TableWriter::withdraw_relayed(AllocationSlot slot, Family family) {
  const auto number = static_cast<std::uint32_t>(slot);
  assert(impl_->allocations.is_live(number));
  AllocationEntry& entry = impl_->parts.allocations[number];
  if (!entry.has_relayed[family_index(family)]) return;
  entry.expires_s[family_index(family)].store(0, std::memory_order_release);
  impl_->close_port(entry.relayed[family_index(family)], number);
}

void TableWriter::withdraw_channel(ChannelSlot slot) {
  const auto number = static_cast<std::uint32_t>(slot);
  assert(impl_->channels.is_live(number));
  ChannelEntry& entry = impl_->parts.channels[number];
  entry.expires_s.store(0, std::memory_order_release);
  impl_->shard.channels_by_number.erase(impl_->parts.number_hash(entry.allocation, entry.number),
                                        number);
  impl_->shard.channels_by_peer.erase(impl_->parts.peer_hash(entry.allocation, entry.peer), number);
  AllocationEntry& owner = impl_->parts.allocations[entry.allocation];
  if (entry.among_first) {
    owner.first_channels.remove(number);
  } else {
    change(owner.further_channels, ~std::uint32_t{0});
  }
  impl_->release_hop(entry.peer_next_hop.load(std::memory_order_relaxed));
  impl_->channels.retire(number);
  change(impl_->shard.channels_used, ~std::uint32_t{0});
}

void TableWriter::withdraw_permission(PermissionSlot slot) {
  const auto number = static_cast<std::uint32_t>(slot);
  assert(impl_->permissions.is_live(number));
  PermissionEntry& entry = impl_->parts.permissions[number];
  entry.expires_s.store(0, std::memory_order_release);
  impl_->shard.permissions.erase(impl_->parts.permission_hash(entry.allocation, entry.peer),
                                 number);
  if (entry.among_first)
    impl_->parts.allocations[entry.allocation].first_permissions.remove(number);
  impl_->release_hop(entry.peer_next_hop.load(std::memory_order_relaxed));
  impl_->permissions.retire(number);
  change(impl_->shard.permissions_used, ~std::uint32_t{0});
}

void TableWriter::withdraw_allocation(AllocationSlot slot) {
  const auto number = static_cast<std::uint32_t>(slot);
  for (const Family family : kFamilies)
    withdraw_relayed(slot, family);
  if (!impl_->is_between(number)) impl_->unlink_client(number);
  impl_->end_moves(number);
  const AllocationEntry& entry = impl_->parts.allocations[number];
  impl_->release_hop(entry.client_next_hop.load(std::memory_order_relaxed));
  impl_->allocations.retire(number);
  change(impl_->shard.allocations_used, ~std::uint32_t{0});
}

bool TableWriter::Impl::resolve_again(std::uint32_t place) {
  if (place < allocations.size()) {
    const std::uint32_t slot = allocations.first() + place;
    if (!allocations.is_live(slot)) return false;
    if (is_between(slot)) {
      MoveEntry& move = parts.moves[moving_of(slot).moved];
      exchange_hop(move.client_next_hop, resolve_client(move, slot));
    } else {
      AllocationEntry& entry = parts.allocations[slot];
      exchange_hop(entry.client_next_hop, resolve_client(entry, slot));
    }
    return true;
  }
  place -= allocations.size();
  if (place < permissions.size()) {
    const std::uint32_t slot = permissions.first() + place;
    if (!permissions.is_live(slot)) return false;
    PermissionEntry& entry = parts.permissions[slot];
    exchange_hop(entry.peer_next_hop,
                 resolve_peer(entry.allocation, entry.peer, entry.to_ourselves));
    return true;
  }
  const std::uint32_t slot = channels.first() + place - permissions.size();
  if (!channels.is_live(slot)) return false;
  ChannelEntry& entry = parts.channels[slot];
  exchange_hop(entry.peer_next_hop,
               resolve_peer(entry.allocation, entry.peer.address, entry.to_ourselves));
  return true;
}

// A change asks for one round from where the cursor stands, never for a start at the first place:
// or else the last places would wait for as long as changes keep coming.
void TableWriter::Impl::follow_routes() {
  // The epoch before the routes: a change that comes meanwhile starts another round.
  const std::uint32_t epoch = next_hops.epoch();
  if (epoch != resolved_epoch) {
    resolved_epoch = epoch;
    to_visit = visits();
  }
  std::uint32_t resolved = 0;
  for (std::uint32_t visited = 0;
       visited < kVisitsPerCall && resolved < kResolvesPerCall && to_visit > 0;
       ++visited, --to_visit) {
    if (resolve_again(cursor)) ++resolved;
    cursor = cursor + 1 == visits() ? 0 : cursor + 1;
  }
}

bool TableWriter::lacked_socket() const {
  return impl_->lacked_socket;
}

bool TableWriter::housekeeping() {
  impl_->go_on_with_moves();
  for (SlotPool* pool :
       {&impl_->channels, &impl_->permissions, &impl_->allocations, &impl_->moves}) {
    pool->reclaim(impl_->qsbr, kReclaimsPerCall);
  }
  impl_->follow_routes();
  return impl_->to_visit > 0;
}

bool TableWriter::has(AllocationSlot slot, std::uint16_t generation) const {
  const auto index = static_cast<std::uint32_t>(slot);
  return impl_->allocations.is_live(index) &&
         impl_->parts.allocations[index].generation == generation;
}

std::uint32_t TableWriter::retired() const {
  return impl_->allocations.retired() + impl_->permissions.retired() + impl_->channels.retired() +
         impl_->moves.retired() + static_cast<std::uint32_t>(impl_->awaited.size());
}

}  // namespace turnpike::flow

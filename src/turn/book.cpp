// How things come into the book and leave it. Each allocation has one entry in a schedule, at the
// time when the first of its things ends (RFC 8656 §3.2, §9, §12).
#include "turn/book.h"

#include <algorithm>
#include <cassert>

#include "wire/headers.h"

namespace turnpike {
namespace {

constexpr std::array<Family, 2> kFamilies{Family::kIpv4, Family::kIpv6};
// Reservations hold at most one port of so many: they cost a client nothing.
constexpr std::size_t kReservedShare = 4;
constexpr std::uint32_t kReservationIds = 1U << 24;  // as many as a token holds

}  // namespace

HashKey random_key(ServerHost& host) {
  HashKey key{};
  for (std::uint64_t& word : key) {
    for (int i = 0; i < 4; ++i)
      word = word << 16 | host.random_below(0x10000);
  }
  return key;
}

std::size_t FiveTupleHash::operator()(const FiveTuple& five_tuple) const {
  const auto words = [](const Address& address) {
    return std::pair(wire::load_be64(address.bytes.data()),
                     wire::load_be64(address.bytes.data() + 8));
  };
  const auto [a, b] = words(five_tuple.client.address);
  const auto [c, d] = words(five_tuple.server.address);
  const std::uint64_t ports = std::uint64_t{five_tuple.client.port} << 16 | five_tuple.server.port;
  return table_hash(key_, table_hash(key_, a, b, ports), c, d);
}

Book::Book(const ServerConfig& config, ServerHost& host, QuotaLedger& quotas,
           ServerCounters& counters)
    : config_(config),
      host_(host),
      quotas_(quotas),
      counters_(counters),
      allocations_(config.max_allocations),
      by_five_tuple_(config.max_allocations, OfSlot{&allocations_, FiveTupleHash(random_key(host))},
                     OfSlot{&allocations_, FiveTupleHash(HashKey{})}),
      moving_(0, FiveTupleHash(random_key(host))),
      tombstones_(config.max_allocations, FiveTupleHash(random_key(host))) {
  std::size_t ports = 0;
  for (std::size_t i = 0; i < config_.relayed.size(); ++i) {
    pools_.emplace_back(config_.port_min, config_.port_max, config_.shard, config_.shard_count);
    relayed_of_[family_index(config_.relayed[i].internal.family)].push_back(i);
    ports += pools_.back().free();
  }
  // The rest is for clients that use what they take.
  reservations_max_ = std::max<std::size_t>(1, ports / kReservedShare);
  update_gauges();
}

Allocation* Book::find(const FiveTuple& five_tuple, std::uint32_t now_s) {
  if (const auto found = by_five_tuple_.find(five_tuple); found != by_five_tuple_.end())
    return find(*found, now_s);
  const auto moves = moving_.find(five_tuple);
  return moves == moving_.end() ? nullptr : find(moves->second, now_s);
}

Allocation* Book::find(AllocationSlot slot, std::uint32_t now_s) {
  Allocation* allocation = at(slot);
  if (allocation == nullptr || allocation->due_s > now_s) return allocation;
  expire(*allocation, now_s);
  return at(slot);
}

Allocation* Book::at(AllocationSlot slot) {
  const auto found = allocations_.find(slot);
  return found == allocations_.end() ? nullptr : &found->second;
}

const Tombstone* Book::tombstone(const FiveTuple& five_tuple) const {
  const auto found = tombstones_.find(five_tuple);
  return found == tombstones_.end() ? nullptr : &found->second;
}

Allocation* Book::add(Allocation&& allocation) {
  AllocationFlow flow{.five_tuple = allocation.five_tuple,
                      .user = quotas_.number(allocation.owner.account)};
  if (!allocation.streams) {
    flow.relayed = allocation.relayed;
    flow.expires_s = allocation.expires_s;
  }
  const auto slot = host_.flows().publish_allocation(flow);
  if (!slot) return nullptr;
  allocation.slot = *slot;
  const auto [place, is_new] = allocations_.try_emplace(*slot, std::move(allocation));
  assert(is_new);
  by_five_tuple_.insert(*slot);
  counters_.realm_allocations[place->second.owner.account.realm].add();
  count_client(place->second, 1);
  schedule(place->second);
  update_gauges();
  return &place->second;
}

void Book::schedule(Allocation& allocation) {
  std::uint32_t next = kNeverDue;
  for (std::size_t family = 0; family < 2; ++family) {
    if (allocation.relayed[family]) next = std::min(next, allocation.expires_s[family]);
  }
  for (const Channel& channel : allocation.channels)
    next = std::min(next, channel.expires_s);
  for (const auto& [peer, permission] : allocation.permissions) {
    if (permission.channels == 0) next = std::min(next, permission.expires_s);
  }
  if (next == allocation.due_s) return;
  allocations_due_.move(allocation.slot, allocation.due_s, next);
  allocation.due_s = next;
}

void Book::end_family(Allocation& allocation, Family family, std::uint32_t now_s) {
  std::optional<RelayEndpoint>& relayed = allocation.relayed[family_index(family)];
  if (!relayed) return;
  std::erase_if(allocation.channels, [&](const Channel& channel) {
    if (channel.peer.address.family != family) return false;
    end_channel(allocation, channel);
    return true;
  });
  std::erase_if(allocation.permissions, [&](const auto& entry) {
    if (entry.first.family != family) return false;
    withdraw(allocation, entry.second);
    return true;
  });
  if (allocation.streams)
    end_relay(allocation, family);
  else
    host_.flows().withdraw_relayed(allocation.slot, family);
  release(*relayed, now_s);
  relayed.reset();
  allocation.expires_s[family_index(family)] = 0;
}

void Book::settle(Allocation& allocation, std::uint32_t now_s) {
  if (allocation.is_over()) {
    remove(allocation, now_s);
  } else {
    schedule(allocation);
  }
}

// How many things have ended, itself among them.
std::size_t Book::expire(Allocation& allocation, std::uint32_t now_s) {
  const auto size = [&] { return allocation.channels.size() + allocation.permissions.size(); };
  const std::size_t before = size();
  for (const Family family : kFamilies) {
    if (allocation.expires_s[family_index(family)] <= now_s) end_family(allocation, family, now_s);
  }
  std::erase_if(allocation.channels, [&](const Channel& channel) {
    if (channel.expires_s > now_s) return false;
    end_channel(allocation, channel);
    return true;
  });
  std::erase_if(allocation.permissions, [&](const auto& entry) {
    const Permission& permission = entry.second;
    if (permission.expires_s > now_s || permission.channels != 0) return false;
    withdraw(allocation, permission);
    return true;
  });
  const std::size_t ended = 1 + before - size();
  settle(allocation, now_s);
  return ended;
}

void Book::count_client(const Allocation& allocation, std::uint64_t more) {
  counters_.transport_allocations[static_cast<std::size_t>(allocation.five_tuple.transport)].add(
      more);
}

// One whose families have both ended.
void Book::remove(Allocation& allocation, std::uint32_t now_s) {
  const AllocationSlot slot = allocation.slot;
  if (allocation.mobility && allocation.mobility->to) cancel_move(allocation);
  host_.flows().withdraw_allocation(slot);
  quotas_.release(allocation.owner.account, allocation.five_tuple);
  Counter& of_realm = counters_.realm_allocations[allocation.owner.account.realm];
  of_realm.set(of_realm.get() - 1);
  count_client(allocation, ~std::uint64_t{0});
  allocations_due_.move(slot, allocation.due_s, kNeverDue);
  bury(allocation.five_tuple,
       {allocation.created_by, std::move(allocation.owner), now_s + config_.tombstone_s});
  by_five_tuple_.erase(slot);  // which asks the allocation for its five-tuple
  allocations_.erase(slot);
  update_gauges();
}

QuotaLedger::Verdict Book::begin_move(Allocation& allocation, const FiveTuple& to, bool& no_room) {
  Mobility& mobility = *allocation.mobility;
  if (by_five_tuple_.contains(to) || moving_.contains(to))
    return QuotaLedger::Verdict::kFiveTupleTaken;
  const FiveTuple* instead = mobility.to ? &*mobility.to : nullptr;
  const auto verdict = quotas_.begin_move(allocation.five_tuple, instead, to);
  if (verdict != QuotaLedger::Verdict::kReserved) return verdict;
  if (instead != nullptr) {
    moving_.erase(*instead);
    mobility.given_up = mobility.to;
  }
  mobility.to = to;
  moving_[to] = allocation.slot;
  mobility.move = static_cast<std::uint16_t>(mobility.move % 0xFFFF + 1);
  no_room = !host_.flows().begin_move({allocation.slot, to, mobility.move});
  if (no_room) cancel_move(allocation);
  return verdict;
}

void Book::complete_move(Allocation& allocation, std::uint32_t now_s) {
  const FiveTuple left = allocation.five_tuple;
  by_five_tuple_.erase(allocation.slot);  // which asks the allocation for its five-tuple
  count_client(allocation, ~std::uint64_t{0});
  allocation.five_tuple = *allocation.mobility->to;
  count_client(allocation, 1);
  by_five_tuple_.insert(allocation.slot);
  moving_.erase(allocation.five_tuple);
  allocation.mobility->to.reset();
  allocation.mobility->given_up.reset();
  host_.flows().complete_move(allocation.slot);
  quotas_.end_move(left, allocation.five_tuple);
  bury(left, {allocation.created_by, allocation.owner, now_s + config_.tombstone_s});
  counters_.moves.add();
}

void Book::cancel_move(Allocation& allocation) {
  std::optional<FiveTuple>& to = allocation.mobility->to;
  host_.flows().cancel_move(allocation.slot);
  quotas_.end_move(*to, allocation.five_tuple);
  moving_.erase(*to);
  to.reset();
}

// As many as there can be allocations: who comes and goes faster than that has the oldest
// forgotten.
void Book::bury(const FiveTuple& five_tuple, Tombstone&& tombstone) {
  if (tombstones_.size() >= config_.max_allocations && !tombstones_.contains(five_tuple))
    forget(tombstones_.find(*tombstones_due_.first()));
  auto& [key, kept] = *tombstones_.try_emplace(five_tuple).first;
  tombstones_due_.move(&key, kept.until_s, tombstone.until_s);
  kept = std::move(tombstone);
}

void Book::forget(Tombstones::iterator tombstone) {
  tombstones_due_.move(&tombstone->first, tombstone->second.until_s, kNeverDue);
  tombstones_.erase(tombstone);
}

Limit Book::take_room(const Allocation& allocation, std::span<const NewPermission> permissions) {
  if (allocation.permissions.size() + permissions.size() > config_.max_permissions_per_allocation)
    return Limit::kPermissionsPerAllocation;
  const auto on_link = std::count_if(permissions.begin(), permissions.end(),
                                     [](const NewPermission& made) { return made.on_link; });
  if (on_link > 0 && allocation.on_link + on_link > config_.max_on_link_peers_per_allocation)
    return Limit::kOnLinkPeers;
  return quotas_.reserve(allocation.owner.account, QuotaLedger::Thing::kPermission,
                         static_cast<std::uint32_t>(permissions.size()))
             ? Limit::kNone
             : Limit::kPermissionsPerUser;
}

void Book::give_room(const Allocation& allocation, std::size_t permissions) {
  quotas_.release(allocation.owner.account, QuotaLedger::Thing::kPermission,
                  static_cast<std::uint32_t>(permissions));
}

Permission* Book::open(Allocation& allocation, const NewPermission& made, std::uint32_t expires_s) {
  std::optional<PermissionSlot> slot;
  if (!allocation.streams) {
    slot = host_.flows().publish_permission({allocation.slot, made.peer, expires_s});
    if (!slot) return nullptr;
  }
  counters_.permissions.add();
  if (made.on_link) ++allocation.on_link;
  return &(allocation.permissions[made.peer] = {slot, expires_s, 0, made.on_link});
}

Limit Book::why_not_opened() const {
  return host_.flows().lacked_socket() ? Limit::kHostSockets : Limit::kPermissions;
}

void Book::extend(Permission& permission, std::uint32_t expires_s) {
  permission.expires_s = expires_s;
  if (permission.slot) host_.flows().extend_permission(*permission.slot, expires_s);
}

void Book::close(Allocation& allocation, const Address& peer) {
  const auto found = allocation.permissions.find(peer);
  withdraw(allocation, found->second);
  allocation.permissions.erase(found);
}

// All but its place in the list.
void Book::withdraw(Allocation& allocation, const Permission& permission) {
  if (permission.on_link) --allocation.on_link;
  if (permission.slot) host_.flows().withdraw_permission(*permission.slot);
  give_room(allocation, 1);
  counters_.permissions.set(counters_.permissions.get() - 1);
}

bool Book::take_channel(const Allocation& allocation) {
  return quotas_.reserve(allocation.owner.account, QuotaLedger::Thing::kChannel, 1);
}

void Book::give_channel(const Allocation& allocation) {
  quotas_.release(allocation.owner.account, QuotaLedger::Thing::kChannel, 1);
}

bool Book::bind(Allocation& allocation, ChannelNumber number, const PeerEndpoint& peer,
                std::uint32_t expires_s) {
  Permission& permission = allocation.permissions.at(peer.address);
  const auto slot =
      host_.flows().publish_channel({allocation.slot, *permission.slot, number, peer, expires_s});
  if (!slot) return false;
  allocation.channels.push_back({*slot, number, peer, expires_s});
  ++permission.channels;
  counters_.channels.add();
  return true;
}

void Book::extend(Channel& channel, std::uint32_t expires_s) {
  channel.expires_s = expires_s;
  host_.flows().extend_channel(channel.slot, expires_s);
}

// All but its place in the list.
void Book::end_channel(Allocation& allocation, const Channel& channel) {
  host_.flows().withdraw_channel(channel.slot);
  give_channel(allocation);
  --allocation.permissions.at(channel.peer.address).channels;
  counters_.channels.set(counters_.channels.get() - 1);
}

PortPool& Book::pool_of(const Address& relayed) {
  std::size_t i = 0;
  while (config_.relayed[i].internal != relayed)
    ++i;
  return pools_[i];
}

std::optional<RelayEndpoint> Book::draw(Family family, bool even, bool pair) {
  const std::vector<std::size_t>& places = relayed_of_[family_index(family)];
  if (places.empty()) return std::nullopt;
  const std::size_t start = host_.random_below(static_cast<std::uint32_t>(places.size()));
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::size_t which = places[(start + i) % places.size()];
    const auto port = even ? pools_[which].take_even(host_, pair) : pools_[which].take(host_);
    if (port) return RelayEndpoint{{config_.relayed[which].internal, *port}};
  }
  return std::nullopt;
}

void Book::put_back(const RelayEndpoint& relayed) {
  pool_of(relayed.address).put(relayed.port);
}

void Book::release(const RelayEndpoint& relayed, std::uint32_t now_s) {
  pool_of(relayed.address).release(relayed.port, now_s + config_.port_rest_s);
}

std::uint32_t Book::reserve(const RelayEndpoint& relayed, const QuotaUser& user,
                            const Address& client, std::uint32_t expires_s) {
  std::uint32_t id = host_.random_below(kReservationIds);
  while (reservations_.contains(id))
    id = (id + 1) % kReservationIds;
  reservations_[id] = {relayed, user, client, expires_s};
  reservations_due_.move(id, kNeverDue, expires_s);
  return id;
}

const Reservation* Book::reservation(std::uint32_t id, std::uint32_t now_s) const {
  const auto found = reservations_.find(id);
  return found == reservations_.end() || found->second.expires_s <= now_s ? nullptr
                                                                          : &found->second;
}

void Book::forget_reservation(std::uint32_t id) {
  const auto found = reservations_.find(id);
  reservations_due_.move(id, found->second.expires_s, kNeverDue);
  reservations_.erase(found);
}

void Book::take_up(std::uint32_t id, const FiveTuple& five_tuple) {
  quotas_.taken_up(five_tuple, reservations_.at(id).client);
  forget_reservation(id);
  update_gauges();
}

void Book::cancel(std::uint32_t id) {
  const Reservation& reservation = reservations_.at(id);
  put_back(reservation.relayed);
  quotas_.release(reservation.account, reservation.client);
  forget_reservation(id);
  update_gauges();
}

void Book::end_reservation(std::uint32_t id, std::uint32_t now_s) {
  const Reservation& reservation = reservations_.at(id);
  release(reservation.relayed, now_s);
  quotas_.release(reservation.account, reservation.client);
  forget_reservation(id);
}

// A hundred thousand clients that end in one second keep nobody waiting. expire() leaves nothing on
// an allocation that is due.
std::size_t Book::tick(std::uint32_t now_s, std::size_t most) {
  std::size_t left = most;
  left -= std::min(left, allocations_due_.end_due(now_s, left, [&](AllocationSlot slot) {
    return expire(allocations_.at(slot), now_s);
  }));
  left -= tombstones_due_.end_due(now_s, left, [&](const FiveTuple* five_tuple) {
    forget(tombstones_.find(*five_tuple));
    return std::size_t{1};
  });
  left -= reservations_due_.end_due(now_s, left, [&](std::uint32_t id) {
    end_reservation(id, now_s);
    return std::size_t{1};
  });
  for (PortPool& pool : pools_)
    left -= pool.tick(now_s, left);
  update_gauges();
  return most - left;
}

void Book::update_gauges() {
  std::size_t free_ports = 0;
  for (const PortPool& pool : pools_)
    free_ports += pool.free();
  counters_.allocations.set(allocations_.size());
  counters_.reservations.set(reservations_.size());
  counters_.free_ports.set(free_ports);
}

}  // namespace turnpike

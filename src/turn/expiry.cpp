// How allocations, permissions, channels and reservations end, and who looks when: each allocation
// has one entry in a schedule, at the time when the first of its things ends (RFC 8656 §3.2, §9,
// §12).
#include <algorithm>

#include "turn/server_impl.h"

namespace turnpike {
namespace {

constexpr std::array<Family, 2> kFamilies{Family::kIpv4, Family::kIpv6};
// Some 100 µs: a request that waits behind it hardly notices.
constexpr std::size_t kEndsPerTick = 256;

}  // namespace

// One relayed address ends, with the channels and permissions of its family; the allocation may
// have another.
void Server::Impl::end_family(Allocation& allocation, Family family, std::uint32_t seconds) {
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
  host_.flows().withdraw_relayed(allocation.slot, family);
  pool_of(relayed->address).release(relayed->port, seconds + config_.port_rest_s);
  relayed.reset();
  allocation.expires_s[family_index(family)] = 0;
}

// All but its place in the list.
void Server::Impl::end_channel(Allocation& allocation, const Channel& channel) {
  host_.flows().withdraw_channel(channel.slot);
  quotas_.release(allocation.owner.quota_name, QuotaLedger::Thing::kChannel, 1);
  --allocation.permissions.at(channel.peer.address).channels;
  counters.channels.set(counters.channels.get() - 1);
}

// An allocation whose families have both ended.
void Server::Impl::remove(Allocation& allocation, std::uint32_t seconds) {
  const FiveTuple& five_tuple = *allocation.five_tuple;
  host_.flows().withdraw_allocation(allocation.slot);
  quotas_.release(allocation.owner.quota_name, five_tuple);
  allocations_due_.move(five_tuple, allocation.due_s, kNeverDue);

  // As many as there can be allocations: who comes and goes faster than that has the oldest
  // forgotten.
  if (tombstones_.size() >= config_.max_allocations && !tombstones_.contains(five_tuple)) {
    forget_tombstone(tombstones_due_.first());
  }
  auto& [key, tombstone] = *tombstones_.try_emplace(five_tuple).first;
  const std::uint32_t until_s = seconds + config_.tombstone_s;
  tombstones_due_.move(key, tombstone.until_s, until_s);
  tombstone = {allocation.created_by, std::move(allocation.owner), until_s};
  allocations_.erase(allocations_.find(five_tuple));
  update_gauges();
}

// How many things have ended, itself among them.
std::size_t Server::Impl::expire(Allocation& allocation, std::uint32_t seconds) {
  const auto size = [&] { return allocation.channels.size() + allocation.permissions.size(); };
  const std::size_t before = size();
  for (const Family family : kFamilies) {
    if (allocation.expires_s[family_index(family)] <= seconds)
      end_family(allocation, family, seconds);
  }
  std::erase_if(allocation.channels, [&](const Channel& channel) {
    if (channel.expires_s > seconds) return false;
    end_channel(allocation, channel);
    return true;
  });
  std::erase_if(allocation.permissions, [&](const auto& entry) {
    const Permission& permission = entry.second;
    if (permission.expires_s > seconds || permission.channels != 0) return false;
    withdraw(allocation, permission);
    return true;
  });
  const std::size_t ended = 1 + before - size();
  if (allocation.relayed[0] || allocation.relayed[1]) {
    schedule(allocation);
  } else {
    remove(allocation, seconds);
  }
  return ended;
}

void Server::Impl::schedule(Allocation& allocation) {
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
  allocations_due_.move(*allocation.five_tuple, allocation.due_s, next);
  allocation.due_s = next;
}

std::size_t Server::Impl::forget_tombstones(std::uint32_t seconds, std::size_t most) {
  std::size_t n = 0;
  for (; n < most; ++n) {
    const FiveTuple* due = tombstones_due_.due(seconds);
    if (due == nullptr) break;
    forget_tombstone(*due);
  }
  return n;
}

// `five_tuple` may be the tombstone's own key.
void Server::Impl::forget_tombstone(const FiveTuple& five_tuple) {
  const auto found = tombstones_.find(five_tuple);
  tombstones_due_.move(found->first, found->second.until_s, kNeverDue);
  tombstones_.erase(found);
}

std::size_t Server::Impl::end_reservations(std::uint32_t seconds, std::size_t most) {
  std::size_t n = 0;
  for (; n < most && !reservations_due_.empty(); ++n) {
    const auto [expires_s, id] = *reservations_due_.begin();
    if (expires_s > seconds) break;
    const auto found = reservations_.find(id);
    const RelayEndpoint& relayed = found->second.relayed;
    pool_of(relayed.address).release(relayed.port, seconds + config_.port_rest_s);
    quotas_.release(found->second.quota_name, QuotaLedger::Thing::kAllocation, 1);
    forget_reservation(found);
  }
  return n;
}

void Server::Impl::forget_reservation(std::map<std::uint32_t, Reservation>::iterator reservation) {
  reservations_due_.erase({reservation->second.expires_s, reservation->first});
  reservations_.erase(reservation);
}

// Every round moves the allocation's entry or ends it: expire() leaves nothing that is due.
std::size_t Server::Impl::end_allocations(std::uint32_t seconds, std::size_t most) {
  std::size_t n = 0;
  while (n < most) {
    const FiveTuple* due = allocations_due_.due(seconds);
    if (due == nullptr) break;
    n += expire(allocations_.at(*due), seconds);
  }
  return n;
}

// Nothing hangs on promptness: workers read expiries, and who asks for an allocation finds only
// what lives. So a hundred thousand clients that end in one second keep nobody waiting.
bool Server::Impl::tick(Instant now) {
  const std::uint32_t seconds = now_s(now);
  std::size_t left = kEndsPerTick;
  left -= std::min(left, end_allocations(seconds, left));
  left -= forget_tombstones(seconds, left);
  left -= end_reservations(seconds, left);
  for (PortPool& pool : pools_)
    left -= pool.tick(seconds, left);
  give_up_parked(now);
  update_gauges();
  return left == 0;
}

void Server::Impl::update_gauges() {
  std::size_t free_ports = 0;
  for (const PortPool& pool : pools_)
    free_ports += pool.free();
  counters.allocations.set(allocations_.size());
  counters.reservations.set(reservations_.size());
  counters.free_ports.set(free_ports);
}

}  // namespace turnpike

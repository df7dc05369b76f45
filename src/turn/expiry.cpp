// How allocations, permissions, channels and reservations end, and who looks when: each allocation
// has one entry in a schedule, at the time when the first of its things ends (RFC 8656 §3.2, §9,
// §12).
#include <algorithm>

#include "turn/server_impl.h"

namespace turnpike {
namespace {

constexpr std::array<Family, 2> kFamilies{Family::kIpv4, Family::kIpv6};

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
    host_.flows().withdraw_permission(entry.second.slot);
    counters.permissions.set(counters.permissions.get() - 1);
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

void Server::Impl::expire(Allocation& allocation, std::uint32_t seconds) {
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
    host_.flows().withdraw_permission(permission.slot);
    counters.permissions.set(counters.permissions.get() - 1);
    return true;
  });
  if (allocation.relayed[0] || allocation.relayed[1]) {
    schedule(allocation);
  } else {
    remove(allocation, seconds);
  }
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

void Server::Impl::forget_tombstones(std::uint32_t seconds) {
  while (const FiveTuple* due = tombstones_due_.due(seconds))
    forget_tombstone(*due);
}

// `five_tuple` may be the tombstone's own key.
void Server::Impl::forget_tombstone(const FiveTuple& five_tuple) {
  const auto found = tombstones_.find(five_tuple);
  tombstones_due_.move(found->first, found->second.until_s, kNeverDue);
  tombstones_.erase(found);
}

void Server::Impl::end_reservations(std::uint32_t seconds) {
  std::erase_if(reservations_, [&](const auto& entry) {
    const Reservation& reservation = entry.second;
    if (reservation.expires_s > seconds) return false;
    pool_of(reservation.relayed.address)
        .release(reservation.relayed.port, seconds + config_.port_rest_s);
    return true;
  });
}

void Server::Impl::tick(Instant now) {
  const std::uint32_t seconds = now_s(now);
  // Every round moves the allocation's entry or ends it: expire() leaves nothing that is due.
  while (const FiveTuple* due = allocations_due_.due(seconds))
    expire(allocations_.at(*due), seconds);
  forget_tombstones(seconds);
  end_reservations(seconds);
  for (PortPool& pool : pools_)
    pool.tick(seconds);
  give_up_parked(now);
  update_gauges();
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

// Refresh (RFC 8656 §7.3, §8), and how allocations, permissions and channels end.
#include <algorithm>

#include "turn/server_impl.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageWriter;

constexpr std::array<Family, 2> kFamilies{Family::kIpv4, Family::kIpv6};

}  // namespace

void Server::Impl::refresh(Request& request, Allocation& allocation) {
  std::array<bool, 2> meant{allocation.relayed[0].has_value(), allocation.relayed[1].has_value()};
  if (request.message.has(Attribute::kRequestedAddressFamily)) {
    const auto octet = request.message.family_octet(Attribute::kRequestedAddressFamily);
    if (!octet) return refuse(request, 400);
    for (const Family family : kFamilies) {
      meant[family_index(family)] &= *octet == static_cast<std::uint8_t>(family);
    }
    if (!meant[0] && !meant[1]) return refuse(request, 443);
  }
  const auto asked = request.message.u32(Attribute::kLifetime);
  if (request.message.has(Attribute::kLifetime) && !asked) return refuse(request, 400);
  const bool ends = asked && *asked == 0;
  const std::uint32_t granted = ends ? 0 : lifetime(request.message);
  for (const Family family : kFamilies) {
    const std::size_t index = family_index(family);
    if (!meant[index]) continue;
    if (ends) {
      end_family(allocation, family, now_s(request.now));
    } else {
      allocation.expires_s[index] = expiry_s(request.now, granted);
      host_.flows().extend_relayed(allocation.slot, family, allocation.expires_s[index]);
    }
  }
  if (!allocation.relayed[0] && !allocation.relayed[1])
    remove(request.five_tuple, now_s(request.now));
  MessageWriter writer = begin(request, Class::kSuccess);
  writer.add_u32(Attribute::kLifetime, granted);
  send(request, writer, 0, true);
}

// One relayed address ends, with the channels and permissions of its family; the allocation may
// have another.
void Server::Impl::end_family(Allocation& allocation, Family family, std::uint32_t seconds) {
  std::optional<RelayEndpoint>& relayed = allocation.relayed[family_index(family)];
  if (!relayed) return;
  FlowSink& flows = host_.flows();
  const std::size_t channels = std::erase_if(allocation.channels, [&](const Channel& channel) {
    if (channel.peer.address.family != family) return false;
    flows.withdraw_channel(channel.slot);
    return true;
  });
  const std::size_t permissions = std::erase_if(allocation.permissions, [&](const auto& entry) {
    if (entry.first.family != family) return false;
    flows.withdraw_permission(entry.second.slot);
    return true;
  });
  counters.channels.set(counters.channels.get() - channels);
  counters.permissions.set(counters.permissions.get() - permissions);
  flows.withdraw_relayed(allocation.slot, family);
  give_back(*relayed, seconds);
  relayed.reset();
  allocation.expires_s[family_index(family)] = 0;
  update_gauges();
}

// An allocation whose families have both ended.
void Server::Impl::remove(const FiveTuple& five_tuple, std::uint32_t seconds) {
  const auto found = allocations_.find(five_tuple);
  host_.flows().withdraw_allocation(found->second.slot);
  quotas_.release(found->second.keys.quota_name);
  tombstones_[five_tuple] = {found->second.created_by, seconds + config_.tombstone_s};
  tombstone_order_.emplace_back(seconds + config_.tombstone_s, five_tuple);
  allocations_.erase(found);
  update_gauges();
}

void Server::Impl::expire(Allocation& allocation, std::uint32_t seconds) {
  FlowSink& flows = host_.flows();
  for (const Family family : kFamilies) {
    const std::size_t index = family_index(family);
    if (allocation.relayed[index] && allocation.expires_s[index] <= seconds)
      end_family(allocation, family, seconds);
  }
  const std::size_t gone_channels = std::erase_if(allocation.channels, [&](const Channel& channel) {
    if (channel.expires_s > seconds) return false;
    flows.withdraw_channel(channel.slot);
    return true;
  });
  // A permission stays, closed by its expiry, while a channel to its address lives: the channel
  // names its slot.
  const std::size_t gone_permissions =
      std::erase_if(allocation.permissions, [&](const auto& entry) {
        if (entry.second.expires_s > seconds || has_channel_to(allocation, entry.first))
          return false;
        flows.withdraw_permission(entry.second.slot);
        return true;
      });
  counters.channels.set(counters.channels.get() - gone_channels);
  counters.permissions.set(counters.permissions.get() - gone_permissions);
}

// Looks again when the first of its things ends. What only ends later than thought keeps its entry,
// which is found early and put back: one entry an allocation, however often it is refreshed.
void Server::Impl::schedule(Allocation& allocation) {
  std::uint32_t next = 0xFFFFFFFF;
  for (std::size_t family = 0; family < 2; ++family) {
    if (allocation.relayed[family]) next = std::min(next, allocation.expires_s[family]);
  }
  for (const Channel& channel : allocation.channels)
    next = std::min(next, channel.expires_s);
  for (const auto& [peer, permission] : allocation.permissions) {
    if (!has_channel_to(allocation, peer)) next = std::min(next, permission.expires_s);
  }
  if (allocation.due_s <= next) return;
  allocation.due_s = next;
  due_.emplace(next, allocation.five_tuple);
}

void Server::Impl::tick(Instant now) {
  const std::uint32_t seconds = now_s(now);
  while (!due_.empty() && due_.top().first <= seconds) {
    const auto [due_s, five_tuple] = due_.top();
    due_.pop();
    const auto found = allocations_.find(five_tuple);
    if (found == allocations_.end() || found->second.due_s != due_s) continue;
    found->second.due_s = kNeverDue;
    expire(found->second, seconds);
    if (found->second.relayed[0] || found->second.relayed[1]) {
      schedule(found->second);
    } else {
      remove(five_tuple, seconds);
    }
  }
  while (!tombstone_order_.empty() && tombstone_order_.front().first <= seconds) {
    const auto found = tombstones_.find(tombstone_order_.front().second);
    if (found != tombstones_.end() && found->second.until_s <= seconds) tombstones_.erase(found);
    tombstone_order_.pop_front();
  }
  for (auto one = reservations_.begin(); one != reservations_.end();) {
    if (one->second.expires_s > seconds) {
      ++one;
      continue;
    }
    give_back(one->second.relayed, seconds);
    one = reservations_.erase(one);
  }
  for (PortPool& pool : pools_)
    pool.tick(seconds);
  for (std::size_t i = 0; i < parked_.size();) {
    if (parked_[i].deadline_ms > now.ms) {
      ++i;
      continue;
    }
    counters.discards[static_cast<std::size_t>(Discard::kKeyTimeout)].add();
    host_.discard(parked_[i].token, Discard::kKeyTimeout);
    parked_.erase(parked_.begin() + static_cast<std::ptrdiff_t>(i));
  }
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

// Permissions (RFC 8656 §9) and CreatePermission (§10.2), which installs all it names or nothing.
#include <algorithm>
#include <set>

#include "turn/server_impl.h"

namespace turnpike {

using stun::Attribute;
using stun::AttributeView;
using stun::Class;
using stun::MessageWriter;

namespace {

constexpr Refusal kNoRoomForPermissions{508, "Too Many Permissions"};

}  // namespace

Refusal Server::Impl::judge_peer(const Allocation& allocation, const Address& peer) {
  const auto& relayed = allocation.relayed[family_index(peer.family)];
  if (!relayed) return {443};
  const auto verdict = static_cast<std::size_t>(host_.check_peer(relayed->address, peer));
  counters.peers[verdict].add();
  if (verdict == static_cast<std::size_t>(PeerVerdict::kAllowed)) return {};
  return {403, kPeerVerdictInfo[verdict].reason};
}

// For so many more, of the allocation's and of its user's.
bool Server::Impl::take_room(const Allocation& allocation, std::size_t permissions) {
  return allocation.permissions.size() + permissions <= config_.max_permissions_per_allocation &&
         quotas_.reserve(allocation.owner.quota_name, QuotaLedger::Thing::kPermission,
                         static_cast<std::uint32_t>(permissions));
}

void Server::Impl::give_room(const Allocation& allocation, std::size_t permissions) {
  quotas_.release(allocation.owner.quota_name, QuotaLedger::Thing::kPermission,
                  static_cast<std::uint32_t>(permissions));
}

// Room for it has been taken. nullptr where the tables have none.
Permission* Server::Impl::open(Allocation& allocation, const Address& peer,
                               std::uint32_t expires_s) {
  const auto slot = host_.flows().publish_permission({allocation.slot, peer, expires_s});
  if (!slot) return nullptr;
  counters.permissions.add();
  return &(allocation.permissions[peer] = {*slot, expires_s, 0});
}

// The same, room and all.
Permission* Server::Impl::open_one(Allocation& allocation, const Address& peer,
                                   std::uint32_t expires_s) {
  if (!take_room(allocation, 1)) return nullptr;
  Permission* permission = open(allocation, peer, expires_s);
  if (permission == nullptr) give_room(allocation, 1);
  return permission;
}

void Server::Impl::extend(Permission& permission, std::uint32_t expires_s) {
  permission.expires_s = expires_s;
  host_.flows().extend_permission(permission.slot, expires_s);
}

void Server::Impl::close(Allocation& allocation, const Address& peer) {
  const auto found = allocation.permissions.find(peer);
  withdraw(allocation, found->second);
  allocation.permissions.erase(found);
}

// All but its place in the list.
void Server::Impl::withdraw(const Allocation& allocation, const Permission& permission) {
  host_.flows().withdraw_permission(permission.slot);
  give_room(allocation, 1);
  counters.permissions.set(counters.permissions.get() - 1);
}

void Server::Impl::create_permission(Request& request, Allocation& allocation) {
  std::set<Address> peers;  // as the world sees them; one may be named twice
  bool malformed = false;
  request.message.for_each([&](const AttributeView& attribute) {
    if (attribute.type != static_cast<std::uint16_t>(Attribute::kXorPeerAddress)) return true;
    const auto peer = request.message.xor_address(attribute);
    malformed |= !peer;
    if (peer) peers.insert(face_of(peer->address));
    return !malformed && peers.size() <= config_.max_permissions_per_allocation;
  });
  if (malformed) return refuse(request, {400, "Peer Address Malformed"});
  if (peers.empty()) return refuse(request, {400, "Peer Address Missing"});
  // What can't be had is refused before it costs anything: a thousand peers fit a datagram.
  if (peers.size() > config_.max_permissions_per_allocation)
    return refuse(request, kNoRoomForPermissions);
  // Every peer is judged before the first is let in.
  for (const Address& peer : peers) {
    if (const Refusal refusal = judge_peer(allocation, peer)) return refuse(request, refusal);
  }
  const std::uint32_t expires_s = expiry_s(request.now, policy_->permission_lifetime_s);
  const auto fresh =
      static_cast<std::size_t>(std::count_if(peers.begin(), peers.end(), [&](const Address& peer) {
        return !allocation.permissions.contains(peer);
      }));
  if (!take_room(allocation, fresh)) return refuse(request, kNoRoomForPermissions);
  std::vector<Address> opened;
  for (const Address& peer : peers) {
    if (allocation.permissions.contains(peer)) continue;
    if (open(allocation, peer, expires_s) == nullptr) {
      give_room(allocation, fresh - opened.size());
      for (const Address& one : opened)
        close(allocation, one);
      return refuse(request, {508});
    }
    opened.push_back(peer);
  }
  for (const Address& peer : peers)
    extend(allocation.permissions.at(peer), expires_s);
  schedule(allocation);
  MessageWriter writer = begin(request, Class::kSuccess);
  send(request, writer, 0, true);
}

}  // namespace turnpike

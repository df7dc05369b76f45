// CreatePermission (RFC 8656 §10.2) and ChannelBind (§12.2).
#include <algorithm>

#include "turn/server_impl.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::AttributeView;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;

constexpr ChannelNumber kChannelMin = 0x4000;

}  // namespace

// An error code, or 0.
std::uint16_t Server::Impl::judge_peer(const Allocation& allocation, const Address& peer) const {
  if (!allocation.relayed[family_index(peer.family)]) return 443;
  return host_.check_peer(peer) == PeerVerdict::kAllowed ? 0 : 403;
}

bool Server::Impl::has_channel_to(const Allocation& allocation, const Address& peer) const {
  return std::any_of(allocation.channels.begin(), allocation.channels.end(),
                     [&](const Channel& channel) { return channel.peer.address == peer; });
}

// Makes or refreshes a permission; an error code, or 0.
std::uint16_t Server::Impl::install(Allocation& allocation, const Address& peer,
                                    std::uint32_t expires_s) {
  if (const auto found = allocation.permissions.find(peer); found != allocation.permissions.end()) {
    found->second.expires_s = expires_s;
    host_.flows().extend_permission(found->second.slot, expires_s);
    return 0;
  }
  if (allocation.permissions.size() >= config_.max_permissions_per_allocation) return 508;
  const auto slot = host_.flows().publish_permission({allocation.slot, peer, expires_s});
  if (!slot) return 508;
  allocation.permissions[peer] = {*slot, expires_s};
  counters.permissions.add();
  return 0;
}

void Server::Impl::create_permission(Request& request, Allocation& allocation) {
  // All or nothing (PROTOCOL.md 21): every peer is judged before the first is let in.
  std::vector<Address> peers;
  bool malformed = false;
  request.message.for_each([&](const AttributeView& attribute) {
    if (attribute.type != static_cast<std::uint16_t>(Attribute::kXorPeerAddress)) return true;
    const auto peer = request.message.xor_address(attribute);
    malformed |= !peer;
    if (peer) peers.push_back(face_of(peer->address));
    return !malformed;
  });
  if (malformed || peers.empty()) return refuse(request, 400);
  std::size_t fresh = 0;
  for (const Address& peer : peers) {
    if (const std::uint16_t code = judge_peer(allocation, peer); code != 0)
      return refuse(request, code);
    fresh += allocation.permissions.contains(peer) ? 0 : 1;
  }
  if (allocation.permissions.size() + fresh > config_.max_permissions_per_allocation)
    return refuse(request, 508);
  const std::uint32_t expires_s = expiry_s(request.now, config_.permission_lifetime_s);
  for (const Address& peer : peers) {
    if (const std::uint16_t code = install(allocation, peer, expires_s); code != 0)
      return refuse(request, code);
  }
  schedule(allocation);
  MessageWriter writer = begin(request, Class::kSuccess);
  send(request, writer, 0, true);
}

void Server::Impl::channel_bind(Request& request, Allocation& allocation) {
  const auto number = request.message.channel_number();
  const auto given = request.message.xor_address(Attribute::kXorPeerAddress);
  if (!number || !given || *number < kChannelMin || *number > config_.channel_max ||
      given->port == 0) {
    return refuse(request, 400);
  }
  const PeerEndpoint peer{{face_of(given->address), given->port}};
  if (const std::uint16_t code = judge_peer(allocation, peer.address); code != 0)
    return refuse(request, code);
  Channel* bound = nullptr;
  for (Channel& channel : allocation.channels) {
    const bool same_number = channel.number == *number;
    const bool same_peer = channel.peer == peer;
    if (same_number != same_peer) return refuse(request, 400);
    if (same_number) bound = &channel;
  }
  if (bound == nullptr && allocation.channels.size() >= config_.max_channels_per_allocation)
    return refuse(request, 508);

  const std::uint16_t code =
      install(allocation, peer.address, expiry_s(request.now, config_.permission_lifetime_s));
  if (code != 0) return refuse(request, code);
  const std::uint32_t expires_s = expiry_s(request.now, config_.channel_lifetime_s);
  if (bound != nullptr) {
    bound->expires_s = expires_s;
    host_.flows().extend_channel(bound->slot, expires_s);
  } else {
    const PermissionSlot permission = allocation.permissions[peer.address].slot;
    const auto slot =
        host_.flows().publish_channel({allocation.slot, permission, *number, peer, expires_s});
    if (!slot) return refuse(request, 508);
    allocation.channels.push_back({*slot, *number, peer, expires_s});
    counters.channels.add();
  }
  schedule(allocation);
  MessageWriter writer = begin(request, Class::kSuccess);
  send(request, writer, 0, true);
}

}  // namespace turnpike

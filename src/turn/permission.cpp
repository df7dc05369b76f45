// Permissions (RFC 8656 §9) and CreatePermission (§10.2), which installs all it names or nothing.
#include <set>

#include "turn/server_impl.h"

namespace turnpike {

using stun::Attribute;
using stun::AttributeView;
using stun::Class;
using stun::MessageWriter;

namespace {

Refusal too_many(Limit limit) {
  return {508, "Too Many Permissions", limit};
}

}  // namespace

Refusal Server::Impl::judge_peer(const Allocation& allocation, const Address& peer) {
  const auto& relayed = allocation.relayed[family_index(peer.family)];
  if (!relayed) return {443};
  return refused_by(host_.check_peer(allocation.owner.account.realm, relayed->address, peer));
}

Refusal Server::Impl::refused_by(PeerVerdict verdict) {
  const auto number = static_cast<std::size_t>(verdict);
  counters.peers[number].add();
  if (verdict == PeerVerdict::kAllowed) return {};
  return {403, kPeerVerdictInfo[number].reason};
}

// One that would be new, of a peer that has been judged.
NewPermission Server::Impl::as_new(const Allocation& allocation, const Address& peer) {
  const Address& relayed = allocation.relayed[family_index(peer.family)]->address;
  return {peer, config_.max_on_link_peers_per_allocation != 0 && host_.is_on_link(relayed, peer)};
}

void Server::Impl::create_permission(Request& request, Allocation& allocation) {
  std::set<Address> peers;  // as the world sees them; one may be named twice
  bool malformed = false;
  request.message.for_each([&](const AttributeView& attribute) {
    if (attribute.type != static_cast<std::uint16_t>(Attribute::kXorPeerAddress)) return true;
    const auto peer = request.message.xor_address(attribute);
    malformed |= !peer;
    if (peer) peers.insert(public_of(peer->address));
    return !malformed && peers.size() <= config_.max_permissions_per_allocation;
  });
  if (malformed) return refuse(request, {400, "Peer Address Malformed"});
  if (peers.empty()) return refuse(request, {400, "Peer Address Missing"});
  // What can't be had is refused before it costs anything: a thousand peers fit a datagram.
  if (peers.size() > config_.max_permissions_per_allocation)
    return refuse(request, too_many(Limit::kPermissionsPerAllocation));
  // Every peer is judged before the first is let in.
  for (const Address& peer : peers) {
    if (const Refusal refusal = judge_peer(allocation, peer)) return refuse(request, refusal);
  }
  const std::uint32_t expires_s = expiry_s(request.now, policy_->permission_lifetime_s);
  std::vector<NewPermission> fresh;
  for (const Address& peer : peers) {
    if (!allocation.permissions.contains(peer)) fresh.push_back(as_new(allocation, peer));
  }
  if (const Limit limit = book_.take_room(allocation, fresh); limit != Limit::kNone)
    return refuse(request, too_many(limit));
  for (std::size_t opened = 0; opened < fresh.size(); ++opened) {
    if (book_.open(allocation, fresh[opened], expires_s) != nullptr) continue;
    const Limit lacking = book_.why_not_opened();
    book_.give_room(allocation, fresh.size() - opened);
    while (opened > 0)
      book_.close(allocation, fresh[--opened].peer);
    return refuse(request, {508, {}, lacking});
  }
  for (const Address& peer : peers)
    book_.extend(allocation.permissions.at(peer), expires_s);
  book_.schedule(allocation);
  MessageWriter writer = begin(request, Class::kSuccess);
  send(request, writer, 0, true);
}

}  // namespace turnpike

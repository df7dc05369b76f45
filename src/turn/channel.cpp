// ChannelBind (RFC 8656 §12.2): a number for a peer, one to one, and a permission with it.
#include "turn/server_impl.h"

namespace turnpike {

using stun::Attribute;
using stun::Class;
using stun::MessageWriter;

namespace {

constexpr ChannelNumber kChannelMin = 0x4000;
Refusal too_many(Limit limit) {
  return {508, "Too Many Channels", limit};
}

}  // namespace

void Server::Impl::channel_bind(Request& request, Allocation& allocation) {
  if (allocation.streams) return refuse(request, {400, "Allocation Is TCP"});
  const auto number = request.message.channel_number();
  const auto given = request.message.xor_address(Attribute::kXorPeerAddress);
  if (!number) {
    return refuse(request, request.message.has(Attribute::kChannelNumber)
                               ? Refusal{400, "Channel Number Malformed"}
                               : Refusal{400, "Channel Number Missing"});
  }
  if (*number < kChannelMin || *number > policy_->channel_max)
    return refuse(request, {400, "Channel Number Out Of Range"});
  if (!given) {
    return refuse(request, request.message.has(Attribute::kXorPeerAddress)
                               ? Refusal{400, "Peer Address Malformed"}
                               : Refusal{400, "Peer Address Missing"});
  }
  if (given->port == 0) return refuse(request, {400, "Peer Port Is Zero"});
  const PeerEndpoint peer{{public_of(given->address), given->port}};
  if (const Refusal refusal = judge_peer(allocation, peer.address)) return refuse(request, refusal);
  if (const Refusal refusal = bind(allocation, *number, peer, request.now))
    return refuse(request, refusal);
  book_.schedule(allocation);
  MessageWriter writer = begin(request, Class::kSuccess);
  send(request, writer, 0, true);
}

// Binds or refreshes, or refuses with nothing changed.
Refusal Server::Impl::bind(Allocation& allocation, ChannelNumber number, const PeerEndpoint& peer,
                           Instant now) {
  Channel* bound = nullptr;
  for (Channel& channel : allocation.channels) {
    const bool same_number = channel.number == number;
    const bool same_peer = channel.peer == peer;
    if (same_number && !same_peer) return {400, "Channel Number Bound To Another Peer"};
    if (same_peer && !same_number) return {400, "Peer Bound To Another Channel Number"};
    if (same_number) bound = &channel;
  }
  if (bound == nullptr) return bind_new(allocation, number, peer, now);
  book_.extend(*bound, expiry_s(now, policy_->channel_lifetime_s));
  book_.extend(allocation.permissions.at(peer.address),
               expiry_s(now, policy_->permission_lifetime_s));
  return {};
}

Refusal Server::Impl::bind_new(Allocation& allocation, ChannelNumber number,
                               const PeerEndpoint& peer, Instant now) {
  if (allocation.channels.size() >= config_.max_channels_per_allocation)
    return too_many(Limit::kChannelsPerAllocation);
  if (!book_.take_channel(allocation)) return too_many(Limit::kChannelsPerUser);
  const std::uint32_t permitted_s = expiry_s(now, policy_->permission_lifetime_s);
  const bool fresh = !allocation.permissions.contains(peer.address);
  const NewPermission made = fresh ? as_new(allocation, peer.address) : NewPermission{};
  const Limit lacking = fresh ? book_.take_room(allocation, {&made, 1}) : Limit::kNone;
  if (lacking != Limit::kNone) {
    book_.give_channel(allocation);
    return {508, {}, lacking};
  }
  if (fresh && book_.open(allocation, made, permitted_s) == nullptr) {
    book_.give_room(allocation, 1);
    book_.give_channel(allocation);
    return {508, {}, book_.why_not_opened()};
  }
  if (!book_.bind(allocation, number, peer, expiry_s(now, policy_->channel_lifetime_s))) {
    book_.give_channel(allocation);
    if (fresh) book_.close(allocation, peer.address);
    return {508, {}, Limit::kChannels};
  }
  if (!fresh) book_.extend(allocation.permissions.at(peer.address), permitted_s);
  return {};
}

}  // namespace turnpike

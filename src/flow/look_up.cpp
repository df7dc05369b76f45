// The second stage: whose packet it is, and by admission.h whether it may pass. All keys of the
// burst are looked up together, so that their cache misses overlap; what the entries say is judged
// packet by packet.
#include <array>

#include "flow/admission.h"
#include "flow/pipeline.h"
#include "wire/headers.h"

namespace turnpike::flow {
namespace {

bool from_client(const Packet& packet) {
  return packet.lane == Lane::kChannelData || packet.lane == Lane::kSend;
}

NextHopIndex next_hop(const std::atomic<std::uint32_t>& word) {
  // A hop may have been made a moment ago; what it says is there before its index is.
  return NextHopIndex{word.load(std::memory_order_acquire)};
}

}  // namespace

void Pipeline::look_up(Instant now, std::span<Packet> burst) {
  const std::uint32_t seconds = now_s(now);
  look_up_clients(burst);
  for (Packet& packet : burst) {
    if (packet.verdict != Verdict::kContinue) continue;
    if (packet.lane == Lane::kRequest) choose_shard(packet);
    if (packet.lane == Lane::kTooBig) heed_too_big(seconds, packet);
    if (packet.lane == Lane::kSend) open_send(packet);
  }
  find_ways_by_channel(now, burst);
  find_ways_by_permission(now, burst);
  look_up_relays(burst);
  find_ways_to_clients(seconds, burst);
  for (Packet& packet : burst) {
    if (packet.verdict == Verdict::kContinue && packet.lane == Lane::kIcmp)
      find_way_for_icmp(seconds, packet);
  }
}

void Pipeline::look_up_clients(std::span<Packet> burst) {
  std::array<ClientKey, kMaxBurst> keys;
  std::array<AllocationSlot, kMaxBurst> found;
  std::array<Packet*, kMaxBurst> whose;
  std::size_t n = 0;
  for (Packet& packet : burst) {
    if (packet.verdict != Verdict::kContinue || !from_client(packet)) continue;
    keys[n] = {packet.source, packet.listener};
    whose[n++] = &packet;
  }
  tables_.find_clients(std::span(keys).first(n), std::span(found).first(n));
  for (std::size_t i = 0; i < n; ++i) {
    whose[i]->allocation = found[i];
    whose[i]->has_allocation = found[i] != kNoAllocationSlot || look_up_move(*whose[i]);
    if (!whose[i]->has_allocation) drop(*whose[i], Drop::kNoAllocation);
  }
}

// RFC 8016 §3.2.2: data by the five-tuple that a client moves to complete the move. Once told, and
// again only where there was no place for it.
bool Pipeline::look_up_move(Packet& packet) {
  const auto slot = tables_.find_move(packet.listener, packet.source);
  if (!slot) return false;
  const MoveEntry& move = tables_.move(*slot);
  packet.allocation = AllocationSlot{move.allocation};
  if (!move.told.load(std::memory_order_relaxed) &&
      police_.tell(packet.allocation, {.kind = Notice::Kind::kMoved, .move = move.number}))
    move.told.store(true, std::memory_order_relaxed);
  return true;
}

// By whichever five-tuple a client has of it.
std::optional<AllocationSlot> Pipeline::allocation_of(ListenerIndex listener,
                                                      const Endpoint& client) const {
  if (const auto allocation = tables_.find_client(listener, client)) return allocation;
  const auto move = tables_.find_move(listener, client);
  if (!move) return std::nullopt;
  return AllocationSlot{tables_.move(*move).allocation};
}

void Pipeline::look_up_relays(std::span<Packet> burst) {
  std::array<RelayKey, kMaxBurst> keys;
  std::array<AllocationSlot, kMaxBurst> found;
  std::array<Packet*, kMaxBurst> whose;
  std::size_t n = 0;
  for (Packet& packet : burst) {
    const bool wanted = packet.lane == Lane::kPeer || packet.lane == Lane::kIcmp;
    if (packet.verdict != Verdict::kContinue || !wanted || packet.hairpin) continue;
    keys[n] = {packet.destination.address, packet.destination.port};
    whose[n++] = &packet;
  }
  tables_.find_relays(std::span(keys).first(n), std::span(found).first(n));
  for (std::size_t i = 0; i < n; ++i) {
    whose[i]->allocation = found[i];
    whose[i]->has_allocation = found[i] != kNoAllocationSlot;
    // Not a live relay port: the kernel may have use for it (a DNS answer, say).
    if (found[i] == kNoAllocationSlot) whose[i]->verdict = Verdict::kKernel;
  }
}

void Pipeline::find_ways_by_channel(Instant now, std::span<Packet> burst) {
  const std::uint32_t seconds = now_s(now);
  std::array<NumberKey, kMaxBurst> keys;
  std::array<ChannelSlot, kMaxBurst> found;
  std::array<Packet*, kMaxBurst> whose;
  std::size_t n = 0;
  for (Packet& packet : burst) {
    if (packet.verdict != Verdict::kContinue || packet.lane != Lane::kChannelData) continue;
    keys[n] = {packet.allocation, packet.channel};
    whose[n++] = &packet;
  }
  tables_.find_channels(std::span(keys).first(n), std::span(found).first(n));
  for (std::size_t i = 0; i < n; ++i) {
    Packet& packet = *whose[i];
    const AllocationEntry& allocation = tables_.allocation(packet.allocation);
    const ChannelEntry* channel = channel_at(found[i]);
    const Drop refused = client_may_send(allocation, channel, seconds);
    if (refused != Drop::kNone) {
      drop(packet, refused);
      continue;
    }
    packet.peer = channel->peer;
    packet.relayed = tables_.relayed(channel->relayed);
    packet.next_hop = next_hop(channel->peer_next_hop);
    packet.path_mtu = channel->path_mtu.at(seconds);
    packet.payload_verdict = &channel->payload_verdict;
    if (channel->to_ourselves) hairpin(now, packet, packet.peer);
  }
}

void Pipeline::find_ways_by_permission(Instant now, std::span<Packet> burst) {
  const std::uint32_t seconds = now_s(now);
  std::array<PermissionKey, kMaxBurst> keys;
  std::array<PermissionSlot, kMaxBurst> found;
  std::array<Packet*, kMaxBurst> whose;
  std::size_t n = 0;
  for (Packet& packet : burst) {
    if (packet.verdict != Verdict::kContinue || packet.lane != Lane::kSend) continue;
    // Permissions are kept by the public address of our own addresses.
    packet.peer.address = here_.public_of(packet.peer.address);
    keys[n] = {packet.allocation, packet.peer.address};
    whose[n++] = &packet;
  }
  tables_.find_permissions(std::span(keys).first(n), std::span(found).first(n));
  for (std::size_t i = 0; i < n; ++i) {
    Packet& packet = *whose[i];
    const AllocationEntry& allocation = tables_.allocation(packet.allocation);
    const Family family = packet.peer.address.family;
    const PermissionEntry* permission = permission_at(found[i]);
    const Drop refused = client_may_send(allocation, family, permission, seconds);
    if (refused != Drop::kNone) {
      drop(packet, refused);
      continue;
    }
    packet.relayed = tables_.relayed(allocation.relayed[family_index(family)]);
    packet.next_hop = next_hop(permission->peer_next_hop);
    packet.path_mtu = permission->path_mtu.at(seconds);
    packet.payload_verdict = &permission->payload_verdict;
    if (permission->to_ourselves) hairpin(now, packet, packet.peer);
  }
}

void Pipeline::find_ways_to_clients(std::uint32_t seconds, std::span<Packet> burst) {
  std::array<PeerKey, kMaxBurst> keys;
  std::array<ChannelSlot, kMaxBurst> channels;
  std::array<Packet*, kMaxBurst> whose;
  std::size_t n = 0;
  for (Packet& packet : burst) {
    const bool wanted = packet.lane == Lane::kPeer && !packet.hairpin;
    if (packet.verdict != Verdict::kContinue || !wanted) continue;
    keys[n] = {packet.allocation, packet.peer};
    whose[n++] = &packet;
  }
  tables_.find_channels(std::span(keys).first(n), std::span(channels).first(n));

  // Of those that have no live channel.
  std::array<PermissionKey, kMaxBurst> permission_keys;
  std::array<PermissionSlot, kMaxBurst> permissions;
  std::array<bool, kMaxBurst> asked;  // once: a channel may come to life meanwhile
  std::size_t wanted = 0;
  for (std::size_t i = 0; i < n; ++i) {
    asked[i] = !is_live(channel_at(channels[i]), seconds);
    if (asked[i]) permission_keys[wanted++] = {whose[i]->allocation, whose[i]->peer.address};
  }
  tables_.find_permissions(std::span(permission_keys).first(wanted),
                           std::span(permissions).first(wanted));
  std::size_t next = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const ChannelEntry* channel = channel_at(channels[i]);
    const PermissionEntry* permission = asked[i] ? permission_at(permissions[next++]) : nullptr;
    take_way_to_client(seconds, *whose[i], channel, permission);
  }
}

// `permission` is asked for only where the channel isn't live.
void Pipeline::take_way_to_client(std::uint32_t seconds, Packet& packet,
                                  const ChannelEntry* channel, const PermissionEntry* permission) {
  const AllocationEntry& allocation = tables_.allocation(packet.allocation);
  const Drop refused =
      peer_may_send(allocation, packet.peer.address.family, channel, permission, seconds);
  if (refused != Drop::kNone) return drop(packet, refused);
  take_client_hop(packet, allocation);
  packet.path_mtu = allocation.path_mtu_at(seconds);
  const bool by_channel = is_live(channel, seconds);
  packet.channel = by_channel ? channel->number : ChannelNumber{0};
  packet.payload_verdict = by_channel ? &channel->payload_verdict : &permission->payload_verdict;
}

// Before anything is read of where the entry says that the client is: without a next hop, it may be
// about to say something else (tables/moves.cpp).
void Pipeline::take_client_hop(Packet& packet, const AllocationEntry& allocation) const {
  packet.next_hop = next_hop(allocation.client_next_hop);
  packet.moved = packet.next_hop == kNoNextHop ? tables_.moved(packet.allocation) : nullptr;
  if (packet.moved != nullptr) packet.next_hop = next_hop(packet.moved->client_next_hop);
}

const ChannelEntry* Pipeline::channel_at(ChannelSlot slot) const {
  return slot == kNoChannelSlot ? nullptr : &tables_.channel(slot);
}

const PermissionEntry* Pipeline::permission_at(PermissionSlot slot) const {
  return slot == kNoPermissionSlot ? nullptr : &tables_.permission(slot);
}

// To the packet's peer; nullptr: none.
const ChannelEntry* Pipeline::find_channel(const Packet& packet) const {
  const auto slot = tables_.find_channel(packet.allocation, packet.peer);
  return slot ? &tables_.channel(*slot) : nullptr;
}

// Of the packet's peer address; nullptr: none.
const PermissionEntry* Pipeline::find_permission(const Packet& packet) const {
  const auto slot = tables_.find_permission(packet.allocation, packet.peer.address);
  return slot ? &tables_.permission(*slot) : nullptr;
}

// RFC 8656 §11.5: what counts is the address that the quoted packet went to, not who complains.
// What may come from there may be complained of. A "too big" is heeded here as well: most clients
// read no ICMP attribute.
void Pipeline::find_way_for_icmp(std::uint32_t seconds, Packet& packet) {
  const AllocationEntry& allocation = tables_.allocation(packet.allocation);
  const Family family = packet.peer.address.family;
  const PermissionEntry* permission = find_permission(packet);
  const ChannelEntry* channel = find_channel(packet);
  if (peer_may_send(allocation, family, channel, permission, seconds) != Drop::kNone)
    return drop(packet, Drop::kIcmpUnrelated);
  if (packet.path_mtu != PathMtu::kNone) {
    if (is_live(permission, seconds)) permission->path_mtu.lower(seconds, family, packet.path_mtu);
    if (is_live(channel, seconds)) channel->path_mtu.lower(seconds, family, packet.path_mtu);
  }
  packet.path_mtu = PathMtu::kNone;  // what the client is told of it is small
  take_client_hop(packet, allocation);
}

void Pipeline::heed_too_big(std::uint32_t seconds, Packet& packet) {
  const auto slot = tables_.find_client(packet.listener, packet.destination);
  if (!slot || packet.path_mtu == PathMtu::kNone) return drop(packet, Drop::kIcmpUnrelated);
  tables_.allocation(*slot).lower_path_mtu(seconds, packet.path_mtu);
  drop(packet, Drop::kPathMtu);
}

std::optional<AllocationSlot> Pipeline::owner_of_fragment(Instant now, const Packet& packet) const {
  const bool v4 = packet.family == Family::kIpv4;
  const std::size_t at = packet.l4 + (v4 ? 0 : wire::ipv6_fragment::kSize);
  if (packet.length < at + wire::udp::kSize) return std::nullopt;
  const std::uint8_t* header = packet.data + at;
  Packet named;
  named.peer = {packet.source.address, wire::load_be16(header + wire::udp::kSourcePort)};
  const Endpoint to{packet.destination.address,
                    wire::load_be16(header + wire::udp::kDestinationPort)};
  const auto listener = here_.listener_at(to);
  if (listener) {
    if (const auto owner = allocation_of(*listener, named.peer)) return owner;
  }
  const auto dtls_listener = has_dtls_ ? dtls_here_.listener_at(to) : std::nullopt;
  if (dtls_listener) return allocation_of(*dtls_listener, named.peer);
  if (listener) return std::nullopt;
  const auto relay = tables_.find_relay(to.address, to.port);
  if (!relay) return std::nullopt;
  named.allocation = *relay;
  const Drop refused = peer_may_send(tables_.allocation(*relay), named.peer.address.family,
                                     find_channel(named), find_permission(named), now_s(now));
  return refused == Drop::kNone ? relay : std::nullopt;
}

// Hairpin (docs/protocol.md 29): the peer is a relayed address of this node, so the packet joins
// the peers' lane here, once, as if it had come from our public address. As its client's it is
// judged before that; as a peer's, it will be with all others.
void Pipeline::hairpin(Instant now, Packet& packet, const Endpoint& peer) {
  const auto target = tables_.find_relay(peer.address, peer.port);
  if (!target && packet.next_hop != kNoNextHop) {
    // A socket of this host's, on an address that is relayed, too.
    packet.peer = {tables_.internal_of(peer.address), peer.port};
    return;
  }
  if (police_.watches()) {
    const Drop refused = judge(now, packet, false);
    if (refused != Drop::kNone) return drop(packet, refused);
  }
  if (!target) return drop(packet, Drop::kNoRelay);
  packet.hairpin = true;
  packet.lane = Lane::kPeer;
  packet.allocation = *target;
  packet.peer = {here_.public_of(packet.relayed.address), packet.relayed.port};
  counters_.hairpin.add();
  take_way_to_client(now_s(now), packet, find_channel(packet), find_permission(packet));
}

// A mobility ticket names its shard, whoever brings it; a known five-tuple's is its allocation's; a
// reservation token names its own; any other is hashed.
void Pipeline::choose_shard(Packet& packet) {
  packet.verdict = Verdict::kEngine;
  counters_.to_engine.add();
  const std::span<const std::uint8_t> sealed(packet.data + packet.body, packet.body_size);
  const auto ticket = tokens_.open_ticket(sealed);
  if (ticket && ticket->shard < setup_.shard_count) {
    packet.shard = ticket->shard;
    return;
  }
  if (packet.has_allocation) {
    packet.shard = tables_.allocation(packet.allocation).shard;
    return;
  }
  packet.shard = tables_.home_shard(packet.listener, packet.source);
  const auto content = tokens_.open(sealed);
  if (content && content->shard < setup_.shard_count) packet.shard = content->shard;
}

}  // namespace turnpike::flow

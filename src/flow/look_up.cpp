// The second stage: whose packet it is, and whether it may pass. All keys of the burst are looked
// up together, so that their cache misses overlap; what the entries say is judged packet by packet.
//
// Who may pass (docs/protocol.md 22): ChannelData with a live channel, Send with a live permission,
// from a peer with a live permission for its address or a live channel to its address and port; and
// never without a live allocation.
#include <array>

#include "flow/pipeline.h"
#include "wire/headers.h"

namespace turnpike::flow {
namespace {

bool alive(const std::atomic<std::uint32_t>& expires_s, std::uint32_t seconds) {
  return seconds < expires_s.load(std::memory_order_relaxed);
}

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
    if (packet.verdict != Verdict::kContinue) continue;
    if (from_client(packet)) find_way_to_peer(seconds, packet);
  }
  look_up_relays(burst);
  for (Packet& packet : burst) {
    if (packet.verdict != Verdict::kContinue || packet.hairpin) continue;
    if (packet.lane == Lane::kPeer) find_way_to_client(seconds, packet);
    if (packet.lane == Lane::kIcmp) find_way_for_icmp(seconds, packet);
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
    if (found[i] == kNoAllocation) {
      drop(*whose[i], Drop::kNoAllocation);
      continue;
    }
    whose[i]->allocation = found[i];
    whose[i]->has_allocation = true;
  }
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
    whose[i]->has_allocation = found[i] != kNoAllocation;
    // Not a live relay port: the kernel may have use for it (a DNS answer, say).
    if (found[i] == kNoAllocation) whose[i]->verdict = Verdict::kKernel;
  }
}

void Pipeline::find_way_to_peer(std::uint32_t seconds, Packet& packet) {
  const AllocationEntry& allocation = tables_.allocation(packet.allocation);
  bool to_ourselves = false;
  if (packet.lane == Lane::kChannelData) {
    const auto slot = tables_.find_channel(packet.allocation, packet.channel);
    if (!slot) return drop(packet, Drop::kNoChannel);
    const ChannelEntry& channel = tables_.channel(*slot);
    if (!alive(channel.expires_s, seconds)) return drop(packet, Drop::kNoChannel);
    packet.peer = channel.peer;
    packet.relayed = channel.relayed;
    packet.next_hop = next_hop(channel.peer_next_hop);
    packet.path_mtu = channel.path_mtu.at(seconds);
    to_ourselves = channel.to_ourselves;
  } else {
    const std::size_t family = family_index(packet.peer.address.family);
    if (!allocation.has_relayed[family]) return drop(packet, Drop::kFamilyMismatch);
    // Permissions are kept by the public face of our own addresses.
    packet.peer.address = face_of(packet.peer.address);
    const auto slot = tables_.find_permission(packet.allocation, packet.peer.address);
    if (!slot) return drop(packet, Drop::kNoPermission);
    const PermissionEntry& permission = tables_.permission(*slot);
    if (!alive(permission.expires_s, seconds)) return drop(packet, Drop::kNoPermission);
    packet.relayed = allocation.relayed[family];
    packet.next_hop = next_hop(permission.peer_next_hop);
    packet.path_mtu = permission.path_mtu.at(seconds);
    to_ourselves = permission.to_ourselves;
  }
  const std::size_t family = family_index(packet.relayed.address.family);
  if (!alive(allocation.expires_s[family], seconds)) return drop(packet, Drop::kNoAllocation);
  if (to_ourselves) loop(seconds, packet, packet.peer);
}

// RFC 8656 §10, §12.6. A live channel lets its peer in by itself: clients that refresh channels
// alone, every 500 s, would otherwise be deaf from the permission's end at 300 s.
void Pipeline::find_way_to_client(std::uint32_t seconds, Packet& packet) {
  const AllocationEntry& allocation = tables_.allocation(packet.allocation);
  const std::size_t family = family_index(packet.peer.address.family);
  if (!alive(allocation.expires_s[family], seconds)) return drop(packet, Drop::kNoRelay);
  packet.next_hop = next_hop(allocation.client_next_hop);
  packet.path_mtu = allocation.path_mtu_at(seconds);
  const ChannelEntry* channel = live_channel(seconds, packet);
  packet.channel = channel != nullptr ? channel->number : ChannelNumber{0};
  if (channel == nullptr && live_permission(seconds, packet) == nullptr)
    drop(packet, Drop::kNoPermission);
}

// To the packet's peer; nullptr: none.
const ChannelEntry* Pipeline::live_channel(std::uint32_t seconds, const Packet& packet) const {
  const auto slot = tables_.find_channel(packet.allocation, packet.peer);
  if (!slot) return nullptr;
  const ChannelEntry& channel = tables_.channel(*slot);
  return alive(channel.expires_s, seconds) ? &channel : nullptr;
}

// Of the packet's peer address; nullptr: none.
const PermissionEntry* Pipeline::live_permission(std::uint32_t seconds,
                                                 const Packet& packet) const {
  const auto slot = tables_.find_permission(packet.allocation, packet.peer.address);
  if (!slot) return nullptr;
  const PermissionEntry& permission = tables_.permission(*slot);
  return alive(permission.expires_s, seconds) ? &permission : nullptr;
}

// RFC 8656 §11.5: what counts is the address that the quoted packet went to, not who complains.
// What may go there, by a permission or a channel, may be complained of. A "too big" is heeded
// here as well: most clients read no ICMP attribute.
void Pipeline::find_way_for_icmp(std::uint32_t seconds, Packet& packet) {
  const AllocationEntry& allocation = tables_.allocation(packet.allocation);
  const Family family = packet.peer.address.family;
  const PermissionEntry* permission = live_permission(seconds, packet);
  const ChannelEntry* channel = live_channel(seconds, packet);
  if (!alive(allocation.expires_s[family_index(family)], seconds) ||
      (permission == nullptr && channel == nullptr)) {
    return drop(packet, Drop::kIcmpUnrelated);
  }
  if (packet.path_mtu != PathMtu::kNone) {
    if (permission != nullptr) permission->path_mtu.lower(seconds, family, packet.path_mtu);
    if (channel != nullptr) channel->path_mtu.lower(seconds, family, packet.path_mtu);
  }
  packet.path_mtu = PathMtu::kNone;  // what the client is told of it is small
  packet.next_hop = next_hop(allocation.client_next_hop);
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
  if (const auto listener = listener_at(to)) return tables_.find_client(*listener, named.peer);
  const auto relay = tables_.find_relay(to.address, to.port);
  if (!relay) return std::nullopt;
  named.allocation = *relay;
  const std::uint32_t seconds = now_s(now);
  const bool may_send =
      live_channel(seconds, named) != nullptr || live_permission(seconds, named) != nullptr;
  return may_send ? relay : std::nullopt;
}

// Hairpin (docs/protocol.md 29): the peer is a relayed address of this node, so the packet joins
// the peers' lane here, once, as if it had come from our public face.
void Pipeline::loop(std::uint32_t seconds, Packet& packet, const Endpoint& peer) {
  const auto target = tables_.find_relay(peer.address, peer.port);
  if (!target) return drop(packet, Drop::kNoRelay);
  packet.hairpin = true;
  packet.lane = Lane::kPeer;
  packet.allocation = *target;
  packet.peer = {face_of(packet.relayed.address), packet.relayed.port};
  counters_.hairpin.add();
  find_way_to_client(seconds, packet);
}

Address Pipeline::face_of(const Address& relayed) const {
  for (const RelayedAddress& one : setup_.relayed) {
    if (one.internal == relayed) return one.face();
  }
  return relayed;
}

// A known five-tuple's shard is its allocation's; a reservation token names its own; any other is
// hashed.
void Pipeline::choose_shard(Packet& packet) {
  packet.verdict = Verdict::kEngine;
  counters_.to_engine.add();
  if (packet.has_allocation) {
    packet.shard = tables_.allocation(packet.allocation).shard;
    return;
  }
  packet.shard = tables_.home_shard(packet.listener, packet.source);
  if (packet.body_size == 0) return;
  const auto content = tokens_.open({packet.data + packet.body, packet.body_size});
  if (content && content->shard < setup_.shard_count) packet.shard = content->shard;
}

}  // namespace turnpike::flow

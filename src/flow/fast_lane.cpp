// Items go through the stages in the order of the burst; each stage asks for the cache lines that
// the next will read.
#include "flow/fast_lane.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "flow/admission.h"
#include "flow/conversion.h"
#include "flow/plain_packet.h"
#include "flow/plain_send.h"
#include "tables/arrivals.h"
#include "tables/tables_impl.h"
#include "turnpike/stun.h"
#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::flow {
namespace {

using namespace wire;
constexpr std::size_t kMaxBurst = 64;
constexpr auto kNoHop = static_cast<std::uint32_t>(kNoNextHop);
}  // namespace

FastLane::FastLane(const Setup& setup, const Here& here, const Tables& tables,
                   NextHopResolver& next_hops, const Arrivals* arrivals, WorkerCounters& counters,
                   IpIds& ip_ids, TransactionIds& ids, Police& police)
    : setup_(setup),
      here_(here),
      tables_(*tables.impl_),
      allocations_(tables_.allocations.get()),
      channels_(tables_.channels.get()),
      permissions_(tables_.permissions.get()),
      next_hops_(next_hops.table()),
      arrivals_(arrivals),
      counters_(counters),
      ip_ids_(ip_ids),
      ids_(ids),
      police_(police),
      bare_binding_(here, setup.listeners) {}

TURNPIKE_INLINE bool FastLane::open_send(const std::uint8_t* message, std::size_t size,
                                         Item& item) {
  PlainSend send;
  if (!read_plain_send(message, size, send)) return false;
  item.kind = Kind::kSend;
  item.peer = send.peer;
  item.peer_family = send.family;
  item.peer_port = send.port;
  item.framing = send.framing;
  item.body_size = send.body_size;
  item.behind = send.behind;
  return true;
}

TURNPIKE_INLINE bool FastLane::open_from_client(const std::uint8_t* payload, std::size_t size,
                                                Item& item) const {
  if (size < stun::kChannelDataHeaderSize) return false;
  if (payload[0] < 0x40) return open_send(payload, size, item);
  const std::size_t length = load_be16(payload + 2);
  if (payload[0] > policy_->channel_max >> 8 || length + stun::kChannelDataHeaderSize != size)
    return false;
  item.kind = Kind::kChannelData;
  item.channel = load_be16(payload);
  item.framing = stun::kChannelDataHeaderSize;
  item.body_size = static_cast<std::uint16_t>(length);
  item.behind = 0;
  return true;
}

TURNPIKE_INLINE const Here::Place* FastLane::find_place(const AddressWords& destination,
                                                        Family family, Common& common) const {
  if (common.place != nullptr && common.destination == destination && common.family == family)
    return common.place;
  common.destination = destination;
  common.family = family;
  common.place = here_.find(destination, family);
  return common.place;
}

template <Family kFrom>
TURNPIKE_INLINE bool FastLane::open_udp(Packet& packet, Item& item, Common& common) {
  const std::uint8_t* frame = packet.data;
  if (packet.length < kPayloadAt<kFrom>) return false;
  const std::uint8_t* ip = frame + kIp;
  const std::uint8_t* header = frame + kUdpAt<kFrom>;
  const std::size_t udp_size = load_be16(header + udp::kLength);
  const std::uint64_t unusual =
      unusual_in<kFrom>(ip) | static_cast<std::uint64_t>(packet.port ^ common.port) |
      ((read_mac(frame + ethernet::kDestination) ^ common.mac) & common.mask);
  if (unusual != 0 || udp_size != udp_size_in<kFrom>(ip) || udp_size < udp::kSize ||
      udp_size > packet.length - kUdpAt<kFrom> || ip[Ip<kFrom>::kTtl] <= 1 || packet.reassembled) {
    return false;
  }
  const std::uint16_t checksum = load16(header + udp::kChecksum);
  if constexpr (kFrom == Family::kIpv4) {
    const std::uint64_t sum = std::uint64_t{load32(ip)} + load32(ip + 4) + load32(ip + 8) +
                              load32(ip + 12) + load32(ip + 16);
    if (fold64(sum) != 0xFFFF) return false;
  } else {
    if (checksum == 0) return false;
  }
  if (common.info->sees_own_frames &&
      std::memcmp(frame + ethernet::kSource, common.info->mac.data(), common.info->mac.size()) == 0)
    return false;
  if (packet.checksum == Checksum::kMaybePartial) {
    const std::uint64_t pseudo =
        Ip<kFrom>::address_sum(ip) + from_be16(ip_protocol::kUdp) + load16(header + udp::kLength);
    if (fold64(pseudo) == checksum) return false;
  }
  item.source_port = load_be16(header + udp::kSourcePort);
  const std::uint16_t destination_port = load_be16(header + udp::kDestinationPort);
  if (item.source_port == 0) return false;
  const Here::Place* place = find_place(Ip<kFrom>::destination(ip), kFrom, common);
  if (place == nullptr) return false;
  item.packet = &packet;
  item.family = kFrom;
  const AddressWords source = Ip<kFrom>::source(ip);
  item.source = source;
  const std::uint32_t listener = here_.listener(*place, destination_port);
  if (listener != Here::kNoListener) {
    item.listener = static_cast<ListenerIndex>(listener);
    if (kFrom == Family::kIpv4 && udp_size == BareBinding::kUdpSize &&
        bare_binding_.answer(packet, item.listener, *policy_)) {
      ++bindings_;
      return false;
    }
    if (!open_from_client(frame + kPayloadAt<kFrom>, udp_size - udp::kSize, item)) return false;
    item.hash = tables_.client_hash(item.listener, source, kFrom, item.source_port);
    item.clients = &tables_.shards[tables_.home_shard(item.hash)]->clients;
    item.clients->prefetch(item.hash);
    return true;
  }
  if (place->relayed == Here::kNotRelayed) return false;
  item.relay_port = tables_.relay_port(place->relayed, destination_port);
  __builtin_prefetch(item.relay_port);
  item.kind = Kind::kPeer;
  item.peer = source;
  item.peer_port = item.source_port;
  item.peer_family = kFrom;
  item.framing = 0;
  item.body_size = static_cast<std::uint16_t>(udp_size - udp::kSize);
  item.behind = 0;
  return true;
}

// Whether it looks like one of the three kinds; what the general stages check of such a packet is
// checked here. Asks for the first cache line of its look-up. A bare Binding is answered at once.
TURNPIKE_INLINE bool FastLane::open(Packet& packet, Item& item, Common& common) {
  if (packet.length < ethernet::kSize) return false;
  const std::uint16_t type = load16(packet.data + ethernet::kType);
  if (type == from_be16(ether_type::kIpv4)) return open_udp<Family::kIpv4>(packet, item, common);
  return type == from_be16(ether_type::kIpv6) && open_udp<Family::kIpv6>(packet, item, common);
}

TURNPIKE_INLINE bool FastLane::is_client(const Item& item, std::uint32_t slot) const {
  const AllocationEntry& allocation = allocations_[slot];
  return is(allocation.client.address, item.source, item.family) &&
         allocation.client.port == item.source_port && allocation.listener == item.listener;
}

TURNPIKE_INLINE void FastLane::find_allocation(Item& item) const {
  if (item.is_from_peer()) {
    item.allocation = item.relay_port->load(std::memory_order_acquire) - 1;  // 0 becomes kNoSlot
  } else {
    item.allocation = item.clients->candidate(item.hash);
    if (item.allocation == kNoSlot && item.clients->overflows(item.hash)) {
      item.allocation =
          item.clients->find(item.hash, [&](std::uint32_t slot) { return is_client(item, slot); });
    }
  }
  if (item.allocation == kNoSlot) return;
  const AllocationEntry& allocation = allocations_[item.allocation];
  __builtin_prefetch(&allocation);
  if (item.kind == Kind::kSend) __builtin_prefetch(&allocation.relayed);
}

TURNPIKE_INLINE bool FastLane::find_entry(Item& item) const {
  if (item.allocation == kNoSlot) return false;
  const AllocationEntry& allocation = allocations_[item.allocation];
  if (!item.is_from_peer() && !is_client(item, item.allocation)) return false;
  item.by_channel = true;
  if (item.kind == Kind::kChannelData) {
    item.entry = allocation.first_channels.find(item.channel, TableParts::kNumberMask);
  } else {
    item.entry = kNoSlot;
    if (item.is_from_peer()) {
      // Before the first ones: of these one may have just become one.
      const std::uint32_t further = allocation.further_channels.load(std::memory_order_acquire);
      item.entry = allocation.first_channels.find(TableParts::peer_tag(item.peer, item.peer_port),
                                                  TableParts::kPeerTagMask);
      // A channel that is not among the first would go before the permission.
      if (item.entry == kNoSlot && further != 0) return false;
    }
    if (item.entry == kNoSlot) {
      item.by_channel = false;
      item.entry = allocation.first_permissions.find(TableParts::permission_tag(item.peer));
    }
  }
  if (item.entry == kNoSlot) return false;
  __builtin_prefetch(item.by_channel ? static_cast<const void*>(&channels_[item.entry])
                                     : &permissions_[item.entry]);
  return true;
}

// What is told of a path may be over, but that, as what is too long, is for the general stages.
template <Family kFrom, Family kTo>
TURNPIKE_INLINE bool FastLane::path_takes(std::uint32_t hop, std::size_t path_mtu, bool may_be_cut,
                                          std::size_t udp_size) const {
  if (hop == kNoHop) return false;
  std::size_t mtu = std::min<std::size_t>(next_hops_[hop].mtu, path_mtu);
  if (kFrom == Family::kIpv4 && kTo == Family::kIpv6 && may_be_cut)
    mtu = std::min<std::size_t>(mtu, policy_->translated_mtu);
  return Ip<kTo>::kSize + udp_size <= mtu;
}

// False: it is dropped; or left to the general stages, which look into it.
TURNPIKE_INLINE bool FastLane::police_takes(const Item& item, const std::uint8_t* body,
                                            bool to_client, Family peer) {
  return !police_.watches() || watching_police_takes(item, body, to_client, peer);
}

// Out of the way of those who have nothing to watch.
[[gnu::noinline]] bool FastLane::watching_police_takes(const Item& item, const std::uint8_t* body,
                                                       bool to_client, Family peer) {
  const ChannelEntry& channel = channels_[item.by_channel ? item.entry : 0];
  const PermissionEntry& permission = permissions_[item.by_channel ? 0 : item.entry];
  const Passing passing{AllocationSlot{item.allocation},
                        item.by_channel ? channel.generation : permission.generation,
                        to_client,
                        peer,
                        item.by_channel ? &channel.payload_verdict : &permission.payload_verdict,
                        {body, item.body_size}};
  if (police_.is_open(passing)) return false;
  const Drop refused = police_.judge(now_, passing);
  if (refused != Drop::kNone) drop(*item.packet, refused);
  return refused == Drop::kNone;
}

// Of the attributes behind a Send's body, which begin at a multiple of four, after zeros.
TURNPIKE_INLINE std::uint64_t FastLane::minus_behind(const std::uint8_t* body, const Item& item) {
  const std::uint8_t* behind = body + ((item.body_size + std::size_t{3}) & ~std::size_t{3});
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < item.behind; i += 4)
    sum += minus32(load32(behind + i));
  return sum;
}

template <Family kFrom, Family kTo>
TURNPIKE_INLINE bool FastLane::to_peer(const Item& item, RelayPort relayed, const Address& peer,
                                       std::uint16_t peer_port, std::uint32_t hop,
                                       const PathMtu& path, std::size_t framing) {
  constexpr std::size_t kHeaders = kPayloadAt<kTo>;
  Packet& packet = *item.packet;
  std::uint8_t* body = packet.data + kPayloadAt<kFrom> + framing;
  const std::size_t udp_size = udp::kSize + item.body_size;
  // Of the two lengths that there mostly are, the sum is unrolled.
  Carried carried =
      framing == indication_framing(kTo)
          ? take_off<kFrom>(packet.data + kIp, packet.data + kUdpAt<kFrom>, indication_framing(kTo))
          : take_off<kFrom>(packet.data + kIp, packet.data + kUdpAt<kFrom>, framing);
  const bool may_be_cut = may_fragment<kFrom>(carried, packet.data + kIp);
  if (!path_takes<kFrom, kTo>(hop, path.told(), may_be_cut, udp_size)) return false;
  if constexpr (kHeaders > kPayloadAt<kFrom>) {
    // Without a checksum the body must be read; and headers grow.
    if (!carried.has_checksum ||
        kHeaders > std::size_t{packet.headroom} + kPayloadAt<kFrom> + framing)
      return false;
  }
  if (!police_takes(item, body, false, kTo)) return false;
  if (framing != stun::kChannelDataHeaderSize) carried.sum += minus_behind(body, item);
  carried.ttl = ttl_left(carried.ttl);
  if constexpr (kTo == Family::kIpv4) carried.id = ip_ids_.take();
  if constexpr (kFrom == Family::kIpv6)
    carried.dont_fragment = Ip<kTo>::kSize + udp_size > kLongestWithoutDf;
  std::uint8_t* frame = body - kHeaders;
  put_on<kTo>(frame, carried, tables_.relayed[relayed.relayed].address.internal, relayed.port, peer,
              peer_port, udp_size);
  finish_packet<kTo>(packet, frame, udp_size, hop, may_be_cut);
  Sum& sum = to_peers_[family_index(kFrom)][family_index(kTo)];
  ++sum.packets;
  sum.bytes += item.body_size;
  return true;
}

// With kHairpin the packet comes from a client, whose framing is taken off, and has been relayed
// twice when it leaves.
template <Family kFrom, Family kTo, Family kPeer, bool kHairpin>
TURNPIKE_INLINE bool FastLane::to_client(const Item& item, ChannelNumber channel,
                                         std::uint32_t hop) {
  const AllocationEntry& allocation = allocations_[item.allocation];
  const bool indication = channel == 0;
  const std::size_t framing = indication ? indication_framing(kPeer) : stun::kChannelDataHeaderSize;
  const std::size_t padding = indication ? (4 - item.body_size % 4) % 4 : 0;
  const std::size_t udp_size = udp::kSize + framing + item.body_size + padding;
  Packet& packet = *item.packet;
  const std::size_t body_at = kPayloadAt<kFrom> + (kHairpin ? item.framing : 0);
  std::uint8_t* body = packet.data + body_at;
  const std::size_t behind = packet.length - body_at - item.body_size + packet.tailroom;
  const std::size_t path_mtu =
      AllocationEntry::kFitsUnit * std::size_t{allocation.fits.load(std::memory_order_relaxed)};
  Carried carried =
      take_off<kFrom>(packet.data + kIp, packet.data + kUdpAt<kFrom>, body_at - kPayloadAt<kFrom>);
  const bool may_be_cut = may_fragment<kFrom>(carried, packet.data + kIp);
  if (!path_takes<kFrom, kTo>(hop, path_mtu, may_be_cut, udp_size) ||
      kPayloadAt<kTo> + framing > packet.headroom + body_at || behind < padding ||
      (kHairpin && carried.ttl <= 2 && ttl_mask_ != 0) ||
      (kFrom == Family::kIpv4 && kTo == Family::kIpv6 && !carried.has_checksum) ||
      !police_takes(item, body, true, kPeer))
    return false;

  if constexpr (kHairpin) {
    carried.sum += minus_behind(body, item);
    carried.ttl = ttl_left(carried.ttl);
  }
  carried.ttl = ttl_left(carried.ttl);
  if constexpr (kTo == Family::kIpv4) carried.id = ip_ids_.take();
  if constexpr (kFrom == Family::kIpv6)
    carried.dont_fragment = Ip<kTo>::kSize + udp_size > kLongestWithoutDf;
  std::uint8_t* at = body - framing;
  if (indication) {
    carried.sum += write_data_framing<kPeer>(at, ids_, item.peer, item.peer_port, item.body_size);
    write_zeros(body + item.body_size, padding);
  } else {
    const std::uint32_t header = from_be32(std::uint32_t{channel} << 16 | item.body_size);
    store32(at, header);
    carried.sum += header;
  }
  std::uint8_t* frame = at - kPayloadAt<kTo>;
  const Endpoint& server = setup_.listeners[allocation.listener].endpoint;
  put_on<kTo>(frame, carried, server.address, server.port, allocation.client.address,
              allocation.client.port, udp_size);
  finish_packet<kTo>(packet, frame, udp_size, hop, may_be_cut);
  Sums& sums = kHairpin ? hairpins_ : to_clients_;
  Sum& sum = sums[family_index(kFrom)][family_index(kTo)];
  ++sum.packets;
  sum.bytes += item.body_size;
  return true;
}

// Whether the peer may send; and by which channel.
TURNPIKE_INLINE bool FastLane::may_come(std::uint32_t seconds, const Item& item,
                                        ChannelNumber& number) const {
  const AllocationEntry& allocation = allocations_[item.allocation];
  const ChannelEntry* channel = nullptr;
  const PermissionEntry* permission = nullptr;
  if (item.by_channel) {
    channel = &channels_[item.entry];
    if (!is(channel->peer.address, item.peer, item.peer_family) ||
        channel->peer.port != item.peer_port)
      return false;
  } else {
    permission = &permissions_[item.entry];
    if (!is(permission->peer, item.peer, item.peer_family)) return false;
  }
  number = item.by_channel ? channel->number : ChannelNumber{0};
  return peer_may_send(allocation, item.peer_family, channel, permission, seconds) == Drop::kNone;
}

TURNPIKE_INLINE bool FastLane::finish_from_peer(std::uint32_t seconds, const Item& item) {
  ChannelNumber number = 0;
  const std::uint32_t hop = client_hop(item);
  if (hop == kNoHop || !may_come(seconds, item, number)) return false;
  const Family client = allocations_[item.allocation].client.address.family;
  return with_families(
      item.family, client, [&](auto from, auto to) __attribute__((always_inline)) {
        return to_client<decltype(from)::value, decltype(to)::value, decltype(from)::value, false>(
            item, number, hop);
      });
}

// The peer is a relayed address of this node (docs/protocol.md 29): the packet comes to its client
// as if from our own public address. Too rare to be worth stages of its own, or two of the police's
// judgements at once.
[[gnu::noinline]] bool FastLane::turn_back(std::uint32_t seconds, Item item, RelayPort own,
                                           const Address& peer, std::uint16_t peer_port) {
  const std::uint32_t* target = tables_.by_address.find(peer);
  if (target == nullptr || police_.watches()) return false;
  const Address& source = tables_.relayed[own.relayed].address.public_address();
  item.kind = Kind::kHairpin;
  item.relay_port = tables_.relay_port(*target, peer_port);
  item.peer = words_of(source);
  item.peer_family = source.family;
  item.peer_port = own.port;
  find_allocation(item);
  ChannelNumber number = 0;
  if (!find_entry(item) || !may_come(seconds, item, number)) return false;
  const std::uint32_t hop = client_hop(item);
  if (hop == kNoHop) return false;
  const Family client = allocations_[item.allocation].client.address.family;
  return with_families(item.family, client, [&](auto from, auto to) {
    constexpr Family kFrom = decltype(from)::value;
    constexpr Family kTo = decltype(to)::value;
    return source.family == Family::kIpv4
               ? to_client<kFrom, kTo, Family::kIpv4, true>(item, number, hop)
               : to_client<kFrom, kTo, Family::kIpv6, true>(item, number, hop);
  });
}

TURNPIKE_INLINE bool FastLane::finish_from_client(std::uint32_t seconds, const Item& item) {
  const AllocationEntry& allocation = allocations_[item.allocation];
  if (item.by_channel) {
    const ChannelEntry& channel = channels_[item.entry];
    if (client_may_send(allocation, &channel, seconds) != Drop::kNone) return false;
    if (channel.to_ourselves) [[unlikely]]
      return turn_back(seconds, item, channel.relayed, channel.peer.address, channel.peer.port);
    const std::uint32_t hop = channel.peer_next_hop.load(std::memory_order_acquire);
    return with_families(
        item.family,
        channel.peer.address.family, [&](auto from, auto to) __attribute__((always_inline)) {
          return to_peer<decltype(from)::value, decltype(to)::value>(
              item, channel.relayed, channel.peer.address, channel.peer.port, hop, channel.path_mtu,
              stun::kChannelDataHeaderSize);
        });
  }
  const PermissionEntry& permission = permissions_[item.entry];
  if (!is(permission.peer, item.peer, item.peer_family) ||
      client_may_send(allocation, item.peer_family, &permission, seconds) != Drop::kNone) {
    return false;
  }
  const RelayPort relayed = allocation.relayed[family_index(item.peer_family)];
  if (permission.to_ourselves) [[unlikely]]
    return turn_back(seconds, item, relayed, permission.peer, item.peer_port);
  const std::uint32_t hop = permission.peer_next_hop.load(std::memory_order_acquire);
  return with_families(
      item.family, item.peer_family, [&](auto from, auto to) __attribute__((always_inline)) {
        return to_peer<decltype(from)::value, decltype(to)::value>(
            item, relayed, permission.peer, item.peer_port, hop, permission.path_mtu, item.framing);
      });
}

TURNPIKE_INLINE bool FastLane::finish(std::uint32_t seconds, const Item& item) {
  return item.kind == Kind::kPeer ? finish_from_peer(seconds, item)
                                  : finish_from_client(seconds, item);
}

void FastLane::count() {
  const auto add = [](Traffic& traffic, const Sum& sum) {
    traffic.packets.add(sum.packets);
    traffic.bytes.add(sum.bytes);
  };
  for (std::size_t from = 0; from < 2; ++from) {
    for (std::size_t to = 0; to < 2; ++to) {
      if (const Sum& sum = to_peers_[from][to]; sum.packets != 0) {
        add(counters_.client_in[from], sum);
        add(counters_.peer_out[to], sum);
      }
      if (const Sum& sum = to_clients_[from][to]; sum.packets != 0) {
        add(counters_.peer_in[from], sum);
        add(counters_.client_out[to], sum);
      }
      if (const Sum& sum = hairpins_[from][to]; sum.packets != 0) [[unlikely]] {
        add(counters_.client_in[from], sum);
        add(counters_.client_out[to], sum);
        counters_.hairpin.add(sum.packets);
      }
    }
  }
  if (bindings_ != 0) counters_.binding_success.add(bindings_);
}

std::size_t FastLane::process(const WorkerPolicy& policy, Instant now, std::span<Packet> burst) {
  const std::uint32_t seconds = now_s(now);
  assert(burst.size() <= kMaxBurst);
  std::array<Item, kMaxBurst> items;
  std::size_t n = 0;
  to_peers_ = to_clients_ = hairpins_ = {};
  bindings_ = 0;
  if (burst.empty()) return 0;
  policy_ = &policy;
  now_ = now;
  ttl_mask_ = policy.resets_ttl ? 0U : 0xFFU;
  ttl_term_ = policy.resets_ttl ? 64U : ~0U;
  const std::uint16_t port = burst.front().port;
  Common common{port, arrivals_[port].mac.load(std::memory_order_relaxed),
                arrivals_[port].mask.load(std::memory_order_relaxed), &setup_.ports[port]};
  for (Packet& packet : burst)
    n += open(packet, items[n], common) ? 1 : 0;
  for (std::size_t i = 0; i < n; ++i)
    find_allocation(items[i]);
  std::size_t found = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!find_entry(items[i])) continue;
    if (found != i) items[found] = items[i];
    ++found;
  }
  if (police_.has_limits()) {
    for (std::size_t i = 0; i < found; ++i)
      police_.prefetch(items[i].allocation);
  }
  std::size_t done = bindings_;
  for (std::size_t i = 0; i < found; ++i)
    done += finish(seconds, items[i]) ? 1 : 0;
  count();
  return done;
}

}  // namespace turnpike::flow

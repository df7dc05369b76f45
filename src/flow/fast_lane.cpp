// Sums are kept here as the machine loads words, not in network order: ones' complement addition
// doesn't mind, as long as what is stored was computed from what was loaded (RFC 1071 §2.B).
#include "flow/fast_lane.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>

#include "flow/admission.h"
#include "flow/frame.h"
#include "tables/arrivals.h"
#include "tables/tables_impl.h"
#include "turnpike/stun.h"
#include "wire/checksum.h"
#include "wire/headers.h"

// Each stage is one loop of process(); what it calls is part of it.
#define TURNPIKE_INLINE [[gnu::always_inline]] inline

namespace turnpike::flow {
namespace {

using namespace wire;

constexpr std::size_t kMaxBurst = 64;
constexpr std::size_t kIp = ethernet::kSize;
constexpr std::size_t kUdp = kIp + ipv4::kMinSize;
constexpr std::size_t kPayload = kUdp + udp::kSize;
// A Send or Data indication with an IPv4 XOR-PEER-ADDRESS and then DATA, up to the data.
constexpr std::size_t kIndicationFraming = stun::kHeaderSize + 12 + 4;
constexpr std::uint32_t kMagicCookie = 0x2112A442;
constexpr std::uint32_t kBareBinding = 0x00010000;          // type and length
constexpr std::size_t kMappedPort = stun::kHeaderSize + 6;  // within XOR-MAPPED-ADDRESS
constexpr std::size_t kMappedAddress = kMappedPort + 2;
constexpr std::uint16_t kSendIndication = 0x0016;
constexpr std::uint16_t kDataIndication = 0x0017;
// Type and length of an XOR-PEER-ADDRESS of IPv4.
constexpr std::uint32_t kPeerAttribute =
    static_cast<std::uint32_t>(stun::Attribute::kXorPeerAddress) << 16 | 8;

std::uint16_t load16(const std::uint8_t* at) {
  std::uint16_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
std::uint32_t load32(const std::uint8_t* at) {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
void store16(std::uint8_t* at, std::uint16_t value) {
  std::memcpy(at, &value, sizeof value);
}
void store32(std::uint8_t* at, std::uint32_t value) {
  std::memcpy(at, &value, sizeof value);
}

std::uint32_t v4_of(const Address& address) {
  return load32(address.bytes.data());
}

// The first of the two words that an address makes for hashing (TableParts::words_of); the other is
// zero.
std::uint64_t word_of(std::uint32_t v4) {
  if constexpr (std::endian::native == std::endian::big) return std::uint64_t{v4} << 32;
  return v4;
}

std::uint32_t minus(std::uint32_t words) {
  return ~words;
}
std::uint16_t minus(std::uint16_t word) {
  return static_cast<std::uint16_t>(~word);
}

// What a rewritten header keeps of the old one.
struct Kept {
  std::uint64_t sum;  // of the body, as the old UDP checksum tells it
  std::uint16_t flags;
  std::uint8_t tos;
  std::uint8_t ttl;
  bool has_checksum;
};

// Takes the headers and `framing` bytes behind them off the UDP checksum.
TURNPIKE_INLINE Kept take_off(const std::uint8_t* frame, std::size_t framing) {
  const std::uint16_t checksum = load16(frame + kUdp + udp::kChecksum);
  // The length stands in the pseudo header as well.
  std::uint64_t sum = std::uint64_t{minus(checksum)} + minus(load32(frame + kIp + ipv4::kSource)) +
                      minus(load32(frame + kIp + ipv4::kDestination)) +
                      minus(load32(frame + kUdp)) +
                      2U * std::uint32_t{minus(load16(frame + kUdp + udp::kLength))};
  for (std::size_t i = 0; i < framing; i += 4)
    sum += minus(load32(frame + kPayload + i));
  return {sum, load16(frame + kIp + ipv4::kFlagsFragment), frame[kIp + ipv4::kTos],
          frame[kIp + ipv4::kTtl], checksum != 0};
}

// Ethernet's type and the IPv4 and UDP headers of `frame`.
TURNPIKE_INLINE void put_on(std::uint8_t* frame, const Kept& kept, std::uint16_t id,
                            const Endpoint& source, const Endpoint& destination,
                            std::size_t udp_size) {
  const std::uint32_t from = v4_of(source.address);
  const std::uint32_t to = v4_of(destination.address);
  const auto total = static_cast<std::uint32_t>(ipv4::kMinSize + udp_size);
  const std::uint32_t first = from_be32(0x45000000U | std::uint32_t{kept.tos} << 16 | total);
  const auto flags = static_cast<std::uint16_t>(kept.flags & from_be16(ipv4::kDontFragment));
  const std::uint32_t second = from_be32(std::uint32_t{id} << 16 | std::uint32_t{from_be16(flags)});
  const std::uint16_t third =
      from_be16(static_cast<std::uint16_t>(kept.ttl << 8 | ip_protocol::kUdp));
  store16(frame + ethernet::kType, from_be16(ether_type::kIpv4));
  std::uint8_t* ip = frame + kIp;
  store32(ip, first);
  store32(ip + ipv4::kId, second);
  store16(ip + ipv4::kTtl, third);
  store16(ip + ipv4::kChecksum,
          minus(fold64(std::uint64_t{first} + second + third + std::uint64_t{from} + to)));
  store32(ip + ipv4::kSource, from);
  store32(ip + ipv4::kDestination, to);

  std::uint8_t* header = frame + kUdp;
  const std::uint32_t ports = from_be32(std::uint32_t{source.port} << 16 | destination.port);
  const std::uint16_t length = from_be16(static_cast<std::uint16_t>(udp_size));
  const std::uint64_t sum =
      kept.sum + std::uint64_t{from} + to + ports + 2U * std::uint32_t{length};
  const std::uint16_t checksum = udp_on_wire(minus(fold64(sum)));
  store32(header, ports);
  store16(header + udp::kLength, length);
  store16(header + udp::kChecksum, kept.has_checksum ? checksum : std::uint16_t{0});
}

// The packet's frame is now at `frame`, with `udp_size` bytes of UDP.
TURNPIKE_INLINE void finish_packet(Packet& packet, std::uint8_t* frame, std::size_t udp_size,
                                   std::uint32_t hop, bool may_fragment) {
  const std::size_t length = kUdp + udp_size;
  const auto moved = static_cast<int>(frame - packet.data);
  packet.tailroom = static_cast<std::uint16_t>(packet.tailroom + static_cast<int>(packet.length) -
                                               moved - static_cast<int>(length));
  packet.headroom = static_cast<std::uint16_t>(packet.headroom + moved);
  packet.data = frame;
  packet.length = static_cast<std::uint32_t>(length);
  packet.l3 = kIp;
  packet.l4 = kUdp;
  packet.next_hop = NextHopIndex{hop};
  packet.may_fragment = may_fragment;
  packet.verdict = Verdict::kTransmit;
}

// All of a Data indication but the data and its padding.
void write_data_framing(std::uint8_t* at, TransactionIds& ids, std::uint32_t peer,
                        std::uint16_t peer_port, std::uint16_t body_size) {
  const std::uint32_t padded = (std::uint32_t{body_size} + 3) & ~std::uint32_t{3};
  store_be32(at, std::uint32_t{kDataIndication} << 16 | (12 + 4 + padded));
  store_be32(at + 4, kMagicCookie);
  ids.next(at + 8);
  std::uint8_t* attribute = at + stun::kHeaderSize;
  store_be32(attribute, kPeerAttribute);
  store_be32(attribute + 4, std::uint32_t{1} << 16 | (peer_port ^ kMagicCookie >> 16));
  store32(attribute + 8, peer ^ from_be32(kMagicCookie));
  store_be32(attribute + 12, static_cast<std::uint32_t>(stun::Attribute::kData) << 16 | body_size);
}

bool may_fragment(const Kept& kept) {
  return (kept.flags & from_be16(ipv4::kDontFragment)) == 0;
}

}  // namespace

FastLane::FastLane(const Setup& setup, const Tables& tables, NextHopResolver& next_hops,
                   const Arrivals* arrivals, const FrontDoor& door, WorkerCounters& counters,
                   IpIds& ip_ids, TransactionIds& ids, Police& police)
    : setup_(setup),
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
      ttl_mask_(setup.resets_ttl ? 0 : 0xFF),
      ttl_term_(setup.resets_ttl ? 64 : 0xFF),
      broadcasts_(*setup.broadcasts) {
  for (std::size_t i = 0; i < setup.listeners.size(); ++i) {
    const Endpoint& endpoint = setup.listeners[i].endpoint;
    if (endpoint.address.family == Family::kIpv4)
      listeners_.push_back({v4_of(endpoint.address), endpoint.port, static_cast<std::uint16_t>(i)});
  }
  std::vector<Address> ours;
  for (const Listener& listener : setup.listeners)
    ours.push_back(listener.endpoint.address);
  for (const RelayedAddress& relayed : setup.relayed)
    ours.push_back(relayed.internal);
  for (const Address& address : ours) {
    if (address.family == Family::kIpv4) ours_.push_back(v4_of(address));
  }
  make_binding_answer(door);
}

// The door's own answer is the pattern: all zeros where transaction and client come.
void FastLane::make_binding_answer(const FrontDoor& door) {
  const std::array<std::uint8_t, stun::kHeaderSize> request = {0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42};
  stun::MessageView message;
  (void)stun::MessageView::parse(request, message);
  std::array<std::uint8_t, kAnswerMax> answer{};
  const Endpoint nobody{Address::v4(0, 0, 0, 0), 0};
  const DoorResult result = door.answer(Instant{}, message, nobody, nobody, false, answer);
  if (result.answer != DoorAnswer::kBindingSuccess) return;
  binding_answer_.assign(answer.begin(), answer.begin() + static_cast<std::ptrdiff_t>(result.size));
  store16(binding_answer_.data() + kMappedPort, 0);
  store32(binding_answer_.data() + kMappedAddress, 0);
  for (std::size_t i = 0; i < binding_answer_.size(); i += 4)
    binding_answer_sum_ += load32(binding_answer_.data() + i);
}

// As Pipeline::is_answerable() has it.
TURNPIKE_INLINE bool FastLane::is_answerable(std::uint32_t source) const {
  const std::uint32_t first = from_be32(source) >> 24;
  return first != 0 && first != 127 && first < 224 &&
         std::find(ours_.begin(), ours_.end(), source) == ours_.end() && !broadcasts_.has(source);
}

// A right Binding request without attributes, in its own frame.
TURNPIKE_INLINE bool FastLane::answer_binding(Packet& packet, std::size_t udp_size) {
  std::uint8_t* frame = packet.data;
  std::uint8_t* ip = frame + kIp;
  std::uint8_t* header = frame + kUdp;
  std::uint8_t* message = frame + kPayload;
  if (udp_size != udp::kSize + stun::kHeaderSize || binding_answer_.empty() ||
      load32(message) != from_be32(kBareBinding) ||
      load32(message + 4) != from_be32(kMagicCookie) || !is_answerable(load32(ip + ipv4::kSource)))
    return false;
  const std::uint32_t ports = load32(header);
  const std::uint64_t transaction =
      std::uint64_t{load32(message + 8)} + load32(message + 12) + load32(message + 16);
  const std::uint64_t addresses =
      std::uint64_t{load32(ip + ipv4::kSource)} + load32(ip + ipv4::kDestination);
  const std::uint64_t kept = addresses + ports + transaction + from_be16(ip_protocol::kUdp);
  const std::uint16_t length = load16(header + udp::kLength);
  const std::uint16_t checksum = load16(header + udp::kChecksum);
  const std::uint64_t sum = kept + 2U * std::uint32_t{length} + checksum + from_be32(kBareBinding) +
                            from_be32(kMagicCookie);
  if (packet.checksum != Checksum::kGood && checksum != 0 && fold64(sum) != 0xFFFF) return false;
  const std::size_t size = binding_answer_.size();
  const std::size_t used = kPayload + size;
  const std::size_t room = packet.length + std::size_t{packet.tailroom};
  if (used > room) return false;

  std::array<std::uint8_t, ethernet::kAddressSize> mac;
  std::memcpy(mac.data(), frame + ethernet::kDestination, mac.size());
  std::memcpy(frame + ethernet::kDestination, frame + ethernet::kSource, mac.size());
  std::memcpy(frame + ethernet::kSource, mac.data(), mac.size());

  const std::uint32_t client = load32(ip + ipv4::kSource);
  const auto total = static_cast<std::uint32_t>(used - kIp);
  store32(ip, from_be32(0x45000000U | total));
  store16(ip + ipv4::kFlagsFragment, 0);
  store16(ip + ipv4::kTtl, from_be16(64 << 8 | ip_protocol::kUdp));
  store16(ip + ipv4::kChecksum,
          minus(fold64(addresses + load32(ip) + load32(ip + ipv4::kId) + load16(ip + ipv4::kTtl))));
  store32(ip + ipv4::kSource, load32(ip + ipv4::kDestination));
  store32(ip + ipv4::kDestination, client);

  std::array<std::uint8_t, 12> id;
  std::memcpy(id.data(), message + 8, id.size());
  std::memcpy(message, binding_answer_.data(), size);
  std::memcpy(message + 8, id.data(), id.size());
  const auto mapped_port =
      static_cast<std::uint16_t>(load16(header + udp::kSourcePort) ^ from_be16(kMagicCookie >> 16));
  const std::uint32_t mapped_address = client ^ from_be32(kMagicCookie);
  store16(message + kMappedPort, mapped_port);
  store32(message + kMappedAddress, mapped_address);

  const std::uint16_t new_length = from_be16(static_cast<std::uint16_t>(udp::kSize + size));
  store32(header, ports >> 16 | ports << 16);
  store16(header + udp::kLength, new_length);
  store16(header + udp::kChecksum,
          udp_on_wire(minus(fold64(kept + 2U * std::uint32_t{new_length} + binding_answer_sum_ +
                                   mapped_port + mapped_address))));
  packet.tailroom = static_cast<std::uint16_t>(room - used);
  packet.length = static_cast<std::uint32_t>(used);
  packet.verdict = Verdict::kTransmitBack;
  ++bindings_;
  return true;
}

// A Send indication of exactly XOR-PEER-ADDRESS, of IPv4, and DATA.
TURNPIKE_INLINE bool FastLane::open_send(const std::uint8_t* message, std::size_t size,
                                         Item& item) const {
  if (size < kIndicationFraming) return false;
  const std::uint8_t* peer = message + stun::kHeaderSize;
  const std::uint8_t* data = peer + 12;
  const std::size_t body_size = load_be16(data + 2);
  const std::size_t padding = (4 - body_size % 4) % 4;
  if (load_be16(message) != kSendIndication || load_be32(message + 4) != kMagicCookie ||
      load_be16(message + 2) + stun::kHeaderSize != size || load_be32(peer) != kPeerAttribute ||
      peer[5] != static_cast<std::uint8_t>(Family::kIpv4) ||
      load_be16(data) != static_cast<std::uint16_t>(stun::Attribute::kData) ||
      kIndicationFraming + body_size + padding != size) {
    return false;
  }
  // Zeros leave the checksum as it is.
  for (std::size_t i = 0; i < padding; ++i) {
    if (data[4 + body_size + i] != 0) return false;
  }
  item.kind = Kind::kSend;
  item.peer = load32(peer + 8) ^ from_be32(kMagicCookie);
  item.peer_port = static_cast<std::uint16_t>(load_be16(peer + 6) ^ (kMagicCookie >> 16));
  item.framing = kIndicationFraming;
  item.body_size = static_cast<std::uint16_t>(body_size);
  return item.peer_port != 0;
}

TURNPIKE_INLINE bool FastLane::open_from_client(const std::uint8_t* payload, std::size_t size,
                                                Item& item) const {
  if (size < stun::kChannelDataHeaderSize) return false;
  if (payload[0] < 0x40) return open_send(payload, size, item);
  const std::size_t length = load_be16(payload + 2);
  if (payload[0] > setup_.channel_max >> 8 || length + stun::kChannelDataHeaderSize != size)
    return false;
  item.kind = Kind::kChannelData;
  item.channel = load_be16(payload);
  item.framing = stun::kChannelDataHeaderSize;
  item.body_size = static_cast<std::uint16_t>(length);
  return true;
}

// Whether it looks like one of the three kinds; what the general stages check of such a packet is
// checked here. Asks for the first cache line of its look-up. A bare Binding is answered at once.
TURNPIKE_INLINE bool FastLane::open(Packet& packet, Item& item) {
  const std::uint8_t* frame = packet.data;
  if (packet.length < kPayload) return false;
  const std::uint8_t* ip = frame + kIp;
  const std::size_t total = load_be16(ip + ipv4::kTotalLength);
  const std::size_t udp_size = load_be16(frame + kUdp + udp::kLength);
  // Type of Ethernet, version and header length; flags, offset and protocol; another's MAC.
  const std::uint64_t unusual =
      ((load32(frame + ethernet::kType) ^ from_be32(0x08004500)) & from_be32(0xFFFFFF00)) |
      ((load32(ip + ipv4::kFlagsFragment) ^ from_be32(ip_protocol::kUdp)) & from_be32(0x3FFF00FF)) |
      (read_mac(frame + ethernet::kDestination) ^
       arrivals_[packet.port].mac.load(std::memory_order_relaxed));
  if (unusual != 0 || total > packet.length - kIp || udp_size + ipv4::kMinSize != total ||
      udp_size < udp::kSize || ip[ipv4::kTtl] <= 1 || packet.reassembled) {
    return false;
  }
  const std::uint64_t sum = std::uint64_t{load32(ip)} + load32(ip + 4) + load32(ip + 8) +
                            load32(ip + 12) + load32(ip + 16);
  if (fold64(sum) != 0xFFFF) return false;
  const PortInfo& port = setup_.ports[packet.port];
  if (port.sees_own_frames &&
      std::memcmp(frame + ethernet::kSource, port.mac.data(), port.mac.size()) == 0) {
    return false;
  }
  item.source = load32(ip + ipv4::kSource);
  const std::uint32_t destination = load32(ip + ipv4::kDestination);
  if (packet.checksum == Checksum::kMaybePartial) {
    const std::uint64_t pseudo = std::uint64_t{item.source} + destination +
                                 from_be16(ip_protocol::kUdp) + load16(frame + kUdp + udp::kLength);
    if (fold64(pseudo) == load16(frame + kUdp + udp::kChecksum)) return false;
  }
  item.source_port = load_be16(frame + kUdp + udp::kSourcePort);
  const std::uint16_t destination_port = load_be16(frame + kUdp + udp::kDestinationPort);
  if (item.source_port == 0) return false;
  item.packet = &packet;
  for (const ListenerV4& listener : listeners_) {
    if (listener.address != destination || listener.port != destination_port) continue;
    item.listener = listener.index;
    if (answer_binding(packet, udp_size)) return false;
    if (!open_from_client(frame + kPayload, udp_size - udp::kSize, item)) return false;
    item.hash = tables_.client_hash_v4(item.listener, word_of(item.source), item.source_port);
    item.clients = &tables_.shards[tables_.home_shard(item.hash)]->clients;
    item.clients->prefetch(item.hash);
    return true;
  }
  item.relay_port = tables_.relay_port_v4(destination, destination_port);
  if (item.relay_port == nullptr) return false;
  __builtin_prefetch(item.relay_port);
  item.kind = Kind::kPeer;
  item.peer = item.source;
  item.peer_port = item.source_port;
  item.framing = 0;
  item.body_size = static_cast<std::uint16_t>(udp_size - udp::kSize);
  return true;
}

TURNPIKE_INLINE bool FastLane::is_client(const Item& item, std::uint32_t slot) const {
  const AllocationEntry& allocation = allocations_[slot];
  return v4_of(allocation.client.address) == item.source &&
         allocation.client.address.family == Family::kIpv4 &&
         allocation.client.port == item.source_port && allocation.listener == item.listener;
}

TURNPIKE_INLINE void FastLane::find_allocation(Item& item) const {
  if (item.kind == Kind::kPeer) {
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
  if (item.kind != Kind::kPeer && !is_client(item, item.allocation)) return false;
  if (allocation.client.address.family != Family::kIpv4) return false;
  item.by_channel = true;
  if (item.kind == Kind::kChannelData) {
    item.entry = allocation.first_channels.find(item.channel, TableParts::kNumberMask);
  } else {
    const std::uint64_t peer = word_of(item.peer);
    item.entry = kNoSlot;
    if (item.kind == Kind::kPeer)
      item.entry = allocation.first_channels.find(TableParts::peer_tag(peer, 0, item.peer_port),
                                                  TableParts::kPeerTagMask);
    if (item.entry == kNoSlot) {
      // A channel that is not among the first would go before the permission.
      if (item.kind == Kind::kPeer &&
          allocation.further_channels.load(std::memory_order_acquire) != 0)
        return false;
      item.by_channel = false;
      item.entry = allocation.first_permissions.find(TableParts::permission_tag(peer, 0));
    }
  }
  if (item.entry == kNoSlot) return false;
  __builtin_prefetch(item.by_channel ? static_cast<const void*>(&channels_[item.entry])
                                     : &permissions_[item.entry]);
  return true;
}

// What is told of a path may be over, but that, as what is too long, is for the general stages.
// Hairpin, too, is left to them: a peer that is one of ours has no next hop.
TURNPIKE_INLINE bool FastLane::path_takes(std::uint32_t hop, std::size_t path_mtu,
                                          std::size_t udp_size) const {
  return hop != static_cast<std::uint32_t>(kNoNextHop) &&
         ipv4::kMinSize + udp_size <= std::min<std::size_t>(next_hops_[hop].mtu, path_mtu);
}

// False: it is dropped.
TURNPIKE_INLINE bool FastLane::police_takes(const Item& item, const std::uint8_t* body,
                                            bool to_client) {
  if (!police_.watches()) return true;
  const Drop refused =
      police_.judge({AllocationSlot{item.allocation}, to_client, {body, item.body_size}});
  if (refused != Drop::kNone) drop(*item.packet, refused);
  return refused == Drop::kNone;
}

TURNPIKE_INLINE bool FastLane::to_peer(const Item& item, const Endpoint& relayed,
                                       const Endpoint& peer, std::uint32_t hop,
                                       const PathMtu& path) {
  const std::size_t udp_size = udp::kSize + item.body_size;
  Packet& packet = *item.packet;
  if (!path_takes(hop, path.told(), udp_size) ||
      !police_takes(item, packet.data + kPayload + item.framing, false))
    return false;
  Kept kept = take_off(packet.data, item.framing);
  kept.ttl = ttl_left(kept.ttl);
  std::uint8_t* frame = packet.data + item.framing;
  put_on(frame, kept, ip_ids_.take(), relayed, peer, udp_size);
  finish_packet(packet, frame, udp_size, hop, may_fragment(kept));
  ++to_peers_.packets;
  to_peers_.bytes += item.body_size;
  return true;
}

TURNPIKE_INLINE bool FastLane::to_client(const Item& item, ChannelNumber channel) {
  const AllocationEntry& allocation = allocations_[item.allocation];
  const std::uint32_t hop = allocation.client_next_hop.load(std::memory_order_acquire);
  const bool indication = channel == 0;
  const std::size_t framing = indication ? kIndicationFraming : stun::kChannelDataHeaderSize;
  const std::size_t padding = indication ? (4 - item.body_size % 4) % 4 : 0;
  const std::size_t udp_size = udp::kSize + framing + item.body_size + padding;
  Packet& packet = *item.packet;
  std::uint8_t* body = packet.data + kPayload;
  const std::size_t behind = packet.length - kPayload - item.body_size + packet.tailroom;
  const std::size_t path_mtu =
      AllocationEntry::kFitsUnit * std::size_t{allocation.fits.load(std::memory_order_relaxed)};
  if (!path_takes(hop, path_mtu, udp_size) || packet.headroom < framing || behind < padding ||
      !police_takes(item, body, true))
    return false;

  Kept kept = take_off(packet.data, 0);
  kept.ttl = ttl_left(kept.ttl);
  std::uint8_t* at = body - framing;
  if (indication) {
    write_data_framing(at, ids_, item.peer, item.peer_port, item.body_size);
    std::memset(body + item.body_size, 0, padding);
  } else {
    store32(at, from_be32(std::uint32_t{channel} << 16 | item.body_size));
  }
  for (std::size_t i = 0; i < framing; i += 4)
    kept.sum += load32(at + i);
  std::uint8_t* frame = packet.data - framing;
  put_on(frame, kept, ip_ids_.take(), setup_.listeners[allocation.listener].endpoint,
         allocation.client, udp_size);
  finish_packet(packet, frame, udp_size, hop, may_fragment(kept));
  ++to_clients_.packets;
  to_clients_.bytes += item.body_size;
  return true;
}

TURNPIKE_INLINE bool FastLane::finish(std::uint32_t seconds, const Item& item) {
  const AllocationEntry& allocation = allocations_[item.allocation];
  if (item.by_channel) {
    const ChannelEntry& channel = channels_[item.entry];
    if (channel.peer.address.family != Family::kIpv4) return false;
    if (item.kind == Kind::kPeer) {
      return v4_of(channel.peer.address) == item.peer && channel.peer.port == item.peer_port &&
             peer_may_send(allocation, Family::kIpv4, &channel, nullptr, seconds) == Drop::kNone &&
             to_client(item, channel.number);
    }
    return client_may_send(allocation, &channel, seconds) == Drop::kNone &&
           to_peer(item, channel.relayed, channel.peer,
                   channel.peer_next_hop.load(std::memory_order_acquire), channel.path_mtu);
  }
  const PermissionEntry& permission = permissions_[item.entry];
  if (v4_of(permission.peer) != item.peer || permission.peer.family != Family::kIpv4) return false;
  if (item.kind == Kind::kPeer) {
    return peer_may_send(allocation, Family::kIpv4, nullptr, &permission, seconds) == Drop::kNone &&
           to_client(item, 0);
  }
  Endpoint peer{permission.peer, item.peer_port};
  return client_may_send(allocation, Family::kIpv4, &permission, seconds) == Drop::kNone &&
         to_peer(item, allocation.relayed[family_index(Family::kIpv4)], peer,
                 permission.peer_next_hop.load(std::memory_order_acquire), permission.path_mtu);
}

std::size_t FastLane::process(std::uint32_t seconds, std::span<Packet> burst) {
  assert(burst.size() <= kMaxBurst);
  std::array<Item, kMaxBurst> items;
  std::size_t n = 0;
  to_peers_ = to_clients_ = {};
  bindings_ = 0;
  for (Packet& packet : burst)
    n += open(packet, items[n]) ? 1 : 0;
  for (std::size_t i = 0; i < n; ++i)
    find_allocation(items[i]);
  std::size_t found = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!find_entry(items[i])) continue;
    if (found != i) items[found] = items[i];
    ++found;
  }
  for (std::size_t i = 0; i < found; ++i)
    finish(seconds, items[i]);
  const std::size_t v4 = family_index(Family::kIpv4);
  if (to_peers_.packets != 0) {
    for (Traffic* traffic : {&counters_.client_in[v4], &counters_.peer_out[v4]}) {
      traffic->packets.add(to_peers_.packets);
      traffic->bytes.add(to_peers_.bytes);
    }
  }
  if (to_clients_.packets != 0) {
    for (Traffic* traffic : {&counters_.peer_in[v4], &counters_.client_out[v4]}) {
      traffic->packets.add(to_clients_.packets);
      traffic->bytes.add(to_clients_.bytes);
    }
  }
  if (bindings_ != 0) counters_.binding_success.add(bindings_);
  return to_peers_.packets + to_clients_.packets + bindings_;
}

}  // namespace turnpike::flow

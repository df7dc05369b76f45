// The third stage: the frame that came becomes the frame that goes, in place. The body is never
// touched; headers grow into the headroom or shrink out of it (RFC 8656 §11, §12, §13, §14).
#include <algorithm>
#include <cstring>

#include "flow/fragment.h"
#include "flow/frame.h"
#include "flow/pipeline.h"
#include "wire/headers.h"

namespace turnpike::flow {
namespace {

using namespace wire;

constexpr std::size_t kMaxLength = 65535;  // of an IP packet; framing may reach beyond
constexpr std::uint8_t kTtl = 64;          // where it is reset
constexpr std::size_t kMostFraming = 48;

// RFC 8656 §14: DF is copied, or set by a Send with DONT-FRAGMENT; §13: from IPv6, as RFC 7915 §5.1
// does, clear for what any IPv6 link carries and for what came in fragments, set for more.
bool dont_fragment(const Packet& packet, const Carried& carried, Family from,
                   std::size_t ip_length) {
  if (from == Family::kIpv6) return ip_length > kLongestWithoutDf && !packet.reassembled;
  return packet.dont_fragment || carried.dont_fragment;
}

// What a sender may send so that it fits whatever framing it gets. RFC 8656 §13.2, §13.3: towards a
// client 48 less, the most that a Data indication adds; towards a peer the framing goes, and
// nothing is added.
std::uint32_t mtu_to_tell(Family from, Family to, std::size_t mtu, bool to_client) {
  const std::size_t told = mtu + ip_size(from) - ip_size(to);
  return static_cast<std::uint32_t>(to_client ? told - kMostFraming : told);
}

}  // namespace

void Pipeline::rewrite(Instant now, std::span<Packet> burst) {
  for (Packet& packet : burst) {
    if (packet.verdict != Verdict::kContinue) continue;
    switch (packet.lane) {
      case Lane::kChannelData:
      case Lane::kSend:
        rewrite_to_peer(now, packet);
        break;
      case Lane::kPeer:
        rewrite_to_client(now, packet);
        break;
      case Lane::kIcmp:
        rewrite_icmp(packet);
        break;
      case Lane::kRequest:
      case Lane::kTooBig:
      case Lane::kSession:
      case Lane::kNone:
        packet.verdict = Verdict::kKernel;
        break;
    }
  }
}

void Pipeline::rewrite_to_peer(Instant now, Packet& packet) {
  if (packet.next_hop == kNoNextHop) return drop(packet, Drop::kNoRoute);
  const Family from = packet.family;
  const Family to = packet.relayed.address.family;
  const std::size_t udp_size = udp::kSize + packet.body_size;
  if (!fits(now, packet, to, udp_size, false)) return;
  if (!room_for(packet, to, 0, 0)) return drop(packet, Drop::kNoHeadroom);
  Carried carried = take_off(packet, to);
  carried.ttl = ttl_left(carried.ttl, 1);
  if (to == Family::kIpv4) carried.id = ip_ids_.take();
  carried.dont_fragment = dont_fragment(packet, carried, from, ip_size(to) + udp_size);
  put_on(packet, carried, packet.relayed, packet.peer, 0, 0);
  packet.verdict = Verdict::kTransmit;
  counters_.client_in[family_index(from)].packets.add();
  counters_.client_in[family_index(from)].bytes.add(packet.body_size);
  counters_.peer_out[family_index(to)].packets.add();
  counters_.peer_out[family_index(to)].bytes.add(packet.body_size);
}

void Pipeline::rewrite_to_client(Instant now, Packet& packet) {
  if (packet.next_hop == kNoNextHop) return drop(packet, Drop::kNoRoute);
  const AllocationEntry& allocation = tables_.allocation(packet.allocation);
  const MoveEntry* moved = packet.moved;
  const Endpoint client = moved != nullptr ? moved->client : allocation.client;
  const Endpoint& server =
      setup_.listeners[moved != nullptr ? moved->listener : allocation.listener].endpoint;
  const Family from = packet.family;
  const Family to = client.address.family;
  const bool indication = packet.channel == 0;

  const std::size_t framing =
      indication ? indication_framing(packet.peer.address.family) : stun::kChannelDataHeaderSize;
  // STUN pads its attributes; ChannelData over UDP needs none (RFC 8656 §12.5).
  const std::size_t padding = indication ? (4 - packet.body_size % 4) % 4 : 0;
  const std::size_t udp_size = udp::kSize + framing + packet.body_size + padding;
  if (!fits(now, packet, to, udp_size, true)) return;
  if (!room_for(packet, to, framing, padding)) return drop(packet, Drop::kNoHeadroom);

  Carried carried = take_off(packet, to);
  // A hairpinned packet has been relayed twice.
  carried.ttl = ttl_left(carried.ttl, packet.hairpin ? 2 : 1);
  if (to == Family::kIpv4) carried.id = ip_ids_.take();
  carried.dont_fragment = dont_fragment(packet, carried, from, ip_size(to) + udp_size);
  std::uint8_t* body = packet.data + packet.body;
  if (!indication) {
    store_be16(body - framing, packet.channel);
    store_be16(body - framing + 2, packet.body_size);
  } else if (packet.peer.address.family == Family::kIpv4) {
    write_data_framing<Family::kIpv4>(body - framing, ids_, words_of(packet.peer.address),
                                      packet.peer.port, packet.body_size);
  } else {
    write_data_framing<Family::kIpv6>(body - framing, ids_, words_of(packet.peer.address),
                                      packet.peer.port, packet.body_size);
  }
  std::fill_n(body + packet.body_size, padding, std::uint8_t{0});
  put_on(packet, carried, server, client, framing, padding);
  packet.verdict = Verdict::kTransmit;
  auto& in = packet.hairpin ? counters_.client_in : counters_.peer_in;
  in[family_index(from)].packets.add();
  in[family_index(from)].bytes.add(packet.body_size);
  counters_.client_out[family_index(to)].packets.add();
  counters_.client_out[family_index(to)].bytes.add(packet.body_size);
}

std::uint32_t Pipeline::ttl_left(std::uint32_t ttl, std::uint32_t hops) const {
  return policy_->resets_ttl ? kTtl : ttl - hops;
}

// What the outgoing packet may be: by its link, by what ICMP has told of its path and, of what
// comes from IPv4 and may be cut, by RFC 7915 §4.1. Path and translation yield to a packet that
// would come to too many pieces: they are guesses, and a forged error must not stop anybody.
std::size_t Pipeline::mtu_of(Packet& packet, Family family, std::size_t udp_size) const {
  const NextHop& hop = next_hops_.table()[static_cast<std::uint32_t>(packet.next_hop)];
  // A message has no path: what carries it to its client is another's to cut.
  if (setup_.ports[hop.port].messages_of) {
    packet.path_mtu = PathMtu::kNone;
    return hop.mtu;
  }
  const std::size_t link = hop.mtu;
  if (packet.may_fragment && packet.family == Family::kIpv4 && family == Family::kIpv6)
    packet.path_mtu = std::min(packet.path_mtu, policy_->translated_mtu);
  if (packet.path_mtu < link && packet.may_fragment &&
      fragments_of(family, udp_size, packet.path_mtu) > kMaxFragments)
    packet.path_mtu = PathMtu::kNone;
  return std::min<std::size_t>(link, packet.path_mtu);
}

// TTL and MTU, before anything is overwritten; what doesn't pass is refused by ICMP. Sets
// may_fragment, and path_mtu to what the transmit stage may cut the packet to.
bool Pipeline::fits(Instant now, Packet& packet, Family family, std::size_t udp_size,
                    bool to_client) {
  const std::uint8_t* ip = packet.data + packet.l3;
  const bool v4 = packet.family == Family::kIpv4;
  const std::uint8_t ttl = ip[v4 ? ipv4::kTtl : ipv6::kHopLimit];
  if (ttl <= (packet.hairpin ? 2 : 1) && !policy_->resets_ttl) {
    drop(packet, Drop::kTtlExpired);
    refuse_by_icmp(now, packet, false, 0);
    return false;
  }
  const std::size_t old_length = packet.length - packet.l3;
  const std::size_t length = ip_size(family) + udp_size;
  if (length > kMaxLength) {
    drop(packet, Drop::kTooBig);
    return false;
  }
  // DONT-FRAGMENT counts only from IPv4 to IPv4 (RFC 8656 §13). An IPv6 sender can't go below what
  // every link takes, whatever it is told (RFC 8201 §4), so what framing adds to that is ours to
  // carry.
  const bool has_df = (load_be16(ip + ipv4::kFlagsFragment) & ipv4::kDontFragment) != 0;
  const bool asks_df = packet.dont_fragment && v4 && family == Family::kIpv4;
  packet.may_fragment = !asks_df && (packet.reassembled ||
                                     (v4 ? !has_df : old_length <= PathMtu::least(Family::kIpv6)));
  const std::size_t mtu = mtu_of(packet, family, udp_size);
  if (length <= mtu || packet.may_fragment) return true;
  drop(packet, Drop::kTooBig);
  refuse_by_icmp(now, packet, true, mtu_to_tell(packet.family, family, mtu, to_client));
  return false;
}

}  // namespace turnpike::flow

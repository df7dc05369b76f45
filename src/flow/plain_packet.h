// A plain packet, as the fast lane takes it: UDP in IPv4 without options or in IPv6 without
// extensions, in one piece. What is looked at before it is taken, and what is said of it when its
// headers are new.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "flow/conversion.h"
#include "flow/packet.h"
#include "wire/headers.h"

namespace turnpike::flow {

inline constexpr std::size_t kIp = wire::ethernet::kSize;

template <Family kFamily>
inline constexpr std::size_t kUdpAt = kIp + Ip<kFamily>::kSize;
template <Family kFamily>
inline constexpr std::size_t kPayloadAt = kUdpAt<kFamily> + wire::udp::kSize;

TURNPIKE_INLINE bool is(const Address& address, const AddressWords& words, Family family) {
  const AddressWords own = words_of(address);
  return ((own[0] ^ words[0]) | (own[1] ^ words[1])) == 0 && address.family == family;
}

// What an IP header says that is not plain, as bits that are not zero: no UDP, options, fragments.
template <Family kFrom>
TURNPIKE_INLINE std::uint64_t unusual_in(const std::uint8_t* ip) {
  using namespace wire;
  if constexpr (kFrom == Family::kIpv4) {
    return ((load16(ip) ^ from_be16(0x4500)) & from_be16(0xFF00)) |
           ((load32(ip + ipv4::kFlagsFragment) ^ from_be32(ip_protocol::kUdp)) &
            from_be32(0x3FFF00FF));
  } else {
    return ((ip[0] ^ 0x60U) & 0xF0U) | (ip[ipv6::kNextHeader] ^ std::uint32_t{ip_protocol::kUdp});
  }
}

// Bytes of UDP, as the IP header has it; of a right one.
template <Family kFrom>
TURNPIKE_INLINE std::size_t udp_size_in(const std::uint8_t* ip) {
  using namespace wire;
  if constexpr (kFrom == Family::kIpv4)
    return std::size_t{load_be16(ip + ipv4::kTotalLength)} - ipv4::kMinSize;
  return load_be16(ip + ipv6::kPayloadLength);
}

// Of the packet whose headers `carried` comes from.
template <Family kFrom>
TURNPIKE_INLINE bool may_fragment(const Carried& carried, const std::uint8_t* ip) {
  if constexpr (kFrom == Family::kIpv4) return !carried.dont_fragment;
  return wire::ipv6::kSize + udp_size_in<kFrom>(ip) <= PathMtu::least(Family::kIpv6);
}

// The packet's frame is now at `frame`, with `udp_size` bytes of UDP.
template <Family kTo>
TURNPIKE_INLINE void finish_packet(Packet& packet, std::uint8_t* frame, std::size_t udp_size,
                                   std::uint32_t hop, bool may_be_cut) {
  const std::size_t length = kUdpAt<kTo> + udp_size;
  const auto moved = static_cast<int>(frame - packet.data);
  packet.tailroom = static_cast<std::uint16_t>(packet.tailroom + static_cast<int>(packet.length) -
                                               moved - static_cast<int>(length));
  packet.headroom = static_cast<std::uint16_t>(packet.headroom + moved);
  packet.data = frame;
  packet.length = static_cast<std::uint32_t>(length);
  packet.family = kTo;
  packet.l3 = kIp;
  packet.l4 = kUdpAt<kTo>;
  packet.next_hop = NextHopIndex{hop};
  packet.may_fragment = may_be_cut;
  packet.verdict = Verdict::kTransmit;
}

// Of less than four bytes, which is no call of memset().
TURNPIKE_INLINE void write_zeros(std::uint8_t* at, std::size_t size) {
  if ((size & 1U) != 0) *at++ = 0;
  if ((size & 2U) != 0) store16(at, 0);
}

// Calls what has two families as template arguments.
template <typename Function>
TURNPIKE_INLINE bool with_families(Family from, Family to, Function&& function) {
  constexpr auto k4 = std::integral_constant<Family, Family::kIpv4>{};
  constexpr auto k6 = std::integral_constant<Family, Family::kIpv6>{};
  if (from == Family::kIpv4) return to == Family::kIpv4 ? function(k4, k4) : function(k4, k6);
  return to == Family::kIpv4 ? function(k6, k4) : function(k6, k6);
}

}  // namespace turnpike::flow

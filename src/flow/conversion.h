// The headers of a relayed packet, taken off and put on around a body that stays where it is:
// templates over the family of what comes and of what goes, for both schedules (RFC 8656 §13, §14).
//
// The checksum as a proof: what leaves the datagram is taken from its sum, what enters is added
// (RFC 1624), and the body isn't read. Sums are kept as the machine loads words, not in network
// order: ones' complement addition doesn't mind, as long as what is stored was computed from what
// was loaded (RFC 1071 §2.B). Words of 16 and 32 bits go into 64, and never so many that there
// would be a carry.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tables/address_map.h"
#include "turnpike/address.h"
#include "turnpike/stun.h"
#include "wire/checksum.h"
#include "wire/headers.h"
#include "wire/transaction_ids.h"

// Each stage of the fast lane is one loop; what it calls is part of it.
#define TURNPIKE_INLINE [[gnu::always_inline]] inline

namespace turnpike::flow {

TURNPIKE_INLINE std::uint16_t load16(const std::uint8_t* at) {
  std::uint16_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}
TURNPIKE_INLINE std::uint32_t load32(const std::uint8_t* at) {
  std::uint32_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}
TURNPIKE_INLINE std::uint64_t load64(const std::uint8_t* at) {
  std::uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}
TURNPIKE_INLINE void store16(std::uint8_t* at, std::uint16_t word) {
  std::memcpy(at, &word, sizeof word);
}
TURNPIKE_INLINE void store32(std::uint8_t* at, std::uint32_t word) {
  std::memcpy(at, &word, sizeof word);
}
TURNPIKE_INLINE void store64(std::uint8_t* at, std::uint64_t word) {
  std::memcpy(at, &word, sizeof word);
}

// Ones' complement: minus is the complement.
TURNPIKE_INLINE std::uint32_t minus32(std::uint32_t words) {
  return ~words;
}
TURNPIKE_INLINE std::uint16_t minus16(std::uint16_t word) {
  return static_cast<std::uint16_t>(~word);
}

// `size` is a multiple of four, and at most that of a UDP datagram.
TURNPIKE_INLINE std::uint64_t sum_of_words(const std::uint8_t* at, std::size_t size) {
  std::uint64_t sum = 0;
#pragma GCC unroll 6
  for (; size >= 8; size -= 8, at += 8) {
    const std::uint64_t word = load64(at);
    sum += (word & 0xFFFF'FFFF) + (word >> 32);
  }
  return size == 0 ? sum : sum + load32(at);
}

// The four words of two IPv6 addresses, in 33 bits: a carry comes in again below.
TURNPIKE_INLINE std::uint64_t sum_of(const AddressWords& one, const AddressWords& other) {
  std::uint64_t sum = one[0];
  for (const std::uint64_t word : {one[1], other[0], other[1]}) {
    sum += word;
    sum += sum < word ? 1 : 0;
  }
  return (sum & 0xFFFF'FFFF) + (sum >> 32);
}

template <Family kFamily>
struct Ip;

template <>
struct Ip<Family::kIpv4> {
  static constexpr std::size_t kSize = wire::ipv4::kMinSize;
  static constexpr std::uint16_t kEtherType = wire::ether_type::kIpv4;
  static constexpr std::size_t kTtl = wire::ipv4::kTtl;

  static std::uint8_t traffic_class(const std::uint8_t* ip) { return ip[wire::ipv4::kTos]; }
  static bool dont_fragment(const std::uint8_t* ip) {
    return (load16(ip + wire::ipv4::kFlagsFragment) & wire::from_be16(wire::ipv4::kDontFragment)) !=
           0;
  }
  // Source and destination.
  static std::uint64_t address_sum(const std::uint8_t* ip) {
    return std::uint64_t{load32(ip + wire::ipv4::kSource)} + load32(ip + wire::ipv4::kDestination);
  }
  static std::uint64_t minus_addresses(const std::uint8_t* ip) {
    return std::uint64_t{minus32(load32(ip + wire::ipv4::kSource))} +
           minus32(load32(ip + wire::ipv4::kDestination));
  }
  // As load64() would have it.
  static std::uint64_t word(std::uint32_t address) {
    if constexpr (std::endian::native == std::endian::big) return std::uint64_t{address} << 32;
    return address;
  }
  static AddressWords source(const std::uint8_t* ip) {
    return {word(load32(ip + wire::ipv4::kSource)), 0};
  }
  static AddressWords destination(const std::uint8_t* ip) {
    return {word(load32(ip + wire::ipv4::kDestination)), 0};
  }
};

template <>
struct Ip<Family::kIpv6> {
  static constexpr std::size_t kSize = wire::ipv6::kSize;
  static constexpr std::uint16_t kEtherType = wire::ether_type::kIpv6;
  static constexpr std::size_t kTtl = wire::ipv6::kHopLimit;

  static std::uint8_t traffic_class(const std::uint8_t* ip) {
    return wire::ipv6::traffic_class(ip);
  }
  static bool dont_fragment(const std::uint8_t*) { return false; }
  static std::uint64_t address_sum(const std::uint8_t* ip) {
    return sum_of(source(ip), destination(ip));
  }
  static std::uint64_t minus_addresses(const std::uint8_t* ip) {
    const AddressWords from = source(ip);
    const AddressWords to = destination(ip);
    return sum_of({~from[0], ~from[1]}, {~to[0], ~to[1]});
  }
  static AddressWords source(const std::uint8_t* ip) {
    return {load64(ip + wire::ipv6::kSource), load64(ip + wire::ipv6::kSource + 8)};
  }
  static AddressWords destination(const std::uint8_t* ip) {
    return {load64(ip + wire::ipv6::kDestination), load64(ip + wire::ipv6::kDestination + 8)};
  }
};

inline constexpr std::size_t ip_size(Family family) {
  return family == Family::kIpv4 ? Ip<Family::kIpv4>::kSize : Ip<Family::kIpv6>::kSize;
}

// What a relayed packet carries over from its old headers to its new ones; read before anything is
// overwritten.
struct Carried {
  // Of what will stand behind the UDP header, to be added to what new headers add. After
  // take_off(): of all that stood there but the framing.
  std::uint64_t sum = 0;
  // Fields of 16 and 8 bits in words of 32: what is set aside narrow and read back wide would wait.
  std::uint32_t id = 0;             // IPv4; not carried, but the relay's own (RFC 8656 §14)
  std::uint32_t traffic_class = 0;  // DSCP and ECN
  std::uint32_t ttl = 0;
  bool dont_fragment = false;  // IPv4
  bool has_checksum = true;    // false: an IPv4 sender that sent zero
};

// RFC 8656 §13.3: to IPv4, as RFC 7915 §5.1 has it, DF is clear for what any IPv6 link carries.
inline constexpr std::size_t kLongestWithoutDf = 1260;

// The headers at `ip` and `udp`, and `framing` bytes behind them, a multiple of four.
template <Family kFrom>
TURNPIKE_INLINE Carried take_off(const std::uint8_t* ip, const std::uint8_t* udp,
                                 std::size_t framing) {
  const std::uint16_t checksum = load16(udp + wire::udp::kChecksum);
  // The length stands in the pseudo header as well.
  std::uint64_t sum = std::uint64_t{minus16(checksum)} + minus32(load32(udp)) +
                      minus16(wire::from_be16(wire::ip_protocol::kUdp)) +
                      2U * std::uint32_t{minus16(load16(udp + wire::udp::kLength))};
  sum += framing / 4 * 0xFFFF'FFFF - sum_of_words(udp + wire::udp::kSize, framing);
  Carried carried;
  carried.sum = sum + Ip<kFrom>::minus_addresses(ip);
  carried.traffic_class = Ip<kFrom>::traffic_class(ip);
  carried.ttl = ip[Ip<kFrom>::kTtl];
  carried.dont_fragment = Ip<kFrom>::dont_fragment(ip);
  carried.has_checksum = checksum != 0;
  return carried;
}

// Returns the sum of both addresses.
template <Family kTo>
TURNPIKE_INLINE std::uint64_t put_on_ip(std::uint8_t* ip, const Carried& carried,
                                        const Address& source, const Address& destination,
                                        std::size_t udp_size) {
  using namespace wire;
  if constexpr (kTo == Family::kIpv4) {
    const std::uint32_t from = load32(source.bytes.data());
    const std::uint32_t to = load32(destination.bytes.data());
    const auto total = static_cast<std::uint32_t>(ipv4::kMinSize + udp_size);
    const std::uint32_t first = from_be32(0x45000000U | carried.traffic_class << 16 | total);
    const std::uint32_t flags = carried.dont_fragment ? ipv4::kDontFragment : 0U;
    const std::uint32_t second = from_be32(carried.id << 16 | flags);
    const std::uint16_t third =
        from_be16(static_cast<std::uint16_t>(carried.ttl << 8 | ip_protocol::kUdp));
    const std::uint64_t addresses = std::uint64_t{from} + to;
    store32(ip, first);
    store32(ip + ipv4::kId, second);
    store16(ip + ipv4::kTtl, third);
    store16(ip + ipv4::kChecksum,
            minus16(fold64(std::uint64_t{first} + second + third + addresses)));
    store32(ip + ipv4::kSource, from);
    store32(ip + ipv4::kDestination, to);
    return addresses;
  } else {
    const AddressWords from = words_of(source);
    const AddressWords to = words_of(destination);
    ipv6::set_class_and_flow(ip, carried.traffic_class, 0);
    store32(ip + ipv6::kPayloadLength,
            from_be32(static_cast<std::uint32_t>(udp_size) << 16 |
                      std::uint32_t{ip_protocol::kUdp} << 8 | carried.ttl));
    store64(ip + ipv6::kSource, from[0]);
    store64(ip + ipv6::kSource + 8, from[1]);
    store64(ip + ipv6::kDestination, to[0]);
    store64(ip + ipv6::kDestination + 8, to[1]);
    return sum_of(from, to);
  }
}

// Ethernet's type and the IP and UDP headers of `frame`, before `udp_size` - 8 bytes whose sum
// `carried` has. Ethernet's addresses are written by whoever transmits.
template <Family kTo>
TURNPIKE_INLINE void put_on(std::uint8_t* frame, const Carried& carried, const Address& source,
                            std::uint32_t source_port, const Address& destination,
                            std::uint32_t destination_port, std::size_t udp_size) {
  using namespace wire;
  store16(frame + ethernet::kType, from_be16(Ip<kTo>::kEtherType));
  std::uint8_t* ip = frame + ethernet::kSize;
  const std::uint64_t addresses = put_on_ip<kTo>(ip, carried, source, destination, udp_size);
  std::uint8_t* header = ip + Ip<kTo>::kSize;
  const std::uint32_t ports = from_be32(source_port << 16 | destination_port);
  const std::uint16_t length = from_be16(static_cast<std::uint16_t>(udp_size));
  const std::uint64_t sum =
      carried.sum + addresses + ports + 2U * std::uint32_t{length} + from_be16(ip_protocol::kUdp);
  const std::uint16_t checksum = udp_on_wire(minus16(fold64(sum)));
  store32(header, ports);
  store16(header + udp::kLength, length);
  store16(header + udp::kChecksum, carried.has_checksum ? checksum : std::uint16_t{0});
}

// A Data or Send indication with XOR-PEER-ADDRESS and then DATA, up to the data.
inline constexpr std::size_t indication_framing(Family peer) {
  return stun::kHeaderSize + 4 + (peer == Family::kIpv4 ? 8 : 20) + 4;
}
inline constexpr std::uint32_t xor_peer_address(Family peer) {  // type and length
  return static_cast<std::uint32_t>(stun::Attribute::kXorPeerAddress) << 16 |
         (peer == Family::kIpv4 ? 8 : 20);
}
inline constexpr std::uint16_t kSendIndication = 0x0016;
inline constexpr std::uint16_t kDataIndication = 0x0017;

// All of a Data indication but the data and its padding; its sum. Summed as it is written: to load
// eight bytes just stored as four would wait for the store.
template <Family kPeer>
TURNPIKE_INLINE std::uint64_t write_data_framing(std::uint8_t* at, TransactionIds& ids,
                                                 const AddressWords& peer, std::uint16_t peer_port,
                                                 std::size_t body_size) {
  using namespace wire;
  constexpr std::size_t kWords = indication_framing(kPeer) / 4;
  constexpr std::size_t kAddress = 7;  // index of its first word
  constexpr std::size_t kAddressWords = kPeer == Family::kIpv4 ? 1 : 4;
  const auto size = static_cast<std::uint32_t>(body_size);
  const std::uint32_t padded = (size + 3) & ~std::uint32_t{3};
  const stun::TransactionId id = ids.next();
  std::array<std::uint32_t, kWords> words;
  words[0] = from_be32(std::uint32_t{kDataIndication} << 16 |
                       (4 * kWords - std::uint32_t{stun::kHeaderSize} + padded));
  words[1] = from_be32(stun::kMagicCookie);
  std::memcpy(&words[2], id.data(), id.size());
  words[5] = from_be32(xor_peer_address(kPeer));
  words[6] = from_be32(static_cast<std::uint32_t>(kPeer) << 16 |
                       (peer_port ^ std::uint32_t{stun::kMagicCookie} >> 16));
  std::memcpy(&words[kAddress], peer.data(), 4 * kAddressWords);
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kAddressWords; ++i)
    words[kAddress + i] ^= words[1 + i];
  words[kWords - 1] = from_be32(static_cast<std::uint32_t>(stun::Attribute::kData) << 16 | size);
  std::uint64_t sum = 0;
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kWords; ++i) {
    store32(at + 4 * i, words[i]);
    sum += words[i];
  }
  return sum;
}

// A sum in network order (wire/checksum.h) as the machine would have it.
inline std::uint16_t as_loaded(std::uint16_t sum) {
  return wire::from_be16(sum);
}

}  // namespace turnpike::flow

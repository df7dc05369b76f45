// Where the fields of Ethernet, VLAN, IPv4, IPv6, UDP and ICMP headers are, and how to read and
// write them at any alignment.
//
// Offsets and loads instead of packed structs: a frame's headers stand at odd addresses, a cast to
// a struct there is undefined behaviour, and the byte order would hide in the type. memcpy compiles
// to one instruction. Values are in host order on this side of every load and store.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace turnpike::wire {

constexpr std::uint16_t from_be16(std::uint16_t value) {
  if constexpr (std::endian::native == std::endian::big) return value;
  return __builtin_bswap16(value);
}
constexpr std::uint32_t from_be32(std::uint32_t value) {
  if constexpr (std::endian::native == std::endian::big) return value;
  return __builtin_bswap32(value);
}
constexpr std::uint64_t from_be64(std::uint64_t value) {
  if constexpr (std::endian::native == std::endian::big) return value;
  return __builtin_bswap64(value);
}

inline std::uint16_t load_be16(const std::uint8_t* at) {
  std::uint16_t value;
  std::memcpy(&value, at, sizeof value);
  return from_be16(value);
}
inline std::uint32_t load_be32(const std::uint8_t* at) {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return from_be32(value);
}
inline std::uint64_t load_be64(const std::uint8_t* at) {
  std::uint64_t value;
  std::memcpy(&value, at, sizeof value);
  return from_be64(value);
}
inline void store_be16(std::uint8_t* at, std::uint16_t value) {
  value = from_be16(value);
  std::memcpy(at, &value, sizeof value);
}
inline void store_be32(std::uint8_t* at, std::uint32_t value) {
  value = from_be32(value);
  std::memcpy(at, &value, sizeof value);
}
inline void store_be64(std::uint8_t* at, std::uint64_t value) {
  value = from_be64(value);
  std::memcpy(at, &value, sizeof value);
}

namespace ethernet {
constexpr std::size_t kSize = 14;
constexpr std::size_t kAddressSize = 6;
constexpr std::size_t kDestination = 0;
constexpr std::size_t kSource = 6;
constexpr std::size_t kType = 12;
}  // namespace ethernet

namespace ether_type {
constexpr std::uint16_t kIpv4 = 0x0800;
constexpr std::uint16_t kArp = 0x0806;
constexpr std::uint16_t kVlan = 0x8100;  // IEEE 802.1Q
constexpr std::uint16_t kQinq = 0x88A8;  // IEEE 802.1ad
constexpr std::uint16_t kIpv6 = 0x86DD;
}  // namespace ether_type

// A tag, counted from the byte after the Ethernet type that announces it.
namespace vlan {
constexpr std::size_t kSize = 4;
constexpr std::size_t kTci = 0;  // priority 3 bits, DEI 1 bit, identifier 12 bits
constexpr std::size_t kType = 2;
constexpr std::uint16_t kIdMask = 0x0FFF;
}  // namespace vlan

// RFC 791 §3.1.
namespace ipv4 {
constexpr std::size_t kMinSize = 20;
constexpr std::size_t kVersionIhl = 0;
constexpr std::size_t kTos = 1;
constexpr std::size_t kTotalLength = 2;
constexpr std::size_t kId = 4;
constexpr std::size_t kFlagsFragment = 6;
constexpr std::size_t kTtl = 8;
constexpr std::size_t kProtocol = 9;
constexpr std::size_t kChecksum = 10;
constexpr std::size_t kSource = 12;
constexpr std::size_t kDestination = 16;
constexpr std::size_t kAddressSize = 4;
constexpr std::uint16_t kDontFragment = 0x4000;
constexpr std::uint16_t kMoreFragments = 0x2000;
constexpr std::uint16_t kOffsetMask = 0x1FFF;  // in units of 8 bytes

inline std::uint8_t version(const std::uint8_t* header) {
  return header[kVersionIhl] >> 4;
}
inline std::size_t header_size(const std::uint8_t* header) {
  return static_cast<std::size_t>(header[kVersionIhl] & 0x0F) * 4;
}
}  // namespace ipv4

// RFC 8200 §3.
namespace ipv6 {
constexpr std::size_t kSize = 40;
constexpr std::size_t kVersionClassFlow = 0;
constexpr std::size_t kPayloadLength = 4;
constexpr std::size_t kNextHeader = 6;
constexpr std::size_t kHopLimit = 7;
constexpr std::size_t kSource = 8;
constexpr std::size_t kDestination = 24;
constexpr std::size_t kAddressSize = 16;

inline std::uint8_t version(const std::uint8_t* header) {
  return header[0] >> 4;
}
inline std::uint8_t traffic_class(const std::uint8_t* header) {
  return static_cast<std::uint8_t>(load_be32(header) >> 20);
}
inline std::uint32_t flow_label(const std::uint8_t* header) {
  return load_be32(header) & 0x000FFFFF;
}
inline void set_class_and_flow(std::uint8_t* header, std::uint32_t traffic_class,
                               std::uint32_t flow_label) {
  store_be32(header, std::uint32_t{6} << 28 | traffic_class << 20 | (flow_label & 0x000FFFFF));
}
}  // namespace ipv6

// RFC 8200 §4.5.
namespace ipv6_fragment {
constexpr std::size_t kSize = 8;
constexpr std::size_t kNextHeader = 0;
constexpr std::size_t kOffsetFlags = 2;
constexpr std::size_t kId = 4;
constexpr std::uint16_t kMoreFragments = 0x0001;
constexpr std::uint16_t kOffsetMask = 0xFFF8;  // in bytes, as it stands
}  // namespace ipv6_fragment

namespace ip_protocol {
constexpr std::uint8_t kIcmp = 1;
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kFragment = 44;
constexpr std::uint8_t kIcmpv6 = 58;
}  // namespace ip_protocol

// RFC 768.
namespace udp {
constexpr std::size_t kSize = 8;
constexpr std::size_t kSourcePort = 0;
constexpr std::size_t kDestinationPort = 2;
constexpr std::size_t kLength = 4;
constexpr std::size_t kChecksum = 6;
}  // namespace udp

// RFC 792 and RFC 4443 §2.1: both begin alike; an error quotes its packet after eight bytes.
namespace icmp {
constexpr std::size_t kSize = 8;
constexpr std::size_t kType = 0;
constexpr std::size_t kCode = 1;
constexpr std::size_t kChecksum = 2;
constexpr std::size_t kMtuV4 = 6;  // 16 bits, "fragmentation needed" (RFC 1191 §4)
constexpr std::size_t kMtuV6 = 4;  // 32 bits, "packet too big"
constexpr std::size_t kQuote = 8;
constexpr std::uint8_t kUnreachable = 3;
constexpr std::uint8_t kFragmentationNeeded = 4;  // code of kUnreachable
constexpr std::uint8_t kTimeExceeded = 11;
}  // namespace icmp
namespace icmpv6 {
constexpr std::uint8_t kUnreachable = 1;
constexpr std::uint8_t kPacketTooBig = 2;
constexpr std::uint8_t kTimeExceeded = 3;
}  // namespace icmpv6

}  // namespace turnpike::wire

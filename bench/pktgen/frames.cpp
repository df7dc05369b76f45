// Headers by hand, with code that shares nothing with the relay's: a fault of one is not hidden
// by the other's.
#include "frames.h"

#include <cstring>

#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::pktgen {
namespace {

using namespace wire;

std::uint8_t* ip_of(std::uint8_t* frame) {
  return frame + ethernet::kSize;
}

std::size_t ip_size(Family family) {
  return family == Family::kIpv4 ? ipv4::kMinSize : ipv6::kSize;
}

std::uint16_t pseudo_sum(const std::uint8_t* ip, Family family, std::size_t udp_size) {
  const auto length = static_cast<std::uint32_t>(udp_size);
  if (family == Family::kIpv4)
    return pseudo_header_sum_v4(ip + ipv4::kSource, ip + ipv4::kDestination, ip_protocol::kUdp,
                                length);
  return pseudo_header_sum_v6(ip + ipv6::kSource, ip + ipv6::kDestination, ip_protocol::kUdp,
                              length);
}

void write_ipv4(std::uint8_t* ip, const Address& from, const Address& to) {
  std::memset(ip, 0, ipv4::kMinSize);
  ip[ipv4::kVersionIhl] = 0x45;
  ip[ipv4::kTtl] = 64;
  ip[ipv4::kProtocol] = ip_protocol::kUdp;
  std::memcpy(ip + ipv4::kSource, from.bytes.data(), ipv4::kAddressSize);
  std::memcpy(ip + ipv4::kDestination, to.bytes.data(), ipv4::kAddressSize);
}

void write_ipv6(std::uint8_t* ip, const Address& from, const Address& to) {
  ipv6::set_class_and_flow(ip, 0, 0);
  ip[ipv6::kNextHeader] = ip_protocol::kUdp;
  ip[ipv6::kHopLimit] = 64;
  std::memcpy(ip + ipv6::kSource, from.bytes.data(), ipv6::kAddressSize);
  std::memcpy(ip + ipv6::kDestination, to.bytes.data(), ipv6::kAddressSize);
}

// The family of a frame whose IP header carries UDP and lies within it, options and fragments
// aside.
std::optional<Family> udp_family(Bytes frame) {
  if (frame.size() < ethernet::kSize + ipv4::kMinSize + udp::kSize) return std::nullopt;
  const std::uint8_t* ip = frame.data() + ethernet::kSize;
  const std::uint16_t type = load_be16(frame.data() + ethernet::kType);
  if (type == ether_type::kIpv4 && ip[ipv4::kVersionIhl] == 0x45 &&
      ip[ipv4::kProtocol] == ip_protocol::kUdp &&
      (load_be16(ip + ipv4::kFlagsFragment) & (ipv4::kMoreFragments | ipv4::kOffsetMask)) == 0)
    return Family::kIpv4;
  if (type == ether_type::kIpv6 && frame.size() >= ethernet::kSize + ipv6::kSize + udp::kSize &&
      ipv6::version(ip) == 6 && ip[ipv6::kNextHeader] == ip_protocol::kUdp)
    return Family::kIpv6;
  return std::nullopt;
}

}  // namespace

void write_headers(std::uint8_t* frame, const Macs& macs, const Endpoint& from, const Endpoint& to,
                   std::size_t payload_size) {
  const Family family = from.address.family;
  std::memcpy(frame + ethernet::kDestination, macs.destination.data(), ethernet::kAddressSize);
  std::memcpy(frame + ethernet::kSource, macs.source.data(), ethernet::kAddressSize);
  std::uint8_t* ip = ip_of(frame);
  if (family == Family::kIpv4) {
    store_be16(frame + ethernet::kType, ether_type::kIpv4);
    write_ipv4(ip, from.address, to.address);
  } else {
    store_be16(frame + ethernet::kType, ether_type::kIpv6);
    write_ipv6(ip, from.address, to.address);
  }
  std::uint8_t* udp = ip + ip_size(family);
  store_be16(udp + udp::kSourcePort, from.port);
  store_be16(udp + udp::kDestinationPort, to.port);
  store_be16(udp + udp::kChecksum, 0);
  set_payload_size(frame, family, payload_size);
}

void set_payload_size(std::uint8_t* frame, Family family, std::size_t payload_size) {
  std::uint8_t* ip = ip_of(frame);
  const std::size_t udp_size = udp::kSize + payload_size;
  if (family == Family::kIpv4) {
    store_be16(ip + ipv4::kTotalLength, static_cast<std::uint16_t>(ipv4::kMinSize + udp_size));
    store_be16(ip + ipv4::kChecksum, ipv4_header_checksum(ip, ipv4::kMinSize));
  } else {
    store_be16(ip + ipv6::kPayloadLength, static_cast<std::uint16_t>(udp_size));
  }
  store_be16(ip + ip_size(family) + udp::kLength, static_cast<std::uint16_t>(udp_size));
}

void set_udp_checksum(std::uint8_t* frame, Family family, std::size_t payload_size) {
  std::uint8_t* ip = ip_of(frame);
  std::uint8_t* udp = ip + ip_size(family);
  const std::size_t udp_size = udp::kSize + payload_size;
  store_be16(udp + udp::kChecksum, udp_checksum(pseudo_sum(ip, family, udp_size), udp, udp_size));
}

void add_to_udp_checksum(std::uint8_t* frame, Family family, std::uint16_t sum) {
  std::uint8_t* field = ip_of(frame) + ip_size(family) + udp::kChecksum;
  const std::uint16_t before = wire::minus(load_be16(field));
  const std::uint16_t after = wire::minus(wire::fold(std::uint32_t{before} + sum));
  store_be16(field, after == 0 ? std::uint16_t{0xFFFF} : after);
}

std::optional<Datagram> parse_datagram(Bytes frame) {
  const auto family = udp_family(frame);
  if (!family) return std::nullopt;
  const std::uint8_t* ip = frame.data() + ethernet::kSize;
  const std::size_t room = frame.size() - ethernet::kSize - ip_size(*family);
  const std::size_t ip_payload =
      *family == Family::kIpv6 ? load_be16(ip + ipv6::kPayloadLength)
                               : std::size_t{load_be16(ip + ipv4::kTotalLength)} - ipv4::kMinSize;
  const std::uint8_t* udp = ip + ip_size(*family);
  const std::size_t udp_size = load_be16(udp + udp::kLength);
  if (ip_payload > room || udp_size != ip_payload || udp_size < udp::kSize) return std::nullopt;
  const bool v4 = *family == Family::kIpv4;
  return Datagram{
      {Address::from_bytes(*family, ip + (v4 ? ipv4::kSource : ipv6::kSource)),
       load_be16(udp + udp::kSourcePort)},
      {Address::from_bytes(*family, ip + (v4 ? ipv4::kDestination : ipv6::kDestination)),
       load_be16(udp + udp::kDestinationPort)},
      Bytes(udp + udp::kSize, udp_size - udp::kSize)};
}

bool checksums_good(Bytes frame, bool kernel_link) {
  const Family family = load_be16(frame.data() + ethernet::kType) == ether_type::kIpv4
                            ? Family::kIpv4
                            : Family::kIpv6;
  const std::uint8_t* ip = frame.data() + ethernet::kSize;
  const std::uint8_t* udp = ip + ip_size(family);
  if (family == Family::kIpv4 && !ipv4_header_checksum_good(ip, ipv4::kMinSize)) return false;
  const std::uint16_t stored = load_be16(udp + udp::kChecksum);
  if (stored == 0) return family == Family::kIpv4;
  const std::size_t udp_size = load_be16(udp + udp::kLength);
  const std::uint16_t pseudo = pseudo_sum(ip, family, udp_size);
  return udp_checksum_good(pseudo, udp, udp_size) || (kernel_link && stored == pseudo);
}

}  // namespace turnpike::pktgen

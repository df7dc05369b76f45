// Fixed parts are written once, and lengths and checksums for each message.
#include "transport/frames.h"

#include <cstring>

#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::transport {
namespace {

using namespace wire;

constexpr std::size_t kIp = ethernet::kSize;

std::size_t ip_size(Family family) {
  return family == Family::kIpv4 ? ipv4::kMinSize : ipv6::kSize;
}

}  // namespace

FrameHeader::FrameHeader(const Endpoint& source, const Endpoint& destination, std::uint8_t ttl)
    : size_(kIp + ip_size(source.address.family) + udp::kSize), family_(source.address.family) {
  std::uint8_t* const ip = bytes_.data() + kIp;
  const bool v4 = family_ == Family::kIpv4;
  // Any Ethernet addresses do.
  bytes_[0] = bytes_[ethernet::kSource] = 0x02;
  store_be16(bytes_.data() + ethernet::kType, v4 ? ether_type::kIpv4 : ether_type::kIpv6);
  if (v4) {
    ip[ipv4::kVersionIhl] = 0x45;
    ip[ipv4::kTtl] = ttl;
    ip[ipv4::kProtocol] = ip_protocol::kUdp;
  } else {
    ip[0] = 0x60;
    ip[ipv6::kNextHeader] = ip_protocol::kUdp;
    ip[ipv6::kHopLimit] = ttl;
  }
  const std::size_t size = source.address.size();
  std::uint8_t* const addresses = ip + (v4 ? ipv4::kSource : ipv6::kSource);
  std::memcpy(addresses, source.address.bytes.data(), size);
  std::memcpy(addresses + size, destination.address.bytes.data(), size);
  addresses_sum_ = fold(std::uint32_t{sum_bytes(addresses, 2 * size)} + ip_protocol::kUdp);
  std::uint8_t* const header = ip + ip_size(family_);
  store_be16(header + udp::kSourcePort, source.port);
  store_be16(header + udp::kDestinationPort, destination.port);
}

void FrameHeader::write(std::uint8_t* frame, std::size_t message_size) const {
  std::memcpy(frame, bytes_.data(), size_);
  std::uint8_t* const ip = frame + kIp;
  const auto udp_size = static_cast<std::uint16_t>(udp::kSize + message_size);
  if (family_ == Family::kIpv4) {
    store_be16(ip + ipv4::kTotalLength, static_cast<std::uint16_t>(ipv4::kMinSize + udp_size));
    store_be16(ip + ipv4::kChecksum, ipv4_header_checksum(ip, ipv4::kMinSize));
  } else {
    store_be16(ip + ipv6::kPayloadLength, udp_size);
  }
  std::uint8_t* const header = ip + ip_size(family_);
  store_be16(header + udp::kLength, udp_size);
  const std::uint16_t pseudo = fold(std::uint32_t{addresses_sum_} + udp_size);
  store_be16(header + udp::kChecksum, udp_checksum(pseudo, header, udp_size));
}

bool read_outgoing(stun::Bytes frame, Outgoing& out) {
  if (frame.size() < kIp + ipv4::kMinSize + udp::kSize) return false;
  const std::uint8_t* const ip = frame.data() + kIp;
  const Family family = ipv4::version(ip) == 4 ? Family::kIpv4 : Family::kIpv6;
  const std::size_t header_at = kIp + ip_size(family);
  const std::uint8_t protocol = ip[family == Family::kIpv4 ? ipv4::kProtocol : ipv6::kNextHeader];
  if (protocol != ip_protocol::kUdp) return false;
  if (frame.size() < header_at + udp::kSize) return false;
  const std::uint8_t* const source = ip + (family == Family::kIpv4 ? ipv4::kSource : ipv6::kSource);
  const std::size_t size = family == Family::kIpv4 ? ipv4::kAddressSize : ipv6::kAddressSize;
  const std::uint8_t* const header = frame.data() + header_at;
  const std::size_t udp_size = load_be16(header + udp::kLength);
  if (udp_size < udp::kSize || udp_size > frame.size() - header_at) return false;
  out.server = {Address::from_bytes(family, source), load_be16(header + udp::kSourcePort)};
  out.client = {Address::from_bytes(family, source + size),
                load_be16(header + udp::kDestinationPort)};
  out.message = frame.subspan(header_at + udp::kSize, udp_size - udp::kSize);
  return true;
}

}  // namespace turnpike::transport

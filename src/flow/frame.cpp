// The checksum as a proof: what leaves the datagram is taken from its sum, what enters is added
// (RFC 1624); the body is read only where the old checksum says nothing about it.
#include "flow/frame.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::flow {
namespace {

using namespace wire;

std::size_t ip_size(Family family) {
  return family == Family::kIpv4 ? ipv4::kMinSize : ipv6::kSize;
}

std::uint16_t pseudo_sum(const Endpoint& source, const Endpoint& destination,
                         std::size_t udp_size) {
  const auto length = static_cast<std::uint32_t>(udp_size);
  const std::uint8_t* from = source.address.bytes.data();
  const std::uint8_t* to = destination.address.bytes.data();
  return source.address.family == Family::kIpv4
             ? pseudo_header_sum_v4(from, to, ip_protocol::kUdp, length)
             : pseudo_header_sum_v6(from, to, ip_protocol::kUdp, length);
}

void write_ip(std::uint8_t* ip, const Carried& carried, const Endpoint& source,
              const Endpoint& destination, std::size_t udp_size) {
  if (source.address.family == Family::kIpv4) {
    ip[ipv4::kVersionIhl] = 0x45;
    ip[ipv4::kTos] = carried.traffic_class;
    store_be16(ip + ipv4::kTotalLength, static_cast<std::uint16_t>(ipv4::kMinSize + udp_size));
    store_be16(ip + ipv4::kId, carried.id);
    store_be16(ip + ipv4::kFlagsFragment, carried.dont_fragment ? ipv4::kDontFragment : 0);
    ip[ipv4::kTtl] = carried.ttl;
    ip[ipv4::kProtocol] = ip_protocol::kUdp;
    store_be16(ip + ipv4::kChecksum, 0);
    std::memcpy(ip + ipv4::kSource, source.address.bytes.data(), ipv4::kAddressSize);
    std::memcpy(ip + ipv4::kDestination, destination.address.bytes.data(), ipv4::kAddressSize);
    store_be16(ip + ipv4::kChecksum, ipv4_header_checksum(ip, ipv4::kMinSize));
    return;
  }
  ipv6::set_class_and_flow(ip, carried.traffic_class, 0);
  store_be16(ip + ipv6::kPayloadLength, static_cast<std::uint16_t>(udp_size));
  ip[ipv6::kNextHeader] = ip_protocol::kUdp;
  ip[ipv6::kHopLimit] = carried.ttl;
  std::memcpy(ip + ipv6::kSource, source.address.bytes.data(), ipv6::kAddressSize);
  std::memcpy(ip + ipv6::kDestination, destination.address.bytes.data(), ipv6::kAddressSize);
}

}  // namespace

std::uint16_t pseudo_sum(const Packet& packet, std::size_t udp_size) {
  const std::uint8_t* ip = packet.data + packet.l3;
  const auto length = static_cast<std::uint32_t>(udp_size);
  return packet.family == Family::kIpv4
             ? pseudo_header_sum_v4(ip + ipv4::kSource, ip + ipv4::kDestination, ip_protocol::kUdp,
                                    length)
             : pseudo_header_sum_v6(ip + ipv6::kSource, ip + ipv6::kDestination, ip_protocol::kUdp,
                                    length);
}

Carried take_off(const Packet& packet) {
  const std::uint8_t* ip = packet.data + packet.l3;
  Carried carried;
  if (packet.family == Family::kIpv4) {
    carried.ttl = ip[ipv4::kTtl];
    carried.traffic_class = ip[ipv4::kTos];
    carried.dont_fragment = (load_be16(ip + ipv4::kFlagsFragment) & ipv4::kDontFragment) != 0;
  } else {
    carried.ttl = ip[ipv6::kHopLimit];
    carried.traffic_class = ipv6::traffic_class(ip);
  }

  const std::uint8_t* header = packet.data + packet.l4;
  const std::size_t udp_size = udp::kSize + packet.payload_size;
  const std::uint16_t checksum = load_be16(header + udp::kChecksum);
  const std::uint16_t pseudo = pseudo_sum(packet, udp_size);
  if (checksum == 0) {
    carried.had_checksum = false;
    return carried;
  }
  // A local veth leaves the work to a device that isn't there: the field holds the folded
  // pseudo-header sum.
  if (packet.checksum == Checksum::kMaybePartial && checksum == pseudo) return carried;

  const std::size_t front = packet.body - packet.payload;
  const std::size_t back = packet.payload_size - front - packet.body_size;
  const std::uint8_t* tail = packet.data + packet.body + packet.body_size;
  const std::uint16_t tail_sum = sum_bytes(tail, back);
  ChecksumDifference sum;
  sum.add(minus(checksum))
      .remove(pseudo)
      .remove(sum_bytes(header, udp::kChecksum))
      .remove(sum_bytes(packet.data + packet.payload, front))
      .remove(packet.body_size % 2 == 0 ? tail_sum : at_odd_offset(tail_sum));
  assert(front % 2 == 0);
  carried.body_sum = sum.sum();
  return carried;
}

bool room_for(const Packet& packet, Family family, std::size_t framing_size, std::size_t padding) {
  const std::size_t before = ethernet::kSize + ip_size(family) + udp::kSize + framing_size;
  const std::size_t behind = packet.length - packet.body - packet.body_size + packet.tailroom;
  return before <= std::size_t{packet.headroom} + packet.body && padding <= behind;
}

void put_on(Packet& packet, const Carried& carried, const Endpoint& source,
            const Endpoint& destination, std::size_t framing_size, std::size_t padding) {
  const Family family = source.address.family;
  std::uint8_t* body = packet.data + packet.body;
  std::uint8_t* framing = body - framing_size;
  std::uint8_t* header = framing - udp::kSize;
  std::uint8_t* ip = header - ip_size(family);
  std::uint8_t* frame = ip - ethernet::kSize;
  const std::size_t udp_size = udp::kSize + framing_size + packet.body_size + padding;

  store_be16(frame + ethernet::kType,
             family == Family::kIpv4 ? ether_type::kIpv4 : ether_type::kIpv6);
  write_ip(ip, carried, source, destination, udp_size);
  store_be16(header + udp::kSourcePort, source.port);
  store_be16(header + udp::kDestinationPort, destination.port);
  store_be16(header + udp::kLength, static_cast<std::uint16_t>(udp_size));
  store_be16(header + udp::kChecksum, 0);
  // IPv4 to IPv4, a sender that wants no checksum gets none; IPv6 must have one (RFC 8200 §8.1).
  if (carried.had_checksum || family == Family::kIpv6) {
    const std::uint16_t body_sum =
        carried.body_sum ? *carried.body_sum : sum_bytes(body, packet.body_size);
    // Padding is zero and adds nothing.
    const std::uint32_t sum = std::uint32_t{pseudo_sum(source, destination, udp_size)} +
                              sum_bytes(header, udp::kSize) + sum_bytes(framing, framing_size) +
                              body_sum;
    store_be16(header + udp::kChecksum, udp_on_wire(static_cast<std::uint16_t>(~fold(sum))));
  }

  const auto moved = static_cast<int>(frame - packet.data);  // negative: into the headroom
  const auto used = static_cast<std::uint32_t>(ethernet::kSize + ip_size(family) + udp_size);
  packet.tailroom = static_cast<std::uint16_t>(packet.tailroom + static_cast<int>(packet.length) -
                                               moved - static_cast<int>(used));
  packet.headroom = static_cast<std::uint16_t>(packet.headroom + moved);
  packet.data = frame;
  packet.length = used;
  packet.family = family;
  packet.l3 = ethernet::kSize;
  packet.l4 = static_cast<std::uint16_t>(header - frame);
  packet.payload = static_cast<std::uint16_t>(framing - frame);
  packet.payload_size = static_cast<std::uint16_t>(udp_size - udp::kSize);
  packet.body = static_cast<std::uint16_t>(body - frame);
}

void turn_round(Packet& packet, std::size_t payload_size) {
  std::array<std::uint8_t, ethernet::kAddressSize> mac;
  std::memcpy(mac.data(), packet.data + ethernet::kDestination, mac.size());
  std::memcpy(packet.data + ethernet::kDestination, packet.data + ethernet::kSource, mac.size());
  std::memcpy(packet.data + ethernet::kSource, mac.data(), mac.size());

  std::uint8_t* ip = packet.data + packet.l3;
  std::uint8_t* header = packet.data + packet.l4;
  const std::size_t udp_size = udp::kSize + payload_size;
  if (packet.family == Family::kIpv4) {
    // Options of the request are not the answer's: they become no-operations' worth of nothing.
    std::fill(ip + ipv4::kMinSize, header, std::uint8_t{1});
    store_be16(ip + ipv4::kTotalLength,
               static_cast<std::uint16_t>(header - ip + static_cast<std::ptrdiff_t>(udp_size)));
    store_be16(ip + ipv4::kFlagsFragment, 0);
    ip[ipv4::kTos] = 0;
    ip[ipv4::kTtl] = 64;
    std::swap_ranges(ip + ipv4::kSource, ip + ipv4::kSource + ipv4::kAddressSize,
                     ip + ipv4::kDestination);
    store_be16(ip + ipv4::kChecksum, 0);
    store_be16(ip + ipv4::kChecksum,
               ipv4_header_checksum(ip, static_cast<std::size_t>(header - ip)));
  } else {
    ipv6::set_class_and_flow(ip, 0, 0);
    store_be16(ip + ipv6::kPayloadLength, static_cast<std::uint16_t>(udp_size));
    ip[ipv6::kHopLimit] = 64;
    std::swap_ranges(ip + ipv6::kSource, ip + ipv6::kSource + ipv6::kAddressSize,
                     ip + ipv6::kDestination);
  }
  const std::uint16_t port = load_be16(header + udp::kSourcePort);
  store_be16(header + udp::kSourcePort, load_be16(header + udp::kDestinationPort));
  store_be16(header + udp::kDestinationPort, port);
  store_be16(header + udp::kLength, static_cast<std::uint16_t>(udp_size));
  store_be16(header + udp::kChecksum, 0);
  store_be16(header + udp::kChecksum, udp_checksum(pseudo_sum(packet, udp_size), header, udp_size));

  const auto used = static_cast<std::uint32_t>(packet.l4 + udp_size);
  packet.tailroom = static_cast<std::uint16_t>(packet.tailroom + static_cast<int>(packet.length) -
                                               static_cast<int>(used));
  packet.length = used;
  packet.payload_size = static_cast<std::uint16_t>(payload_size);
  packet.verdict = Verdict::kTransmitBack;
}

bool is_one_host(const Address& address) {
  if (address.is_unspecified()) return false;
  if (address.family == Family::kIpv4)
    return address.bytes[0] != 0 && address.bytes[0] != 127 && address.bytes[0] < 224;
  static constexpr Address kLoopback = [] {
    Address loopback;
    loopback.family = Family::kIpv6;
    loopback.bytes[15] = 1;
    return loopback;
  }();
  return address.bytes[0] != 0xFF && address != kLoopback;
}

}  // namespace turnpike::flow

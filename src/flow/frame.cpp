// Sums stay in network order here, as wire/checksum.h has them, until they go to a Carried.
#include "flow/frame.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::flow {

using namespace wire;

std::uint16_t pseudo_sum(const Packet& packet, std::size_t udp_size) {
  const std::uint8_t* ip = packet.data + packet.l3;
  const auto length = static_cast<std::uint32_t>(udp_size);
  return packet.family == Family::kIpv4
             ? pseudo_header_sum_v4(ip + ipv4::kSource, ip + ipv4::kDestination, ip_protocol::kUdp,
                                    length)
             : pseudo_header_sum_v6(ip + ipv6::kSource, ip + ipv6::kDestination, ip_protocol::kUdp,
                                    length);
}

Carried take_off(const Packet& packet, Family to) {
  const std::uint8_t* ip = packet.data + packet.l3;
  const std::uint8_t* header = packet.data + packet.l4;
  const std::size_t front = packet.body - packet.payload;
  assert(front % 4 == 0);
  Carried carried = packet.family == Family::kIpv4 ? take_off<Family::kIpv4>(ip, header, front)
                                                   : take_off<Family::kIpv6>(ip, header, front);
  // A local veth leaves the work to a device that isn't there: the field holds the folded
  // pseudo-header sum.
  const std::uint16_t checksum = load_be16(header + udp::kChecksum);
  const bool partial = packet.checksum == Checksum::kMaybePartial && checksum != 0 &&
                       checksum == pseudo_sum(packet, udp::kSize + packet.payload_size);
  const std::uint8_t* body = packet.data + packet.body;
  if (partial || (!carried.has_checksum && to == Family::kIpv6)) {
    carried.has_checksum = true;  // IPv6 must have one (RFC 8200 §8.1)
    carried.sum = as_loaded(sum_bytes(body, packet.body_size));
    return carried;
  }
  const std::size_t back = packet.payload_size - front - packet.body_size;
  const std::uint16_t tail = sum_bytes(body + packet.body_size, back);
  carried.sum += minus16(as_loaded(packet.body_size % 2 == 0 ? tail : at_odd_offset(tail)));
  return carried;
}

bool room_for(const Packet& packet, Family family, std::size_t framing_size, std::size_t padding) {
  const std::size_t before = ethernet::kSize + ip_size(family) + udp::kSize + framing_size;
  const std::size_t behind = packet.length - packet.body - packet.body_size + packet.tailroom;
  return before <= std::size_t{packet.headroom} + packet.body && padding <= behind;
}

void put_on(Packet& packet, Carried carried, const Endpoint& source, const Endpoint& destination,
            std::size_t framing_size, std::size_t padding) {
  const Family family = source.address.family;
  std::uint8_t* body = packet.data + packet.body;
  std::uint8_t* framing = body - framing_size;
  std::uint8_t* header = framing - udp::kSize;
  std::uint8_t* frame = header - ip_size(family) - ethernet::kSize;
  const std::size_t udp_size = udp::kSize + framing_size + packet.body_size + padding;
  // Padding is zero and adds nothing.
  carried.sum += as_loaded(sum_bytes(framing, framing_size));
  if (family == Family::kIpv4) {
    put_on<Family::kIpv4>(frame, carried, source.address, source.port, destination.address,
                          destination.port, udp_size);
  } else {
    put_on<Family::kIpv6>(frame, carried, source.address, source.port, destination.address,
                          destination.port, udp_size);
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

bool udp_checksum_holds(const Packet& packet) {
  const std::uint8_t* header = packet.data + packet.l4;
  const std::size_t udp_size = udp::kSize + packet.payload_size;
  const std::uint16_t checksum = load_be16(header + udp::kChecksum);
  if (packet.checksum == Checksum::kGood || checksum == 0) return true;
  const std::uint16_t pseudo = pseudo_sum(packet, udp_size);
  if (packet.checksum == Checksum::kMaybePartial && checksum == pseudo) return true;
  return udp_checksum_good(pseudo, header, udp_size);
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

void redirect(Packet& packet, const Endpoint& source, std::uint16_t to_port) {
  assert(source.address.family == packet.family);
  const bool v4 = packet.family == Family::kIpv4;
  std::uint8_t* ip = packet.data + packet.l3;
  std::uint8_t* header = packet.data + packet.l4;
  const auto address = source.address.view();
  std::copy(address.begin(), address.end(), ip + (v4 ? ipv4::kDestination : ipv6::kDestination));
  store_be16(header + udp::kDestinationPort, source.port);
  if (to_port != 0) store_be16(header + udp::kSourcePort, to_port);
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

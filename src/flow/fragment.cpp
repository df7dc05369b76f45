// Each piece is a copy with headers of its own: the frame it comes from stays whole.
#include "flow/fragment.h"

#include <algorithm>
#include <cstring>

#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::flow {

using namespace wire;

namespace {

std::size_t headers_of(Family family) {
  return family == Family::kIpv4 ? ipv4::kMinSize : ipv6::kSize + ipv6_fragment::kSize;
}
// Bytes behind the headers in all fragments but the last.
std::size_t piece_of(Family family, std::size_t mtu) {
  return (mtu - headers_of(family)) / 8 * 8;
}

}  // namespace

std::size_t fragments_of(Family family, std::size_t size, std::size_t mtu) {
  const std::size_t piece = piece_of(family, mtu);
  return (size + piece - 1) / piece;
}

bool fragment(const Packet& packet, std::size_t mtu, std::uint32_t id, FragmentSink& sink) {
  const bool v4 = packet.family == Family::kIpv4;
  const std::size_t headers = headers_of(packet.family);
  const std::size_t total = packet.length - packet.l4;  // UDP, to be spread
  if (mtu < headers + 8) return false;
  const std::size_t piece = piece_of(packet.family, mtu);
  if (fragments_of(packet.family, total, mtu) > kMaxFragments) return false;
  const std::uint8_t* old_ip = packet.data + packet.l3;

  for (std::size_t offset = 0; offset < total; offset += piece) {
    const std::size_t size = std::min(piece, total - offset);
    const bool more = offset + size < total;
    const std::size_t frame_size = ethernet::kSize + headers + size;
    const std::span<std::uint8_t> frame = sink.take(frame_size);
    if (frame.size() < frame_size) return false;
    std::memcpy(frame.data(), packet.data, ethernet::kSize);
    std::uint8_t* ip = frame.data() + ethernet::kSize;
    if (v4) {
      std::memcpy(ip, old_ip, ipv4::kMinSize);
      ip[0] = 0x45;  // without options
      store_be16(ip + ipv4::kTotalLength, static_cast<std::uint16_t>(headers + size));
      store_be16(ip + ipv4::kFlagsFragment,
                 static_cast<std::uint16_t>(offset / 8 | (more ? ipv4::kMoreFragments : 0)));
      store_be16(ip + ipv4::kChecksum, 0);
      store_be16(ip + ipv4::kChecksum, ipv4_header_checksum(ip, ipv4::kMinSize));
    } else {
      std::memcpy(ip, old_ip, ipv6::kSize);
      store_be16(ip + ipv6::kPayloadLength,
                 static_cast<std::uint16_t>(ipv6_fragment::kSize + size));
      ip[ipv6::kNextHeader] = ip_protocol::kFragment;
      std::uint8_t* extension = ip + ipv6::kSize;
      extension[ipv6_fragment::kNextHeader] = ip_protocol::kUdp;
      extension[1] = 0;
      store_be16(extension + ipv6_fragment::kOffsetFlags,
                 static_cast<std::uint16_t>(offset | (more ? ipv6_fragment::kMoreFragments : 0)));
      store_be32(extension + ipv6_fragment::kId, id);
    }
    std::memcpy(ip + headers, packet.data + packet.l4 + offset, size);
    sink.done(frame_size);
  }
  return true;
}

}  // namespace turnpike::flow

// Copies a fragment to where it belongs; the table says when all are there.
#include "dataplane/reassembly.h"

#include <cstring>

#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::dataplane {
namespace {

using namespace wire;

rte_mbuf* frame_of(const flow::FragmentTable::Piece& piece) {
  return static_cast<rte_mbuf*>(piece.frame);
}

// The first fragment's header (RFC 791, RFC 8200 §4.5) becomes the whole datagram's.
void make_whole(std::uint8_t* ip, std::size_t header, std::size_t size, bool v4,
                std::uint8_t next) {
  if (!v4) {
    ip[ipv6::kNextHeader] = next;
    store_be16(ip + ipv6::kPayloadLength, static_cast<std::uint16_t>(size));
    return;
  }
  store_be16(ip + ipv4::kTotalLength, static_cast<std::uint16_t>(header + size));
  store_be16(ip + ipv4::kFlagsFragment, load_be16(ip + ipv4::kFlagsFragment) & ipv4::kDontFragment);
  store_be16(ip + ipv4::kChecksum, 0);
  store_be16(ip + ipv4::kChecksum, ipv4_header_checksum(ip, header));
}

}  // namespace

Reassembly::~Reassembly() {
  while (table_.give_up_all())
    free_given_up();
}

void Reassembly::free_given_up() {
  for (const flow::FragmentTable::GivenUp& one : table_.given_up()) {
    counters_.drops[static_cast<std::size_t>(one.reason)].add();
    rte_pktmbuf_free(static_cast<rte_mbuf*>(one.frame));
  }
}

rte_mbuf* Reassembly::add(Instant now, const flow::Packet& packet, const flow::Fragment& fragment,
                          std::optional<AllocationSlot> owner) {
  const std::uint16_t l3 = packet.l3;  // the packet may be in the frame's own notes, which go
  const bool v4 = packet.family == Family::kIpv4;
  const Pieces pieces = table_.add(now, fragment, owner, packet.cookie);
  free_given_up();
  if (pieces.empty()) return nullptr;
  rte_mbuf* whole = linear(pieces, l3, v4);
  for (const flow::FragmentTable::Piece& piece : pieces)
    rte_pktmbuf_free(frame_of(piece));
  if (whole == nullptr) counters_.drops[static_cast<std::size_t>(flow::Drop::kNoMbuf)].add();
  return whole;
}

// A piece's bytes are the last of its frame.
rte_mbuf* Reassembly::linear(Pieces pieces, std::uint16_t l3, bool v4) {
  rte_mbuf* first = frame_of(pieces.front());
  const std::size_t before = first->data_len - pieces.front().size;
  const std::size_t header = before - l3 - (v4 ? 0 : ipv6_fragment::kSize);
  const std::size_t size = std::size_t{pieces.back().offset} + pieces.back().size;
  const std::size_t all = l3 + header + size;
  if (header + size > UINT16_MAX || all > UINT16_MAX) return nullptr;
  const bool is_short = all + RTE_PKTMBUF_HEADROOM <= rte_pktmbuf_data_room_size(frames_);
  rte_mbuf* one = rte_pktmbuf_alloc(is_short ? frames_ : large_);
  if (one == nullptr) return nullptr;
  if (rte_pktmbuf_tailroom(one) < all) {
    rte_pktmbuf_free(one);
    return nullptr;
  }
  auto* room =
      reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(one, static_cast<std::uint16_t>(all)));
  const auto* head = rte_pktmbuf_mtod(first, const std::uint8_t*);
  std::memcpy(room, head, l3 + header);
  make_whole(room + l3, header, size, v4,
             v4 ? std::uint8_t{0} : head[l3 + header + ipv6_fragment::kNextHeader]);
  for (const flow::FragmentTable::Piece& piece : pieces) {
    const rte_mbuf* frame = frame_of(piece);
    std::memcpy(room + l3 + header + piece.offset,
                rte_pktmbuf_mtod(frame, const std::uint8_t*) + frame->data_len - piece.size,
                piece.size);
  }
  one->port = first->port;
  return one;
}

}  // namespace turnpike::dataplane

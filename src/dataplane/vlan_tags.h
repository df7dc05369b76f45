// VLAN tags end at the worker: a frame's are taken off before the pipeline sees it, and put on
// again where it goes back, or to the kernel; a frame to a next hop gets the next hop's.
#pragma once

#include <rte_mbuf.h>

#include <cassert>
#include <cstring>

#include "dataplane/engine_ring.h"
#include "flow/packet.h"
#include "tables/next_hop.h"
#include "wire/headers.h"

namespace turnpike::dataplane {

inline constexpr std::size_t kMacs = 2 * wire::ethernet::kAddressSize;

inline bool is_tag(std::uint16_t type) {
  return type == wire::ether_type::kVlan || type == wire::ether_type::kQinq;
}

// Takes up to two tags off a fresh packet, into its frame's notes.
inline void take_tags_off(flow::Packet& packet, FrameNotes& notes) {
  const auto has_tag = [&](std::size_t before) {
    return packet.length >= wire::ethernet::kSize + before + wire::vlan::kSize &&
           is_tag(wire::load_be16(packet.data + wire::ethernet::kType + before));
  };
  if (!has_tag(0)) return;
  const std::size_t size = has_tag(wire::vlan::kSize) ? 2 * wire::vlan::kSize : wire::vlan::kSize;
  std::memcpy(notes.tags.bytes.data(), packet.data + kMacs, size);
  notes.tags.size = static_cast<std::uint8_t>(size);
  std::memmove(packet.data + size, packet.data, kMacs);
  packet.data += size;
  packet.length -= static_cast<std::uint32_t>(size);
  packet.headroom = static_cast<std::uint16_t>(packet.headroom + size);
  packet.tag_bytes = notes.tags.size;
}

// Those that were taken off.
inline flow::VlanTags tags_of(const flow::Packet& packet) {
  return packet.tag_bytes == 0 ? flow::VlanTags{}
                               : notes_of(static_cast<const rte_mbuf*>(packet.cookie)).tags;
}

// Puts them on again, where they were.
inline void put_tags_back(flow::Packet& packet, const FrameNotes& notes) {
  if (packet.tag_bytes == 0) return;
  assert(packet.headroom >= packet.tag_bytes);
  packet.data -= packet.tag_bytes;
  packet.length += packet.tag_bytes;
  packet.headroom = static_cast<std::uint16_t>(packet.headroom - packet.tag_bytes);
  std::memmove(packet.data, packet.data + packet.tag_bytes, kMacs);
  std::memcpy(packet.data + kMacs, notes.tags.bytes.data(), packet.tag_bytes);
  packet.tag_bytes = 0;
}

// Puts tags on a frame that has none; false if there is no room before it.
inline bool put_tags_on(rte_mbuf* mbuf, const flow::VlanTags& tags) {
  char* frame = rte_pktmbuf_prepend(mbuf, tags.size);
  if (frame == nullptr) return false;
  std::memmove(frame, frame + tags.size, kMacs);
  std::memcpy(frame + kMacs, tags.bytes.data(), tags.size);
  return true;
}

}  // namespace turnpike::dataplane

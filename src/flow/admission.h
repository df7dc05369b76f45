// The law: who may pass (docs/protocol.md 22; RFC 8656 §10, §11.2, §12.6). Both schedules, the
// general stages (look_up.cpp) and the fast lane, find the entries of a packet in their own way and
// ask here what they mean.
//
//   ChannelData   a live channel, even where its permission has run out
//   Send          a live permission for the peer's address
//   from a peer   a live channel to its address and port, or a live permission for its address:
//                 clients that refresh channels alone, every 500 s, would otherwise be deaf from
//                 the permission's end at 300 s
//
// And never without a live allocation, of the relayed address's family. nullptr stands for an entry
// that isn't there. The answer is the reason to refuse, Drop::kNone: it may pass.
#pragma once

#include <atomic>
#include <cstdint>

#include "flow/drop.h"
#include "tables/tables.h"

namespace turnpike::flow {

inline bool is_live(const std::atomic<std::uint32_t>& expires_s, std::uint32_t seconds) {
  return seconds < expires_s.load(std::memory_order_relaxed);
}
inline bool is_live(const AllocationEntry& allocation, Family family, std::uint32_t seconds) {
  return is_live(allocation.expires_s[family_index(family)], seconds);
}
template <typename Entry>
bool is_live(const Entry* entry, std::uint32_t seconds) {
  return entry != nullptr && is_live(entry->expires_s, seconds);
}

// ChannelData.
inline Drop client_may_send(const AllocationEntry& allocation, const ChannelEntry* channel,
                            std::uint32_t seconds) {
  if (!is_live(channel, seconds)) return Drop::kNoChannel;
  const Family family = channel->peer.address.family;
  return is_live(allocation, family, seconds) ? Drop::kNone : Drop::kNoAllocation;
}

// Send, to a peer of `family`.
inline Drop client_may_send(const AllocationEntry& allocation, Family family,
                            const PermissionEntry* permission, std::uint32_t seconds) {
  if (!allocation.has_relayed[family_index(family)]) return Drop::kFamilyMismatch;
  if (!is_live(permission, seconds)) return Drop::kNoPermission;
  return is_live(allocation, family, seconds) ? Drop::kNone : Drop::kNoAllocation;
}

// From a peer of `family`. A live channel also decides how its data are framed.
inline Drop peer_may_send(const AllocationEntry& allocation, Family family,
                          const ChannelEntry* channel, const PermissionEntry* permission,
                          std::uint32_t seconds) {
  if (!is_live(allocation, family, seconds)) return Drop::kNoRelay;
  const bool may = is_live(channel, seconds) || is_live(permission, seconds);
  return may ? Drop::kNone : Drop::kNoPermission;
}

}  // namespace turnpike::flow

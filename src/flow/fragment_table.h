// Fragments that wait for the rest of their datagram, of one worker: where they lie and who may
// take whose place. Their bytes are nothing to it, so tests drive it with numbers for frames.
//
// Places are few and whoever sends one fragment takes one for a second, so they are shared:
//   - A datagram whose first fragment names a known five-tuple, or comes from a peer who may send
//     to the relay port that it names, is counted to that allocation; any other to its source (an
//     IPv4 address, an IPv6 /64). Nobody has more than kOfOne places; who wants another loses the
//     oldest of his own.
//   - While places are free anybody gets one. When there are none, a stranger's goes: the oldest
//     of whoever has most. A stranger takes none from the known; these take from each other, in the
//     same way, when no stranger has any.
//
// What is promised by this: however many sources a flood of strangers forges, a datagram that is
// known to be an allocation's stays its second, unless kOfOne others of the same allocation follow,
// or allocations alone fill the table. One that isn't known, or whose first fragment has not come
// yet, stays while fewer others come than strangers have places. No more than that: who can send as
// somebody's own client or peer, with addresses and ports, takes from that one's places.
//
// A place is found by 64 bits of keyed hash that nobody outside knows, by looking at all of them:
// 2 KiB, for fragments alone.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "base/keyed_hash.h"
#include "flow/drop.h"
#include "flow/packet.h"
#include "turnpike/address.h"
#include "turnpike/flow_sink.h"
#include "turnpike/time.h"
#include "wire/headers.h"

namespace turnpike::flow {

// One fragment, as its header describes it.
struct Fragment {
  std::uint64_t datagram = 0;  // what all of one datagram have in common, as a number
  std::uint64_t source = 0;    // likewise of one source
  std::uint32_t offset = 0;
  std::uint32_t size = 0;  // of what is to be put together
  bool more = false;       // follow

  bool first() const { return offset == 0; }
};

// `packet` has verdict kReassemble. Nobody who doesn't know the key can make two datagrams alike,
// or choose a number.
inline Fragment read_fragment(const HashKey& key, const Packet& packet) {
  const std::uint8_t* ip = packet.data + packet.l3;
  const bool v4 = packet.family == Family::kIpv4;
  const std::uint8_t* extension = packet.data + packet.l4;
  const std::uint32_t id = v4 ? wire::load_be16(ip + wire::ipv4::kId)
                              : wire::load_be32(extension + wire::ipv6_fragment::kId);
  const std::uint16_t flags = v4 ? wire::load_be16(ip + wire::ipv4::kFlagsFragment)
                                 : wire::load_be16(extension + wire::ipv6_fragment::kOffsetFlags);
  const auto word = [](const Address& address, std::size_t at) {
    std::uint64_t value = 0;
    std::memcpy(&value, address.bytes.data() + at, sizeof value);
    return value;
  };
  const Address& from = packet.source.address;
  const Address& to = packet.destination.address;
  const std::uint64_t pair = table_hash(key, word(from, 0), word(from, 8), word(to, 0));
  const std::uint64_t family = v4 ? 0 : 1;
  Fragment fragment;
  // Never zero, which is the number of no datagram.
  fragment.datagram = table_hash(key, pair, word(to, 8), std::uint64_t{id} << 1 | family) | 1;
  fragment.source = table_hash(key, word(from, 0), family, 0);
  fragment.offset = v4 ? std::uint32_t{8} * (flags & wire::ipv4::kOffsetMask)
                       : std::uint32_t{flags} & wire::ipv6_fragment::kOffsetMask;
  fragment.more =
      (flags & (v4 ? wire::ipv4::kMoreFragments : wire::ipv6_fragment::kMoreFragments)) != 0;
  const std::size_t headers = packet.l4 + (v4 ? 0 : wire::ipv6_fragment::kSize);
  fragment.size = packet.length > headers ? static_cast<std::uint32_t>(packet.length - headers) : 0;
  return fragment;
}

class FragmentTable {
 public:
  static constexpr std::size_t kDatagrams = 256;
  static constexpr std::size_t kPieces = 8;  // of a datagram
  static constexpr std::uint32_t kOfOne = 32;
  static constexpr std::uint64_t kPatienceMs = 1000;

  struct Piece {
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
    void* frame = nullptr;  // the caller's
  };
  struct GivenUp {
    void* frame = nullptr;
    Drop reason = Drop::kNone;
  };

  // Takes `frame`. `owner`: of a first fragment, the allocation that it is known to be of. Returns
  // all pieces of the datagram, in order, once the last has come; none before. What has been given
  // up on the way is in given_up(). Both are valid until the next call.
  std::span<const Piece> add(Instant now, const Fragment& fragment,
                             std::optional<AllocationSlot> owner, void* frame) {
    lost_ = 0;
    give_up_old(now);
    const std::size_t end = std::size_t{fragment.offset} + fragment.size;
    // RFC 791, RFC 8200 §4.5: all but the last are whole eights.
    const bool malformed =
        fragment.size == 0 || end > kMost || (fragment.more && fragment.size % 8 != 0);
    std::size_t place = find(fragment.datagram);
    if (place != kNowhere && is_old(now, place)) {
      clear(place, Drop::kFragmentRejected);
      place = kNowhere;
    }
    if (malformed) {
      lose(frame, Drop::kFragmentRejected);
      return {};
    }
    const std::uint64_t holder = owner ? holder_of(*owner) : fragment.source & ~kKnown;
    if (place == kNowhere) {
      place = take_place(now, holder);
      if (place == kNowhere) {
        lose(frame, Drop::kFragmentCrowded);
        return {};
      }
      keys_[place] = fragment.datagram;
      waiting_[place] = {.since = now, .number = ++number_, .holder = holder};
      ++held(holder);
    } else if (owner && !is_known(place)) {
      become_known(place, holder);
    }
    return join(place, fragment, frame);
  }

  std::span<const GivenUp> given_up() const { return std::span(given_up_).first(lost_); }

  // Everything that waits goes to given_up(), by as many calls as it takes: false when nothing is
  // left.
  bool give_up_all() {
    lost_ = 0;
    for (std::size_t i = 0; i < kDatagrams; ++i) {
      if (keys_[i] == kFree) continue;
      clear(i, Drop::kFragmentRejected);
      return true;
    }
    return false;
  }

 private:
  static constexpr std::size_t kNowhere = kDatagrams;
  static constexpr std::uint64_t kFree = 0;
  static constexpr std::size_t kMost = 65535;
  static constexpr std::size_t kLooksAt = 4;      // old ones, with each that comes
  static constexpr std::size_t kHolders = 16384;  // counts; two who share one count as one
  static constexpr std::uint64_t kKnown = std::uint64_t{1} << 63;  // of a holder: an allocation

  struct Waiting {
    Instant since;
    std::uint64_t number = 0;  // the smaller, the older
    std::uint64_t holder = 0;
    std::uint8_t pieces = 0;
    std::uint32_t bytes = 0;
    std::uint32_t end = 0;  // of the datagram; 0: the last fragment has not come
    std::array<Piece, kPieces> piece{};
  };

  static std::uint64_t holder_of(AllocationSlot owner) {
    return (std::uint64_t{static_cast<std::uint32_t>(owner)} * 0x9E37'79B9'7F4A'7C15) | kKnown;
  }
  // Allocations and strangers never share one.
  std::uint16_t& held(std::uint64_t holder) { return held_[holder >> 50]; }
  static_assert(kHolders == std::size_t{1} << 14);
  bool is_known(std::size_t place) const { return (waiting_[place].holder & kKnown) != 0; }

  std::size_t find(std::uint64_t datagram) const {
    return static_cast<std::size_t>(std::find(keys_.begin(), keys_.end(), datagram) -
                                    keys_.begin());
  }
  bool is_old(Instant now, std::size_t place) const {
    return now.ms - waiting_[place].since.ms >= kPatienceMs;
  }

  void lose(void* frame, Drop reason) { given_up_[lost_++] = {frame, reason}; }

  void clear(std::size_t place, Drop reason) {
    for (std::size_t i = 0; i < waiting_[place].pieces; ++i)
      lose(waiting_[place].piece[i].frame, reason);
    free(place);
  }
  void free(std::size_t place) {
    --held(waiting_[place].holder);
    keys_[place] = kFree;
  }

  void give_up_old(Instant now) {
    for (std::size_t i = 0; i < kLooksAt; ++i) {
      next_old_ = (next_old_ + 1) % kDatagrams;
      if (keys_[next_old_] != kFree && is_old(now, next_old_))
        clear(next_old_, Drop::kFragmentRejected);
    }
  }

  // The first fragment has told whose it is.
  void become_known(std::size_t place, std::uint64_t holder) {
    if (held(holder) >= kOfOne) {
      const std::size_t own = oldest_of(holder);
      if (own != kNowhere) clear(own, Drop::kFragmentCrowded);
    }
    --held(waiting_[place].holder);
    waiting_[place].holder = holder;
    ++held(holder);
  }

  std::size_t oldest_of(std::uint64_t holder) const {
    std::size_t oldest = kNowhere;
    for (std::size_t i = 0; i < kDatagrams; ++i) {
      if (keys_[i] == kFree || waiting_[i].holder != holder) continue;
      if (oldest == kNowhere || waiting_[i].number < waiting_[oldest].number) oldest = i;
    }
    return oldest;
  }

  std::size_t take_place(Instant now, std::uint64_t holder) {
    if (held(holder) >= kOfOne) {
      const std::size_t own = oldest_of(holder);
      // None if it is another with the same count: then as if there were no room.
      if (own != kNowhere) {
        clear(own, is_old(now, own) ? Drop::kFragmentRejected : Drop::kFragmentCrowded);
        return own;
      }
    }
    if (const std::size_t free_place = find(kFree); free_place != kNowhere) return free_place;
    std::size_t victim = kNowhere;
    for (std::size_t i = 0; i < kDatagrams; ++i) {
      if (is_old(now, i)) {
        clear(i, Drop::kFragmentRejected);
        return i;
      }
      if (((holder & kKnown) != 0 || !is_known(i)) &&
          (victim == kNowhere || goes_before(i, victim)))
        victim = i;
    }
    if (victim != kNowhere) clear(victim, Drop::kFragmentCrowded);
    return victim;
  }

  bool goes_before(std::size_t a, std::size_t b) {
    if (is_known(a) != is_known(b)) return !is_known(a);
    const std::uint16_t of_a = held(waiting_[a].holder), of_b = held(waiting_[b].holder);
    return of_a != of_b ? of_a > of_b : waiting_[a].number < waiting_[b].number;
  }

  // RFC 8200 §4.5, RFC 5722: what overlaps makes the whole datagram void; the same once more is
  // nothing.
  std::span<const Piece> join(std::size_t place, const Fragment& fragment, void* frame) {
    Waiting& one = waiting_[place];
    const std::uint32_t end = fragment.offset + fragment.size;
    std::size_t at = 0;
    while (at < one.pieces && one.piece[at].offset < fragment.offset)
      ++at;
    const bool again = at < one.pieces && one.piece[at].offset == fragment.offset &&
                       one.piece[at].size == fragment.size;
    const bool overlaps =
        (at > 0 && one.piece[at - 1].offset + one.piece[at - 1].size > fragment.offset) ||
        (at < one.pieces && one.piece[at].offset < end);
    const std::uint32_t reaches =
        one.pieces == 0 ? 0 : one.piece[one.pieces - 1].offset + one.piece[one.pieces - 1].size;
    const bool wrong_end = fragment.more ? one.end != 0 && end >= one.end
                                         : (one.end != 0 && end != one.end) || end < reaches;
    if (again && !wrong_end) {
      lose(frame, Drop::kFragmentRejected);
      return {};
    }
    if (overlaps || wrong_end || one.pieces == kPieces) {
      clear(place, Drop::kFragmentRejected);
      lose(frame, Drop::kFragmentRejected);
      return {};
    }
    std::copy_backward(one.piece.begin() + static_cast<std::ptrdiff_t>(at),
                       one.piece.begin() + one.pieces, one.piece.begin() + one.pieces + 1);
    one.piece[at] = {fragment.offset, fragment.size, frame};
    ++one.pieces;
    one.bytes += fragment.size;
    if (!fragment.more) one.end = end;
    if (one.end == 0 || one.bytes != one.end) return {};
    free(place);
    return std::span(one.piece).first(one.pieces);
  }

  std::array<std::uint64_t, kDatagrams> keys_{};
  std::array<Waiting, kDatagrams> waiting_{};
  std::array<std::uint16_t, kHolders> held_{};
  std::size_t next_old_ = 0;
  std::uint64_t number_ = 0;
  // By one call: those looked at, one by its key, one or two to make room, the fragment itself.
  std::array<GivenUp, (kLooksAt + 3) * kPieces + 1> given_up_{};
  std::size_t lost_ = 0;
};

}  // namespace turnpike::flow

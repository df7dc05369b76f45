// A token bucket for each source of packets, in a table whose memory is taken at the start: so much
// for each IPv4 address, and for each /64 of IPv6, which is what one host or one site has.
//
// Design. A set is a cache line of five buckets. A source has one set (by a hash whose key nobody
// outside knows, so that no set can be aimed at) and is known there by 32 bits of tag. A source
// that isn't there gets the place of the bucket that is fullest, and starts full.
//
// What an attacker can do with sources that he forges:
//   - As many as he likes, one packet each. They push out each other, and sources with (nearly)
//     full buckets, for which to be forgotten and to start full again is the same. A source that
//     has used much stays: it is refused all the same, whatever comes beside it.
//   - Nobody is locked out: a newcomer always gets a place and a full bucket, in a table full of
//     empty buckets too.
//   - To have an empty bucket forgotten, all five of its set must be at least as empty. That takes
//     as many packets as would have been granted to as many new sources, so nothing is won.
//   - Forging the source of somebody uses up that one's bucket: this is the reflection that the
//     limit is for, and its victim still gets his share of answers.
// What it can't do is to bound the sum over random sources: beside it stands one TokenBucket for
// all (token_bucket.h).
//
// Of one thread.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/keyed_hash.h"
#include "flow/token_bucket.h"
#include "tables/large_array.h"
#include "turnpike/address.h"
#include "turnpike/time.h"

namespace turnpike::flow {

class SourceBuckets {
 public:
  // Remembers about `sources` of them, rounded up to whole sets, a power of two. `key` is secret.
  SourceBuckets(std::size_t sources, const HashKey& key)
      : key_(key), sets_(std::bit_ceil((sources + kWays - 1) / kWays)) {}

  // Takes a token of the source's; false if it has none left. The rate may be another the next
  // time: what has been taken stays taken.
  bool take(Instant now, const Address& source, const TokenRate& rate) {
    if (rate.unlimited()) return true;
    auto [set, tag] = find(source);
    std::size_t place = 0;
    for (std::size_t i = 0; i < kWays; ++i) {
      if (set.tags[i] == tag) return rate.take(now, set.full_at_ns[i]);
      if (set.full_at_ns[i] < set.full_at_ns[place]) place = i;
    }
    set.tags[place] = tag;
    set.full_at_ns[place] = 0;
    return rate.take(now, set.full_at_ns[place]);
  }
  // Gives one of the source's tokens back; none where it isn't known (any more), or has all.
  void give_back(Instant now, const Address& source, const TokenRate& rate) {
    if (rate.unlimited()) return;
    auto [set, tag] = find(source);
    for (std::size_t i = 0; i < kWays; ++i) {
      if (set.tags[i] == tag) return rate.give_back(now, set.full_at_ns[i]);
    }
  }

 private:
  static constexpr std::size_t kWays = 5;
  struct alignas(64) Set {
    std::array<std::uint64_t, kWays> full_at_ns{};
    std::array<std::uint32_t, kWays> tags{};
  };
  static_assert(sizeof(Set) == 64);
  struct Found {
    Set& set;
    std::uint32_t tag;
  };

  Found find(const Address& source) {
    const std::uint64_t hash = table_hash(key_, prefix_of(source), family_index(source.family), 0);
    return {sets_[hash & (sets_.size() - 1)], static_cast<std::uint32_t>(hash >> 32)};
  }

  // The address, or its /64, as a number.
  static std::uint64_t prefix_of(const Address& source) {
    std::uint64_t prefix = 0;
    std::memcpy(&prefix, source.bytes.data(), source.family == Family::kIpv4 ? 4 : 8);
    return prefix;
  }

  HashKey key_;
  LargeArray<Set> sets_;
};

}  // namespace turnpike::flow

// Which fragments may wait for the rest of their datagram. Whose datagram it is, only the first
// fragment says: by its ports. Others may come before it (RFC 791: order is nothing), and then
// nobody knows yet whether they are the relay's; so of these only some wait, counted by source and
// in all, and a flood of them takes no place from datagrams that came in order.
//
// Of one worker.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "base/keyed_hash.h"
#include "flow/packet.h"
#include "flow/source_buckets.h"
#include "flow/token_bucket.h"
#include "turnpike/address.h"
#include "turnpike/time.h"
#include "wire/headers.h"

namespace turnpike::flow {

// What the fragments of one datagram have in common, as a number: nobody who doesn't know the key
// can make two alike, or choose one.
struct FragmentOf {
  std::uint64_t datagram = 0;
  bool first = false;
};

// `packet` has verdict kReassemble.
inline FragmentOf fragment_of(const HashKey& key, const Packet& packet) {
  const std::uint8_t* ip = packet.data + packet.l3;
  const bool v4 = packet.family == Family::kIpv4;
  const std::uint8_t* extension = packet.data + packet.l4;
  const std::uint32_t id = v4 ? wire::load_be16(ip + wire::ipv4::kId)
                              : wire::load_be32(extension + wire::ipv6_fragment::kId);
  const std::uint16_t offset =
      v4 ? wire::load_be16(ip + wire::ipv4::kFlagsFragment) & wire::ipv4::kOffsetMask
         : wire::load_be16(extension + wire::ipv6_fragment::kOffsetFlags) &
               wire::ipv6_fragment::kOffsetMask;
  const auto word = [](const Address& address, std::size_t at) {
    std::uint64_t value = 0;
    std::memcpy(&value, address.bytes.data() + at, sizeof value);
    return value;
  };
  const Address& from = packet.source.address;
  const Address& to = packet.destination.address;
  const std::uint64_t pair = table_hash(key, word(from, 0), word(from, 8), word(to, 0));
  return {table_hash(key, pair, word(to, 8), std::uint64_t{id} << 1 | (v4 ? 0 : 1)), offset == 0};
}

class FragmentGate {
 public:
  static constexpr std::uint32_t kOfSource = 32;  // at once, and in a second
  static constexpr std::uint32_t kOfAll = 512;

  explicit FragmentGate(const HashKey& key)
      : sources_({kOfSource, kOfSource}, 1024, key), all_({kOfAll, kOfAll}), firsts_(kFirsts) {}

  bool admit(Instant now, const FragmentOf& fragment, const Address& source) {
    std::uint32_t& place = firsts_[fragment.datagram % kFirsts];
    const auto tag = static_cast<std::uint32_t>(fragment.datagram >> 32);
    if (fragment.first) place = tag;
    if (place == tag) return true;
    return sources_.take(now, source) && all_.take(now);
  }

 private:
  static constexpr std::size_t kFirsts = 1024;

  SourceBuckets sources_;
  TokenBucket all_;
  std::vector<std::uint32_t> firsts_;  // seen lately: tags
};

}  // namespace turnpike::flow

// The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//
// Sums are kept as 32-bit accumulators of 16-bit words read in network order, so a sum is the same
// on every host and a word of a header (host order, after load_be16) can be added as it is.
// The accumulator never overflows for anything that fits a datagram: 65,535 bytes add less than
// 2^31, and fold() may be called in between.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "wire/headers.h"

namespace turnpike::wire {

// Ones' complement sum of the two halves: added to itself with the halves swapped, the upper one
// has it, with the carry from below.
[[gnu::always_inline]] constexpr std::uint16_t fold(std::uint32_t sum) {
  return static_cast<std::uint16_t>((sum + std::rotl(sum, 16)) >> 16);
}

[[gnu::always_inline]] constexpr std::uint16_t fold64(std::uint64_t sum) {
  const auto low = static_cast<std::uint32_t>(sum);
  const std::uint32_t both = low + static_cast<std::uint32_t>(sum >> 32);
  return fold(both + (both < low ? 1 : 0));
}

// The sum of `size` bytes at any alignment, folded; an odd last byte counts as if a zero followed.
inline std::uint16_t sum_bytes(const std::uint8_t* data, std::size_t size) {
  std::uint64_t sum = 0;
  // Ones' complement addition doesn't care about the word size (RFC 1071 §2.C), so 32-bit words go
  // into a 64-bit accumulator.
  for (; size >= 4; data += 4, size -= 4)
    sum += load_be32(data);
  if (size >= 2) {
    sum += load_be16(data);
    data += 2;
    size -= 2;
  }
  if (size == 1) sum += static_cast<std::uint64_t>(*data) << 8;
  return fold64(sum);
}
inline std::uint16_t sum_bytes(std::span<const std::uint8_t> bytes) {
  return sum_bytes(bytes.data(), bytes.size());
}

// A sum over bytes that begin at an odd offset of the checksummed range: its octets are swapped
// (RFC 1071 §2.B).
constexpr std::uint16_t at_odd_offset(std::uint16_t sum) {
  return static_cast<std::uint16_t>(sum << 8 | sum >> 8);
}

// What to add to the sum of a message when a word (or a folded sum of many) leaves it: in ones'
// complement, minus x is ~x.
constexpr std::uint16_t minus(std::uint16_t word) {
  return static_cast<std::uint16_t>(~word);
}

// Collects what leaves and what enters a checksummed range; RFC 1624 [Eqn. 3] for any number of
// words. Takes folded sums as well as single words.
class ChecksumDifference {
 public:
  constexpr ChecksumDifference& remove(std::uint16_t word) {
    sum_ = fold(sum_ + minus(word));
    return *this;
  }
  constexpr ChecksumDifference& add(std::uint16_t word) {
    sum_ = fold(sum_ + word);
    return *this;
  }
  constexpr ChecksumDifference& replace(std::uint16_t old_word, std::uint16_t new_word) {
    return remove(old_word).add(new_word);
  }
  // HC' = ~(~HC + ~m + m'), in host order. The result for a UDP header must go through
  // udp_on_wire().
  constexpr std::uint16_t apply(std::uint16_t old_checksum) const {
    return static_cast<std::uint16_t>(~fold(minus(old_checksum) + sum_));
  }
  constexpr std::uint16_t sum() const { return static_cast<std::uint16_t>(sum_); }

 private:
  std::uint32_t sum_ = 0;
};

// A computed UDP checksum of zero is sent as all ones; zero means "none" (RFC 768).
constexpr std::uint16_t udp_on_wire(std::uint16_t checksum) {
  return checksum == 0 ? std::uint16_t{0xFFFF} : checksum;
}

// The checksum to be stored in an IPv4 header of `header_size` bytes, whatever its checksum field
// holds now; in host order.
inline std::uint16_t ipv4_header_checksum(const std::uint8_t* header, std::size_t header_size) {
  const std::uint16_t whole = sum_bytes(header, header_size);
  const std::uint16_t stored = load_be16(header + ipv4::kChecksum);
  return static_cast<std::uint16_t>(~fold(std::uint32_t{whole} + minus(stored)));
}

// Whether the IPv4 header's checksum is right: the sum of a right one is all ones.
inline bool ipv4_header_checksum_good(const std::uint8_t* header, std::size_t header_size) {
  return sum_bytes(header, header_size) == 0xFFFF;
}

// Pseudo headers, folded. `source` and `destination` are 4 or 16 bytes in network order.
inline std::uint16_t pseudo_header_sum_v4(const std::uint8_t* source,
                                          const std::uint8_t* destination, std::uint8_t protocol,
                                          std::uint32_t length) {
  return fold(std::uint32_t{sum_bytes(source, 4)} + sum_bytes(destination, 4) + protocol +
              fold(length));
}
inline std::uint16_t pseudo_header_sum_v6(const std::uint8_t* source,
                                          const std::uint8_t* destination, std::uint8_t protocol,
                                          std::uint32_t length) {
  return fold(std::uint32_t{sum_bytes(source, 16)} + sum_bytes(destination, 16) + protocol +
              fold(length));
}

// The UDP checksum as it goes on the wire, for `udp` of `udp_size` bytes with its header, whatever
// its checksum field holds now; in host order.
inline std::uint16_t udp_checksum(std::uint16_t pseudo_header_sum, const std::uint8_t* udp,
                                  std::size_t udp_size) {
  const std::uint16_t stored = load_be16(udp + udp::kChecksum);
  const std::uint32_t sum =
      std::uint32_t{pseudo_header_sum} + sum_bytes(udp, udp_size) + minus(stored);
  return udp_on_wire(static_cast<std::uint16_t>(~fold(sum)));
}
inline std::uint16_t udp_checksum_v4(const std::uint8_t* source, const std::uint8_t* destination,
                                     const std::uint8_t* udp, std::size_t udp_size) {
  return udp_checksum(pseudo_header_sum_v4(source, destination, ip_protocol::kUdp,
                                           static_cast<std::uint32_t>(udp_size)),
                      udp, udp_size);
}
inline std::uint16_t udp_checksum_v6(const std::uint8_t* source, const std::uint8_t* destination,
                                     const std::uint8_t* udp, std::size_t udp_size) {
  return udp_checksum(pseudo_header_sum_v6(source, destination, ip_protocol::kUdp,
                                           static_cast<std::uint32_t>(udp_size)),
                      udp, udp_size);
}

// Whether a UDP datagram whose checksum field isn't zero has a right one.
inline bool udp_checksum_good(std::uint16_t pseudo_header_sum, const std::uint8_t* udp,
                              std::size_t udp_size) {
  return fold(std::uint32_t{pseudo_header_sum} + sum_bytes(udp, udp_size)) == 0xFFFF;
}

}  // namespace turnpike::wire

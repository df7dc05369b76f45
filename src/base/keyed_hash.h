// Two keyed hashes, each with its own job.
//
// siphash: a pseudo-random function (SipHash-2-4, Aumasson and Bernstein 2012) for what a stranger
// may try to forge: nonces, tokens. table_hash: for tables whose keys strangers choose; fast (two
// wide multiplications), keyed and non-linear, so that collisions can't be computed without the
// key; never visible outside.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace turnpike {

using HashKey = std::array<std::uint64_t, 4>;

// 64 bits of SipHash-2-4 under the first 16 bytes of key.
std::uint64_t siphash24(std::uint64_t k0, std::uint64_t k1, std::span<const std::uint8_t> data);

[[gnu::always_inline]] inline std::uint64_t fold_multiply(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// Over three words: an address and what tells its user apart.
[[gnu::always_inline]] inline std::uint64_t table_hash(const HashKey& key, std::uint64_t a,
                                                       std::uint64_t b, std::uint64_t c) {
  return fold_multiply(fold_multiply(a ^ key[0], b ^ key[1]) ^ c ^ key[2], key[3] | 1);
}

}  // namespace turnpike

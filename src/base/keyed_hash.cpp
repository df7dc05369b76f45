// SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, §2): two rounds for
// each eight bytes, four at the end; words are little-endian.
#include "base/keyed_hash.h"

#include <bit>
#include <cstring>

namespace turnpike {
namespace {

struct SipState {
  std::uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void compress(std::uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
};

// Eight bytes as a little-endian word, whatever the host's order.
std::uint64_t load_le(const std::uint8_t* data) {
  std::uint64_t word = 0;
  std::memcpy(&word, data, sizeof word);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}
// Likewise, up to eight.
std::uint64_t load_le(const std::uint8_t* data, std::size_t size) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < size; ++i)
    word |= static_cast<std::uint64_t>(data[i]) << (8 * i);
  return word;
}

}  // namespace

std::uint64_t siphash24(std::uint64_t k0, std::uint64_t k1, std::span<const std::uint8_t> data) {
  // The constants are the paper's: "somepseudorandomlygeneratedbytes".
  SipState state{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                 k1 ^ 0x7465646279746573};
  const std::uint8_t* at = data.data();
  std::size_t left = data.size();
  for (; left >= 8; at += 8, left -= 8)
    state.compress(load_le(at));
  state.compress(load_le(at, left) | static_cast<std::uint64_t>(data.size() & 0xFF) << 56);
  state.v2 ^= 0xFF;
  for (int i = 0; i < 4; ++i)
    state.round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

}  // namespace turnpike

// A permutation of 32 bits: a Feistel network over two halves of 16, whose rounds are SipHash. Four
// rounds are a pseudorandom one even for who sees ids and chooses what he asks (Luby and Rackoff);
// there are more, since halves are short.
#include <array>

#include "base/keyed_hash.h"
#include "turnpike/reservation_token.h"
#include "wire/headers.h"

namespace turnpike {
namespace {

// Keeps what is sealed here apart from anything else that may be hashed under the same key.
constexpr std::uint8_t kPurpose = 'C';
constexpr std::uint8_t kRounds = 8;

struct Halves {
  std::uint16_t left, right;
};

std::uint16_t round(const std::array<std::uint8_t, 16>& key, std::uint8_t number,
                    std::uint16_t half) {
  const std::array<std::uint8_t, 4> input{kPurpose, number, static_cast<std::uint8_t>(half >> 8),
                                          static_cast<std::uint8_t>(half)};
  return static_cast<std::uint16_t>(
      siphash24(wire::load_be64(key.data()), wire::load_be64(key.data() + 8), input));
}

}  // namespace

TokenSealer::ConnectionId TokenSealer::seal_connection(const Content& content) const {
  const std::uint32_t word = std::uint32_t{content.shard} << 24 | (content.id & 0xFFFFFF);
  Halves halves{static_cast<std::uint16_t>(word >> 16), static_cast<std::uint16_t>(word)};
  for (std::uint8_t number = 0; number < kRounds; ++number) {
    const auto mixed = static_cast<std::uint16_t>(halves.left ^ round(key_, number, halves.right));
    halves = {halves.right, mixed};
  }
  ConnectionId id;
  wire::store_be16(id.data(), halves.left);
  wire::store_be16(id.data() + 2, halves.right);
  return id;
}

std::optional<TokenSealer::Content> TokenSealer::open_connection(
    std::span<const std::uint8_t> id) const {
  if (id.size() != ConnectionId{}.size()) return std::nullopt;
  Halves halves{wire::load_be16(id.data()), wire::load_be16(id.data() + 2)};
  for (std::uint8_t number = kRounds; number-- > 0;) {
    const auto before = static_cast<std::uint16_t>(halves.right ^ round(key_, number, halves.left));
    halves = {before, halves.left};
  }
  return Content{static_cast<std::uint8_t>(halves.left >> 8),
                 (std::uint32_t{halves.left} & 0xFF) << 16 | halves.right};
}

}  // namespace turnpike

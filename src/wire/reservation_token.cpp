// A reservation token: shard (1 byte), id (3 bytes), and 32 bits of SipHash over both. A guess has
// to be right within the half minute a reservation lives, and from an authenticated client.
#include "turnpike/reservation_token.h"

#include <algorithm>

#include "base/keyed_hash.h"
#include "turnpike/integrity.h"
#include "wire/headers.h"

namespace turnpike {
namespace {

// Keeps what is sealed here apart from anything else that may be hashed under the same key.
constexpr std::uint8_t kPurpose = 'R';

std::array<std::uint8_t, 4> seal_of(const std::array<std::uint8_t, 16>& key,
                                    std::span<const std::uint8_t, 4> content) {
  const std::array<std::uint8_t, 5> input{kPurpose, content[0], content[1], content[2], content[3]};
  const std::uint64_t hash =
      siphash24(wire::load_be64(key.data()), wire::load_be64(key.data() + 8), input);
  std::array<std::uint8_t, 4> seal;
  wire::store_be32(seal.data(), static_cast<std::uint32_t>(hash));
  return seal;
}

}  // namespace

TokenSealer::Token TokenSealer::seal(const Content& content) const {
  Token token;
  wire::store_be32(token.data(), std::uint32_t{content.shard} << 24 | (content.id & 0xFFFFFF));
  const auto seal = seal_of(key_, std::span(token).first<4>());
  std::copy(seal.begin(), seal.end(), token.begin() + 4);
  return token;
}

std::optional<TokenSealer::Content> TokenSealer::open(std::span<const std::uint8_t> token) const {
  if (token.size() != Token{}.size()) return std::nullopt;
  if (!stun::equal_constant_time(token.subspan(4), seal_of(key_, token.first<4>()))) {
    return std::nullopt;
  }
  const std::uint32_t content = wire::load_be32(token.data());
  return Content{static_cast<std::uint8_t>(content >> 24), content & 0xFFFFFF};
}

}  // namespace turnpike

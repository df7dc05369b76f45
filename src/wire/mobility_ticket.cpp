// A mobility ticket (RFC 8016 §5: authenticated and encrypted): a tag of 96 bits of HMAC-SHA-256
// over what it says, and that, under a key stream which the tag chooses; as base64 for URLs. No two
// tickets say the same, so no two have one key stream (the construction is RFC 5297's, with HMAC
// for its PRF).
#include <algorithm>
#include <cassert>
#include <string_view>

#include "turnpike/integrity.h"
#include "turnpike/reservation_token.h"
#include "wire/headers.h"
#include "wire/hmac.h"

namespace turnpike {
namespace {

using Half = std::array<std::uint8_t, 12>;
using Whole = std::array<std::uint8_t, 24>;

// Keep what is made here apart from each other, and from all else under the same key.
constexpr std::array<std::uint8_t, 1> kTag{'M'}, kStream{'m'};

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::uint8_t kNoDigit = 64;
constexpr std::array<std::uint8_t, 256> kValues = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (std::size_t i = 0; i < kDigits.size(); ++i)
    values.at(static_cast<std::uint8_t>(kDigits[i])) = static_cast<std::uint8_t>(i);
  return values;
}();

Half mac(const std::array<std::uint8_t, 16>& key, stun::Bytes purpose, stun::Bytes of) {
  const auto whole = stun::hmac(stun::Digest::kSha256, key, purpose, of);
  assert(whole);
  Half half{};
  std::copy_n(whole->begin(), half.size(), half.begin());
  return half;
}

// Its own inverse.
Half crypt(const std::array<std::uint8_t, 16>& key, const Half& tag, Half text) {
  const Half stream = mac(key, kStream, tag);
  for (std::size_t i = 0; i < text.size(); ++i)
    text[i] ^= stream[i];
  return text;
}

// Four digits for three bytes each, so that there is nothing over.
TokenSealer::Ticket written(const Half& tag, const Half& hidden) {
  Whole bytes{};
  std::copy(hidden.begin(), hidden.end(), std::copy(tag.begin(), tag.end(), bytes.begin()));
  TokenSealer::Ticket ticket;
  for (std::size_t i = 0; i < bytes.size() / 3; ++i) {
    const std::uint32_t word =
        std::uint32_t{bytes[3 * i]} << 16 | std::uint32_t{bytes[3 * i + 1]} << 8 | bytes[3 * i + 2];
    for (std::size_t digit = 0; digit < 4; ++digit)
      ticket[4 * i + digit] = static_cast<std::uint8_t>(kDigits[word >> (18 - 6 * digit) & 63]);
  }
  return ticket;
}

// False for what isn't written so.
bool read(std::span<const std::uint8_t> ticket, Half& tag, Half& hidden) {
  Whole bytes{};
  if (ticket.size() != TokenSealer::Ticket{}.size()) return false;
  for (std::size_t i = 0; i < bytes.size() / 3; ++i) {
    std::uint32_t word = 0;
    for (const std::uint8_t digit : ticket.subspan(4 * i, 4)) {
      if (kValues[digit] == kNoDigit) return false;
      word = word << 6 | kValues[digit];
    }
    for (std::size_t byte = 0; byte < 3; ++byte)
      bytes[3 * i + byte] = static_cast<std::uint8_t>(word >> (16 - 8 * byte));
  }
  std::copy_n(bytes.begin(), tag.size(), tag.begin());
  std::copy_n(bytes.begin() + tag.size(), hidden.size(), hidden.begin());
  return true;
}

}  // namespace

TokenSealer::Ticket TokenSealer::seal_ticket(const TicketContent& content) const {
  Half text{};
  text[0] = content.shard;
  wire::store_be16(text.data() + 1, content.serial);
  wire::store_be32(text.data() + 3, content.slot);
  text[7] = static_cast<std::uint8_t>(content.allocation >> 32);
  wire::store_be32(text.data() + 8, static_cast<std::uint32_t>(content.allocation));
  const Half tag = mac(key_, kTag, text);
  return written(tag, crypt(key_, tag, text));
}

std::optional<TokenSealer::TicketContent> TokenSealer::open_ticket(
    std::span<const std::uint8_t> ticket) const {
  Half tag{};
  Half hidden{};
  if (!read(ticket, tag, hidden)) return std::nullopt;
  const Half text = crypt(key_, tag, hidden);
  if (!stun::equal_constant_time(tag, mac(key_, kTag, text))) return std::nullopt;
  return TicketContent{
      .shard = text[0],
      .serial = wire::load_be16(text.data() + 1),
      .slot = wire::load_be32(text.data() + 3),
      .allocation = std::uint64_t{text[7]} << 32 | wire::load_be32(text.data() + 8)};
}

}  // namespace turnpike

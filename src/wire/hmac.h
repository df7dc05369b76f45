// HMAC over a STUN message whose length field is taken as if the message ended with the integrity
// attribute (RFC 8489 §14.5, §14.6). Shared by writer and checker, so that they can't differ.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "turnpike/stun.h"

namespace turnpike::stun {

constexpr std::size_t kSha1Size = 20;
constexpr std::size_t kSha256Size = 32;

enum class Digest : std::uint8_t { kSha1, kSha256 };

// HMAC of `header` and then `body` under `key`; the result is in the first 20 or 32 bytes. nullopt
// if the cryptographic library refuses or the key is empty.
std::optional<std::array<std::uint8_t, kSha256Size>> hmac(Digest digest, Bytes key, Bytes header,
                                                          Bytes body);

// Over `message` up to `offset`, where an integrity attribute with a value of `value_size` stands
// or will stand.
std::optional<std::array<std::uint8_t, kSha256Size>> message_hmac(Digest digest, Bytes key,
                                                                  Bytes message, std::size_t offset,
                                                                  std::size_t value_size);

}  // namespace turnpike::stun

// Long-term credentials' arithmetic (RFC 8489 §9.2, §14.5, §14.6): keys, message integrity,
// USERHASH, and the short form REST credentials take. All of it is pure; nothing is kept.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "turnpike/stun.h"

namespace turnpike::stun {

// RFC 8489 §18.5.
enum class PasswordAlgorithm : std::uint16_t { kMd5 = 1, kSha256 = 2 };

// A user's long-term key: 16 bytes of MD5 or 32 of SHA-256. A secret: never logged.
struct Key {
  std::array<std::uint8_t, 32> bytes{};
  std::uint8_t size = 0;  // 0: no key

  Bytes view() const { return {bytes.data(), size}; }
};

// MD5 or SHA-256 over username ":" realm ":" password; all three prepared with opaque_string().
Key long_term_key(PasswordAlgorithm algorithm, std::string_view username, std::string_view realm,
                  std::string_view password);

// SHA-256 over username ":" realm (RFC 8489 §14.4).
std::array<std::uint8_t, 32> userhash(std::string_view username, std::string_view realm);

// RFC 8265 §4.2 OpaqueString: nullopt for what the profile forbids (empty, control characters,
// invalid UTF-8); otherwise non-ASCII spaces become U+0020 and the rest is NFC where that is a
// no-op for what was given.
std::optional<std::string> opaque_string(std::string_view text);

// base64(HMAC-SHA1(secret, username)): the password of an ephemeral ("REST") user.
std::string rest_password(std::string_view secret, std::string_view username);

// Whether the message's MESSAGE-INTEGRITY (20 bytes) is right under `key`. Constant time in the
// value; false if the attribute is missing or has another size.
bool check_message_integrity(const MessageView& message, Bytes key);
// Likewise MESSAGE-INTEGRITY-SHA256, of 32 bytes (RFC 8489 §14.6).
bool check_message_integrity_sha256(const MessageView& message, Bytes key);

// Equal, in a time that depends on the sizes alone.
bool equal_constant_time(Bytes a, Bytes b);

}  // namespace turnpike::stun

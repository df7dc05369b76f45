// Keys of static users are computed at the start; those of REST users from each request's username,
// one candidate for each secret, since secrets change while old credentials are still out there.
#include "auth/credentials.h"

#include <charconv>
#include <optional>

namespace turnpike::auth {
namespace {

// OpaqueString, as whoever asks and whoever answers must both have it (docs/protocol.md 12).
std::string prepared(std::string_view text) {
  return stun::opaque_string(text).value_or(std::string(text));
}

std::optional<std::uint64_t> parse_seconds(std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  return whole && !digits.empty() ? std::optional(value) : std::nullopt;
}

struct RestName {
  std::uint64_t expires_unix_s = 0;
  std::string_view user;  // may be empty
};

// "time:user", "user:time", or the time alone. Where both ends are numbers (a user may be a
// telephone number) only `format` says which is the time: else whoever chooses his name chooses his
// expiry.
std::optional<RestName> parse_rest_name(std::string_view username, RestFormat format) {
  const std::size_t first = username.find(':'), last = username.rfind(':');
  if (first == std::string_view::npos) {
    const auto seconds = parse_seconds(username);
    return seconds ? std::optional(RestName{*seconds, {}}) : std::nullopt;
  }
  const auto front = parse_seconds(username.substr(0, first));
  const auto back = parse_seconds(username.substr(last + 1));
  const bool by_front = front && (!back || format == RestFormat::kTimeUser);
  if (by_front) return RestName{*front, username.substr(first + 1)};
  return back ? std::optional(RestName{*back, username.substr(0, last)}) : std::nullopt;
}

stun::Key md5_key_from_hex(std::string_view hex) {
  stun::Key key;
  key.size = 16;
  for (std::size_t i = 0; i < key.size; ++i) {
    std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, key.bytes[i], 16);
  }
  return key;
}

}  // namespace

Credentials::Credentials(const Accounts& accounts)
    : realm_(prepared(accounts.realm)),
      rest_secrets_(accounts.rest_secrets),
      rest_format_(accounts.rest_format),
      strict_expiry_(accounts.strict_expiry) {
  for (const StaticUser& user : accounts.users) {
    UserKeys keys;
    keys.username = prepared(user.username);
    keys.quota_name = keys.username;
    if (user.md5_key_hex.empty()) {
      const std::string password = prepared(user.password);
      keys.md5 = {
          stun::long_term_key(stun::PasswordAlgorithm::kMd5, keys.username, realm_, password)};
      keys.sha256 = {
          stun::long_term_key(stun::PasswordAlgorithm::kSha256, keys.username, realm_, password)};
    } else {
      keys.md5 = {md5_key_from_hex(user.md5_key_hex)};
      sha256_offered_ = false;
    }
    name_by_hash_[stun::userhash(keys.username, realm_)] = keys.username;
    by_name_[keys.username] = std::move(keys);
  }
}

KeyState Credentials::find_keys(const UserName& user, std::string_view realm, KeyPurpose purpose,
                                std::uint64_t unix_s, UserKeys& out) const {
  if (prepared(realm) != realm_) {
    return KeyState::kUnknown;
  }
  std::string name;
  if (user.userhash) {
    const auto known = name_by_hash_.find(*user.userhash);
    if (known == name_by_hash_.end()) {
      return KeyState::kUnknown;
    }
    name = known->second;
  } else {
    // What the profile refuses names nobody (RFC 8265 §4.2.2).
    auto given = stun::opaque_string(user.username);
    if (!given) {
      return KeyState::kUnknown;
    }
    name = std::move(*given);
  }
  if (const auto known = by_name_.find(name); known != by_name_.end()) {
    out = known->second;
    return KeyState::kFound;
  }
  return find_rest_keys(name, purpose, unix_s, out);
}

KeyState Credentials::find_rest_keys(std::string_view username, KeyPurpose purpose,
                                     std::uint64_t unix_s, UserKeys& out) const {
  if (rest_secrets_.empty()) return KeyState::kUnknown;
  const auto name = parse_rest_name(username, rest_format_);
  if (!name) return KeyState::kNoTimestamp;
  // An allocation outlives the credential that made it, unless the operator is strict
  // (docs/protocol.md 11).
  const bool judged =
      purpose == KeyPurpose::kAllocate || (purpose == KeyPurpose::kRefresh && strict_expiry_);
  if (judged && unix_s >= name->expires_unix_s) {
    out.expires_unix_s = name->expires_unix_s;
    return KeyState::kExpired;
  }
  UserKeys keys;
  keys.expires_unix_s = name->expires_unix_s;
  keys.username = username;
  // Nextcloud and ejabberd hand out bare timestamps: each is then a user of its own.
  keys.quota_name = name->user.empty() ? username : name->user;
  for (const std::string& secret : rest_secrets_) {
    const std::string password = stun::rest_password(secret, username);
    keys.md5.push_back(
        stun::long_term_key(stun::PasswordAlgorithm::kMd5, username, realm_, password));
    if (sha256_offered_) {
      keys.sha256.push_back(
          stun::long_term_key(stun::PasswordAlgorithm::kSha256, username, realm_, password));
    }
  }
  out = std::move(keys);
  return KeyState::kFound;
}

}  // namespace turnpike::auth

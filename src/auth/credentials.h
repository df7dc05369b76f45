// Who may allocate: static users, whose keys are computed once, and REST users, whose password
// follows from a shared secret and whose name says how long it is good (docs/protocol.md 8, 11,
// 12).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "turnpike/integrity.h"
#include "turnpike/server.h"

namespace turnpike::auth {

struct StaticUser {
  std::string username;
  std::string password;     // secret; empty where only the MD5 key is known
  std::string md5_key_hex;  // secret; 32 hexadecimal digits, or empty
};

// How a REST user's name is put together (docs/protocol.md 11).
enum class RestFormat : std::uint8_t { kTimeUser, kUserTime };

struct Accounts {
  std::string realm;
  std::vector<StaticUser> users;
  std::vector<std::string> rest_secrets;  // secrets
  RestFormat rest_format = RestFormat::kTimeUser;
  bool strict_expiry = false;  // a REST user's end is judged in Refresh too
};

// Immutable once made: any thread.
class Credentials {
 public:
  // `accounts` have been checked: names, passwords and the realm are OpaqueStrings, the MD5 keys
  // are hexadecimal, no name comes twice.
  explicit Credentials(const Accounts& accounts);

  // As ServerHost::find_keys(); never kPending. `unix_s` is the time of day.
  KeyState find_keys(const UserName& user, std::string_view realm, KeyPurpose purpose,
                     std::uint64_t unix_s, UserKeys& out) const;

  // Whether every user has a SHA-256 key: only then may PASSWORD-ALGORITHMS list it.
  bool sha256_offered() const { return sha256_offered_; }
  // Whether every user can be found by USERHASH: static users alone.
  bool anonymity_offered() const { return rest_secrets_.empty() && !by_name_.empty(); }

 private:
  KeyState find_rest_keys(std::string_view username, KeyPurpose purpose, std::uint64_t unix_s,
                          UserKeys& out) const;

  std::string realm_;  // prepared
  std::map<std::string, UserKeys, std::less<>> by_name_;
  std::map<std::array<std::uint8_t, 32>, std::string> name_by_hash_;
  std::vector<std::string> rest_secrets_;
  RestFormat rest_format_;
  bool strict_expiry_;
  bool sha256_offered_ = true;
};

}  // namespace turnpike::auth

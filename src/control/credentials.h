// Who may allocate: static users, whose keys are computed once, and REST users, whose password
// follows from a shared secret and whose name says how long it is good (PROTOCOL.md 8, 11, 12).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "control/config.h"
#include "turnpike/integrity.h"
#include "turnpike/server.h"

namespace turnpike::control {

// Immutable once made: any thread.
class Credentials {
 public:
  // Takes realm, users and what concerns REST users. They have been checked: finish() has.
  explicit Credentials(const Config& config);

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

}  // namespace turnpike::control

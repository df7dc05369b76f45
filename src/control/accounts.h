// What the configuration says of who is let in, in auth's words: neither room knows the other.
#pragma once

#include "auth/credentials.h"
#include "config/config.h"

namespace turnpike::control {

inline auth::Accounts accounts_of(const config::Config& config) {
  auth::Accounts accounts;
  accounts.realm = config.realm;
  for (const config::UserConfig& user : config.auth.users)
    accounts.users.push_back({user.username, user.password, user.md5_key_hex});
  accounts.rest_secrets = config.auth.rest_secrets;
  accounts.rest_format = config.auth.rest_format == config::RestFormat::kTimeUser
                             ? auth::RestFormat::kTimeUser
                             : auth::RestFormat::kUserTime;
  accounts.strict_expiry = config.auth.strict_expiry;
  return accounts;
}

}  // namespace turnpike::control

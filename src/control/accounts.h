// What the configuration says of who is let in, in auth's words: neither room knows the other.
#pragma once

#include "auth/credentials.h"
#include "config/config.h"

namespace turnpike::control {

inline auth::Accounts accounts_of(const config::Config::RealmView& realm) {
  auth::Accounts accounts;
  accounts.realm = realm.name;
  for (const config::UserConfig& user : realm.users.users)
    accounts.users.push_back({user.username, user.password, user.md5_key_hex});
  accounts.rest_secrets = realm.users.rest_secrets;
  accounts.rest_format = realm.users.rest_format == config::RestFormat::kTimeUser
                             ? auth::RestFormat::kTimeUser
                             : auth::RestFormat::kUserTime;
  accounts.strict_expiry = realm.users.strict_expiry;
  return accounts;
}

}  // namespace turnpike::control

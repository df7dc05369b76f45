// Any text as a configuration: it is refused with a place and a reason that are fit to print, or
// what comes of it keeps the promises that the rest of the program rests on.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string_view>

#include "auth/credentials.h"
#include "config/config.h"
#include "config/prefix_file.h"
#include "control/accounts.h"

namespace {

using namespace turnpike;  // NOLINT

// assert() would say more, but must not depend on how the build is optimised.
void require(bool promise) {
  if (!promise) {
    std::abort();
  }
}

void check_error(const config::ConfigError& error) {
  // What a file of prefixes that is named holds is told of that one.
  const bool of_list = error.key.find("_files[") != std::string::npos;
  require((error.file == "fuzz" || of_list) && error.line >= 1 && !error.problem.empty());
  const std::string text = error.to_string();
  require(std::none_of(text.begin(), text.end(), [](char c) { return c == '\x1B' || c == '\0'; }));
}

void check_config(const config::Config& config) {
  require(!config.ports.empty());
  require(config.workers >= 1 && config.shards >= 1 && config.limits.allocations >= config.shards);
  require(config.worker_cores.empty() || config.worker_cores.size() == config.workers);
  require(config.relay_ports.min >= 1024 && config.relay_ports.min % 2 == 0 &&
          config.relay_ports.max % 2 == 1 && config.relay_ports.min < config.relay_ports.max);
  require(config.limits.lifetime_min_s >= 1 &&
          config.limits.lifetime_min_s <= config.limits.lifetime_max_s);
  for (const config::PortConfig& port : config.ports) {
    require(!port.device.empty() && port.device.find(',') == std::string::npos);
  }
  for (const config::ListenerConfig& listener : config.listeners) {
    require(listener.endpoint.port != 0 && !(listener.stun_only && listener.turn_only));
    require(!listener.anycast || !listener.alternates.empty());
  }
  for (const RelayedAddress& relayed : config.relayed) {
    require(relayed.public_address().family == relayed.internal.family);
  }
  const std::vector<config::Config::RealmView> realms = config.realms();
  require(realms.size() <= kMostRealms);
  std::set<std::string> names;
  for (std::size_t i = config.own_realm_used() ? 0 : 1; i < realms.size(); ++i) {
    require(!realms[i].name.empty() && names.insert(realms[i].name).second);
    require(!realms[i].users.users.empty() || !realms[i].users.rest_secrets.empty());
  }
  for (const config::ListenerConfig& listener : config.listeners)
    require(config.realm_of(listener) && *config.realm_of(listener) < realms.size());
}

void check_credentials(const config::Config::RealmView& realm) {
  const auth::Credentials credentials(control::accounts_of(realm));
  UserKeys keys;
  for (const config::UserConfig& user : realm.users.users) {
    require(credentials.find_keys({user.username, std::nullopt}, realm.name, KeyPurpose::kAllocate,
                                  0, keys) == KeyState::kFound);
    require(keys.md5.size() == 1 && keys.md5[0].size == 16);
    require(keys.sha256.empty() == !user.md5_key_hex.empty());
  }
}

// The same as a file of prefixes.
void check_prefixes(std::string_view text) {
  constexpr std::size_t kMost = 100;
  const auto result = config::parse_prefixes(text, kMost);
  if (const auto* mistake = std::get_if<config::PrefixMistake>(&result)) {
    require(mistake->line >= 1 && !mistake->problem.empty());
  } else {
    require(std::get<std::vector<Prefix>>(result).size() <= kMost);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_prefixes(text);
  config::ConfigResult result = config::parse_config(text, "fuzz");
  if (const auto* errors = std::get_if<std::vector<config::ConfigError>>(&result)) {
    require(!errors->empty());
    std::for_each(errors->begin(), errors->end(), check_error);
    return 0;
  }
  config::Config& config = std::get<config::Config>(result);
  check_config(config);
  for (const config::Config::RealmView& realm : config.realms())
    check_credentials(realm);
  const Address addresses[] = {Address::v4(192, 0, 2, 1)};
  config::fill_defaults(config, addresses);
  require(!config.listeners.empty() && !config.relayed.empty());
  return 0;
}

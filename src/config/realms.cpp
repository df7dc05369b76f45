// The realms of a configuration: which there are, whose listeners they are, and what is wrong with
// them. The node's own is the first, its users those of [auth].
#include <algorithm>
#include <set>

#include "config/value.h"
#include "turnpike/integrity.h"
#include "turnpike/stateless_answers.h"

namespace turnpike::config {
namespace {

// Where the file has what belongs to a realm.
struct Places {
  std::string name, users, peers, table;
  std::string example;  // what to write where nobody is let in
};

class Checker {
 public:
  Checker(const Config& config, const Origins& origins) : config_(config), origins_(origins) {}

  std::vector<ConfigError> run() {
    check_count();
    const std::vector<Config::RealmView> realms = config_.realms();
    for (std::size_t i = 0; i < realms.size(); ++i) {
      const bool used = i != 0 || config_.own_realm_used();
      check_realm(realms[i], i == 0 ? own_places() : other_places(i - 1), used);
    }
    check_realm_names();
    check_listeners();
    return std::move(errors_);
  }

 private:
  void refuse(const std::string& path, std::string problem) {
    errors_.push_back(origins_.error(path, std::move(problem)));
  }

  static Places own_places() {
    return {"realm", "auth.", "peers.", "auth",
            "([auth] users = [{ name = \"alice\", password = \"…\" }], --user alice:PASSWORD or "
            "--rest-secret-file FILE)"};
  }
  static Places other_places(std::size_t i) {
    const std::string table = at("other_realm", i);
    return {table + ".name", table + ".", table + ".peers.", table,
            "(users = [{ name = \"alice\", password = \"…\" }])"};
  }

  void check_count() {
    if (config_.other_realms.size() >= kMostRealms) {
      refuse(at("other_realm", kMostRealms - 1), "expected at most " +
                                                     std::to_string(kMostRealms - 1) +
                                                     " realms besides the node's own, found " +
                                                     std::to_string(config_.other_realms.size()));
    }
  }

  // One that is of no listener may be incomplete.
  void check_realm(const Config::RealmView& realm, const Places& places, bool used) {
    if (used && realm.name.empty()) {
      refuse(places.name,
             "expected a realm (realm = \"example.org\", or --realm example.org), found none");
    }
    if (used && StatelessAnswers::challenge_size(realm.name.size()) > kAnswerMax) {
      refuse(places.name, "expected a realm of at most " +
                              std::to_string(kAnswerMax - StatelessAnswers::challenge_size(0)) +
                              " bytes, so that a challenge fits an IP packet of 576 bytes, found " +
                              std::to_string(realm.name.size()));
    }
    if (used && realm.users.users.empty() && realm.users.rest_secrets.empty()) {
      refuse(places.table, "expected users or rest_secrets " + places.example +
                               ", found none: nobody could allocate");
    }
    if (used) check_names(realm.users.users, places);
    check_secrets(realm.users.rest_secrets, places);
    check_peers(realm.peers, places);
  }

  void check_names(const std::vector<UserConfig>& users, const Places& places) {
    std::set<std::string> names;
    for (std::size_t i = 0; i < users.size(); ++i) {
      const std::string& name = users[i].username;
      if (!names.insert(stun::opaque_string(name).value_or(name)).second) {
        refuse(at(places.users + "users", i, ".name"),
               "expected each user once, found \"" + name + "\" again");
      }
    }
  }

  void check_secrets(const std::vector<std::string>& rest_secrets, const Places& places) {
    std::set<std::string> secrets;
    for (std::size_t i = 0; i < rest_secrets.size(); ++i) {
      if (!secrets.insert(rest_secrets[i]).second) {
        refuse(at(places.users + "rest_secrets", i), "expected each secret once, found one again");
      }
    }
  }

  void check_peers(const RealmPeers& realm, const Places& places) {
    const std::set<Prefix> allowed(realm.allow.begin(), realm.allow.end());
    for (std::size_t i = 0; i < realm.deny.size(); ++i) {
      if (allowed.contains(realm.deny[i])) {
        refuse(at(places.peers + "deny", i),
               "expected a prefix that is not also allowed, found " + realm.deny[i].to_string());
      }
    }
  }

  void check_realm_names() {
    std::set<std::string> names{config_.realm};
    for (std::size_t i = 0; i < config_.other_realms.size(); ++i) {
      const std::string& name = config_.other_realms[i].name;
      if (!names.insert(name).second) {
        refuse(at("other_realm", i, ".name"),
               "expected each realm once, found \"" + name + "\" again");
      }
    }
  }

  void check_listeners() {
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
      const ListenerConfig& listener = config_.listeners[i];
      if (listener.realm.empty()) continue;
      if (!config_.realm_of(listener)) {
        refuse(at("listener", i, ".realm"),
               "expected the name of an [[other_realm]], or none: the node's own, found \"" +
                   listener.realm + "\"");
      }
      if (listener.stun_only) {
        refuse(
            at("listener", i, ".realm"),
            "expected no realm where stun_only lets nobody in, found \"" + listener.realm + "\"");
      }
    }
  }

  const Config& config_;
  const Origins& origins_;
  std::vector<ConfigError> errors_;
};

// Perhaps it is for later; else its users wonder.
void warn_of_idle_realms(Config& config) {
  for (const RealmConfig& realm : config.other_realms) {
    const bool has_listener = std::any_of(
        config.listeners.begin(), config.listeners.end(),
        [&realm](const ListenerConfig& listener) { return listener.realm == realm.name; });
    if (!has_listener)
      config.warnings.push_back("other_realm " + realm.name + ": no [[listener]] has this realm");
  }
}

}  // namespace

bool Config::is_used(Transport transport) const {
  return std::any_of(listeners.begin(), listeners.end(),
                     [transport](const ListenerConfig& listener) {
                       return transport_of(listener.transport) == transport;
                     });
}

bool Config::own_host_used() const {
  return own_host.udp && std::any_of(ports.begin(), ports.end(),
                                     [](const PortConfig& port) { return !port.static_next_hop; });
}

bool Config::turn_enabled() const {
  return listeners.empty() || std::any_of(listeners.begin(), listeners.end(),
                                          [](const ListenerConfig& l) { return !l.stun_only; });
}

bool Config::own_realm_used() const {
  return listeners.empty() ||
         std::any_of(listeners.begin(), listeners.end(), [this](const ListenerConfig& l) {
           return !l.stun_only && realm_of(l) == RealmIndex{0};
         });
}

std::vector<Config::RealmView> Config::realms() const {
  std::vector<RealmView> all{{realm, auth, peers}};
  for (const RealmConfig& other : other_realms)
    all.push_back({other.name, other, other.peers});
  return all;
}

std::optional<RealmIndex> Config::realm_of(const ListenerConfig& listener) const {
  if (listener.realm.empty() || listener.realm == realm) return 0;
  for (std::size_t i = 0; i < other_realms.size(); ++i) {
    if (other_realms[i].name == listener.realm) return static_cast<RealmIndex>(i + 1);
  }
  return std::nullopt;
}

std::vector<ConfigError> check_realms(Config& config, const Origins& origins) {
  warn_of_idle_realms(config);
  return Checker(config, origins).run();
}

void forget_secrets(Config& config) {
  const auto forget = [](std::string& secret) {
    explicit_bzero(secret.data(), secret.size());
    secret.clear();
  };
  const auto forget_all = [&forget](RealmUsers& realm) {
    for (UserConfig& user : realm.users) {
      forget(user.password);
      forget(user.md5_key_hex);
    }
    std::for_each(realm.rest_secrets.begin(), realm.rest_secrets.end(), forget);
    realm.rest_secrets.clear();
  };
  forget_all(config.auth);
  std::for_each(config.other_realms.begin(), config.other_realms.end(), forget_all);
}

}  // namespace turnpike::config

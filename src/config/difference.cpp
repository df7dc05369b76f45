// Every key is in one table, with a word whether it is live. Live is what the node's policy is made
// of (control/settings.cpp), and the log's level; all else sizes memory, opens ports or is told to
// a thread once.
#include "config/difference.h"

#include <algorithm>

namespace turnpike::config {
namespace {

using Same = bool (*)(const Config&, const Config&);

template <auto Member>
bool same(const Config& one, const Config& other) {
  return one.*Member == other.*Member;
}

template <auto Section, auto Member>
bool same(const Config& one, const Config& other) {
  return one.*Section.*Member == other.*Section.*Member;
}

// Where to Allocate is sent may change; the listeners themselves may not.
bool same_listeners(const Config& one, const Config& other) {
  return std::equal(one.listeners.begin(), one.listeners.end(), other.listeners.begin(),
                    other.listeners.end(), [](ListenerConfig a, ListenerConfig b) {
                      a.alternates.clear();
                      b.alternates.clear();
                      return a == b;
                    });
}

// Of listeners that both have.
bool same_alternates(const Config& one, const Config& other) {
  const std::size_t both = std::min(one.listeners.size(), other.listeners.size());
  return std::equal(one.listeners.begin(),
                    one.listeners.begin() + static_cast<std::ptrdiff_t>(both),
                    other.listeners.begin(), [](const ListenerConfig& a, const ListenerConfig& b) {
                      return a.alternates == b.alternates;
                    });
}

// Which there are, and in which order: listeners and allocations say their place in it.
bool same_other_realms(const Config& one, const Config& other) {
  return std::equal(one.other_realms.begin(), one.other_realms.end(), other.other_realms.begin(),
                    other.other_realms.end(),
                    [](const RealmConfig& a, const RealmConfig& b) { return a.name == b.name; });
}

// Of the realms that both have.
template <auto Member>
bool same_in_other_realms(const Config& one, const Config& other) {
  const std::size_t both = std::min(one.other_realms.size(), other.other_realms.size());
  return std::equal(
      one.other_realms.begin(), one.other_realms.begin() + static_cast<std::ptrdiff_t>(both),
      other.other_realms.begin(),
      [](const RealmConfig& a, const RealmConfig& b) { return a.*Member == b.*Member; });
}

struct Key {
  std::string_view name;
  bool live;
  Same same;
};

constexpr bool kLive = true, kRestart = false;

using Auth = AuthSection;
using Limits = LimitsSection;
constexpr auto kAuth = &Config::auth;
constexpr auto kLimits = &Config::limits;

// Whether it is the same, or changes in another way: live, while something is limited before and
// after; or not.
template <auto kRates, bool kLiveChange>
bool same_rates(const Config& before, const Config& after) {
  const auto limits = [](const Config& config) {
    return config.limits.bandwidth.any() || config.limits.packet_rate.any();
  };
  const bool live = limits(before) && limits(after);
  return before.limits.*kRates == after.limits.*kRates || live != kLiveChange;
}

constexpr Key kKeys[] = {
    {"port", kRestart, same<&Config::ports>},
    {"listener", kRestart, same_listeners},
    {"listener.alternates", kLive, same_alternates},
    {"relay", kRestart, same<&Config::relayed>},
    {"external", kRestart, same<&Config::external>},
    {"realm", kRestart, same<&Config::realm>},
    {"software", kLive, same<&Config::software>},
    {"classic_stun", kLive, same<&Config::classic_stun>},
    {"mobility", kLive, same<&Config::mobility>},
    {"channel_numbers", kLive, same<&Config::rfc5766_channels>},
    {"ttl", kLive, same<&Config::resets_ttl>},
    {"translated_mtu", kLive, same<&Config::translated_mtu>},
    {"workers", kRestart, same<&Config::workers>},
    {"shards", kRestart, same<&Config::shards>},
    {"worker_cores", kRestart, same<&Config::worker_cores>},
    {"hugepages", kRestart, same<&Config::hugepages>},
    {"idle_sleep_us", kRestart, same<&Config::idle_sleep_us>},
    {"user", kRestart, same<&Config::user>},
    {"core_dumps", kRestart, same<&Config::core_dumps>},
    {"auth.users", kLive, same<kAuth, &Auth::users>},
    {"auth.rest_secrets", kLive, same<kAuth, &Auth::rest_secrets>},
    {"auth.rest_format", kLive, same<kAuth, &Auth::rest_format>},
    {"auth.strict_expiry", kLive, same<kAuth, &Auth::strict_expiry>},
    {"auth.nonce_lifetime_s", kRestart, same<kAuth, &Auth::nonce_lifetime_s>},
    {"peers", kLive, same<&Config::peers>},
    {"clients", kLive, same<&Config::clients>},
    {"other_realm", kRestart, same_other_realms},
    {"other_realm.users", kLive, same_in_other_realms<&RealmConfig::users>},
    {"other_realm.rest_secrets", kLive, same_in_other_realms<&RealmConfig::rest_secrets>},
    {"other_realm.rest_format", kLive, same_in_other_realms<&RealmConfig::rest_format>},
    {"other_realm.strict_expiry", kLive, same_in_other_realms<&RealmConfig::strict_expiry>},
    {"other_realm.peers", kLive, same_in_other_realms<&RealmConfig::peers>},
    {"limits.allocations", kRestart, same<kLimits, &Limits::allocations>},
    {"limits.permissions_per_allocation", kRestart,
     same<kLimits, &Limits::permissions_per_allocation>},
    {"limits.channels_per_allocation", kRestart, same<kLimits, &Limits::channels_per_allocation>},
    {"limits.on_link_peers_per_allocation", kRestart,
     same<kLimits, &Limits::on_link_peers_per_allocation>},
    {"limits.permissions_average", kRestart, same<kLimits, &Limits::permissions_average>},
    {"limits.channels_average", kRestart, same<kLimits, &Limits::channels_average>},
    {"limits.allocations_per_user", kRestart, same<kLimits, &Limits::allocations_per_user>},
    {"limits.allocations_per_source", kRestart, same<kLimits, &Limits::allocations_per_source>},
    {"limits.requests_per_allocation_per_second", kLive,
     same<kLimits, &Limits::requests_per_allocation_per_second>},
    {"limits.requests_per_allocation_burst", kLive,
     same<kLimits, &Limits::requests_per_allocation_burst>},
    {"limits.requests_per_source_per_second", kLive,
     same<kLimits, &Limits::requests_per_source_per_second>},
    {"limits.requests_per_source_burst", kLive, same<kLimits, &Limits::requests_per_source_burst>},
    {"limits.challenges_per_source_per_second", kLive,
     same<kLimits, &Limits::challenges_per_source_per_second>},
    {"limits.challenges_per_source_burst", kLive,
     same<kLimits, &Limits::challenges_per_source_burst>},
    {"limits.challenges_per_second", kLive, same<kLimits, &Limits::challenges_per_second>},
    {"limits.discovery_per_source_per_second", kLive,
     same<kLimits, &Limits::discovery_per_source_per_second>},
    {"limits.discovery_per_source_burst", kLive,
     same<kLimits, &Limits::discovery_per_source_burst>},
    {"limits.lifetime_min_s", kLive, same<kLimits, &Limits::lifetime_min_s>},
    {"limits.lifetime_max_s", kLive, same<kLimits, &Limits::lifetime_max_s>},
    // What counts for them is made at the start, where there is a limit of either kind.
    {"limits.bandwidth", kLive, same_rates<&Limits::bandwidth, true>},
    {"limits.packet_rate", kLive, same_rates<&Limits::packet_rate, true>},
    {"limits.bandwidth", kRestart, same_rates<&Limits::bandwidth, false>},
    {"limits.packet_rate", kRestart, same_rates<&Limits::packet_rate, false>},
    {"limits.burst_ms", kLive, same<kLimits, &Limits::burst_ms>},
    {"payload", kLive, same<&Config::payload>},
    {"identity", kLive, same<&Config::identity>},
    {"streams", kRestart, same<&Config::streams>},
    {"tcp_relay", kRestart, same<&Config::tcp_relay>},
    {"own_host", kRestart, same<&Config::own_host>},
    {"nat_discovery", kRestart, same<&Config::nat_discovery>},
    {"certificate", kRestart, same<&Config::certificates>},
    {"relay_ports", kRestart, same<&Config::relay_ports>},
    {"metrics", kRestart, same<&Config::metrics>},
    {"log.level", kLive, same<&Config::log, &LogSection::level>},
    {"test", kRestart, same<&Config::test>},
};

}  // namespace

std::vector<Difference> differences(const Config& before, const Config& after) {
  std::vector<Difference> found;
  for (const Key& key : kKeys) {
    if (!key.same(before, after)) found.push_back({key.name, key.live});
  }
  return found;
}

}  // namespace turnpike::config

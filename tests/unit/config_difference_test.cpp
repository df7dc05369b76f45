// Each key of the file is changed in turn: the change is found, by its name and no other, and
// whether it is live is what this list says.
#include "config/difference.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <ostream>
#include <set>

#include "config/value.h"
#include "config_texts.h"

namespace turnpike::config {

// NOLINTNEXTLINE(misc-use-internal-linkage): googletest finds it by the type
void PrintTo(const Difference& difference, std::ostream* out) {
  *out << difference.key << (difference.live ? " (live)" : " (restart)");
}

namespace {

using namespace test;

const std::string kBase =
    "realm = \"example.org\"\n"
    "port = [{ device = \"af_xdp:eth0\" }]\n"
    "auth.users = [{ name = \"alice\", password = \"secret\" }]\n"
    "listener = [{ address = \"192.0.2.1:3478\" }, { address = \"192.0.2.1:3479\" }]\n"
    "relay = [{ address = \"192.0.2.1\" }]\n"
    "other_realm = [{ name = \"example.net\", "
    "users = [{ name = \"carol\", password = \"secret\" }] }]\n";

constexpr bool kLive = true, kRestart = false;

struct Change {
  std::string text;  // laid over kBase
  std::vector<Difference> expected;
};

std::string port(const std::string& keys) {
  return "port = [{ " + keys + " }]";
}

std::string owned_port(const std::string& keys) {
  return port("device = \"01:00.0\", " + keys);
}

std::string listener(const std::string& keys) {
  return "listener = [{ address = \"192.0.2.1:3478\", " + keys +
         " }, { address = \"192.0.2.1:3479\" }]";
}

std::string other_realm(const std::string& user, const std::string& keys = "") {
  return "other_realm = [{ name = \"example.net\", users = [{ " + user + " }]" + keys + " }]";
}

std::map<std::string, Change> all_changes() {
  const std::string carol = "name = \"carol\", password = \"secret\"";
  const std::vector<Difference> of_port{{"port", kRestart}}, of_listener{{"listener", kRestart}},
      of_users{{"auth.users", kLive}}, of_peers{{"peers", kLive}},
      of_other_users{{"other_realm.users", kLive}}, of_other_peers{{"other_realm.peers", kLive}},
      of_clients{{"clients", kLive}}, of_payload{{"payload", kLive}},
      of_identity{{"identity", kLive}}, of_streams{{"streams", kRestart}},
      of_tcp_relay{{"tcp_relay", kRestart}}, of_discovery{{"nat_discovery", kRestart}};
  const std::string list = testing::TempDir() + "difference-list";
  std::ofstream(list) << "10.0.0.0/8\n";
  const auto rule = [](const std::string& text) {
    return "payload.rule = [{ " + text + ", action = \"drop\" }]";
  };
  const auto identity = [](const std::string& attribute, const std::string& text) {
    return "identity.rule = [{ name = \"x\", attribute = \"" + attribute + "\", " + text + " }]";
  };
  const std::string class_a = "identity.class = [{ name = \"a\", allocations_per_user = 1 }]\n";
  const Difference alternates{"listener.alternates", kLive};
  std::map<std::string, Change> changes{
      {"realm", {"realm = \"example.com\"", {{"realm", kRestart}}}},
      {"software", {"software = \"\"", {{"software", kLive}}}},
      {"classic_stun", {"classic_stun = false", {{"classic_stun", kLive}}}},
      {"mobility", {"mobility = false", {{"mobility", kLive}}}},
      {"channel_numbers", {"channel_numbers = \"rfc5766\"", {{"channel_numbers", kLive}}}},
      {"ttl", {"ttl = \"reset\"", {{"ttl", kLive}}}},
      {"translated_mtu", {"translated_mtu = 1400", {{"translated_mtu", kLive}}}},
      {"workers", {"workers = 2", {{"workers", kRestart}}}},
      {"shards", {"shards = 2", {{"shards", kRestart}}}},
      {"worker_cores", {"worker_cores = [1]", {{"worker_cores", kRestart}}}},
      {"hugepages", {"hugepages = false", {{"hugepages", kRestart}}}},
      {"user", {"user = \"nobody\"", {{"user", kRestart}}}},
      {"core_dumps", {"core_dumps = true", {{"core_dumps", kRestart}}}},
      {"idle_sleep_us", {"idle_sleep_us = 50", {{"idle_sleep_us", kRestart}}}},
      {"external", {"external = [\"203.0.113.1\"]", {{"relay", kRestart}, {"external", kRestart}}}},
      {"port.device", {port("device = \"af_xdp:eth1\""), of_port}},
      {"port.queues", {port("device = \"af_xdp:eth0\", queues = 2"), of_port}},
      {"port.mtu", {port("device = \"af_xdp:eth0\", mtu = 1400"), of_port}},
      {"port.descriptors", {port("device = \"af_xdp:eth0\", descriptors = 512"), of_port}},
      {"port.devargs", {port("device = \"af_xdp:eth0\", devargs = \"a=1\""), of_port}},
      {"port.addresses", {owned_port("addresses = [\"192.0.2.1/24\"]"), of_port}},
      {"port.gateway",
       {owned_port("addresses = [\"192.0.2.1/24\"], gateway = [\"192.0.2.9\"]"), of_port}},
      {"port.next_hop",
       {port("device = \"af_xdp:eth0\", next_hop = \"02:00:00:00:00:01\""), of_port}},
      {"port.exception", {owned_port("exception = \"tpk9\""), of_port}},
      {"port.memif_server", {port("device = \"memif:/x\", memif_server = true"), of_port}},
      {"port.memif_zero_copy", {port("device = \"memif:/x\", memif_zero_copy = false"), of_port}},
      {"listener.address",
       {"listener = [{ address = \"192.0.2.1:3478\" }, { address = \"192.0.2.1:3480\" }]",
        of_listener}},
      {"listener.stun_only", {listener("stun_only = true"), of_listener}},
      {"listener.turn_only", {listener("turn_only = true"), of_listener}},
      // It is sent to the other listener then.
      {"listener.anycast", {listener("anycast = true"), {of_listener[0], alternates}}},
      {"listener.alternates", {listener("alternates = [\"192.0.2.2:3478\"]"), {alternates}}},
      {"listener.realm", {listener("realm = \"example.net\""), of_listener}},
      {"other_realm.name",
       {"other_realm = [{ name = \"example.com\", users = [{ " + carol + " }] }]",
        {{"other_realm", kRestart}}}},
      {"other_realm.users",
       {other_realm(carol + " }, { name = \"dan\", password = \"x\""), of_other_users}},
      {"other_realm.users.name",
       {other_realm("name = \"dan\", password = \"secret\""), of_other_users}},
      {"other_realm.users.password",
       {other_realm("name = \"carol\", password = \"other\""), of_other_users}},
      {"other_realm.users.md5_key",
       {other_realm("name = \"carol\", md5_key = \"84c3a56e2b4b7b5b0a5c3de46bdb7f5f\""),
        of_other_users}},
      {"other_realm.rest_secrets",
       {other_realm(carol, ", rest_secrets = [\"s\"]"), {{"other_realm.rest_secrets", kLive}}}},
      {"other_realm.rest_format",
       {other_realm(carol, ", rest_format = \"user:time\""), {{"other_realm.rest_format", kLive}}}},
      {"other_realm.strict_expiry",
       {other_realm(carol, ", strict_expiry = true"), {{"other_realm.strict_expiry", kLive}}}},
      {"other_realm.peers.allow",
       {other_realm(carol, ", peers.allow = [\"10.0.0.0/8\"]"), of_other_peers}},
      {"other_realm.peers.deny",
       {other_realm(carol, ", peers.deny = [\"10.0.0.0/8\"]"), of_other_peers}},
      {"relay.address", {"relay = [{ address = \"192.0.2.2\" }]", {{"relay", kRestart}}}},
      {"relay.external",
       {"relay = [{ address = \"192.0.2.1\", external = \"203.0.113.1\" }]",
        {{"relay", kRestart}}}},
      {"listener.transport",
       {"listener = [{ address = \"192.0.2.1:3478\", transport = \"tcp\" }]", of_listener}},
      {"certificate.chain",
       {"certificate = [{ chain = \"a.pem\", key = \"a.key\" }]", {{"certificate", kRestart}}}},
      {"certificate.key",
       {"certificate = [{ chain = \"a.pem\", key = \"b.key\" }]", {{"certificate", kRestart}}}},
      {"tcp_relay.enabled", {"tcp_relay.enabled = true", of_tcp_relay}},
      {"tcp_relay.sockets", {"tcp_relay.sockets = 50", of_tcp_relay}},
      {"tcp_relay.connections_per_allocation",
       {"tcp_relay.connections_per_allocation = 50", of_tcp_relay}},
      {"tcp_relay.connections_per_user", {"tcp_relay.connections_per_user = 50", of_tcp_relay}},
      {"tcp_relay.connecting_per_allocation",
       {"tcp_relay.connecting_per_allocation = 50", of_tcp_relay}},
      {"tcp_relay.connects_per_user_per_second",
       {"tcp_relay.connects_per_user_per_second = 50", of_tcp_relay}},
      {"tcp_relay.connects_per_user_burst",
       {"tcp_relay.connects_per_user_burst = 50", of_tcp_relay}},
      {"tcp_relay.own_host_peers", {"tcp_relay.own_host_peers = [\"192.0.2.1:80\"]", of_tcp_relay}},
      {"streams.threads", {"streams.threads = 2", of_streams}},
      {"streams.connections", {"streams.connections = 50", of_streams}},
      {"streams.connections_per_source", {"streams.connections_per_source = 50", of_streams}},
      {"streams.waiting_kib", {"streams.waiting_kib = 50", of_streams}},
      {"streams.handshake_s", {"streams.handshake_s = 50", of_streams}},
      {"streams.proxies", {"streams.proxies = [\"10.0.0.0/8\"]", of_streams}},
      {"streams.idle_s", {"streams.idle_s = 50", of_streams}},
      {"streams.client_authorities", {"streams.client_authorities = \"/ca.pem\"", of_streams}},
      {"own_host.udp", {"own_host.udp = false", {{"own_host", kRestart}}}},
      {"nat_discovery.addresses",
       {"nat_discovery.addresses = [\"192.0.2.1\", \"192.0.2.2\"]", of_discovery}},
      {"nat_discovery.external",
       {"nat_discovery = { addresses = [\"192.0.2.1\", \"192.0.2.2\"], "
        "external = [\"203.0.113.1\", \"203.0.113.2\"] }",
        of_discovery}},
      {"nat_discovery.ports", {"nat_discovery.ports = [3478, 3480]", of_discovery}},
      {"relay_ports.min", {"relay_ports.min = 50000", {{"relay_ports", kRestart}}}},
      {"relay_ports.max", {"relay_ports.max = 60001", {{"relay_ports", kRestart}}}},
      {"auth.users", {"auth.users = [{ name = \"bob\", password = \"secret\" }]", of_users}},
      {"auth.users.name", {"auth.users = [{ name = \"bob\", password = \"secret\" }]", of_users}},
      {"auth.users.password",
       {"auth.users = [{ name = \"alice\", password = \"other\" }]", of_users}},
      {"auth.users.md5_key",
       {"auth.users = [{ name = \"alice\", md5_key = \"84c3a56e2b4b7b5b0a5c3de46bdb7f5f\" }]",
        of_users}},
      {"auth.rest_secrets", {"auth.rest_secrets = [\"s\"]", {{"auth.rest_secrets", kLive}}}},
      {"auth.rest_format", {"auth.rest_format = \"user:time\"", {{"auth.rest_format", kLive}}}},
      {"auth.strict_expiry", {"auth.strict_expiry = true", {{"auth.strict_expiry", kLive}}}},
      {"peers.allow", {"peers.allow = [\"10.0.0.0/8\"]", of_peers}},
      {"peers.deny", {"peers.deny = [\"10.0.0.0/8\"]", of_peers}},
      {"peers.nat64_prefixes", {"peers.nat64_prefixes = [\"2001:db8:64::/96\"]", of_peers}},
      {"peers.allow_files", {"peers.allow_files = [\"" + list + "\"]", of_peers}},
      {"peers.deny_files", {"peers.deny_files = [\"" + list + "\"]", of_peers}},
      {"other_realm.peers.allow_files",
       {other_realm(carol, ", peers.allow_files = [\"" + list + "\"]"), of_other_peers}},
      {"other_realm.peers.deny_files",
       {other_realm(carol, ", peers.deny_files = [\"" + list + "\"]"), of_other_peers}},
      {"clients.allow", {"clients.allow = [\"10.0.0.0/8\"]", of_clients}},
      {"clients.deny", {"clients.deny = [\"10.0.0.0/8\"]", of_clients}},
      {"clients.allow_files", {"clients.allow_files = [\"" + list + "\"]", of_clients}},
      {"clients.deny_files", {"clients.deny_files = [\"" + list + "\"]", of_clients}},
      {"payload.packets", {"payload.packets = 8", of_payload}},
      {"payload.webrtc_only", {"payload.webrtc_only = true", of_payload}},
      {"payload.cache", {"payload.cache = \"\"", of_payload}},
      {"payload.rule.protocol", {rule("protocol = \"dns\""), of_payload}},
      {"payload.rule.action", {rule("protocol = \"ntp\""), of_payload}},
      {"payload.rule.name", {rule("name = \"x\", pattern = \"a\""), of_payload}},
      {"payload.rule.pattern", {rule("name = \"x\", pattern = \"b\""), of_payload}},
      {"payload.rule.caseless",
       {rule("name = \"x\", pattern = \"b\", caseless = true"), of_payload}},
      {"payload.rule.from", {rule("protocol = \"dns\", from = \"peer\""), of_payload}},
      {"payload.rule.rate",
       {"payload.rule = [{ protocol = \"dns\", action = \"limit\", rate = 9000 }]", of_payload}},
      {"identity.rule.name",
       {identity("realm", "pattern = \"a\", action = \"deny\""), of_identity}},
      {"identity.rule.attribute",
       {identity("origin", "pattern = \"a\", action = \"deny\""), of_identity}},
      {"identity.rule.pattern",
       {identity("username", "pattern = \"b\", action = \"deny\""), of_identity}},
      {"identity.rule.caseless",
       {identity("software", "pattern = \"a\", caseless = true, action = \"deny\""), of_identity}},
      {"identity.rule.action",
       {identity("username", "pattern = \"a\", action = \"allow\""), of_identity}},
      {"identity.rule.class",
       {class_a + identity("username", "pattern = \"a\", action = \"class\", class = \"a\""),
        of_identity}},
      {"identity.class.name", {class_a, of_identity}},
      {"identity.class.allocations_per_user",
       {"identity.class = [{ name = \"a\", allocations_per_user = 0 }]", of_identity}},
      {"limits.burst_ms", {"limits.burst_ms = 100", {{"limits.burst_ms", kLive}}}},
      {"metrics.enabled", {"metrics.enabled = false", {{"metrics", kRestart}}}},
      {"metrics.address", {"metrics.address = \"127.0.0.1:9642\"", {{"metrics", kRestart}}}},
      {"log.level", {"log.level = \"debug\"", {{"log.level", kLive}}}},
      {"test.time_scale", {"test.time_scale = 2", {{"test", kRestart}}}},
  };
  const auto number = [&changes](const char* key, bool live) {
    changes[key] = {std::string(key) + " = 1000", {{key, live}}};
  };
  // Tables are sized by these.
  for (const char* key :
       {"limits.allocations", "limits.permissions_per_allocation", "limits.channels_per_allocation",
        "limits.on_link_peers_per_allocation", "limits.permissions_average",
        "limits.channels_average", "limits.allocations_per_user", "limits.allocations_per_source",
        "auth.nonce_lifetime_s"})
    number(key, kRestart);
  for (const char* key :
       {"limits.requests_per_allocation_per_second", "limits.requests_per_allocation_burst",
        "limits.requests_per_source_per_second", "limits.requests_per_source_burst",
        "limits.challenges_per_source_per_second", "limits.challenges_per_source_burst",
        "limits.challenges_per_second", "limits.discovery_per_source_per_second",
        "limits.discovery_per_source_burst", "limits.lifetime_min_s", "limits.lifetime_max_s"})
    number(key, kLive);
  for (const std::string kind : {"bandwidth", "packet_rate"}) {
    for (const char* of : {"", "_per_realm", "_per_user", "_per_allocation"}) {
      const std::string key = "limits." + kind + of;
      changes[key] = {
          key + " = 100000",
          {{kind == "bandwidth" ? "limits.bandwidth" : "limits.packet_rate", kRestart}}};
    }
  }
  return changes;
}

// kBase with `text` over it.
Config changed(const std::string& text) {
  Value tree = std::get<Value>(read_toml(kBase, "base"));
  Value over = std::get<Value>(read_toml(text, "over"));
  lay_over(std::get<Value::Table>(tree.data), std::get<Value::Table>(std::move(over.data)));
  ConfigResult result = read_config(tree);
  if (const auto* errors = std::get_if<std::vector<ConfigError>>(&result)) {
    ADD_FAILURE() << text << ": " << errors->at(0).to_string();
    return {};
  }
  return std::get<Config>(result);
}

TEST(Difference, IsFoundOfEachKeyByItsNameAndNoOther) {
  const std::map<std::string, Change> changes = all_changes();
  const Config before = accepted(kBase);
  // Each is a table, whose own keys are changed.
  const std::set<std::string> tables{"port",        "listener",      "relay",
                                     "relay_ports", "auth",          "peers",
                                     "limits",      "metrics",       "log",
                                     "test",        "other_realm",   "other_realm.peers",
                                     "streams",     "own_host",      "certificate",
                                     "clients",     "payload",       "payload.rule",
                                     "identity",    "identity.rule", "identity.class",
                                     "tcp_relay",   "nat_discovery"};
  std::size_t seen = 0;
  for (const std::string& key : every_key()) {
    if (tables.contains(key)) continue;
    ++seen;
    const auto change = changes.find(key);
    ASSERT_NE(change, changes.end()) << key << " is in no list of this test";
    EXPECT_EQ(differences(before, changed(change->second.text)), change->second.expected) << key;
    EXPECT_EQ(differences(changed(change->second.text), before), change->second.expected) << key;
  }
  EXPECT_EQ(seen, changes.size());
}

TEST(Difference, OfALimitIsLiveWhereThereIsOneAlready) {
  const Config limited = changed("limits.packet_rate = 50000");
  EXPECT_EQ(differences(limited, changed("limits.packet_rate = 60000")),
            (std::vector<Difference>{{"limits.packet_rate", kLive}}));
  EXPECT_EQ(differences(limited, changed("limits.packet_rate = 50000\nlimits.bandwidth = 100000")),
            (std::vector<Difference>{{"limits.bandwidth", kLive}}));
}

TEST(Difference, IsNoneWhereNothingChanges) {
  Config after = accepted(kBase);
  after.warnings.emplace_back("of no importance");
  EXPECT_TRUE(differences(accepted(kBase), after).empty());
}

TEST(Difference, OfAListenerMoreIsTheListenersAlone) {
  const std::string more =
      "listener = [{ address = \"192.0.2.1:3478\" }, { address = \"192.0.2.1:3479\" },"
      " { address = \"192.0.2.1:3480\", alternates = [\"192.0.2.2:3478\"] }]";
  EXPECT_EQ(differences(accepted(kBase), changed(more)),
            (std::vector<Difference>{{"listener", kRestart}}));
}

TEST(Difference, OfARealmMoreIsTheRealmsAlone) {
  const std::string more =
      "other_realm = [{ name = \"example.net\", users = [{ name = \"carol\", password = "
      "\"secret\" }] }, { name = \"example.com\", rest_secrets = [\"s\"] }]";
  EXPECT_EQ(differences(accepted(kBase), changed(more)),
            (std::vector<Difference>{{"other_realm", kRestart}}));
}

}  // namespace
}  // namespace turnpike::config

// Each mistake in a configuration is told with its place and what was expected, since that line is
// all an operator gets.
#include <gtest/gtest.h>

#include <algorithm>

#include "config/config.h"
#include "config_texts.h"

namespace turnpike::config {
namespace {

using namespace test;

struct Mistake {
  std::string name;
  std::string text;
  int line;
  std::string key;
  std::string expected;
  std::string found;
};

void PrintTo(const Mistake& mistake, std::ostream* out) {
  *out << mistake.name;
}

std::string times(const std::string& text, int n) {
  std::string all;
  for (int i = 0; i < n; ++i)
    all += text;
  return all;
}

std::string more(const std::string& text) {
  return kEnough + text;
}

std::string other_realm(const std::string& name) {
  return "[[other_realm]]\nname = \"" + name + "\"\nrest_secrets = [\"s\"]\n";
}

std::string identity_rule(const std::string& text) {
  return more("[[identity.rule]]\nname = \"x\"\n" + text);
}

const Mistake kMistakes[] = {
    {"NoToml", "realm = \n", 1, "", "expected TOML", ""},
    {"KeyTwice", more("realm = \"again\"\n"), 4, "", "expected TOML", ""},
    {"UnknownKey", more("workerz = 2\n"), 4, "workerz", "expected perhaps \"workers\"", "no such"},
    {"UnknownKeyInTable", more("[limits]\nalocations = 2\n"), 5, "limits.alocations",
     "expected perhaps \"allocations\"", "no such"},
    {"UnknownKeyInList", more("[[listener]]\nadress = \"192.0.2.1:3478\"\n"), 5,
     "listener[0].adress", "expected perhaps \"address\"", "no such"},
    {"UnknownKeyFarFromAll", more("[log]\ncarrier_pigeons = 2\n"), 5, "log.carrier_pigeons",
     "expected one of: level", "no such"},
    {"TableForAList", more("[listener]\naddress = \"192.0.2.1:3478\"\n"), 4, "listener",
     "expected [[listener]] tables", "found a table"},
    {"ValueForATable", more("metrics = true\n"), 4, "metrics", "expected a table", "found true"},

    {"RuleWithoutAction", more("[[payload.rule]]\nprotocol = \"dns\"\n"), 4,
     "payload.rule[0].action", "\"count\"", "found nothing"},
    {"RuleOfNothing", more("[[payload.rule]]\nname = \"x\"\naction = \"drop\"\n"), 4,
     "payload.rule[0].pattern", "either a pattern or a protocol", "found neither"},
    {"RuleOfBoth",
     more("[[payload.rule]]\nname = \"x\"\naction = \"drop\"\nprotocol = \"dns\"\n"
          "pattern = \"a\"\n"),
     8, "payload.rule[0].pattern", "either a pattern or a protocol", "found both"},
    {"RuleWithoutAName", more("[[payload.rule]]\npattern = \"a\"\naction = \"drop\"\n"), 4,
     "payload.rule[0].name", "a name of 1 to 48", "found nothing"},
    {"RuleWithAStrangeName",
     more("[[payload.rule]]\nname = \"A b\"\npattern = \"a\"\naction = \"drop\"\n"), 5,
     "payload.rule[0].name", "a name of 1 to 48", "found \"A b\""},
    {"RuleWithoutARate", more("[[payload.rule]]\nprotocol = \"dns\"\naction = \"limit\"\n"), 4,
     "payload.rule[0].rate", "bits per second", "found none"},
    {"RuleWithARateForNothing",
     more("[[payload.rule]]\nprotocol = \"dns\"\naction = \"drop\"\nrate = 10000\n"), 7,
     "payload.rule[0].rate", "bits per second", "found one"},
    {"RuleThatPeersEndAllocationsBy",
     more("[[payload.rule]]\nprotocol = \"dns\"\nfrom = \"peer\"\naction = \"end\"\n"), 7,
     "payload.rule[0].action", "ends no allocation", "found \"end\""},
    {"RelativeCache", more("[payload]\ncache = \"here\"\n"), 5, "payload.cache", "an absolute path",
     "found \"here\""},

    {"IdentityRuleWithoutAName",
     more("[[identity.rule]]\nattribute = \"realm\"\npattern = \"a\"\naction = \"deny\"\n"), 4,
     "identity.rule[0].name", "a name of 1 to 48", "found nothing"},
    {"IdentityRuleWithoutAnAttribute", identity_rule("pattern = \"a\"\naction = \"deny\"\n"), 4,
     "identity.rule[0].attribute", "\"username\", \"realm\", \"origin\" or \"software\"",
     "found nothing"},
    {"IdentityRuleOfAnotherAttribute",
     identity_rule("attribute = \"nonce\"\npattern = \"a\"\naction = \"deny\"\n"), 6,
     "identity.rule[0].attribute", "\"username\", \"realm\", \"origin\" or \"software\"",
     "found \"nonce\""},
    {"IdentityRuleWithoutAPattern", identity_rule("attribute = \"realm\"\naction = \"deny\"\n"), 4,
     "identity.rule[0].pattern", "a regular expression", "found nothing"},
    {"IdentityRuleWithoutAction", identity_rule("attribute = \"realm\"\npattern = \"a\"\n"), 4,
     "identity.rule[0].action", "\"allow\", \"deny\" or \"class\"", "found nothing"},
    {"IdentityRuleOfAnotherAction",
     identity_rule("attribute = \"realm\"\npattern = \"a\"\naction = \"drop\"\n"), 8,
     "identity.rule[0].action", "\"allow\", \"deny\" or \"class\"", "found \"drop\""},
    {"IdentityRuleWithoutAClass",
     identity_rule("attribute = \"realm\"\npattern = \"a\"\naction = \"class\"\n"), 4,
     "identity.rule[0].class", "only there", "found none"},
    {"IdentityRuleWithAClassForNothing",
     identity_rule("attribute = \"realm\"\npattern = \"a\"\naction = \"deny\"\nclass = \"c\"\n"
                   "[[identity.class]]\nname = \"c\"\nallocations_per_user = 1\n"),
     9, "identity.rule[0].class", "only there", "found one"},
    {"IdentityRuleOfNoSuchClass",
     identity_rule("attribute = \"realm\"\npattern = \"a\"\naction = \"class\"\nclass = \"c\"\n"),
     9, "identity.rule[0].class", "the name of an [[identity.class]]", "found \"c\""},
    {"IdentityRuleTwice",
     identity_rule("attribute = \"realm\"\npattern = \"a\"\naction = \"deny\"\n[[identity.rule]]\n"
                   "name = \"x\"\nattribute = \"realm\"\npattern = \"b\"\naction = \"deny\"\n"),
     10, "identity.rule[1].name", "a name of its own", "found \"x\" a second time"},
    {"IdentityClassWithoutAName", more("[[identity.class]]\nallocations_per_user = 1\n"), 4,
     "identity.class[0].name", "a name of 1 to 48", "found nothing"},
    {"IdentityClassWithoutAQuota", more("[[identity.class]]\nname = \"c\"\n"), 4,
     "identity.class[0].allocations_per_user", "an integer from 0 to 1000000", "found nothing"},
    {"IdentityClassTwice",
     more("[[identity.class]]\nname = \"c\"\nallocations_per_user = 1\n"
          "[[identity.class]]\nname = \"c\"\nallocations_per_user = 2\n"),
     8, "identity.class[1].name", "a name of its own", "found \"c\" a second time"},

    {"NoPort", "realm = \"r\"\nauth.rest_secrets = [\"s\"]\n", 1, "port", "at least one port",
     "found none"},
    {"NoDevice", "realm = \"r\"\n[[port]]\nqueues = 1\n", 2, "port[0].device",
     "expected af_xdp:", "found nothing"},
    {"UnknownDriver", "[[port]]\ndevice = \"carrier_pigeon:eth0\"\n", 2, "port[0].device",
     "expected af_xdp:", "found \"carrier_pigeon:eth0\""},
    {"LongInterfaceName", "[[port]]\ndevice = \"af_xdp:abcdefghijklmnop\"\n", 2, "port[0].device",
     "expected af_xdp:", "abcdefghijklmnop"},
    {"DeviceWithArguments", "[[port]]\ndevice = \"af_packet:eth0,qpairs=9\"\n", 2, "port[0].device",
     "expected af_xdp:", "qpairs"},
    {"BadPciFunction", "[[port]]\ndevice = \"0000:01:00.8\"\n", 2, "port[0].device", "PCI address",
     "found \"0000:01:00.8\""},
    {"DeviceTwice",
     "realm = \"r\"\nauth.rest_secrets = [\"s\"]\nlistener = [{ address = "
     "\"192.0.2.1:3478\" }]\nrelay = [{ address = \"192.0.2.1\" }]\n[[port]]\ndevice = "
     "\"af_xdp:eth0\"\n[[port]]\ndevice = \"af_packet:eth0\"\n",
     8, "port[1].device", "a device of its own", "found eth0 a second time"},
    {"SmallMtu", "[[port]]\ndevice = \"af_xdp:eth0\"\nmtu = 576\n", 3, "port[0].mtu",
     "0 or an integer from 1280 to 9600", "found 576"},
    {"QueuesOfText", "[[port]]\ndevice = \"af_xdp:eth0\"\nqueues = \"two\"\n", 3, "port[0].queues",
     "an integer from 0 to 64", "found \"two\""},
    {"NextHopOfGroup", "[[port]]\ndevice = \"af_xdp:eth0\"\nnext_hop = \"01:00:5e:00:00:01\"\n", 3,
     "port[0].next_hop", "a unicast MAC", "01:00:5e:00:00:01"},
    {"PortAddressWithoutLength",
     "[[port]]\ndevice = \"01:00.0\"\naddresses = [\"192.0.2.10/24\",\n"
     "  \"192.0.2.11\"]\n",
     4, "port[0].addresses[1]", "with its network's length", "found \"192.0.2.11\""},
    {"PortAddressTooLong", "[[port]]\ndevice = \"01:00.0\"\naddresses = [\"192.0.2.10/33\"]\n", 3,
     "port[0].addresses[0]", "with its network's length", "found \"192.0.2.10/33\""},
    {"AddressesOfSharedPort",
     "realm = \"r\"\nauth.rest_secrets = [\"s\"]\n[[port]]\ndevice = "
     "\"af_xdp:eth0\"\naddresses = [\"192.0.2.10/24\"]\n",
     5, "port[0].addresses", "expected no addresses on a port that the kernel shares", "found 1"},
    {"ExceptionOfSharedPort",
     "realm = \"r\"\nauth.rest_secrets = [\"s\"]\n[[port]]\ndevice = "
     "\"af_packet:eth0\"\nexception = \"tpk7\"\n",
     5, "port[0].exception", "expected no exception interface", "found \"tpk7\""},
    {"NoWayOut", owned("exception = \"none\"\n"), 9, "port[0].exception",
     "a next_hop where there is no exception interface", "found none"},
    {"GatewayOfSharedPort",
     "realm = \"r\"\nauth.rest_secrets = [\"s\"]\n[[port]]\ndevice = "
     "\"af_xdp:eth0\"\ngateway = [\"192.0.2.1\"]\n",
     5, "port[0].gateway", "only on a port with an exception interface", "found 192.0.2.1"},
    {"GatewayWithoutException",
     owned("exception = \"none\"\nnext_hop = \"02:00:5e:00:00:01\"\ngateway = [\"192.0.2.1\"]\n"),
     11, "port[0].gateway", "only on a port with an exception interface", "found 192.0.2.1"},
    {"FarGateway", owned("addresses = [\"192.0.2.10/24\"]\ngateway = [\"192.0.3.1\"]\n"), 10,
     "port[0].gateway[0]", "in the network of one of the port's addresses", "found 192.0.3.1"},
    {"TwoGateways",
     owned("addresses = [\"192.0.2.10/24\"]\ngateway = [\"192.0.2.1\", \"192.0.2.2\"]\n"), 10,
     "port[0].gateway[1]", "one gateway of each family", "another: 192.0.2.2"},
    {"MemifRoleElsewhere",
     "realm = \"r\"\nauth.rest_secrets = [\"s\"]\n[[port]]\ndevice = "
     "\"af_xdp:eth0\"\nmemif_server = true\n",
     5, "port[0].memif_server", "memif:", "found true"},

    {"NoWorkers", more("workers = 0\n"), 4, "workers", "an integer from 1 to 64", "found 0"},
    {"WorkersOfFloat", more("workers = 1.5\n"), 4, "workers", "an integer", "found 1.5"},
    {"FewCores", more("workers = 2\nworker_cores = [3]\n"), 5, "worker_cores",
     "as many cores as workers (2)", "found 1"},
    {"CoreTwice", more("workers = 2\nworker_cores = [3, 3]\n"), 5, "worker_cores[1]",
     "each core once", "found 3 again"},
    {"HugeIntegers", more("shards = 9223372036854775807\n"), 4, "shards", "from 1 to 64",
     "found 9223372036854775807"},
    {"HugepagesOfText", more("hugepages = \"yes\"\n"), 4, "hugepages", "true or false",
     "found \"yes\""},
    {"DateForText", more("software = 2026-01-01\n"), 4, "software", "127 characters",
     "found a date"},
    {"LongSoftware", more("software = \"" + std::string(128, 'x') + "\"\n"), 4, "software",
     "at most 127 characters", "xxx"},
    {"ChannelNumbers", more("channel_numbers = \"rfc3489\"\n"), 4, "channel_numbers",
     "\"rfc8656\" or \"rfc5766\"", "found \"rfc3489\""},
    {"Ttl", more("ttl = \"keep\"\n"), 4, "ttl", "\"decrement\" or \"reset\"", "found \"keep\""},
    {"TranslatedMtu", more("translated_mtu = 1279\n"), 4, "translated_mtu",
     "an integer from 1280 to 9600", "found 1279"},

    {"ListenerWithoutPort", more("[[listener]]\naddress = \"192.0.2.1\"\n"), 5,
     "listener[0].address", "a unicast address and a port", "found \"192.0.2.1\""},
    {"ListenerPortTooLarge", more("[[listener]]\naddress = \"192.0.2.1:99999\"\n"), 5,
     "listener[0].address", "from 1 to 65535", "99999"},
    {"ListenerPortZero", more("[[listener]]\naddress = \"192.0.2.1:0\"\n"), 5,
     "listener[0].address", "from 1 to 65535", "192.0.2.1:0"},
    {"ListenerEverywhere", more("[[listener]]\naddress = \"0.0.0.0:3478\"\n"), 5,
     "listener[0].address", "a unicast address", "0.0.0.0:3478"},
    {"ListenerWithoutAddress", more("[[listener]]\nanycast = true\n"), 4, "listener[0].address",
     "a unicast address", "found nothing"},
    {"ListenerTwice",
     more("[[listener]]\naddress = \"192.0.2.1:3478\"\n[[listener]]\naddress = "
          "\"192.0.2.1:3478\"\n"),
     7, "listener[1].address", "each listening address once", "found 192.0.2.1:3478 again"},
    {"StunOnlyAndTurnOnly",
     more("[[listener]]\naddress = \"192.0.2.1:3478\"\nstun_only = true\n"
          "turn_only = true\n"),
     7, "listener[0].turn_only", "at most one of", "found both"},
    {"AnycastToNowhere", more("[[listener]]\naddress = \"192.0.2.1:3478\"\nanycast = true\n"), 6,
     "listener[0].anycast", "expected alternates, or a listener", "found none"},
    {"AlternateOfOtherFamily",
     more("[[listener]]\naddress = \"192.0.2.1:3478\"\nalternates = "
          "[\"[2001:db8::1]:3478\"]\n"),
     6, "listener[0].alternates", "of the listener's family", "found [2001:db8::1]:3478"},
    {"TooManyAlternates",
     more("[[listener]]\naddress = \"192.0.2.1:3478\"\nalternates = [" +
          [] {
            std::string list;
            for (int i = 2; i < 11; ++i)
              list += "\"192.0.2." + std::to_string(i) + ":3478\",";
            return list;
          }() +
          "]\n"),
     6, "listener[0].alternates", "at most 8", "found 9"},
    {"RestFormat", more("auth.rest_format = \"user\"\n"), 4, "auth.rest_format", "time:user",
     "user"},
    {"AlternateOfItself",
     more("[[listener]]\naddress = \"192.0.2.1:3478\"\nalternates = "
          "[\"192.0.2.1:3478\"]\n"),
     6, "listener[0].alternates[0]", "another server", "found 192.0.2.1:3478"},
    {"NoListenerOnOwnedPort",
     "realm = \"r\"\nauth.rest_secrets = [\"s\"]\nrelay = [{ address = "
     "\"192.0.2.1\" }]\n[[port]]\ndevice = \"01:00.0\"\n",
     1, "listener", "a listening address", "found none"},

    {"RelayOfText", more("[[relay]]\naddress = \"relay.example.org\"\n"), 5, "relay[0].address",
     "a unicast address", "found \"relay.example.org\""},
    {"RelayPrefixWithHostBits", more("[[relay]]\naddress = \"192.0.2.1/26\"\n"), 5,
     "relay[0].address", "or a prefix", "found \"192.0.2.1/26\""},
    {"RelayPrefixTooLarge", more("[[relay]]\naddress = \"10.0.0.0/8\"\n"), 5, "relay[0].address",
     "at most 256", "found \"10.0.0.0/8\""},
    {"RelayTwice",
     more("[[relay]]\naddress = \"192.0.2.0/26\"\n[[relay]]\naddress = "
          "\"192.0.2.9\"\n"),
     7, "relay[1].address", "each relayed address once", "found 192.0.2.9 again"},
    {"ExternalTwice",
     more("[[relay]]\naddress = \"10.0.0.1\"\nexternal = \"192.0.2.1\"\n"
          "[[relay]]\naddress = \"10.0.0.2\"\nexternal = \"192.0.2.1\"\n"),
     8, "relay[1].address", "for one relayed address only", "found 192.0.2.1 again"},
    {"ExternalOfOtherFamily",
     more("[[relay]]\naddress = \"10.0.0.1\"\nexternal = "
          "\"2001:db8::1\"\n"),
     6, "relay[0].external", "of its family", "found 1 from 2001:db8::1"},
    {"ExternalOfOtherSize",
     more("[[relay]]\naddress = \"10.0.0.0/30\"\nexternal = "
          "\"192.0.2.0/29\"\n"),
     6, "relay[0].external", "as many addresses", "found 8"},
    {"ExternalForTwo",
     "external = [\"203.0.113.5\"]\n" + more("relay = [{ address = "
                                             "\"10.0.0.0/31\" }]\n"),
     1, "external[0]", "exactly one relayed address", "found 2"},
    {"ExternalTwiceOfAFamily", "external = [\"203.0.113.5\",\n\"203.0.113.6\"]\n" + kEnough, 1,
     "external[0]", "at most one address of each family", "found 2"},
    {"NoRelayWithTwoPorts",
     "realm = \"r\"\nport = [{ device = \"af_xdp:a\" }, { device = "
     "\"af_xdp:b\" }]\nauth.rest_secrets = [\"s\"]\n[[listener]]\naddress = \"192.0.2.1:3478\"\n",
     1, "relay", "a relayed address", "found none"},

    {"RelayPortsOdd", more("[relay_ports]\nmin = 49153\n"), 5, "relay_ports.min", "an even number",
     "found 49153"},
    {"RelayPortsEven", more("[relay_ports]\nmax = 65534\n"), 5, "relay_ports.max", "an odd number",
     "found 65534"},
    {"RelayPortsPrivileged", more("[relay_ports]\nmin = 1022\n"), 5, "relay_ports.min", "from 1024",
     "found 1022"},
    {"RelayPortsReversed", more("[relay_ports]\nmin = 60000\nmax = 50001\n"), 6, "relay_ports.max",
     "at least 64 ports from min", "found 60000 to 50001"},
    {"RelayPortsFewForShards", more("shards = 4\n[relay_ports]\nmin = 50000\nmax = 50127\n"), 7,
     "relay_ports.max", "at least 256 ports", "found 50000 to 50127"},
    {"ListenerAmongRelayPorts",
     more("[[listener]]\naddress = \"192.0.2.1:50000\"\n[[relay]]\n"
          "address = \"192.0.2.1\"\n"),
     5, "listener[0].address", "a port outside of relay_ports", "found 192.0.2.1:50000"},
    {"DefaultListenerAmongRelayPorts", more("[relay_ports]\nmin = 2048\n"), 5, "relay_ports.min",
     "a range without 3478", "found 2048 to 65535"},

    {"NoRealm", "port = [{ device = \"af_xdp:eth0\" }]\nauth.rest_secrets = [\"s\"]\n", 1, "realm",
     "realm = \"example.org\", or --realm", "found none"},
    {"EmptyRealm", "realm = \"\"\n", 1, "realm", "1 to 127 characters", "found \"\""},
    {"RealmWithQuotes", "realm = 'ex\"ample'\n", 1, "realm", "without quotes", "found"},
    {"NoCredentials", "realm = \"r\"\nport = [{ device = \"af_xdp:eth0\" }]\n", 1, "auth",
     "users or rest_secrets", "found none"},
    {"UserTwice",
     "realm = \"r\"\nport = [{ device = \"af_xdp:eth0\" }]\n[auth]\nusers = [\n"
     "{ name = \"bob\", password = \"one\" },\n{ name = \"bob\", password = \"two\" }]\n",
     6, "auth.users[1].name", "each user once", "found \"bob\" again"},
    {"UserWithoutPassword", "[auth]\nusers = [{ name = \"bob\" }]\n", 2, "auth.users[0].password",
     "either a password or an md5_key", "found neither"},
    {"UserWithBoth",
     "[auth]\nusers = [{ name = \"bob\", password = \"x\", md5_key = "
     "\"84c3a56e2b4b7b5b0a5c3de46bdb7f5f\" }]\n",
     2, "auth.users[0].password", "either a password or an md5_key", "found both"},
    {"UserWithoutName", "[auth]\nusers = [{ password = \"bob\" }]\n", 2, "auth.users[0].name",
     "a username", "found nothing"},
    {"Md5KeyTooShort", "[auth]\nusers = [{ name = \"bob\", md5_key = \"84c3\" }]\n", 2,
     "auth.users[0].md5_key", "32 hexadecimal digits", "a secret, not shown"},
    {"PasswordOfNumber", "[auth]\nusers = [{ name = \"bob\", password = 12345 }]\n", 2,
     "auth.users[0].password", "1 to 763 bytes", "found a number"},
    {"EmptySecret", "[auth]\nrest_secrets = [\"\"]\n", 2, "auth.rest_secrets[0]", "a shared secret",
     "an empty string"},
    {"SecretTwice",
     "realm = \"r\"\nport = [{ device = \"af_xdp:eth0\" }]\n[auth]\nrest_secrets = "
     "[\"s\", \"s\"]\n",
     4, "auth.rest_secrets[1]", "each secret once", "found one again"},
    {"NonceForever", more("auth.nonce_lifetime_s = 0\n"), 4, "auth.nonce_lifetime_s",
     "from 1 to 3600", "found 0"},
    {"NonceForADay", more("auth.nonce_lifetime_s = 86400\n"), 4, "auth.nonce_lifetime_s",
     "from 1 to 3600", "found 86400"},
    {"RealmThatFillsAPacket",
     "realm = \"" + times("\xF0\x9D\x94\xB8", 116) +
         "\"\nport = [{ device = \"af_xdp:eth0\" }]\n[auth]\nrest_secrets = [\"s\"]\n",
     1, "realm", "at most 460 bytes", "found 464"},

    {"RealmTables", "[[realm]]\nname = \"example.org\"\n", 1, "realm", "[[other_realm]] tables",
     "found a list"},
    {"OtherRealmWithoutName", "[[other_realm]]\nrest_secrets = [\"s\"]\n", 1, "other_realm[0].name",
     "a realm of 1 to 127 characters", "found nothing"},
    {"OtherRealmWithoutUsers", more("[[other_realm]]\nname = \"example.net\"\n"), 4,
     "other_realm[0]", "users or rest_secrets", "found none"},
    {"OtherRealmTwice", more(other_realm("example.net") + other_realm("example.net")), 8,
     "other_realm[1].name", "each realm once", "found \"example.net\" again"},
    {"OtherRealmThatIsTheNodesOwn", more(other_realm("example.org")), 5, "other_realm[0].name",
     "each realm once", "found \"example.org\" again"},
    {"OtherRealmsUserTwice",
     more("[[other_realm]]\nname = \"example.net\"\nusers = [\n"
          "{ name = \"bob\", password = \"one\" },\n{ name = \"bob\", password = \"two\" }]\n"),
     8, "other_realm[0].users[1].name", "each user once", "found \"bob\" again"},
    {"OtherRealmsSecretTwice",
     more("[[other_realm]]\nname = \"example.net\"\nrest_secrets = [\"s\", \"s\"]\n"), 6,
     "other_realm[0].rest_secrets[1]", "each secret once", "found one again"},
    {"OtherRealmsPeerAllowedAndDenied",
     more(other_realm("example.net") +
          "peers.allow = [\"10.0.0.0/8\"]\npeers.deny = [\"10.0.0.0/8\"]\n"),
     8, "other_realm[0].peers.deny[0]", "not also allowed", "found 10.0.0.0/8"},
    {"OtherRealmsNat64Prefixes",
     more(other_realm("example.net") + "peers.nat64_prefixes = [\"64:ff9b::/96\"]\n"), 7,
     "other_realm[0].peers.nat64_prefixes", "no such key", "expected one of: allow, deny"},
    {"OtherRealmsNonceLifetime", more(other_realm("example.net") + "nonce_lifetime_s = 60\n"), 7,
     "other_realm[0].nonce_lifetime_s", "no such key", ""},
    {"TooManyRealms", more([] {
       std::string all;
       for (int i = 0; i < 64; ++i)
         all += other_realm("realm" + std::to_string(i));
       return all;
     }()),
     4 + 3 * 63, "other_realm[63]", "at most 63 realms besides", "found 64"},
    {"ListenerOfNoSuchRealm",
     more("[[listener]]\naddress = \"192.0.2.1:3478\"\nrealm = \"example.com\"\n" +
          other_realm("example.net")),
     6, "listener[0].realm", "the name of an [[other_realm]]", "found \"example.com\""},
    {"RealmOfAListenerForStunOnly",
     more("[[listener]]\naddress = \"192.0.2.1:3478\"\nrealm = \"example.net\"\n"
          "stun_only = true\n" +
          other_realm("example.net")),
     6, "listener[0].realm", "stun_only lets nobody in", "found \"example.net\""},
    {"NoRealmOfItsOwn",
     "port = [{ device = \"af_xdp:eth0\" }]\n[[listener]]\naddress = \"192.0.2.1:3478\"\n"
     "[[listener]]\naddress = \"192.0.2.1:3479\"\nrealm = \"example.net\"\n" +
         other_realm("example.net"),
     1, "realm", "realm = \"example.org\", or --realm", "found none"},

    {"PeerWithHostBits", more("[peers]\nallow = [\"10.0.0.1/8\"]\n"), 5, "peers.allow[0]",
     "without bits beyond its length", "found \"10.0.0.1/8\""},
    {"PeersOfText", more("[peers]\ndeny = \"10.0.0.0/8\"\n"), 5, "peers.deny", "a list of prefixes",
     "found a string"},
    {"PeerAllowedAndDenied", more("[peers]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/8\"]\n"),
     6, "peers.deny[0]", "not also allowed", "found 10.0.0.0/8"},
    {"Nat64Length", more("[peers]\nnat64_prefixes = [\"2001:db8::/33\"]\n"), 5,
     "peers.nat64_prefixes[0]", "32, 40, 48, 56, 64 or 96", "found \"2001:db8::/33\""},
    {"Nat64OfIpv4", more("[peers]\nnat64_prefixes = [\"10.0.0.0/32\"]\n"), 5,
     "peers.nat64_prefixes[0]", "an IPv6 prefix", "found \"10.0.0.0/32\""},

    {"FilesOfText", more("[peers]\ndeny_files = \"drop.txt\"\n"), 5, "peers.deny_files",
     "a list of paths", "found a string"},
    {"ClientWithHostBits", more("[clients]\ndeny = [\"10.0.0.1/8\"]\n"), 5, "clients.deny[0]",
     "without bits beyond its length", "found \"10.0.0.1/8\""},
    {"ClientAllowedAndDenied",
     more("[clients]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/8\"]\n"), 6, "clients.deny[0]",
     "not also allowed", "found 10.0.0.0/8"},

    {"NoChallengesAtOnce", more("[limits]\nchallenges_per_source_burst = 0\n"), 5,
     "limits.challenges_per_source_burst", "from 1 to 1000000", "found 0"},
    {"NoAllocations", more("[limits]\nallocations = 0\n"), 5, "limits.allocations",
     "from 1 to 1000000", "found 0"},
    {"NegativeAllocationsPerSource", more("[limits]\nallocations_per_source = -1\n"), 5,
     "limits.allocations_per_source", "from 0 to 1000000", "found -1"},
    {"LifetimesReversed", more("[limits]\nlifetime_min_s = 700\nlifetime_max_s = 650\n"), 5,
     "limits.lifetime_min_s", "no more than lifetime_max_s (650)", "found 700"},
    {"FewAllocationsForShards", more("shards = 4\n[limits]\nallocations = 3\n"), 6,
     "limits.allocations", "at least one for each shard (4)", "found 3"},
    {"MetricsWithoutPort", more("[metrics]\naddress = \"127.0.0.1\"\n"), 5, "metrics.address",
     "an address and a port", "found \"127.0.0.1\""},
    {"MetricsOnListener",
     more("[metrics]\naddress = \"192.0.2.1:3478\"\n[[listener]]\naddress = "
          "\"192.0.2.1:3478\"\n"),
     5, "metrics.address", "than a listener's", "found 192.0.2.1:3478"},
    {"LogLevel", more("[log]\nlevel = \"loud\"\n"), 5, "log.level", "\"trace\", \"debug\"",
     "found \"loud\""},
    {"TimeScale", more("[test]\ntime_scale = 0\n"), 5, "test.time_scale", "from 1 to", "found 0"},
};

class Mistakes : public testing::TestWithParam<Mistake> {};

TEST_P(Mistakes, AreToldWithFileLineKeyAndWhatWasExpected) {
  const Mistake& mistake = GetParam();
  const std::vector<ConfigError> errors = refused(mistake.text);
  const auto told = std::find_if(errors.begin(), errors.end(), [&](const ConfigError& error) {
    return error.key == mistake.key && contains(error.problem, mistake.expected) &&
           contains(error.problem, mistake.found);
  });
  std::string all;
  for (const ConfigError& error : errors) {
    all += error.to_string() + "\n";
  }
  ASSERT_NE(told, errors.end()) << "told instead:\n" << all;
  EXPECT_TRUE(contains(told->problem, "expected")) << all;
  EXPECT_EQ(told->file, "test.toml");
  EXPECT_EQ(told->line, mistake.line) << all;
  const std::string place = "test.toml:" + std::to_string(mistake.line) + ": " +
                            (mistake.key.empty() ? "" : mistake.key + ": ");
  EXPECT_TRUE(told->to_string().starts_with(place)) << told->to_string();
}

INSTANTIATE_TEST_SUITE_P(Each, Mistakes, testing::ValuesIn(kMistakes),
                         [](const auto& mistake) { return mistake.param.name; });

TEST(Configuration, TellsAllMistakesAtOnceInTheOrderOfLines) {
  const auto errors = refused("workers = 0\nshards = 0\nrealm = 5\n[log]\nlevel = 1\n");
  ASSERT_EQ(errors.size(), 4u);
  EXPECT_EQ(errors[0].key, "workers");
  EXPECT_EQ(errors[1].key, "shards");
  EXPECT_EQ(errors[2].key, "realm");
  EXPECT_EQ(errors[3].key, "log.level");
}

TEST(Configuration, NeverShowsASecret) {
  for (const std::string text :
       {"[auth]\nrest_secrets = [12345678901234567890123]\n",
        "[auth]\nusers = [{ name = \"bob\", password = \"hunter2\\u0007\" }]\n",
        "[auth]\nusers = [{ name = \"bob\", password = \"hunter2\", md5_key = \"hunter2\" }]\n",
        "[auth]\nrest_secrets = \"hunter2\"\n", "[auth]\nusers = [\"bob:hunter2\"]\n",
        "[auth]\nusers = \"bob:hunter2\"\n", "auth = \"hunter2\"\n",
        "[auth]\npasword = \"hunter2\"\n", "[auth]\nrest_secrets = [\"hunter2\" \"hunter2\"]\n",
        "[auth]\nrest_secrets = [thunter2]\n",
        "[auth]\nrest_secrets = [\"hunter2\"]\nrest_secrets = [\"hunter2\"]\n",
        "[auth]\nrest_secrets = [[\"hunter2\"]]\n"}) {
    const auto errors = refused(text);
    EXPECT_FALSE(errors.empty()) << text;
    for (const ConfigError& error : errors) {
      EXPECT_FALSE(contains(error.to_string(), "hunter2")) << error.to_string();
      EXPECT_FALSE(contains(error.to_string(), "345678")) << error.to_string();
    }
  }
}

TEST(Configuration, MessagesHaveNoControlCharacters) {
  for (const std::string text :
       {"\"\\u001b[2J\" = 1\nrealm = \"\\u001b[2J\"\n", "hugepages = fal\033[2J\n"}) {
    const auto errors = refused(text);
    EXPECT_FALSE(errors.empty()) << text;
    for (const ConfigError& error : errors) {
      EXPECT_FALSE(contains(error.to_string(), "\033")) << error.key;
    }
  }
}

TEST(Configuration, FileThatCannotBeReadIsTold) {
  const ConfigResult result = load_config("/nonexistent/turnpike.toml");
  const auto& errors = std::get<std::vector<ConfigError>>(result);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].to_string(),
            "/nonexistent/turnpike.toml: expected a readable TOML file, found: No such file or "
            "directory");
}

}  // namespace
}  // namespace turnpike::config

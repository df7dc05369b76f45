// The configuration that is accepted: the example, every default, and what is derived of what is
// given.
#include "config/config.h"

#include <gtest/gtest.h>

#include <regex>
#include <sstream>

#include "config_texts.h"

namespace turnpike::config {
namespace {

using namespace test;

TEST(ExampleFile, HasTheDefaultsOfTheProgram) {
  const Config config = accepted(read_file(EXAMPLE_FILE));
  EXPECT_EQ(defaults_of(config), defaults_of(Config()));
  PortConfig port;
  port.device = "eth0";
  EXPECT_EQ(config.ports, std::vector{port});
}

TEST(ExampleFile, NamesEveryKey) {
  const std::string example = read_file(EXAMPLE_FILE);
  const std::vector<std::string> keys = every_key();
  for (const std::string& path : keys) {
    const std::string key = path.substr(path.rfind('.') + 1);
    EXPECT_TRUE(
        std::regex_search(example, std::regex("(^|\n|# |\\[|\\.|\\{ |, )" + key + "( = |\\])")))
        << path;
  }
  EXPECT_GE(keys.size(), 50u);
}

TEST(ExampleFile, CommentedTablesAreAcceptedToo) {
  const std::string example = read_file(EXAMPLE_FILE);
  std::string text = kEnough;
  std::stringstream lines(example);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    inside = line.starts_with("# [[") || (inside && line.starts_with("# "));
    if (inside) {
      text += line.substr(2) + "\n";
    }
  }
  const Config config = accepted(text);
  ASSERT_EQ(config.listeners.size(), 1u);
  EXPECT_EQ(config.listeners[0].endpoint.to_string(), "192.0.2.1:3478");
  EXPECT_EQ(config.relayed.size(), 8u);
}

TEST(Configuration, NeedsOnlyAPortARealmAndAUser) {
  const Config config = accepted(kEnough);
  EXPECT_EQ(defaults_of(config), defaults_of(Config()));
  EXPECT_EQ(config.realm, "example.org");
  EXPECT_EQ(config.auth.users, (std::vector{UserConfig{"alice", "secret", ""}}));
}

TEST(Configuration, KnowsEveryKindOfPort) {
  const std::tuple<std::string, PortDriver, std::string> kinds[] = {
      {"af_xdp:eth0", PortDriver::kAfXdp, "eth0"},
      {"af_packet:enp1s0f0.100", PortDriver::kAfPacket, "enp1s0f0.100"},
      {"tap:relay0", PortDriver::kTap, "relay0"},
      {"memif:/run/memif.sock", PortDriver::kMemif, "/run/memif.sock"},
      {"0000:01:00.0", PortDriver::kPci, "0000:01:00.0"},
      {"01:00.0", PortDriver::kPci, "0000:01:00.0"},
      {"10af:C1:1f.7", PortDriver::kPci, "10af:c1:1f.7"},
  };
  for (const auto& [text, driver, device] : kinds) {
    const Config config =
        accepted("realm = \"r\"\n[[port]]\ndevice = \"" + text +
                 "\"\n[[listener]]\naddress = \"192.0.2.1:3478\"\n[[relay]]\naddress = "
                 "\"192.0.2.1\"\n[auth]\nrest_secrets = [\"s\"]\n");
    ASSERT_EQ(config.ports.size(), 1u) << text;
    EXPECT_EQ(config.ports[0].driver, driver) << text;
    EXPECT_EQ(config.ports[0].device, device) << text;
  }
}

TEST(Configuration, KeepsTheHostBitsOfPortAddresses) {
  const Config config = accepted(
      "realm = \"r\"\nauth.rest_secrets = [\"s\"]\n[[port]]\ndevice = \"01:00.0\"\n"
      "addresses = [\"192.0.2.10/24\", \"2001:db8::a/64\"]\nnext_hop = \"02:00:5E:00:00:0a\"\n"
      "exception = \"none\"\n[[listener]]\naddress = \"192.0.2.10:3478\"\n[[relay]]\naddress = "
      "\"192.0.2.10\"\n");
  ASSERT_EQ(config.ports.size(), 1u);
  const PortConfig& port = config.ports[0];
  EXPECT_EQ(port.addresses, (std::vector{InterfaceAddress{*Address::parse("192.0.2.10"), 24},
                                         InterfaceAddress{*Address::parse("2001:db8::a"), 64}}));
  EXPECT_EQ(port.static_next_hop, (std::array<std::uint8_t, 6>{2, 0, 0x5E, 0, 0, 0x0A}));
  EXPECT_EQ(port.exception_name, "none");
}

TEST(Configuration, GatewaysLieInThePortsNetworksOrAreLinkLocal) {
  const Config config = accepted(
      owned("addresses = [\"192.0.2.10/24\", \"2001:db8::a/64\"]\ngateway = [\"192.0.2.1\", "
            "\"fe80::1\"]\n"));
  EXPECT_EQ(config.ports[0].gateways,
            (std::vector{*Address::parse("192.0.2.1"), *Address::parse("fe80::1")}));
}

TEST(Configuration, PrefixGivesEachOfItsAddressesForRelaying) {
  const Config config = accepted(kEnough +
                                 "[[relay]]\naddress = \"192.0.2.64/26\"\n"
                                 "external = \"203.0.113.128/26\"\n"
                                 "[[relay]]\naddress = \"2001:db8::1\"\n");
  ASSERT_EQ(config.relayed.size(), 65u);
  EXPECT_EQ(config.relayed[0].internal.to_string(), "192.0.2.64");
  EXPECT_EQ(config.relayed[63].internal.to_string(), "192.0.2.127");
  EXPECT_EQ(config.relayed[63].public_address().to_string(), "203.0.113.191");
  EXPECT_EQ(config.relayed[64].public_address().to_string(), "2001:db8::1");
}

TEST(Configuration, ExternalIsThatOfTheOneRelayedAddressOfItsFamily) {
  const Config config = accepted("external = [\"203.0.113.5\"]\n" + kEnough +
                                 "[[relay]]\naddress = \"10.0.0.5\"\n"
                                 "[[relay]]\naddress = \"2001:db8::1\"\n");
  ASSERT_EQ(config.relayed.size(), 2u);
  EXPECT_EQ(config.relayed[0].public_address().to_string(), "203.0.113.5");
  EXPECT_FALSE(config.relayed[1].external);
}

TEST(Configuration, AnycastListenerSendsClientsToTheUnicastListenersOfItsFamily) {
  const Config config = accepted(kEnough +
                                 "[[listener]]\naddress = \"192.0.2.1:3478\"\nanycast = true\n"
                                 "[[listener]]\naddress = \"198.51.100.7:3478\"\n"
                                 "[[listener]]\naddress = \"198.51.100.7:80\"\nstun_only = true\n"
                                 "[[listener]]\naddress = \"[2001:db8::7]:3478\"\n");
  ASSERT_EQ(config.listeners.size(), 4u);
  EXPECT_EQ(config.listeners[0].alternates, std::vector{*Endpoint::parse("198.51.100.7:3478")});
  EXPECT_TRUE(config.listeners[1].alternates.empty());
}

// RFC 8489 §10: one of the client's family, and further ones of the other.
TEST(Configuration, AnycastListenerOfTcpSendsClientsToThoseOfTcp) {
  const Config config = accepted(std::string(kEnough) + R"(
[[listener]]
address = "192.0.2.9:3478"
transport = "tcp"
anycast = true
[[listener]]
address = "192.0.2.1:3478"
[[listener]]
address = "192.0.2.1:3479"
transport = "tcp"
)");
  EXPECT_EQ(config.listeners[0].alternates,
            std::vector<Endpoint>{*Endpoint::parse("192.0.2.1:3479")});
}

TEST(Configuration, AlternatesMayBeOfBothFamilies) {
  const Config config = accepted(kEnough +
                                 "[[listener]]\naddress = \"192.0.2.1:3478\"\n"
                                 "alternates = [\"[2001:db8::1]:3478\", \"192.0.2.2:3478\"]\n");
  EXPECT_EQ(config.listeners.at(0).alternates.size(), 2u);
}

// Realm and keys are of the same string, or nobody gets in.
TEST(Configuration, RealmIsPrepared) {
  std::string text = kEnough;
  text.replace(text.find("example.org"), 11, "example\xC2\xA0org");
  EXPECT_EQ(accepted(text).realm, "example org");
}

TEST(Configuration, StunAloneNeedsNoRealmNoUserAndNoRelayedAddress) {
  const Config config = accepted(
      "[[port]]\ndevice = \"01:00.0\"\n[[listener]]\naddress = \"192.0.2.1:3478\"\n"
      "stun_only = true\n");
  EXPECT_FALSE(config.turn_enabled());
}

TEST(Configuration, EachListenerHasFlagsOfItsOwn) {
  const Config config = accepted(kEnough +
                                 "[[listener]]\naddress = \"192.0.2.1:3478\"\nstun_only = true\n"
                                 "[[listener]]\naddress = \"192.0.2.1:5349\"\nturn_only = true\n"
                                 "[[listener]]\naddress = \"192.0.2.1:80\"\n");
  ASSERT_EQ(config.listeners.size(), 3u);
  EXPECT_TRUE(config.listeners[0].stun_only && !config.listeners[0].turn_only);
  EXPECT_TRUE(!config.listeners[1].stun_only && config.listeners[1].turn_only);
  EXPECT_TRUE(!config.listeners[2].stun_only && !config.listeners[2].turn_only);
  EXPECT_TRUE(config.turn_enabled());
}

// A node whose listeners answer Binding alone but for one needs what TURN needs.
TEST(Configuration, OneTurnListenerAmongOthersNeedsARealm) {
  const std::string others = "[[listener]]\naddress = \"192.0.2.1:3478\"\nstun_only = true\n";
  const std::string port = "[[port]]\ndevice = \"01:00.0\"\n";
  EXPECT_TRUE(std::holds_alternative<Config>(parse_config(port + others, "t")));
  EXPECT_FALSE(std::holds_alternative<Config>(
      parse_config(port + others + "[[listener]]\naddress = \"192.0.2.1:80\"\n", "t")));
}

TEST(Configuration, AbsentListenersAndRelayedAddressesAreThePortsOwn) {
  Config config = accepted("external = [\"203.0.113.5\"]\n" + kEnough);
  const Address addresses[] = {*Address::parse("10.0.0.5"), *Address::parse("fe80::1"),
                               *Address::parse("2001:db8::5")};
  EXPECT_EQ(fill_defaults(config, addresses), "");
  ASSERT_EQ(config.listeners.size(), 2u);
  EXPECT_EQ(config.listeners[0].endpoint.to_string(), "10.0.0.5:3478");
  EXPECT_EQ(config.listeners[1].endpoint.to_string(), "[2001:db8::5]:3478");
  ASSERT_EQ(config.relayed.size(), 2u);
  EXPECT_EQ(config.relayed[0].public_address().to_string(), "203.0.113.5");
  EXPECT_EQ(config.relayed[1].public_address().to_string(), "2001:db8::5");
}

// Written out, the same is refused by check_relations().
TEST(Configuration, OneFaceForSeveralAddressesOfTheInterfaceIsRefused) {
  Config config = accepted("external = [\"203.0.113.5\"]\n" + kEnough);
  const Address two[] = {*Address::parse("10.0.0.5"), *Address::parse("2001:db8::5"),
                         *Address::parse("10.0.0.6")};
  const std::string problem = fill_defaults(config, two);
  EXPECT_NE(problem.find("203.0.113.5"), std::string::npos) << problem;
  EXPECT_NE(problem.find("exactly one relayed address of this family"), std::string::npos);
  EXPECT_NE(problem.find("found 2"), std::string::npos) << problem;
  Config written =
      accepted("external = [\"203.0.113.5\"]\n" + kEnough + "[[relay]]\naddress = \"10.0.0.6\"\n");
  EXPECT_EQ(fill_defaults(written, two), "");
  EXPECT_EQ(written.relayed.size(), 1u);
}

TEST(Configuration, GivenListenersStayWhenDefaultsAreFilledIn) {
  Config config = accepted(kEnough + "[[listener]]\naddress = \"192.0.2.1:80\"\n");
  const Address addresses[] = {*Address::parse("10.0.0.5")};
  fill_defaults(config, addresses);
  ASSERT_EQ(config.listeners.size(), 1u);
  EXPECT_EQ(config.listeners[0].endpoint.to_string(), "192.0.2.1:80");
  EXPECT_EQ(config.relayed.size(), 1u);
}

TEST(Ports, RefuseAnMtuThatTheirDriverCannotHave) {
  for (const auto& [device, most] :
       {std::pair{"af_xdp:eth0", 2022}, std::pair{"tap:north", 1500},
        std::pair{"memif:/run/x", 1500}, std::pair{"af_packet:eth0", 9600},
        std::pair{"0000:01:00.0", 9600}}) {
    const auto with = [name = std::string(device)](int mtu) {
      return "realm = \"example.org\"\nport = [{ device = \"" + name +
             "\", mtu = " + std::to_string(mtu) +
             " }]\nauth.users = [{ name = \"alice\", password = \"secret\" }]\n"
             "listener = [{ address = \"192.0.2.1:3478\" }]\nrelay = [{ address = \"192.0.2.1\" "
             "}]\n";
    };
    EXPECT_TRUE(refused(with(most)).empty()) << device;
    ASSERT_EQ(refused(with(most + 1)).size(), 1U) << device;
    EXPECT_EQ(refused(with(most + 1))[0].line, 2);
  }
}

TEST(Ports, HaveQueuesAndDescriptorsThatTheirDriverTakes) {
  const auto with = [](const std::string& port) {
    return "realm = \"example.org\"\nport = [{ " + port +
           " }]\nauth.users = [{ name = \"alice\", password = \"secret\" }]\n"
           "listener = [{ address = \"192.0.2.1:3478\" }]\nrelay = [{ address = \"192.0.2.1\" }]\n";
  };
  EXPECT_TRUE(refused(with("device = \"tap:north\", queues = 4")).empty());
  EXPECT_EQ(refused(with("device = \"tap:north\", queues = 5")).size(), 1U);
  EXPECT_TRUE(refused(with("device = \"memif:/run/x\", queues = 5")).empty());
  EXPECT_TRUE(refused(with("device = \"0000:01:00.0\", descriptors = 4096")).empty());
  for (const char* wrong : {"descriptors = 1000", "descriptors = 32", "descriptors = 16384",
                            "devargs = \"a b\"", "devargs = \",a=1\""})
    EXPECT_EQ(refused(with("device = \"0000:01:00.0\", " + std::string(wrong))).size(), 1U)
        << wrong;
}

TEST(Ports, PassDeviceArgumentsOnAndNameDevicesAsDpdkDoes) {
  const Config config = accepted(
      "realm = \"example.org\"\nauth.rest_secrets = [\"s\"]\n"
      "port = [{ device = \"0000:3B:00.0\", devargs = \"mprq_en=1,rxq_cqe_comp_en=0\" }]\n"
      "listener = [{ address = \"192.0.2.1:3478\" }]\nrelay = [{ address = \"192.0.2.1\" }]\n");
  ASSERT_EQ(config.ports.size(), 1U);
  EXPECT_EQ(config.ports[0].device, "0000:3b:00.0");
  EXPECT_EQ(config.ports[0].devargs, "mprq_en=1,rxq_cqe_comp_en=0");
}

TEST(OtherRealms, AreOfTheListenersThatNameThem) {
  const Config config =
      accepted(kEnough +
               "auth.strict_expiry = true\npeers.deny = [\"192.0.2.0/24\"]\n"
               "[[listener]]\naddress = \"192.0.2.1:3478\"\n"
               "[[listener]]\naddress = \"192.0.2.1:3479\"\nrealm = \"example.net\"\n"
               "[[listener]]\naddress = \"192.0.2.1:3480\"\nrealm = \"example.org\"\n"
               "[[other_realm]]\nname = \"example.com\"\nrest_secrets = [\"s\"]\n"
               "[[other_realm]]\nname = \"example.net\"\nrest_format = \"user:time\"\n"
               "users = [{ name = \"alice\", password = \"other\" }]\n"
               "peers = { allow = [\"10.0.0.0/8\"], deny = [\"10.1.0.0/16\"] }\n");
  ASSERT_EQ(config.listeners.size(), 3U);
  EXPECT_EQ(config.realm_of(config.listeners[0]), 0);
  EXPECT_EQ(config.realm_of(config.listeners[1]), 2);
  EXPECT_EQ(config.realm_of(config.listeners[2]), 0) << "by the name of the node's own";
  const std::vector<Config::RealmView> realms = config.realms();
  ASSERT_EQ(realms.size(), 3U);
  EXPECT_EQ(realms[0].name, "example.org");
  EXPECT_TRUE(realms[0].users.strict_expiry);
  EXPECT_EQ(realms[0].peers.deny, std::vector{*Prefix::parse("192.0.2.0/24")});
  EXPECT_EQ(realms[2].name, "example.net");
  EXPECT_EQ(realms[2].users.users, (std::vector{UserConfig{"alice", "other", ""}}));
  EXPECT_EQ(realms[2].users.rest_format, RestFormat::kUserTime);
  EXPECT_FALSE(realms[2].users.strict_expiry);
  EXPECT_EQ(realms[2].peers.allow, std::vector{*Prefix::parse("10.0.0.0/8")});
  EXPECT_EQ(realms[2].peers.deny, std::vector{*Prefix::parse("10.1.0.0/16")});
  EXPECT_EQ(config.warnings,
            std::vector<std::string>{"other_realm example.com: no [[listener]] has this realm"});
}

TEST(OtherRealms, SpareTheNodeARealmOfItsOwnWhereEachListenerHasOne) {
  const Config config = accepted(
      "port = [{ device = \"af_xdp:eth0\" }]\n"
      "[[listener]]\naddress = \"192.0.2.1:3478\"\nrealm = \"example.net\"\n"
      "[[listener]]\naddress = \"192.0.2.1:3479\"\nstun_only = true\n"
      "[[other_realm]]\nname = \"example.net\"\nrest_secrets = [\"s\"]\n");
  EXPECT_FALSE(config.own_realm_used());
  EXPECT_TRUE(config.turn_enabled());
}

TEST(OtherRealms, AreForgottenLikeTheNodesOwn) {
  Config config = accepted(kEnough +
                           "[[other_realm]]\nname = \"example.net\"\nrest_secrets = [\"s\"]\n"
                           "users = [{ name = \"alice\", password = \"other\" }]\n");
  forget_secrets(config);
  for (const Config::RealmView& realm : config.realms()) {
    EXPECT_TRUE(realm.users.rest_secrets.empty());
    for (const UserConfig& user : realm.users.users)
      EXPECT_EQ(user.password, "");
  }
}

}  // namespace
}  // namespace turnpike::config

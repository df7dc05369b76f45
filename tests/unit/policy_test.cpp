// Which peers are refused: every block with its edges, every disguise, and what an operator's rules
// change.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "policy/peer_rules.h"

namespace turnpike::policy {
namespace {

Address at(const std::string& text) {
  return Address::parse(text).value();
}
Prefix prefix(const std::string& text) {
  return Prefix::parse(text).value();
}

bool allowed_by_default(const std::string& text) {
  return PeerRules({}).allowed(at(text));
}

std::string hex2(std::uint8_t a, std::uint8_t b) {
  char text[8];
  std::snprintf(text, sizeof text, "%02x%02x", a, b);
  return text;
}
// "c000:0201": an IPv4 address as two groups.
std::string groups(const Address& v4) {
  return hex2(v4.bytes[0], v4.bytes[1]) + ":" + hex2(v4.bytes[2], v4.bytes[3]);
}
Address inverted(Address v4) {
  for (std::size_t i = 0; i < 4; ++i)
    v4.bytes[i] ^= 0xFF;
  return v4;
}

struct Range {
  const char* first;
  const char* last;
  const char* before;  // "": the range below is refused too, or there is none
  const char* after;
};

const std::vector<Range> kIpv4Ranges{
    {"0.0.0.0", "0.255.255.255", "", "1.0.0.0"},
    {"10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"},
    {"100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"},
    {"127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"},
    {"168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"},
    {"169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"},
    {"172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"},
    {"192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"},
    {"192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"},
    {"192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"},
    {"192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"},
    {"198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"},
    {"198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"},
    {"203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"},
    {"224.0.0.0", "239.255.255.255", "223.255.255.255", ""},
    {"240.0.0.0", "255.255.255.255", "", ""},
};

// All but global unicast, with the blocks inside that are refused by name.
const std::vector<Range> kIpv6Ranges{
    {"::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "2000::"},
    {"2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:200::"},
    {"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
    {"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "2003::"},
    {"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "3fff:1000::"},
    {"4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     ""},
};

void expect_edges(const std::vector<Range>& ranges) {
  for (const Range& range : ranges) {
    EXPECT_FALSE(allowed_by_default(range.first)) << range.first;
    EXPECT_FALSE(allowed_by_default(range.last)) << range.last;
    if (*range.before != 0) {
      EXPECT_TRUE(allowed_by_default(range.before)) << range.before;
    }
    if (*range.after != 0) {
      EXPECT_TRUE(allowed_by_default(range.after)) << range.after;
    }
  }
}

TEST(PeerRules, RefuseEachIpv4BlockAndNotItsNeighbours) {
  expect_edges(kIpv4Ranges);
}
TEST(PeerRules, RefuseEachIpv6BlockAndNotItsNeighbours) {
  expect_edges(kIpv6Ranges);
}

TEST(PeerRules, RefuseIpv6ThatIsNotGlobalUnicastUnlessAllowedByName) {
  PeerRules::Config config;
  for (const char* text : {"::1",          "::1:0:0:1",   "64:ff9b:1::1", "100::1",  "100:0:0:1::1",
                           "200::1",       "21f:ffff::1", "400::1",       "1000::1", "4000::1",
                           "5f00::1",      "8000::1",     "c000::1",      "fbff::1", "fc00::1",
                           "fd12:3456::1", "fe00::1",     "fe80::1",      "fec0::1", "ff02::1"}) {
    EXPECT_FALSE(allowed_by_default(text)) << text;
    config.allow = {prefix("2a00::/16")};
    EXPECT_FALSE(PeerRules(config).allowed(at(text))) << text;
  }
  config.allow = {prefix("fd12:3456::/32"), prefix("fe80::/10"), prefix("200::/7")};
  for (const char* text : {"fd12:3456::1", "fe80::1", "200::1", "21f:ffff::1"})
    EXPECT_TRUE(PeerRules(config).allowed(at(text))) << text;
}

TEST(PeerRules, AllowOrdinaryPublicAddresses) {
  for (const char* text : {"8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::200e"}) {
    EXPECT_TRUE(allowed_by_default(text)) << text;
  }
}

// Every way to write an IPv4 address as an IPv6 one, where the container is allowed by name: then
// it is the address inside that decides.
std::vector<std::string> disguises(const Address& v4) {
  const std::string g = groups(v4);
  const std::string teredo_client = groups(inverted(v4));
  return {
      "::ffff:" + g,
      "::ffff:0:" + g,
      "64:ff9b::" + g,
      "2002:" + g + "::1",
      "2001:0:" + g + ":0:ffff:" + groups(inverted(Address::v4(8, 8, 4, 4))),
      "2001:0:0808:0404:0:ffff:" + teredo_client,
      "2a00:1::5efe:" + g,
      "2a00:1::200:5efe:" + g,
      "2a00:64::" + g,
  };
}

PeerRules::Config containers_allowed() {
  PeerRules::Config config;
  config.nat64_prefixes = {prefix("2a00:64::/96")};
  config.allow = {prefix("::ffff:0:0/96"), prefix("::ffff:0:0:0/96"), prefix("64:ff9b::/96"),
                  prefix("2002::/16"),     prefix("2001::/32"),       prefix("2a00::/16")};
  return config;
}

PeerRules::Config no_exceptions() {
  PeerRules::Config config = containers_allowed();
  config.allow.clear();
  return config;
}

TEST(PeerRules, RefuseEachIpv4BlockInEveryDisguise) {
  const PeerRules strict(no_exceptions());
  const PeerRules lenient(containers_allowed());
  for (const Range& range : kIpv4Ranges) {
    for (const char* edge : {range.first, range.last}) {
      for (const std::string& disguise : disguises(at(edge))) {
        EXPECT_FALSE(strict.allowed(at(disguise))) << edge << " as " << disguise;
        EXPECT_FALSE(lenient.allowed(at(disguise))) << edge << " as " << disguise;
      }
    }
  }
}

TEST(PeerRules, AllowAPublicAddressInAContainerAllowedByName) {
  const PeerRules strict(no_exceptions());
  const PeerRules lenient(containers_allowed());
  for (const std::string& disguise : disguises(at("8.8.8.8"))) {
    EXPECT_FALSE(strict.allowed(at(disguise))) << disguise;
    EXPECT_TRUE(lenient.allowed(at(disguise))) << disguise;
  }
}

TEST(PeerRules, RefuseV4CompatibleLoopback) {
  PeerRules::Config config;
  config.allow = {prefix("::/96")};
  EXPECT_FALSE(PeerRules(config).allowed(at("::127.0.0.1")));
  EXPECT_TRUE(PeerRules(config).allowed(at("::8.8.8.8")));
}

// RFC 6052 §2.4's table, with 192.0.2.33 in 2001:db8::/32 and its longer prefixes.
TEST(PeerRules, FindTheAddressInsideNat64PrefixesOfEveryLength) {
  const std::vector<std::pair<const char*, const char*>> table{
      {"2001:db8::/32", "2001:db8:c000:221::"},
      {"2001:db8:100::/40", "2001:db8:1c0:2:21::"},
      {"2001:db8:122::/48", "2001:db8:122:c000:2:2100::"},
      {"2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"},
      {"2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"},
      {"2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"},
  };
  for (const auto& [nat64, address] : table) {
    PeerRules::Config config;
    config.nat64_prefixes = {prefix(nat64)};
    config.allow = {prefix("2001:db8::/32")};
    EXPECT_FALSE(PeerRules(config).allowed(at(address))) << nat64;
    config.allow.push_back(prefix("192.0.2.33/32"));
    EXPECT_TRUE(PeerRules(config).allowed(at(address))) << nat64;
    config.allow.back() = prefix("192.0.2.32/32");
    EXPECT_FALSE(PeerRules(config).allowed(at(address))) << nat64;
  }
}

// An IPv4 address under RFC 6052 prefixes of each length inside 64:ff9b:1::/48.
std::vector<std::string> locally_translated(const Address& v4) {
  const auto& b = v4.bytes;
  return {
      "64:ff9b:1:" + hex2(b[0], b[1]) + ":" + hex2(0, b[2]) + ":" + hex2(b[3], 0) + "::",
      "64:ff9b:1:" + hex2(8, b[0]) + ":" + hex2(0, b[1]) + ":" + hex2(b[2], b[3]) + "::",
      "64:ff9b:1:808:" + hex2(0, b[0]) + ":" + hex2(b[1], b[2]) + ":" + hex2(b[3], 0) + ":0",
      "64:ff9b:1:808:8:800:" + groups(v4),
  };
}

TEST(PeerRules, LookIntoLocalNat64WhicheverOfItsPrefixesAreUsed) {
  PeerRules::Config config;
  config.allow = {prefix("::/0")};
  const PeerRules open(config);
  for (const char* inside : {"127.0.0.1", "10.0.0.1", "169.254.169.254"}) {
    for (const std::string& text : locally_translated(at(inside)))
      EXPECT_FALSE(open.allowed(at(text))) << inside << " as " << text;
  }
  EXPECT_TRUE(open.allowed(at("64:ff9b:1:808:8:808:808:808"))) << "public at every place";

  config.nat64_prefixes = {prefix("64:ff9b:1:fffe::/96")};
  const PeerRules named(config);
  EXPECT_TRUE(named.allowed(at("64:ff9b:1:fffe::8.8.8.8")));
  EXPECT_FALSE(named.allowed(at("64:ff9b:1:fffe::10.0.0.1")));
  EXPECT_FALSE(named.allowed(at("64:ff9b:1:ffff::8.8.8.8"))) << "of no prefix that is named";
  EXPECT_FALSE(PeerRules({}).allowed(at("64:ff9b:1:808:8:808:808:808")));
}

TEST(PeerRules, RefuseConfiguredNat64PrefixesUnlessAllowedByName) {
  PeerRules::Config config;
  config.nat64_prefixes = {prefix("2a00:64::/96")};
  EXPECT_FALSE(PeerRules(config).allowed(at("2a00:64::8.8.8.8")));
  EXPECT_TRUE(PeerRules(config).allowed(at("2a00:65::8.8.8.8")));
  config.allow = {prefix("2a00:64::/96")};
  EXPECT_TRUE(PeerRules(config).allowed(at("2a00:64::8.8.8.8")));
}

TEST(PeerRules, AllowByNameOpensExactlyTheNamedBlock) {
  PeerRules::Config config;
  config.allow = {prefix("10.1.0.0/16")};
  const PeerRules rules(config);
  EXPECT_TRUE(rules.allowed(at("10.1.255.255")));
  EXPECT_FALSE(rules.allowed(at("10.2.0.0")));
  EXPECT_FALSE(rules.allowed(at("::ffff:10.1.0.1")));
}

TEST(PeerRules, DenyClosesPublicBlocksInDisguisesToo) {
  PeerRules::Config config = containers_allowed();
  config.deny = {prefix("8.8.8.0/24"), prefix("2606:4700::/32")};
  const PeerRules rules(config);
  EXPECT_FALSE(rules.allowed(at("8.8.8.8")));
  EXPECT_FALSE(rules.allowed(at("2606:4700::1")));
  for (const std::string& disguise : disguises(at("8.8.8.8"))) {
    EXPECT_FALSE(rules.allowed(at(disguise))) << disguise;
  }
  config.allow.push_back(prefix("8.8.8.8"));
  EXPECT_TRUE(PeerRules(config).allowed(at("8.8.8.8")));
}

// Lists that rules share say the same as their own.
TEST(PeerRules, GoByFurtherListsAsByTheirOwn) {
  PeerRules::Config config = containers_allowed();
  config.deny_also = PrefixSet(std::vector{prefix("8.8.8.0/24"), prefix("2606:4700::/32")});
  const PeerRules denied(config);
  EXPECT_FALSE(denied.allowed(at("8.8.8.8")));
  EXPECT_TRUE(denied.allowed(at("8.8.9.8")));
  EXPECT_FALSE(denied.allowed(at("::ffff:8.8.8.8")));
  EXPECT_FALSE(denied.allowed(at("2606:4700::1111")));
  config.allow_also = PrefixSet(std::vector{prefix("8.8.8.8"), prefix("10.0.0.0/8")});
  config.ourselves = {at("10.0.0.1")};
  const PeerRules both(config);
  EXPECT_TRUE(both.allowed(at("8.8.8.8")));
  EXPECT_FALSE(both.allowed(at("8.8.8.9")));
  EXPECT_TRUE(both.allowed(at("10.0.0.2")));
  EXPECT_FALSE(both.allowed(at("10.0.0.1")));
}

TEST(PeerRules, RefuseOurselvesWhateverIsAllowed) {
  PeerRules::Config config = containers_allowed();
  config.ourselves = {at("11.0.0.1"), at("2a00:1::5")};
  config.allow.push_back(prefix("0.0.0.0/0"));
  config.allow.push_back(prefix("::/0"));
  const PeerRules rules(config);
  EXPECT_FALSE(rules.allowed(at("11.0.0.1")));
  EXPECT_FALSE(rules.allowed(at("2a00:1::5")));
  EXPECT_TRUE(rules.allowed(at("11.0.0.2")));
  for (const std::string& disguise : disguises(at("11.0.0.1"))) {
    EXPECT_FALSE(rules.allowed(at(disguise))) << disguise;
  }
}

TEST(PeerRules, SayThatAPeerIsOnTheirOwnHostOnlyWhereItWouldBeAllowed) {
  PeerRules::Config config;
  config.ourselves = {at("172.17.0.1"), at("11.0.0.1"), at("127.0.0.1"), at("10.0.0.1"),
                      at("2a00:1::5")};
  config.allow = {prefix("10.0.0.0/8")};
  const PeerRules rules(config);
  for (const char* text : {"11.0.0.1", "10.0.0.1", "2a00:1::5"})
    EXPECT_EQ(rules.judge(at(text)), PeerVerdict::kOwnHost) << text;
  for (const char* text : {"172.17.0.1", "127.0.0.1", "172.17.0.2", "::ffff:11.0.0.1"})
    EXPECT_EQ(rules.judge(at(text)), PeerVerdict::kForbidden) << text;
  EXPECT_EQ(rules.judge(at("11.0.0.2")), PeerVerdict::kAllowed);
}

TEST(PeerRules, AllowRelayedAddressesEvenPrivateAndOurs) {
  PeerRules::Config config;
  config.ourselves = {at("10.0.0.1"), at("11.0.0.1")};
  config.relayed = {at("10.0.0.1")};
  const PeerRules rules(config);
  EXPECT_TRUE(rules.allowed(at("10.0.0.1")));
  EXPECT_FALSE(rules.allowed(at("11.0.0.1")));
  EXPECT_FALSE(rules.allowed(at("::ffff:10.0.0.1")));
}

TEST(PeerRules, RefuseBroadcastOfConnectedNetworks) {
  PeerRules::Config config;
  config.broadcast = {at("11.0.0.255")};
  EXPECT_FALSE(PeerRules(config).allowed(at("11.0.0.255")));
  EXPECT_TRUE(PeerRules(config).allowed(at("11.0.0.254")));
}

}  // namespace
}  // namespace turnpike::policy

// What [nat_discovery] may say, and what becomes of it: the listeners that it makes, and that no
// client is sent to the address that it has just asked.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "config_texts.h"

namespace turnpike::config {
namespace {

using namespace test;

const std::string kPair = "addresses = [\"192.0.2.1\", \"192.0.2.2\"]\n";

// The first thing that is wrong with what stands in the table, and with what is behind it.
std::string problem(const std::string& keys, const std::string& behind = "") {
  const auto errors = refused(kEnough + "[nat_discovery]\n" + keys + behind);
  return errors.empty() ? "nothing" : errors.front().to_string();
}
Config with(const std::string& keys, const std::string& behind = "") {
  return accepted(kEnough + "[nat_discovery]\n" + keys + behind);
}
std::string listener(const std::string& endpoint, const std::string& more = "") {
  return "[[listener]]\naddress = \"" + endpoint + "\"\n" + more;
}

TEST(NatDiscovery, IsOffUnlessItHasAddresses) {
  Config config = accepted(kEnough);
  EXPECT_TRUE(config.nat_discovery.addresses.empty());
  add_discovery_listeners(config);
  EXPECT_TRUE(config.listeners.empty());
}

TEST(NatDiscovery, MakesTheListenersThatAreMissing) {
  Config config = with(
      "addresses = [\"192.0.2.1\", \"2001:db8::1\", \"192.0.2.2\", "
      "\"2001:db8::2\"]\nports = [3478, 5000]\n",
      listener("192.0.2.2:3478") + listener("192.0.2.1:3478", "transport = \"tcp\""));
  add_discovery_listeners(config);
  EXPECT_EQ(config.listeners.size(), 2U + 7U);
  for (const char* text : {"192.0.2.1:3478", "192.0.2.1:5000", "192.0.2.2:5000", "192.0.2.2:3478",
                           "[2001:db8::1]:3478", "[2001:db8::2]:5000"}) {
    const Endpoint endpoint = *Endpoint::parse(text);
    EXPECT_TRUE(config.nat_discovery.has(endpoint)) << text;
    const auto found = std::find_if(
        config.listeners.begin(), config.listeners.end(), [&](const ListenerConfig& one) {
          return one.endpoint == endpoint && one.transport == ListenerTransport::kUdp;
        });
    ASSERT_NE(found, config.listeners.end()) << text;
    EXPECT_EQ(found->stun_only, found != config.listeners.begin()) << text;
  }
  EXPECT_FALSE(config.nat_discovery.has(*Endpoint::parse("192.0.2.1:3479")));
  EXPECT_EQ(config.nat_discovery.other(Address::v4(192, 0, 2, 1)), Address::v4(192, 0, 2, 2));
  EXPECT_EQ(config.nat_discovery.other(Address::v4(192, 0, 2, 3)), std::nullopt);
}

TEST(NatDiscovery, NeedsTwoDifferentAddressesOfAFamily) {
  EXPECT_TRUE(contains(problem("addresses = [\"192.0.2.1\"]\n"),
                       ":5: nat_discovery.addresses[0]: expected two addresses of a family, or "
                       "none of it, found 1: 192.0.2.1"));
  EXPECT_TRUE(contains(problem("addresses = [\"192.0.2.1\", \"2001:db8::1\"]\n"),
                       "nat_discovery.addresses[0]: expected two addresses of a family"));
  EXPECT_TRUE(contains(problem("addresses = [\"192.0.2.1\", \"192.0.2.2\", \"192.0.2.3\"]\n"),
                       "expected two addresses of a family, or none of it, found 3"));
  EXPECT_TRUE(contains(problem("addresses = [\"192.0.2.1\", \"192.0.2.1\"]\n"),
                       "nat_discovery.addresses[1]: expected two different addresses, found "
                       "192.0.2.1 again"));
  EXPECT_TRUE(contains(problem("addresses = [\"224.0.0.1\", \"192.0.2.1\"]\n"),
                       "nat_discovery.addresses[0]: expected a unicast address"));
}

TEST(NatDiscovery, NeedsTwoDifferentPorts) {
  EXPECT_TRUE(contains(problem(kPair + "ports = [3478]\n"),
                       ":6: nat_discovery.ports: expected a list of two ports, [3478, 3479], "
                       "found 1 of them"));
  EXPECT_TRUE(contains(problem(kPair + "ports = [3478, 3478]\n"),
                       ":6: nat_discovery.ports: expected two different ports, found 3478 twice"));
  EXPECT_TRUE(contains(problem(kPair + "ports = [3478, 0]\n"),
                       "nat_discovery.ports[1]: expected an integer from 1 to 65535"));
  EXPECT_TRUE(contains(problem(kPair + "ports = [3478, 50000]\n"),
                       "nat_discovery.ports[1]: expected a port outside of relay_ports"));
}

TEST(NatDiscovery, NeedsListenersThatAnswerBindingHere) {
  EXPECT_TRUE(contains(problem(kPair, listener("192.0.2.1:3478", "turn_only = true\n")),
                       ":5: nat_discovery.addresses: expected addresses whose listeners answer "
                       "Binding and are no other node's too, found 192.0.2.1:3478, which is "
                       "turn_only"));
  EXPECT_TRUE(contains(
      problem(kPair, listener("192.0.2.1:3478", "anycast = true\n") + listener("192.0.2.9:3478")),
      "which is anycast"));
  EXPECT_EQ(problem(kPair, listener("192.0.2.1:5000", "turn_only = true\n")), "nothing");
}

TEST(NatDiscovery, TellsPublicAddressesThatDiffer) {
  const std::string external = "external = [\"203.0.113.1\", \"203.0.113.2\"]\n";
  const Config config = with(kPair + external);
  EXPECT_EQ(face_of(config, Address::v4(192, 0, 2, 2)), Address::v4(203, 0, 113, 2));
  EXPECT_EQ(face_of(config, Address::v4(192, 0, 2, 3)), std::nullopt);
  EXPECT_TRUE(contains(problem(kPair + "external = [\"203.0.113.1\"]\n"),
                       ":6: nat_discovery.external: expected as many as addresses (2), in their "
                       "order, found 1"));
  EXPECT_TRUE(
      contains(problem(kPair + "external = [\"203.0.113.1\", \"2001:db8::1\"]\n"),
               "nat_discovery.external[1]: expected an address of the family of 192.0.2.2"));
  EXPECT_TRUE(contains(problem(kPair + "external = [\"203.0.113.1\", \"203.0.113.1\"]\n"),
                       "nat_discovery.external[0]: expected two addresses that clients know by "
                       "two, found 203.0.113.1 for both"));
}

TEST(NatDiscovery, TakesPublicAddressesFromTheRelayedOnes) {
  const auto relay = [](const std::string& address, const std::string& external) {
    return "[[relay]]\naddress = \"" + address + "\"\n" +
           (external.empty() ? "" : "external = \"" + external + "\"\n");
  };
  const Config config =
      with(kPair, relay("192.0.2.1", "203.0.113.1") + relay("192.0.2.2", "203.0.113.2"));
  EXPECT_EQ(face_of(config, Address::v4(192, 0, 2, 1)), Address::v4(203, 0, 113, 1));
  // One is behind a NAT, and so the other will be.
  EXPECT_TRUE(contains(problem(kPair, relay("192.0.2.1", "203.0.113.1")),
                       ":4: nat_discovery.external: expected the address by which clients know "
                       "192.0.2.2"));
  EXPECT_TRUE(contains(
      problem(kPair, relay("192.0.2.1", "192.0.2.2") + relay("192.0.2.2", "192.0.2.2")), "again"))
      << "no two relayed addresses have one face anyway";
  // The node's own `external` is that of one address.
  const auto errors = refused("external = [\"203.0.113.1\"]\n" + kEnough + "[nat_discovery]\n" +
                              kPair + relay("192.0.2.1", ""));
  ASSERT_FALSE(errors.empty());
  EXPECT_TRUE(contains(errors.front().to_string(), "by which clients know 192.0.2.2"));
}

}  // namespace
}  // namespace turnpike::config

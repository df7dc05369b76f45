// The host's addresses, held against a kernel: each test works in a network namespace of its own
// and needs root.
#include "kernel/host_addresses.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

namespace turnpike::kernel {
namespace {

Address address(const char* text) {
  return *Address::parse(text);
}

class HostAddressesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "makes network namespaces: run as root";
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    run("ip link set lo up");
    run("ip link add north type veth peer name there");
    run("ip addr add 10.9.1.1/24 dev north");
    run("ip addr add fd09:1::1/64 nodad dev north");
    run("ip link set north up && ip link set there up");
  }

  static void run(const std::string& command) {
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  static bool changes_soon(HostAddresses& addresses) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (std::chrono::steady_clock::now() < deadline) {
      if (addresses.poll()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
};

TEST_F(HostAddressesTest, ListsAddressesOfAnInterfaceButLinkLocalOnes) {
  const HostAddresses addresses;
  EXPECT_EQ(addresses.of("north"),
            (std::vector<Address>{address("10.9.1.1"), address("fd09:1::1")}));
  EXPECT_TRUE(addresses.of("nowhere").empty());
}

TEST_F(HostAddressesTest, ListsBroadcastAddressesOfConnectedNetworks) {
  run("ip addr add 10.9.3.1/24 brd + dev north");
  const HostAddresses addresses;
  const auto& found = addresses.broadcast();
  EXPECT_NE(std::find(found.begin(), found.end(), address("10.9.3.255")), found.end());
}

TEST_F(HostAddressesTest, FollowsAddressesThatComeAndGo) {
  HostAddresses addresses;
  EXPECT_TRUE(addresses.has(address("10.9.1.1")));
  EXPECT_TRUE(addresses.has(address("127.0.0.1")));
  EXPECT_FALSE(addresses.has(address("10.9.1.7")));
  EXPECT_FALSE(addresses.has(address("fd09:7::1")));
  run("ip addr add 10.9.1.7/24 brd + dev north");
  ASSERT_TRUE(changes_soon(addresses));
  EXPECT_TRUE(addresses.has(address("10.9.1.7")));
  run("ip addr add fd09:7::1/64 nodad dev north");
  ASSERT_TRUE(changes_soon(addresses));
  EXPECT_TRUE(addresses.has(address("fd09:7::1")));
  run("ip addr del 10.9.1.7/24 dev north");
  ASSERT_TRUE(changes_soon(addresses));
  EXPECT_FALSE(addresses.has(address("10.9.1.7")));
}

TEST_F(HostAddressesTest, TakesARouteOfTypeLocalForAnAddress) {
  const HostAddresses addresses;
  EXPECT_FALSE(addresses.has(address("192.0.2.9")));
  run("ip route add local 192.0.2.8/29 dev lo");
  run("ip -6 route add local 2001:db8:7::/64 dev lo");
  EXPECT_TRUE(addresses.has(address("192.0.2.9")));
  EXPECT_TRUE(addresses.has(address("2001:db8:7::5")));
  EXPECT_FALSE(addresses.has(address("192.0.2.17")));
  EXPECT_FALSE(addresses.has(address("10.9.1.2"))) << "a neighbour's";
}

}  // namespace
}  // namespace turnpike::kernel

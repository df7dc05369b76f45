// The mirror of the kernel's routes and neighbours, held against a kernel. Each test works in a
// network namespace of its own, with two interfaces that lead to another one; it needs root.
#include "control/neighbours.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace turnpike::control {
namespace {

using flow::kMacResolved;
using flow::kNoNextHop;
using flow::MacWord;
using flow::NextHop;
using flow::NextHopIndex;

Address address(const char* text) {
  return *Address::parse(text);
}

MacWord mac_word(const std::string& text) {
  MacWord mac = kMacResolved;
  for (std::size_t i = 0; i < 6; ++i)
    mac |= std::stoull(text.substr(3 * i, 2), nullptr, 16) << 8 * i;
  return mac;
}

// Here are `north` (10.9.1.1/24, fd09:1::1/64) and `south` (10.9.2.1/24, fd09:2::1/64), there, in
// the namespace of a process that sleeps, their other ends with addresses ending in 2.
class NeighboursTest : public testing::Test {
 protected:
  static constexpr const char* kNorthMac = "02:00:00:00:01:02";
  static constexpr const char* kSouthMac = "02:00:00:00:02:02";

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "makes network namespaces: run as root";
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    there_ = fork();
    if (there_ == 0) {
      if (unshare(CLONE_NEWNET) == 0) pause();
      _exit(1);
    }
    const auto space = [](const std::string& whose) {
      std::array<char, 64> name{};
      return readlink(("/proc/" + whose + "/ns/net").c_str(), name.data(), name.size() - 1) > 0
                 ? std::string(name.data())
                 : std::string();
    };
    for (int i = 0; i < 500 && space(std::to_string(there_)) == space("self"); ++i)
      usleep(10000);
    for (const char* side : {"north", "south"}) {
      const std::string name(side), number = name == "north" ? "1" : "2";
      run("ip link add " + name + " type veth peer name " + name + " address " +
          (name == "north" ? kNorthMac : kSouthMac) + " netns " + std::to_string(there_));
      for (const std::string where : {"", "there "}) {
        const std::string last = where.empty() ? "1" : "2";
        const std::string ip = where.empty() ? "ip" : there() + "ip";
        run(ip + " addr add 10.9." + number + "." + last + "/24 dev " + name);
        run(ip + " addr add fd09:" + number + "::" + last + "/64 nodad dev " + name);
        run(ip + " link set " + name + " up");
      }
    }
  }

  void TearDown() override {
    if (there_ <= 0) return;
    kill(there_, SIGKILL);
    waitpid(there_, nullptr, 0);
  }

  static void run(const std::string& command) {
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  std::string there() const { return "nsenter -t " + std::to_string(there_) + " -n "; }

  static std::vector<Neighbours::Port> both_ports() {
    return {{"north", 1500, std::nullopt}, {"south", 1400, std::nullopt}};
  }

  // Polls as control does, until `condition` or for five seconds.
  static bool soon(Neighbours& neighbours, const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    for (;;) {
      neighbours.poll();
      if (condition()) return true;
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  // "port gateway", or "none".
  static std::string way(Neighbours& neighbours, const char* destination) {
    const NextHopIndex index = neighbours.resolve(address(destination));
    if (index == kNoNextHop) return "none";
    const NextHop& hop = neighbours.table()[static_cast<std::uint32_t>(index)];
    return std::to_string(hop.port) + " " + hop.gateway.to_string();
  }
  static std::string way_soon(Neighbours& neighbours, const char* destination,
                              const std::string& expected) {
    soon(neighbours, [&] { return way(neighbours, destination) == expected; });
    return way(neighbours, destination);
  }

  static NextHop& hop_to(Neighbours& neighbours, const char* destination) {
    return neighbours.table()[static_cast<std::uint32_t>(neighbours.resolve(address(destination)))];
  }

  pid_t there_ = -1;
};

TEST_F(NeighboursTest, SendsToNeighboursOfAConnectedNetworkThemselves) {
  Neighbours neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "10.9.1.2"), "0 10.9.1.2");
  EXPECT_EQ(way(neighbours, "10.9.2.77"), "1 10.9.2.77");
  EXPECT_EQ(way(neighbours, "fd09:1::2"), "0 fd09:1::2");
  EXPECT_EQ(way(neighbours, "fd09:2::77"), "1 fd09:2::77");
  EXPECT_EQ(way(neighbours, "192.0.2.1"), "none");
  EXPECT_EQ(way(neighbours, "2001:db8::1"), "none");
  EXPECT_EQ(hop_to(neighbours, "10.9.1.2").mtu, 1500);
  EXPECT_EQ(hop_to(neighbours, "10.9.2.2").mtu, 1400);
}

TEST_F(NeighboursTest, GoesThroughVlansWithTheirTagsAndMtu) {
  if (std::system("ip link add link north name tried type vlan id 9 2>/dev/null") != 0)
    GTEST_SKIP() << "this kernel has no VLANs (module 8021q)";
  run("ip link add link north name tagged type vlan id 5");
  run("ip link add link south name service type vlan proto 802.1ad id 200");
  run("ip link add link service name inner mtu 1300 type vlan id 300");
  run("ip link add link inner name third type vlan id 400");
  for (const std::string name : {"tagged", "service", "inner", "third"})
    run("ip link set " + name + " up");
  run("ip addr add 10.9.3.1/24 dev tagged");
  run("ip addr add 10.9.4.1/24 dev inner");
  run("ip addr add 10.9.5.1/24 dev third");
  run("ip neigh add 10.9.4.2 lladdr 02:00:00:00:04:02 dev inner");
  Neighbours neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "10.9.3.2"), "0 10.9.3.2");
  EXPECT_EQ(way(neighbours, "10.9.4.2"), "1 10.9.4.2");
  EXPECT_EQ(way(neighbours, "10.9.5.2"), "none") << "three tags";
  using Bytes = std::array<std::uint8_t, 8>;
  EXPECT_EQ(hop_to(neighbours, "10.9.1.2").tags.size, 0);
  EXPECT_EQ(hop_to(neighbours, "10.9.3.2").tags.size, 4);
  EXPECT_EQ(hop_to(neighbours, "10.9.3.2").tags.bytes, (Bytes{0x81, 0, 0, 5}));
  EXPECT_EQ(hop_to(neighbours, "10.9.3.2").mtu, 1500);
  EXPECT_EQ(hop_to(neighbours, "10.9.4.2").tags.size, 8);
  EXPECT_EQ(hop_to(neighbours, "10.9.4.2").tags.bytes,
            (Bytes{0x88, 0xA8, 0, 200, 0x81, 0, 0x01, 0x2C}));
  EXPECT_EQ(hop_to(neighbours, "10.9.4.2").mtu, 1300);
  EXPECT_EQ(hop_to(neighbours, "10.9.4.2").mac, mac_word("02:00:00:00:04:02"));
  EXPECT_TRUE(neighbours.has_vlans(0));
  run("ip link del tagged");
  EXPECT_EQ(way_soon(neighbours, "10.9.3.2", "none"), "none");
  EXPECT_FALSE(neighbours.has_vlans(0));
  run("ip link add link north name later type vlan id 6");
  run("ip addr add 10.9.6.1/24 dev later");
  run("ip link set later up");
  EXPECT_EQ(way_soon(neighbours, "10.9.6.2", "0 10.9.6.2"), "0 10.9.6.2");
}

TEST_F(NeighboursTest, PrefersLongPrefixesAndThenLowMetrics) {
  run("ip route add default via 10.9.1.2 metric 50");
  run("ip route add default via 10.9.2.2 metric 60");
  run("ip route add 192.0.2.0/24 via 10.9.2.3");
  run("ip route add 192.0.2.128/25 via 10.9.1.3 metric 900");
  run("ip -6 route add default via fd09:1::2 metric 50");
  run("ip -6 route add 2001:db8::/32 via fd09:2::3 metric 900");
  Neighbours neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "198.51.100.1"), "0 10.9.1.2");
  EXPECT_EQ(way(neighbours, "192.0.2.1"), "1 10.9.2.3");
  EXPECT_EQ(way(neighbours, "192.0.2.128"), "0 10.9.1.3");
  EXPECT_EQ(way(neighbours, "2001:db9::1"), "0 fd09:1::2");
  EXPECT_EQ(way(neighbours, "2001:db8:ffff::1"), "1 fd09:2::3");
}

TEST_F(NeighboursTest, FollowsChangesOfRoutesAndTellsThem) {
  Neighbours neighbours(both_ports(), 64);
  const std::uint32_t before = neighbours.epoch();
  run("ip route add 192.0.2.0/24 via 10.9.1.2");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "0 10.9.1.2"), "0 10.9.1.2");
  EXPECT_NE(neighbours.epoch(), before);
  run("ip route replace 192.0.2.0/24 via 10.9.2.2");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "1 10.9.2.2"), "1 10.9.2.2");
  run("ip route del 192.0.2.0/24");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "none"), "none");
}

TEST_F(NeighboursTest, KeepsTheOtherOfTwoRoutesWithOnePrefixAndMetric) {
  for (const std::string family : {"-4", "-6"}) {
    const std::string prefix = family == "-4" ? "192.0.2.0/24" : "2001:db8::/32";
    const char* target = family == "-4" ? "192.0.2.1" : "2001:db8::1";
    const std::string first = family == "-4" ? "10.9.1.2" : "fd09:1::2";
    const std::string second = family == "-4" ? "10.9.2.2" : "fd09:2::2";
    run("ip " + family + " route add " + prefix + " via " + first + " metric 5");
    Neighbours neighbours(both_ports(), 64);
    run("ip " + family + " route append " + prefix + " via " + second + " metric 5");
    EXPECT_EQ(way_soon(neighbours, target, "0 " + first), "0 " + first);
    run("ip " + family + " route del " + prefix + " via " + first + " metric 5");
    EXPECT_EQ(way_soon(neighbours, target, "1 " + second), "1 " + second);
    run("ip " + family + " route del " + prefix + " via " + second + " metric 5");
    EXPECT_EQ(way_soon(neighbours, target, "none"), "none");
  }
}

TEST_F(NeighboursTest, TakesAPathOfSeveral) {
  run("ip route add 192.0.2.0/24 nexthop via 10.9.2.2 nexthop via 10.9.1.2");
  Neighbours neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "192.0.2.1"), "1 10.9.2.2");
  run("ip route replace 192.0.2.0/24 via 10.9.1.7");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "0 10.9.1.7"), "0 10.9.1.7");
  run("ip route del 192.0.2.0/24");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "none"), "none");
}

TEST_F(NeighboursTest, TakesAnIpv6GatewayOfAnIpv4Route) {
  run("ip route add 192.0.2.0/24 via inet6 fd09:2::2 dev south");
  Neighbours neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "192.0.2.1"), "1 fd09:2::2");
}

TEST_F(NeighboursTest, HasNoWayWhereTheKernelForbidsOrNoPortLeads) {
  run("ip link set lo up");
  run("ip route add default via 10.9.1.2");
  run("ip route add blackhole 192.0.2.0/24");
  run("ip route add unreachable 198.51.100.0/24");
  run("ip route add prohibit 203.0.113.0/24");
  run("ip route add 192.88.99.0/24 dev lo");
  Neighbours neighbours(both_ports(), 64);
  for (const char* destination : {"192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1",
                                  "224.0.0.251", "239.1.2.3", "ff02::fb"})
    EXPECT_EQ(way(neighbours, destination), "none") << destination;
  EXPECT_EQ(way(neighbours, "192.0.3.1"), "0 10.9.1.2");
}

// The kernel drops these without a message for each.
TEST_F(NeighboursTest, ForgetsTheRoutesOfALinkThatWentDown) {
  run("ip route add default via 10.9.2.2 metric 10");
  run("ip route add default via 10.9.1.2 metric 20");
  Neighbours neighbours(both_ports(), 64);
  ASSERT_EQ(way(neighbours, "192.0.2.1"), "1 10.9.2.2");
  run("ip link set south down");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "0 10.9.1.2"), "0 10.9.1.2");
  EXPECT_EQ(way_soon(neighbours, "10.9.2.2", "0 10.9.1.2"), "0 10.9.1.2");
  run("ip link set south up");
  EXPECT_EQ(way_soon(neighbours, "10.9.2.2", "1 10.9.2.2"), "1 10.9.2.2");
}

TEST_F(NeighboursTest, RecoversFromMoreChangesThanTheSocketHolds) {
  run("ip route add 203.0.113.0/24 via 10.9.1.2");
  Neighbours neighbours(both_ports(), 64);
  std::string path = "/tmp/turnpike-routes-XXXXXX";
  const int fd = mkstemp(path.data());
  ASSERT_GE(fd, 0);
  close(fd);
  {
    std::ofstream batch(path);
    for (int i = 0; i < 5000; ++i)
      batch << "route add 172.16." << i / 256 << "." << i % 256 << " via 10.9.2.2\n";
    batch << "route del 203.0.113.0/24\n";
  }
  run("ip -batch " + path);
  unlink(path.c_str());
  EXPECT_EQ(way_soon(neighbours, "203.0.113.1", "none"), "none");
  EXPECT_EQ(way_soon(neighbours, "172.16.19.135", "1 10.9.2.2"), "1 10.9.2.2");
}

TEST_F(NeighboursTest, AsksForTheMacOfANeighbourThatIsWanted) {
  Neighbours neighbours(both_ports(), 64);
  const std::pair<const char*, const char*> known[] = {{"10.9.1.2", kNorthMac},
                                                       {"fd09:2::2", kSouthMac}};
  for (const auto& one : known) {
    NextHop& hop = hop_to(neighbours, one.first);
    EXPECT_TRUE(soon(neighbours, [&] { return hop.mac.load() == mac_word(one.second); }))
        << one.first;
  }
}

TEST_F(NeighboursTest, AsksAgainAsLongAsAMissingNeighbourIsWanted) {
  Neighbours neighbours(both_ports(), 64);
  NextHop& hop = hop_to(neighbours, "10.9.1.9");
  const auto wanting = [&] {
    hop.wanted.store(1);
    return (hop.mac.load() & kMacResolved) != 0;
  };
  for (int i = 0; i < 100; ++i) {
    neighbours.poll();
    ASSERT_FALSE(wanting());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  run(there() + "ip addr add 10.9.1.9/24 dev north");
  EXPECT_TRUE(soon(neighbours, wanting));
}

TEST_F(NeighboursTest, FollowsAMacThatChangesAndGoes) {
  Neighbours neighbours(both_ports(), 64);
  NextHop& hop = hop_to(neighbours, "10.9.1.2");
  run("ip neigh replace 10.9.1.2 lladdr 02:00:00:00:00:77 dev north nud permanent");
  EXPECT_TRUE(soon(neighbours, [&] { return hop.mac.load() == mac_word("02:00:00:00:00:77"); }));
  hop.wanted.store(0);
  run("ip neigh del 10.9.1.2 dev north");
  EXPECT_TRUE(soon(neighbours, [&] { return hop.mac.load() == 0; }));
}

TEST_F(NeighboursTest, KnowsMacsThatTheKernelKnewBefore) {
  run("ip neigh replace 10.9.2.5 lladdr 02:00:00:00:00:55 dev south nud permanent");
  Neighbours neighbours(both_ports(), 64);
  EXPECT_EQ(hop_to(neighbours, "10.9.2.5").mac.load(), mac_word("02:00:00:00:00:55"));
}

TEST_F(NeighboursTest, GivesEveryDestinationOfAStaticPortOneMac) {
  Neighbours neighbours(
      {{"", 1500, std::array<std::uint8_t, 6>{2, 0, 0, 0, 0, 9}}, {"south", 1500, std::nullopt}},
      64);
  EXPECT_EQ(neighbours.resolve(address("192.0.2.1")), neighbours.resolve(address("2001:db8::1")));
  EXPECT_EQ(hop_to(neighbours, "192.0.2.1").port, 0);
  EXPECT_EQ(hop_to(neighbours, "192.0.2.1").mac.load(), mac_word("02:00:00:00:00:09"));
  EXPECT_EQ(way(neighbours, "10.9.2.2"), "1 10.9.2.2") << "a port's own route comes first";
}

TEST_F(NeighboursTest, HasNoWayWhenTheTableIsFull) {
  Neighbours neighbours(both_ports(), 3);
  EXPECT_EQ(neighbours.capacity(), 2U);
  EXPECT_EQ(way(neighbours, "10.9.1.2"), "0 10.9.1.2");
  EXPECT_EQ(way(neighbours, "10.9.1.3"), "0 10.9.1.3");
  EXPECT_EQ(way(neighbours, "10.9.1.4"), "none");
  EXPECT_EQ(way(neighbours, "10.9.1.3"), "0 10.9.1.3");
  EXPECT_EQ(neighbours.in_use(), 2U);
}

}  // namespace
}  // namespace turnpike::control

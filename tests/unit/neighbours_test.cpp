// The mirror of the kernel's routes and rules, held against a kernel.
#include <time.h>

#include <algorithm>
#include <fstream>

#include "neighbours_lab.h"

namespace turnpike::kernel {
namespace {

TEST_F(NeighboursTest, SendsToNeighboursOfAConnectedNetworkThemselves) {
  Mirrored neighbours(both_ports(), 64);
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
  Mirrored neighbours(both_ports(), 64);
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
  Mirrored neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "198.51.100.1"), "0 10.9.1.2");
  EXPECT_EQ(way(neighbours, "192.0.2.1"), "1 10.9.2.3");
  EXPECT_EQ(way(neighbours, "192.0.2.128"), "0 10.9.1.3");
  EXPECT_EQ(way(neighbours, "2001:db9::1"), "0 fd09:1::2");
  EXPECT_EQ(way(neighbours, "2001:db8:ffff::1"), "1 fd09:2::3");
}

TEST_F(NeighboursTest, LeavesTheHostsOwnDefaultRouteToTheHost) {
  run("ip link add own type veth peer name owned");
  run("ip addr add 10.77.0.1/24 dev own");
  run("ip link set owned up");
  run("ip link set own up");
  run("ip route add default via 10.77.0.2");
  Mirrored neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "192.0.2.1"), "none");
  run("ip route add default via 10.9.1.2 metric 4000");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "0 10.9.1.2"), "0 10.9.1.2");
}

TEST_F(NeighboursTest, FollowsChangesOfRoutesAndTellsThem) {
  Mirrored neighbours(both_ports(), 64);
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
    Mirrored neighbours(both_ports(), 64);
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
  Mirrored neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "192.0.2.1"), "1 10.9.2.2");
  run("ip route replace 192.0.2.0/24 via 10.9.1.7");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "0 10.9.1.7"), "0 10.9.1.7");
  run("ip route del 192.0.2.0/24");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "none"), "none");
}

TEST_F(NeighboursTest, TakesAnIpv6GatewayOfAnIpv4Route) {
  run("ip route add 192.0.2.0/24 via inet6 fd09:2::2 dev south");
  Mirrored neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "192.0.2.1"), "1 fd09:2::2");
}

TEST_F(NeighboursTest, ChoosesRoutesByTheSourceAsRulesSay) {
  run("ip route add default via 10.9.1.2");
  run("ip route add default via 10.9.2.2 table 100");
  run("ip rule add from 10.9.2.1 lookup 100");
  run("ip -6 route add default via fd09:1::2");
  run("ip -6 route add default via fd09:2::2 table 1000");
  run("ip -6 rule add from fd09:2::/64 lookup 1000");
  Mirrored neighbours(both_ports(), 64);
  EXPECT_EQ(way(neighbours, "192.0.2.1", "10.9.1.1"), "0 10.9.1.2");
  EXPECT_EQ(way(neighbours, "192.0.2.1", "10.9.2.1"), "1 10.9.2.2");
  EXPECT_EQ(way(neighbours, "2001:db8::1", "fd09:1::1"), "0 fd09:1::2");
  EXPECT_EQ(way(neighbours, "2001:db8::1", "fd09:2::1"), "1 fd09:2::2");
  run("ip rule del from 10.9.2.1 lookup 100");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "0 10.9.1.2", "10.9.2.1"), "0 10.9.1.2");
  run("ip rule add from 10.9.2.1 prohibit");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "none", "10.9.2.1"), "none");
  run("ip rule add not fwmark 7 lookup 100 priority 5");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "1 10.9.2.2", "10.9.2.1"), "1 10.9.2.2");
  run("ip rule add fwmark 7 lookup main priority 4");
  run("ip rule add iif north lookup main priority 3");
  run("ip rule add to 192.0.2.9 iif lo ipproto udp lookup main priority 2");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.9", "0 10.9.1.2", "10.9.2.1"), "0 10.9.1.2");
  EXPECT_EQ(way(neighbours, "192.0.2.1", "10.9.2.1"), "1 10.9.2.2");
}

TEST_F(NeighboursTest, TakesTheLeastMtuOfPortLinkAndRoute) {
  run("ip route add 192.0.2.0/24 via 10.9.1.2 mtu 1280");
  Mirrored neighbours(both_ports(), 64);
  EXPECT_EQ(hop_to(neighbours, "10.9.1.2").mtu, 1500);
  EXPECT_EQ(hop_to(neighbours, "10.9.2.2").mtu, 1400) << "the port's";
  EXPECT_EQ(hop_to(neighbours, "192.0.2.1").mtu, 1280) << "the route's";
  const std::uint32_t epoch = neighbours.epoch();
  run("ip link set north mtu 1350");
  EXPECT_TRUE(soon(neighbours, [&] { return hop_to(neighbours, "10.9.1.2").mtu == 1350; }));
  EXPECT_NE(neighbours.epoch(), epoch);
  EXPECT_EQ(hop_to(neighbours, "192.0.2.1").mtu, 1280);
  run("ip route replace 192.0.2.0/24 via 10.9.1.2");
  EXPECT_TRUE(soon(neighbours, [&] { return hop_to(neighbours, "192.0.2.1").mtu == 1350; }));
}

TEST_F(NeighboursTest, FindsAnInterfaceAgainThatIsMadeAnew) {
  Mirrored neighbours(both_ports(), 64);
  const std::uint32_t before = neighbours.interface_index(0);
  EXPECT_NE(before, 0U);
  run("ip link del north");
  EXPECT_EQ(way_soon(neighbours, "10.9.1.2", "none"), "none");
  EXPECT_EQ(neighbours.interface_index(0), 0U);
  run("ip link add north type veth peer name north netns " + std::to_string(there_));
  run("ip addr add 10.9.1.1/24 dev north");
  run("ip link set north up");
  EXPECT_EQ(way_soon(neighbours, "10.9.1.2", "0 10.9.1.2"), "0 10.9.1.2");
  EXPECT_NE(neighbours.interface_index(0), before);
}

// What else control does (the exception path, its heartbeat) goes on meanwhile.
TEST_F(NeighboursTest, ReadsTwentyThousandRoutesAnewInShortPieces) {
  std::string path = "/tmp/turnpike-routes-XXXXXX";
  const int fd = mkstemp(path.data());
  ASSERT_GE(fd, 0);
  close(fd);
  {
    std::ofstream batch(path);
    for (int i = 0; i < 20000; ++i)
      batch << "route add 172." << 16 + i / 65536 << "." << i / 256 % 256 << "." << i % 256
            << " via 10.9.2.2\n";
  }
  run("ip -batch " + path);
  unlink(path.c_str());
  Mirrored neighbours(both_ports(), 64);
  ASSERT_EQ(way(neighbours, "172.16.70.1"), "1 10.9.2.2");
  // In time of the thread's own: how long it had to wait for a core is the machine's.
  const auto spent_ms = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
  };
  double longest_ms = 0;
  const std::uint32_t epoch = neighbours.epoch();
  run("ip link set south mtu 1390");
  // One for the link, and one when all has been read anew.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (neighbours.epoch() < epoch + 2 && std::chrono::steady_clock::now() < deadline) {
    const double begin_ms = spent_ms();
    neighbours.poll();
    longest_ms = std::max(longest_ms, spent_ms() - begin_ms);
  }
  EXPECT_EQ(neighbours.epoch(), epoch + 2);
  EXPECT_EQ(way(neighbours, "172.16.70.1"), "1 10.9.2.2");
  run("ip link set south down");  // which takes them without a word
  EXPECT_EQ(way_soon(neighbours, "172.16.70.1", "none"), "none");
  EXPECT_LT(longest_ms, 100);
  RecordProperty("longest_us", static_cast<int>(1e3 * longest_ms));
}

// A host that starts containers makes links all the time.
TEST_F(NeighboursTest, TakesNoNoticeOfLinksThatAreNotPorts) {
  Mirrored neighbours(both_ports(), 64);
  soon(
      neighbours, [] { return false; }, std::chrono::milliseconds(300));
  const std::uint32_t epoch = neighbours.epoch();
  run("ip link add other type veth peer name another");
  run("ip addr add 10.77.0.1/24 dev other");
  run("ip link set other up");
  run("ip link del other");
  soon(
      neighbours, [] { return false; }, std::chrono::milliseconds(300));
  EXPECT_LE(neighbours.epoch(), epoch + 4) << "a route or two to it, but nothing is read anew";
}

TEST_F(NeighboursTest, TellsWhatIsReachedByAPortAndWhatElsewhere) {
  run("ip link add bridge type veth peer name bridged && ip link set bridged up");
  run("ip addr add 172.18.0.1/16 dev bridge && ip link set bridge up");
  run("ip route add default via 172.18.0.2 dev bridge");
  run("ip route add blackhole 192.0.2.0/24");
  Mirrored neighbours(both_ports(), 64);
  const auto reach = [&](const char* destination) {
    return neighbours.reach({address("10.9.1.1"), address(destination)});
  };
  EXPECT_EQ(reach("10.9.2.77"), flow::Reach::kOnLink);
  EXPECT_EQ(reach("172.18.0.5"), flow::Reach::kElsewhere) << "a container";
  EXPECT_EQ(reach("198.51.100.7"), flow::Reach::kNowhere) << "a default route of the host's own";
  EXPECT_EQ(reach("10.9.2.1"), flow::Reach::kElsewhere) << "this host";
  EXPECT_EQ(reach("192.0.2.1"), flow::Reach::kNowhere);
  EXPECT_EQ(neighbours.reach({address("fd09:1::1"), address("2001:db8::1")}),
            flow::Reach::kNowhere);
  EXPECT_EQ(neighbours.in_use(), 0U);
  run("ip route add default via 10.9.1.2 metric 65535");
  run("ip link del bridge");
  EXPECT_TRUE(soon(neighbours, [&] { return reach("172.18.0.5") != flow::Reach::kElsewhere; }));
  EXPECT_TRUE(soon(neighbours, [&] { return reach("198.51.100.7") == flow::Reach::kPort; }));
}

TEST_F(NeighboursTest, LeadsToThisHostByItsDoor) {
  struct Door final : flow::HostDoor {
    bool open(const Endpoint&, std::uint32_t) override { return true; }
    void close(const Endpoint&, std::uint32_t) override {}
  } door;
  run("ip link add bridge type veth peer name bridged && ip link set bridged up");
  run("ip addr add 172.18.0.1/16 dev bridge && ip link set bridge up");
  run("ip route add default via 172.18.0.2 dev bridge");
  std::vector<NextHops::Port> ports = both_ports();
  ports.push_back(
      {.static_next_hop = std::array<std::uint8_t, 6>{2}, .messages_of = Transport::kUdp});
  Mirrored neighbours(ports, 64);
  const auto resolve = [&](const char* destination) {
    return neighbours.resolve({address("10.9.1.1"), address(destination)});
  };
  EXPECT_EQ(resolve("172.18.0.5"), flow::kNoNextHop) << "without one";
  neighbours.set_host_door(door);
  for (const char* const here : {"172.18.0.5", "10.9.2.1"}) {
    EXPECT_EQ(neighbours.reach({address("10.9.1.1"), address(here)}), flow::Reach::kHost) << here;
    const flow::NextHopIndex hop = resolve(here);
    EXPECT_EQ(neighbours.host_door(hop), &door) << here;
    EXPECT_EQ(neighbours.table()[static_cast<std::uint32_t>(hop)].port, 2) << here;
    neighbours.release(hop);
  }
  EXPECT_EQ(neighbours.host_door(resolve("10.9.2.77")), nullptr);
  EXPECT_EQ(neighbours.host_door(flow::kNoNextHop), nullptr);
  EXPECT_EQ(resolve("198.51.100.7"), flow::kNoNextHop) << "a default route of the host's own";
}

TEST_F(NeighboursTest, LeadsToTheThreadThatHasTheClient) {
  const ClientSpread spread{
      {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93}};
  std::vector<NextHops::Port> ports = both_ports();
  for (const Transport transport :
       {Transport::kTcp, Transport::kTcp, Transport::kTcp, Transport::kDtls})
    ports.push_back({.static_next_hop = std::array<std::uint8_t, 6>{2}, .messages_of = transport});
  Qsbr qsbr;
  NextHops neighbours(ports, 64, qsbr, spread);
  const auto port_of = [&](Transport transport, const Endpoint& client) {
    FiveTuple five_tuple;
    five_tuple.transport = transport;
    five_tuple.client = ClientEndpoint{client};
    const flow::NextHopIndex hop = neighbours.resolve_stream(five_tuple);
    neighbours.release(hop);
    return neighbours.table()[static_cast<std::uint32_t>(hop)].port;
  };
  std::array<unsigned, 3> clients{};
  for (std::uint16_t port = 1; port <= 300; ++port) {
    const Endpoint client{address("192.0.2.1"), port};
    const std::size_t thread = spread.thread_of(client, 3);
    ++clients.at(thread);
    EXPECT_EQ(port_of(Transport::kTcp, client), 2 + thread);
    EXPECT_EQ(port_of(Transport::kDtls, client), 5);
  }
  for (const unsigned of_thread : clients)
    EXPECT_GT(of_thread, 50U);
}

TEST_F(NeighboursTest, HasNoWayWhereTheKernelForbidsOrNoPortLeads) {
  run("ip link set lo up");
  run("ip route add default via 10.9.1.2");
  run("ip route add blackhole 192.0.2.0/24");
  run("ip route add unreachable 198.51.100.0/24");
  run("ip route add prohibit 203.0.113.0/24");
  run("ip route add 192.88.99.0/24 dev lo");
  Mirrored neighbours(both_ports(), 64);
  for (const char* destination : {"192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1",
                                  "224.0.0.251", "239.1.2.3", "ff02::fb"})
    EXPECT_EQ(way(neighbours, destination), "none") << destination;
  EXPECT_EQ(way(neighbours, "192.0.3.1"), "0 10.9.1.2");
}

// The kernel drops these without a message for each.
TEST_F(NeighboursTest, ForgetsTheRoutesOfALinkThatWentDown) {
  run("ip route add default via 10.9.2.2 metric 10");
  run("ip route add default via 10.9.1.2 metric 20");
  Mirrored neighbours(both_ports(), 64);
  ASSERT_EQ(way(neighbours, "192.0.2.1"), "1 10.9.2.2");
  run("ip link set south down");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "0 10.9.1.2"), "0 10.9.1.2");
  EXPECT_EQ(way_soon(neighbours, "10.9.2.2", "0 10.9.1.2"), "0 10.9.1.2");
  run("ip link set south up");
  EXPECT_EQ(way_soon(neighbours, "10.9.2.2", "1 10.9.2.2"), "1 10.9.2.2");
}

TEST_F(NeighboursTest, RecoversFromMoreChangesThanTheSocketHolds) {
  run("ip route add 203.0.113.0/24 via 10.9.1.2");
  Mirrored neighbours(both_ports(), 64);
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

TEST_F(NeighboursTest, GivesEveryDestinationOfAStaticPortOneMac) {
  Mirrored neighbours(
      {{"", 1500, std::array<std::uint8_t, 6>{2, 0, 0, 0, 0, 9}}, {"south", 1500, std::nullopt}},
      64);
  EXPECT_EQ(resolve(neighbours, "192.0.2.1"), resolve(neighbours, "2001:db8::1"));
  EXPECT_EQ(hop_to(neighbours, "192.0.2.1").port, 0);
  EXPECT_EQ(hop_to(neighbours, "192.0.2.1").mac.load(), mac_word("02:00:00:00:00:09"));
  EXPECT_EQ(way(neighbours, "10.9.2.2"), "1 10.9.2.2") << "a port's own route comes first";
}

}  // namespace
}  // namespace turnpike::kernel

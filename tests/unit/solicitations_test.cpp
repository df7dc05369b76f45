// NextHops that the kernel is asked for, and next hops that it and we have room for, held against
// a kernel.
#include <cstdio>

#include "neighbours_lab.h"

namespace turnpike::kernel {
namespace {

// How many entries the kernel's table has for the interface.
int entries(const std::string& interface) {
  const std::string command = "ip neigh show dev " + interface + " | wc -l";
  FILE* pipe = popen(command.c_str(), "r");
  int count = -1;
  if (pipe == nullptr) return count;
  if (std::fscanf(pipe, "%d", &count) != 1) count = -1;
  pclose(pipe);
  return count;
}

TEST_F(NeighboursTest, AsksForTheMacOfANeighbourThatIsWanted) {
  Mirrored neighbours(both_ports(), 64);
  const std::pair<const char*, const char*> known[] = {{"10.9.1.2", kNorthMac},
                                                       {"fd09:2::2", kSouthMac}};
  for (const auto& one : known) {
    NextHop& hop = hop_to(neighbours, one.first);
    // While the link-local address is tentative, the kernel asks for nobody: packets keep wanting.
    const auto resolved = [&] {
      hop.wanted.store(1);
      return hop.mac.load() == mac_word(one.second);
    };
    EXPECT_TRUE(soon(neighbours, resolved)) << one.first;
  }
}

TEST_F(NeighboursTest, AsksAgainAsLongAsAMissingNeighbourIsWanted) {
  Mirrored neighbours(both_ports(), 64);
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
  Mirrored neighbours(both_ports(), 64);
  NextHop& hop = hop_to(neighbours, "10.9.1.2");
  run("ip neigh replace 10.9.1.2 lladdr 02:00:00:00:00:77 dev north nud permanent");
  EXPECT_TRUE(soon(neighbours, [&] { return hop.mac.load() == mac_word("02:00:00:00:00:77"); }));
  hop.wanted.store(0);
  run("ip neigh del 10.9.1.2 dev north");
  EXPECT_TRUE(soon(neighbours, [&] { return hop.mac.load() == 0; }));
}

TEST_F(NeighboursTest, KnowsMacsThatTheKernelKnewBefore) {
  run("ip neigh replace 10.9.2.5 lladdr 02:00:00:00:00:55 dev south nud permanent");
  Mirrored neighbours(both_ports(), 64);
  EXPECT_EQ(hop_to(neighbours, "10.9.2.5").mac.load(), mac_word("02:00:00:00:00:55"));
}

TEST_F(NeighboursTest, AsksForNobodyBecauseOfAPermission) {
  Mirrored neighbours(both_ports(), 4096);
  const int before = entries("south");
  std::vector<NextHopIndex> held;
  for (int n = 0; n < 2000; ++n) {
    const std::string peer = "fd09:2::1:" + std::to_string(n);
    held.push_back(resolve(neighbours, peer.c_str(), "::", static_cast<std::uint32_t>(n / 64)));
    ASSERT_NE(held.back(), kNoNextHop);
  }
  for (int i = 0; i < 50; ++i)
    neighbours.poll();
  EXPECT_LE(entries("south"), before + 1);
  EXPECT_EQ(neighbours.in_use(), 2000U);
  for (const NextHopIndex hop : held)
    neighbours.release(hop);
  EXPECT_TRUE(soon(neighbours, [&] { return neighbours.in_use() == 0; }));
}

// One user sends to each address of the link, where nobody is.
TEST_F(NeighboursTest, AsksForFewOfManyThatDoNotAnswer) {
  Mirrored neighbours(both_ports(), 4096);
  const int before = entries("south");
  std::vector<NextHopIndex> flood;
  for (int n = 0; n < 1500; ++n) {
    const std::string peer = "fd09:2::1:" + std::to_string(n);
    flood.push_back(resolve(neighbours, peer.c_str(), "::", static_cast<std::uint32_t>(n / 64)));
  }
  const auto wanting = [&] {
    for (const NextHopIndex hop : flood) {
      if (hop != kNoNextHop) neighbours.table()[static_cast<std::uint32_t>(hop)].wanted.store(1);
    }
  };
  int most = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(4500);
  while (std::chrono::steady_clock::now() < deadline) {
    wanting();
    neighbours.poll();
    most = std::max(most, entries("south"));
  }
  EXPECT_GT(most, before) << "some are asked for";
  EXPECT_LE(most, before + 2 * 64) << "64 asked for, and as many that the kernel is to forget";
  // Another's peer, who is there, has its turn; and so has a new gateway, at once.
  NextHop& peer =
      neighbours
          .table()[static_cast<std::uint32_t>(resolve(neighbours, "fd09:1::2", "::", 999999))];
  run("ip route add 192.0.2.0/24 via 10.9.2.2");
  ASSERT_EQ(way_soon(neighbours, "192.0.2.1", "1 10.9.2.2"), "1 10.9.2.2");
  NextHop& gateway = hop_to(neighbours, "192.0.2.1");
  const auto resolved = [&](NextHop& hop) {
    wanting();
    hop.wanted.store(1);
    return (hop.mac.load() & kMacResolved) != 0;
  };
  EXPECT_TRUE(soon(neighbours, [&] { return resolved(gateway); }));
  EXPECT_TRUE(soon(neighbours, [&] { return resolved(peer); }) ||
              soon(neighbours, [&] { return resolved(peer); }));
}

TEST_F(NeighboursTest, FindsGatewaysWhenPeersHaveFilledTheTable) {
  Mirrored neighbours(both_ports(), 65);
  EXPECT_EQ(neighbours.capacity(), 64U);
  std::vector<NextHopIndex> held;
  for (std::uint32_t n = 2; n < 100; ++n) {
    const std::string peer = "10.9.1." + std::to_string(n);
    const NextHopIndex hop = resolve(neighbours, peer.c_str(), "0.0.0.0", n);
    if (hop != kNoNextHop) held.push_back(hop);
  }
  EXPECT_EQ(held.size(), 48U);
  EXPECT_EQ(way(neighbours, "10.9.1.200"), "none");
  EXPECT_EQ(way(neighbours, "10.9.1.3"), "0 10.9.1.3") << "one that is there already";
  run("ip route add 192.0.2.0/24 via 10.9.2.2");
  EXPECT_EQ(way_soon(neighbours, "192.0.2.1", "1 10.9.2.2"), "1 10.9.2.2");
  const std::uint32_t epoch = neighbours.epoch();
  for (const NextHopIndex hop : held)
    neighbours.release(hop);
  EXPECT_TRUE(soon(neighbours, [&] { return neighbours.epoch() != epoch; }))
      << "those who were refused are told to ask again";
  EXPECT_EQ(way(neighbours, "10.9.1.200"), "0 10.9.1.200");
}

}  // namespace
}  // namespace turnpike::kernel

// What a stranger must not guess, and a late packet not reach: relayed addresses, ports and tokens
// are drawn, and a port rests between two owners.
#include <algorithm>

#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

class PortsOfTurn : public TurnServer {
 protected:
  PortsOfTurn() { restart_unlimited(); }
  void restart_unlimited() {
    server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, unlimited_);
  }
  std::uint64_t free_ports() const { return server_->counters().free_ports.get(); }

  QuotaLedger unlimited_{0, 0, true};
};

TEST_F(PortsOfTurn, AFreedPortRestsFor30Seconds) {
  const std::uint64_t before = free_ports();
  allocate(1000);
  refresh(1000, 0);
  pass(29);
  EXPECT_EQ(free_ports(), before - 1);
  pass(1);
  EXPECT_EQ(free_ports(), before);
}

TEST_F(PortsOfTurn, AnExpiredAllocationsPortRestsToo) {
  const std::uint64_t before = free_ports();
  allocate(1000);
  pass(600);
  EXPECT_TRUE(world_.sink.allocations.empty());
  pass(29);
  EXPECT_EQ(free_ports(), before - 1);
  pass(1);
  EXPECT_EQ(free_ports(), before);
}

TEST_F(PortsOfTurn, AReservedPortRestsForWhoeverWasToldOfIt) {
  const std::uint64_t before = free_ports();
  allocate(1000, even_pair);
  pass(30);
  EXPECT_EQ(server_->counters().reservations.get(), 0U);
  EXPECT_EQ(free_ports(), before - 2);
  pass(29);
  EXPECT_EQ(free_ports(), before - 2);
  pass(1);
  EXPECT_EQ(free_ports(), before - 1);
}

TEST_F(PortsOfTurn, ARelayedAddressIsDrawn) {
  config_.relayed.clear();
  for (std::uint8_t i = 0; i < 4; ++i)
    config_.relayed.push_back({Address::v4(192, 0, 2, static_cast<std::uint8_t>(10 + i)), {}});
  restart_unlimited();
  std::map<Address, int> drawn;
  for (std::uint16_t i = 0; i < 400; ++i) {
    const auto relayed = allocate(static_cast<std::uint16_t>(1000 + i))
                             .view.xor_address(Attribute::kXorRelayedAddress);
    ASSERT_TRUE(relayed);
    ++drawn[relayed->address];
  }
  EXPECT_EQ(drawn.size(), 4U);
  for (const auto& [address, times] : drawn)
    EXPECT_NEAR(times, 100, 40) << address.to_string();
}

TEST_F(PortsOfTurn, AnEvenPortIsDrawn) {
  for (const std::uint8_t pair : {0x00, 0x80}) {
    std::vector<int> ports;
    for (std::uint16_t i = 0; i < 200; ++i) {
      const auto answer = allocate(static_cast<std::uint16_t>(1000 + i + pair * 10), [&](auto& w) {
        w.add(Attribute::kEvenPort, std::array<std::uint8_t, 1>{pair});
      });
      ports.push_back(answer.view.xor_address(Attribute::kXorRelayedAddress)->port);
    }
    // Of a range of 16384, all its quarters; and up as often as down.
    for (int quarter = 0; quarter < 4; ++quarter) {
      EXPECT_NEAR(std::count_if(ports.begin(), ports.end(),
                                [&](int port) { return (port - 49152) / 4096 == quarter; }),
                  50, 25);
    }
    int up = 0;
    for (std::size_t i = 1; i < ports.size(); ++i)
      up += ports[i] > ports[i - 1] ? 1 : 0;
    EXPECT_NEAR(up, 100, 30);
  }
}

TEST_F(PortsOfTurn, ATokensIdIsDrawn) {
  std::vector<std::uint32_t> ids;
  for (std::uint16_t i = 0; i < 200; ++i) {
    const auto answer = allocate(static_cast<std::uint16_t>(1000 + i), even_pair);
    ids.push_back(tokens_.open(token_of(answer))->id);
  }
  for (std::uint32_t quarter = 0; quarter < 4; ++quarter) {
    EXPECT_NEAR(std::count_if(ids.begin(), ids.end(),
                              [&](std::uint32_t id) { return id >> 22 == quarter; }),
                50, 25);
  }
  int up = 0;
  for (std::size_t i = 1; i < ids.size(); ++i)
    up += ids[i] > ids[i - 1] ? 1 : 0;
  EXPECT_NEAR(up, 100, 30);
}

TEST_F(PortsOfTurn, ATokensIdThatIsDrawnTwiceBelongsToOne) {
  const std::uint64_t state = world_.state;
  const auto first = tokens_.open(token_of(allocate(1000, even_pair)));
  world_.state = state;
  const auto second = tokens_.open(token_of(allocate(1001, even_pair)));
  EXPECT_EQ(second->id, first->id + 1);
}

}  // namespace
}  // namespace turnpike

// Ports in pairs, the next one kept for who brings its token, and the rest of a freed one.
#include <array>

#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

TEST_F(TurnServer, EvenPortsReturn) {
  QuotaLedger quotas(0, 0, true);
  server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, quotas);
  const auto free = server_->counters().free_ports.get();
  for (int i = 0; i < 100; ++i) {
    const std::array<std::uint8_t, 1> pair{static_cast<std::uint8_t>(i % 2 == 0 ? 0x80 : 0)};
    const Answer answer = allocate(1000, [&](auto& w) { w.add(Attribute::kEvenPort, pair); });
    ASSERT_EQ(answer.code(), 0);
    EXPECT_EQ(answer.view.xor_address(Attribute::kXorRelayedAddress)->port % 2, 0);
    EXPECT_EQ(answer.view.has(Attribute::kReservationToken), i % 2 == 0);
    refresh(1000, 0);
    pass(1);
  }
  pass(70);
  EXPECT_EQ(server_->counters().free_ports.get(), free);
}

TEST_F(TurnServer, AFreedPortRestsBeforeItsNextOwner) {
  config_.port_min = 50000;
  config_.port_max = 50003;
  restart();
  std::set<std::uint16_t> drawn;
  for (int i = 0; i < 4; ++i) {
    drawn.insert(allocate(1000).view.xor_address(Attribute::kXorRelayedAddress)->port);
    refresh(1000, 0);
  }
  EXPECT_EQ(drawn.size(), 4U);
}

TEST_F(TurnServer, AReservationIsTakenUpFromAnotherFiveTuple) {
  const std::array<std::uint8_t, 1> pair{0x80};
  const Answer first = allocate(1000, [&](auto& w) { w.add(Attribute::kEvenPort, pair); });
  const auto token = first.view.find(Attribute::kReservationToken)->value;
  const std::vector<std::uint8_t> kept(token.begin(), token.end());
  const Answer second = allocate(1001, [&](auto& w) { w.add(Attribute::kReservationToken, kept); });
  EXPECT_EQ(second.view.xor_address(Attribute::kXorRelayedAddress)->port,
            first.view.xor_address(Attribute::kXorRelayedAddress)->port + 1);
  refresh(1000, 0);
  EXPECT_EQ(allocate(1000, [&](auto& w) { w.add(Attribute::kReservationToken, kept); }).code(), 508)
      << "used up";
}

TEST_F(TurnServer, ARefusedPairLeavesNoReservation) {
  const auto free = server_->counters().free_ports.get();
  world_.sink.full = true;
  EXPECT_EQ(allocate(1000, even_pair).code(), 508);
  pass(1);
  EXPECT_EQ(server_->counters().reservations.get(), 0U);
  EXPECT_EQ(server_->counters().free_ports.get(), free);
}

TEST_F(TurnServer, AReservationOutlivesARefusal) {
  const auto token = token_of(allocate(1000, even_pair));
  const auto redeem = [&](auto& w) { w.add(Attribute::kReservationToken, token); };
  world_.sink.full = true;
  EXPECT_EQ(allocate(1001, redeem).code(), 508);
  world_.sink.full = false;
  EXPECT_EQ(allocate(1001, redeem).code(), 0);
}

TEST_F(TurnServer, AReservationLives30Seconds) {
  const auto token = token_of(allocate(1000, even_pair));
  pass(29);
  EXPECT_EQ(server_->counters().reservations.get(), 1U);
  now_.ms += 1000;
  EXPECT_EQ(allocate(1001, [&](auto& w) { w.add(Attribute::kReservationToken, token); }).code(),
            508)
      << "even before the next tick";
  pass(1);
  EXPECT_EQ(server_->counters().reservations.get(), 0U);
}

TEST_F(TurnServer, ReservationsHoldAQuarterOfThePortsAtMost) {
  config_.port_min = 50000;
  config_.port_max = 50015;
  config_.relayed = {{kRelay4, std::nullopt}};
  QuotaLedger quotas(0, 0, true);
  server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, quotas);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(allocate(1000, even_pair).code(), i < 4 ? 0 : 508);
    refresh(1000, 0);
  }
}

TEST_F(TurnServer, AReservationBelongsToTheShardThatMadeIt) {
  config_ = config_with(0, 2);
  restart();
  World other_world;
  Server other(config_with(1, 2), other_world, nonces_, tokens_, quotas_);
  const Answer first = allocate(1000, even_pair);
  const auto token = token_of(first);
  EXPECT_EQ(tokens_.open(token)->shard, 0);
  const auto redeem = [&](MessageWriter& w) {
    udp(w);
    w.add(Attribute::kReservationToken, token);
  };
  other.handle(now_, from(1001), build(Method::kAllocate, from(1001), redeem), RequestToken{1});
  EXPECT_EQ(other_world.code_of(RequestToken{1}), 508);
  const Answer taken = say(from(1001), build(Method::kAllocate, from(1001), redeem));
  EXPECT_EQ(taken.view.xor_address(Attribute::kXorRelayedAddress)->port,
            first.view.xor_address(Attribute::kXorRelayedAddress)->port + 1);
  EXPECT_EQ(quotas_.count({"alice"}), 2U) << "one ledger for both shards";
}

}  // namespace
}  // namespace turnpike

// One user, or one host, who takes all it can get: others must have theirs.
#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

// Peers that are all allowed.
std::vector<Address> peers(std::size_t count, std::uint8_t network = 113) {
  std::vector<Address> result;
  for (std::size_t i = 0; i < count; ++i) {
    result.push_back(
        Address::v4(203, network, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)));
  }
  return result;
}

class Fairness : public TurnServer {
 protected:
  // Many peers don't fit the fixture's own buffer.
  Answer permit_many(std::uint16_t port, const std::vector<Address>& many) {
    std::vector<std::uint8_t> buffer(64 + 12 * many.size() + 512);
    stun::TransactionId id{};
    ++transaction_;
    std::memcpy(id.data(), &transaction_, sizeof transaction_);
    MessageWriter writer(buffer, Class::kRequest, Method::kCreatePermission, id);
    for (const Address& peer : many)
      writer.add_xor_address(Attribute::kXorPeerAddress, {peer, 0});
    sign(writer, from(port));
    const auto bytes = writer.finish();
    return say(from(port), {bytes.begin(), bytes.end()});
  }
};

TEST_F(Fairness, MorePeersThanAnAllocationMayHaveAreNotEvenJudged) {
  config_.max_permissions_per_allocation = 10;
  restart();
  allocate(1000);
  EXPECT_EQ(permit_many(1000, peers(11)).code(), 508);
  EXPECT_EQ(world_.judged, 0);
  EXPECT_EQ(permit_many(1000, peers(10)).code(), 0);
}

TEST_F(Fairness, MoreNewPeersThanThereIsRoomForAreNotPublished) {
  config_.max_permissions_per_allocation = 10;
  restart();
  allocate(1000);
  ASSERT_EQ(permit_many(1000, peers(4)).code(), 0);
  const std::uint32_t published = world_.sink.next;
  EXPECT_EQ(permit_many(1000, peers(7, 7)).code(), 508);
  EXPECT_EQ(world_.sink.next, published);
  EXPECT_EQ(permit_many(1000, peers(10)).code(), 0) << "four of them are there already";
}

// --- What one user may have

class Budget : public Fairness {
 protected:
  Budget() { restart_with(budget_); }
  void restart_with(QuotaLedger& quotas) {
    server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, quotas);
  }
  std::uint32_t has(QuotaLedger::Thing thing) const {
    EXPECT_EQ(budget_.count_of_source(from(0).client.address),
              budget_.count({"alice"}) + budget_.count({"bob"}))
        << "all of them come from one address";
    return budget_.count({"alice"}, thing);
  }

  static constexpr auto kAllocation = QuotaLedger::Thing::kAllocation;
  static constexpr auto kPermission = QuotaLedger::Thing::kPermission;
  static constexpr auto kChannel = QuotaLedger::Thing::kChannel;
  QuotaLedger budget_{{4, 10, 3}, 0, true, 100};
};

TEST_F(Budget, OfPermissionsIsOneForAllOfAUsersAllocations) {
  allocate(1000);
  allocate(1001);
  EXPECT_EQ(permit_many(1000, peers(6)).code(), 0);
  EXPECT_EQ(permit_many(1001, peers(5)).code(), 508) << "all of them or none";
  EXPECT_EQ(has(kPermission), 6U);
  EXPECT_EQ(permit_many(1001, peers(4)).code(), 0);
  EXPECT_EQ(permit_many(1000, peers(6)).code(), 0) << "refreshing costs nothing";
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 1}).code(), 508) << "it needs a permission too";
  EXPECT_EQ(has(kChannel), 0U);
  user_ = "bob";
  allocate(1002);
  EXPECT_EQ(permit_many(1002, peers(10)).code(), 0);
}

TEST_F(Budget, OfChannelsIsOneForAllOfAUsersAllocations) {
  allocate(1000);
  allocate(1001);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 1}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4001, {kPeer, 2}).code(), 0);
  EXPECT_EQ(bind(1001, 0x4000, {kPeer, 1}).code(), 0);
  EXPECT_EQ(bind(1001, 0x4001, {kPeer, 2}).code(), 508);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 1}).code(), 0) << "refreshing costs nothing";
  EXPECT_EQ(has(kChannel), 3U);
}

TEST_F(Budget, ComesBackHoweverThingsEnd) {
  const auto take = [&] {
    allocate(1000);
    allocate(1001,
             [](MessageWriter& w) { w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2); });
    EXPECT_EQ(permit_many(1000, peers(5)).code(), 0);
    EXPECT_EQ(bind(1000, 0x4000, {kPeer, 1}).code(), 0);
    EXPECT_EQ(bind(1001, 0x4000, {kPeer, 1}).code(), 0);
  };
  take();
  refresh(1000, 0);
  refresh(1001, 0);
  for (const auto thing : {kAllocation, kPermission, kChannel})
    EXPECT_EQ(has(thing), 0U);
  pass(41);
  take();
  pass(301);
  EXPECT_EQ(has(kPermission), 2U) << "those that channels hold";
  pass(400);
  for (const auto thing : {kAllocation, kPermission, kChannel})
    EXPECT_EQ(has(thing), 0U);
  world_.sink.room = 2;
  allocate(1002);
  EXPECT_EQ(permit_many(1002, peers(3)).code(), 508) << "the tables are full";
  EXPECT_EQ(has(kPermission), 0U);
  world_.sink.room = 1;
  EXPECT_EQ(bind(1002, 0x4000, {kPeer, 1}).code(), 508);
  EXPECT_EQ(has(kPermission) + has(kChannel), 0U);
}

TEST_F(Budget, AReservationCountsAsAnAllocation) {
  EXPECT_EQ(allocate(1000, even_pair).code(), 0);
  EXPECT_EQ(has(kAllocation), 2U);
  EXPECT_EQ(allocate(1001, even_pair).code(), 0);
  EXPECT_EQ(allocate(1002).code(), 486);
  refresh(1000, 0);
  EXPECT_EQ(has(kAllocation), 3U) << "its reservation lives";
  EXPECT_EQ(allocate(1002, even_pair).code(), 486) << "one of two is too few";
  EXPECT_EQ(has(kAllocation), 3U);
  pass(31);
  EXPECT_EQ(has(kAllocation), 1U);
}

TEST_F(Budget, WhatTakesUpAReservationTakesItsPlace) {
  allocate(1000);
  allocate(1001);
  const auto token = token_of(allocate(1002, even_pair));
  ASSERT_EQ(has(kAllocation), 4U);
  const auto redeem = [&](MessageWriter& w) { w.add(Attribute::kReservationToken, token); };
  world_.sink.full = true;
  EXPECT_EQ(allocate(1003, redeem).code(), 508);
  EXPECT_EQ(has(kAllocation), 4U);
  world_.sink.full = false;
  EXPECT_EQ(allocate(1003, redeem).code(), 0);
  EXPECT_EQ(has(kAllocation), 4U);
  refresh(1003, 0);
  EXPECT_EQ(has(kAllocation), 3U);
}

TEST_F(Budget, AnothersReservationIsNobodysToTake) {
  const auto token = token_of(allocate(1000, even_pair));
  const auto redeem = [&](MessageWriter& w) { w.add(Attribute::kReservationToken, token); };
  user_ = "bob";
  EXPECT_EQ(allocate(1001, redeem).code(), 508);
  EXPECT_EQ(budget_.count({"bob"}), 0U);
  user_ = "alice";
  EXPECT_EQ(allocate(1001, redeem).code(), 0);
}

// By reservations alone nobody gets more than his quota of pairs.
TEST_F(Budget, LeavesPairsToOthers) {
  config_.port_min = 50000;
  config_.port_max = 50063;
  config_.relayed = {{kRelay4, std::nullopt}};
  restart_with(budget_);
  for (int i = 0; i < 20; ++i) {
    allocate(1000, even_pair);
    refresh(1000, 0);
  }
  EXPECT_EQ(server_->counters().reservations.get(), 3U);
  user_ = "bob";
  EXPECT_EQ(allocate(1001, even_pair).code(), 0);
}

TEST_F(Budget, TheNodesLimitIsAnotherErrorThanTheUsers) {
  QuotaLedger small({4}, 2, true);
  restart_with(small);
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 0);
  user_ = "bob";
  EXPECT_EQ(allocate(1002).code(), 508)
      << "486 would send a user with nothing to his administrator";
}

// --- What may come from one source

class OfOneSource : public Fairness {
 protected:
  OfOneSource() { restart_with(config_); }
  void restart_with(const ServerConfig& config) {
    server_ = std::make_unique<Server>(config, world_, nonces_, tokens_, ledger_);
  }
  static FiveTuple at(const Address& client, std::uint16_t port) {
    return {ClientEndpoint{{client, port}}, {kServer, 3478}, Transport::kUdp};
  }
  Answer allocate_at(const Address& client, std::uint16_t port, const Fill& more = {}) {
    return say(at(client, port), build(Method::kAllocate, at(client, port), [&](MessageWriter& w) {
                 udp(w);
                 if (more) more(w);
               }));
  }
  std::uint32_t has(const Address& client) const { return ledger_.count_of_source(client); }

  static inline const Address kHere = Address::v4(198, 51, 100, 1);
  static inline const Address kThere = Address::v4(198, 51, 100, 2);
  QuotaLedger ledger_{{0}, 0, true, 3};
};

TEST_F(OfOneSource, AllUsersTogetherHaveSoManyAllocations) {
  EXPECT_EQ(allocate_at(kHere, 1000).code(), 0);
  EXPECT_EQ(allocate_at(kHere, 1001).code(), 0);
  user_ = "bob";
  EXPECT_EQ(allocate_at(kHere, 1002).code(), 0);
  const Answer refused = allocate_at(kHere, 1003);
  EXPECT_EQ(refused.code(), 486);
  EXPECT_EQ(ledger_.count({"bob"}), 1U) << "a refusal costs nobody anything";
  EXPECT_EQ(allocate_at(kThere, 1000).code(), 0);
  refresh(1002, 0);
  EXPECT_EQ(allocate_at(kHere, 1003).code(), 0);
  EXPECT_EQ(has(kHere), 3U);
}

TEST_F(OfOneSource, AnIpv6SiteIsOne) {
  const auto host = [](const char* text) { return *Address::parse(text); };
  EXPECT_EQ(allocate_at(host("2001:db8:1:2::1"), 1000).code(), 0);
  EXPECT_EQ(allocate_at(host("2001:db8:1:2:ffff::2"), 1000).code(), 0);
  EXPECT_EQ(allocate_at(host("2001:db8:1:2::3"), 1000).code(), 0);
  EXPECT_EQ(allocate_at(host("2001:db8:1:2:3::4"), 1000).code(), 486);
  EXPECT_EQ(allocate_at(host("2001:db8:1:3::1"), 1000).code(), 0);
  EXPECT_EQ(has(host("2001:db8:1:2::99")), 3U);
}

TEST_F(OfOneSource, AnAllocateThatFailsGivesItsPlaceBack) {
  world_.sink.full = true;
  EXPECT_EQ(allocate_at(kHere, 1000).code(), 508);
  EXPECT_EQ(allocate_at(kHere, 1000, even_pair).code(), 508);
  world_.sink.full = false;
  EXPECT_EQ(has(kHere), 0U);
  config_.port_min = 50000;
  config_.port_max = 50001;
  config_.relayed = {{kRelay4, std::nullopt}};
  restart_with(config_);
  EXPECT_EQ(allocate_at(kHere, 1000).code(), 0);
  EXPECT_EQ(allocate_at(kHere, 1001, even_pair).code(), 508) << "no pair of ports";
  EXPECT_EQ(has(kHere), 1U);
  EXPECT_EQ(allocate_at(kHere, 1001).code(), 0);
  EXPECT_EQ(allocate_at(kHere, 1002).code(), 508) << "no port";
  EXPECT_EQ(has(kHere), 2U);
}

TEST_F(OfOneSource, AReservationHoldsAPlaceToo) {
  EXPECT_EQ(allocate_at(kHere, 1000, even_pair).code(), 0);
  EXPECT_EQ(has(kHere), 2U);
  EXPECT_EQ(allocate_at(kHere, 1001, even_pair).code(), 486) << "one of two is too few";
  EXPECT_EQ(has(kHere), 2U);
  EXPECT_EQ(allocate_at(kHere, 1001).code(), 0);
  EXPECT_EQ(allocate_at(kHere, 1002).code(), 486);
  pass(31);
  EXPECT_EQ(has(kHere), 2U) << "it has run out";
}

TEST_F(OfOneSource, WhatTakesUpAReservationTakesThePlaceOfItsOwnSource) {
  allocate_at(kHere, 1000);
  const auto token = token_of(allocate_at(kHere, 1001, even_pair));
  const auto redeem = [&](MessageWriter& w) { w.add(Attribute::kReservationToken, token); };
  world_.sink.full = true;
  EXPECT_EQ(allocate_at(kHere, 1002, redeem).code(), 508);
  EXPECT_EQ(allocate_at(kThere, 1002, redeem).code(), 508);
  world_.sink.full = false;
  EXPECT_EQ(has(kHere), 3U);
  EXPECT_EQ(has(kThere), 0U);
  EXPECT_EQ(allocate_at(kHere, 1002, redeem).code(), 0);
  EXPECT_EQ(has(kHere), 3U);
  for (const std::uint16_t port : {1000, 1001, 1002})
    refresh(port, 0);
  EXPECT_EQ(has(kHere), 0U);
}

TEST_F(OfOneSource, AReservationThatAnotherSourceTakesUpFreesItsPlace) {
  const auto token = token_of(allocate_at(kHere, 1000, even_pair));
  const auto redeem = [&](MessageWriter& w) { w.add(Attribute::kReservationToken, token); };
  for (const std::uint16_t port : {1000, 1001, 1002})
    ASSERT_EQ(allocate_at(kThere, port).code(), 0);
  EXPECT_EQ(allocate_at(kThere, 1003, redeem).code(), 486);
  EXPECT_EQ(has(kHere), 2U);
  EXPECT_EQ(allocate_at(*Address::parse("2001:db8::9"), 1000, redeem).code(), 0);
  EXPECT_EQ(has(kHere), 1U);
  EXPECT_EQ(has(*Address::parse("2001:db8::9")), 1U);
}

// --- What ends all at once

class MassExpiry : public Budget {
 protected:
  MassExpiry() {
    config_.max_allocations = kAllocations + 10;
    restart_with(none_);
  }
  std::size_t published() const {
    return world_.sink.allocations.size() + world_.sink.permissions.size() +
           world_.sink.channels.size();
  }

  static constexpr std::uint16_t kAllocations = 2000;
  QuotaLedger none_{{0}, 0, false};
};

TEST_F(MassExpiry, EndsAFewAtATimeAndAnswersInBetween) {
  for (std::uint16_t i = 0; i < kAllocations; ++i) {
    allocate(static_cast<std::uint16_t>(1000 + i));
    bind(static_cast<std::uint16_t>(1000 + i), 0x4000, {kPeer, 1});
  }
  now_.ms += 601'000;
  std::size_t ticks = 0;
  for (bool more = true; more; ++ticks) {
    const std::size_t before = published();
    more = server_->tick(now_);
    EXPECT_LE(before - published(), 260U);
    EXPECT_EQ(permit(1000, {kPeer}).code(), 437) << "ended by being asked for";
    ASSERT_LT(ticks, 100U);
  }
  EXPECT_GT(ticks, 10U);
  EXPECT_EQ(published(), 0U);
  EXPECT_FALSE(server_->tick(now_));
  // Then what is left of them: tombstones, and ports that have rested.
  now_.ms += 41'000;
  ticks = 0;
  while (server_->tick(now_))
    ++ticks;
  EXPECT_GT(ticks, 10U);
  EXPECT_EQ(server_->counters().free_ports.get(), 2U * 16384U);
}

TEST_F(MassExpiry, OfReservationsIsBoundedToo) {
  for (std::uint16_t i = 0; i < 600; ++i)
    ASSERT_EQ(allocate(static_cast<std::uint16_t>(1000 + i), even_pair).code(), 0);
  now_.ms += 31'000;
  EXPECT_TRUE(server_->tick(now_));
  EXPECT_EQ(server_->counters().reservations.get(), 600U - 256U);
  EXPECT_TRUE(server_->tick(now_));
  EXPECT_FALSE(server_->tick(now_));
  EXPECT_EQ(server_->counters().reservations.get(), 0U);
}

// --- Waiting for keys

TEST_F(Fairness, OneAddressLeavesRoomToWaitForKeys) {
  world_.pending = true;
  for (std::uint16_t i = 0; i < 1000; ++i)
    server_->handle(now_, from(i), build(Method::kAllocate, from(i), udp), RequestToken{i + 1U});
  EXPECT_EQ(world_.discards.size(), 1000U - config_.max_parked / 2);
  FiveTuple other = from(1000);
  other.client.address.bytes[3] = 77;
  for (std::uint32_t i = 0; i < config_.max_parked / 4; ++i)
    server_->handle(now_, other, build(Method::kAllocate, other, udp), RequestToken{2000 + i});
  EXPECT_FALSE(world_.discards.contains(RequestToken{2000}));
  EXPECT_FALSE(world_.discards.contains(RequestToken{2000 + config_.max_parked / 4 - 1}));
}

// --- What somebody else has heard

TEST_F(Fairness, AnOverheardAllocateMakesNothingLater) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  ASSERT_EQ(say(from(1000), bytes).code(), 0);
  refresh(1000, 0);
  for (const std::uint32_t seconds : {30U, 20U, 650U}) {
    pass(seconds);
    EXPECT_NE(say(from(1000), bytes).code(), 0);
  }
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(allocate(1000).code(), 0) << "with a nonce of now its client is welcome";
}

TEST_F(Fairness, AnOldNonceIsGoodForAllButANewAllocation) {
  nonce_ = nonce_for(from(1000));
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  ASSERT_EQ(say(from(1000), bytes).code(), 0);
  pass(500);
  EXPECT_EQ(say(from(1000), bytes).code(), 0) << "a retransmission, if a late one";
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 1}).code(), 0);
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  EXPECT_EQ(allocate(1000).code(), 438);
}

TEST_F(Fairness, AnothersAllocateOnAFiveTupleInUseGets437) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  ASSERT_EQ(say(from(1000), bytes).code(), 0);
  user_ = "bob";
  EXPECT_EQ(allocate(1000).code(), 437);
  --transaction_;
  --transaction_;
  EXPECT_EQ(allocate(1000).code(), 437) << "with the first one's transaction as well";
  for (const Answer& answer :
       {refresh(1000, 600), permit(1000, {kPeer}), bind(1000, 0x4000, {kPeer, 1})})
    EXPECT_EQ(answer.code(), 441);
}

TEST_F(Fairness, AnAllocationsOwnerIsKnownHoweverHeWritesHisName) {
  world_.users = {"a b"};
  user_ = "a b";
  ASSERT_EQ(allocate(1000).code(), 0);
  world_.users.clear();
  by_name_ = false;
  const auto answer = ask(Method::kRefresh, 1000,
                          [](MessageWriter& w) { w.add_text(Attribute::kUsername, "a\u00A0b"); });
  EXPECT_EQ(answer.code(), 0);
}

}  // namespace
}  // namespace turnpike

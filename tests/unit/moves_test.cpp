// Clients that move to other five-tuples (tables/moves.cpp), from one thread: what leads where in
// each state, what happens when one state ends another, and that nothing is left behind.
#include <gtest/gtest.h>

#include "next_hops.h"
#include "tables/tables.h"

namespace turnpike::flow {
namespace {

using test::Routes;

const Endpoint kListener{Address::v4(192, 0, 2, 1), 3478};
const Endpoint kListener6{*Address::parse("2001:db8::1"), 3478};
constexpr ListenerIndex kSix = 1;
const Address kRelay = Address::v4(192, 0, 2, 9);
const HashKey kKey{1, 2, 3, 4};
constexpr std::size_t kReader = 0;
constexpr std::uint32_t kMost = 4;

Endpoint place(std::uint8_t n) {
  return {Address::v4(10, 0, 0, n), static_cast<std::uint16_t>(4000 + n)};
}

// With so many shards, of which the last has the allocation.
class Moves : public testing::TestWithParam<int> {
 protected:
  Moves()
      : shards_(static_cast<std::uint8_t>(GetParam())),
        tables_(TableLimits{shards_, kMost, 8, 8}, {{kRelay, std::nullopt}},
                {{kListener}, {kListener6}}, kKey, {}),
        writer_(tables_, static_cast<std::uint8_t>(shards_ - 1), qsbr_, routes_) {
    qsbr_.quiescent(kReader);
    for (std::uint8_t n = 1; n < 20; ++n)
      routes_.routes[place(n).address] = NextHopIndex{n};
    slot_ = *add(place(1), 50000);
  }
  ~Moves() override {
    for (int i = 0; i < 4; ++i)
      go_round();
    EXPECT_EQ(writer_.retired(), 0U);
  }

  std::optional<AllocationSlot> add(const Endpoint& client, std::uint16_t port) {
    AllocationFlow flow;
    flow.five_tuple = {ClientEndpoint{client}, kListener, Transport::kUdp};
    flow.relayed[0] = RelayEndpoint{{kRelay, port}};
    flow.expires_s[0] = 600;
    return writer_.publish_allocation(flow);
  }
  bool begin(const Endpoint& to, std::uint16_t number = 1) {
    const bool six = to.address.family == Family::kIpv6;
    return writer_.begin_move(
        {slot_, {ClientEndpoint{to}, six ? kListener6 : kListener, Transport::kUdp}, number});
  }
  void go_round() {
    qsbr_.quiescent(kReader);
    writer_.housekeeping();
  }
  bool leads(const Endpoint& client, ListenerIndex listener = 0) const {
    return tables_.find_client(listener, client) == slot_;
  }
  // As a move's.
  bool leads_by_move(const Endpoint& client, ListenerIndex listener = 0) const {
    const auto move = tables_.find_move(listener, client);
    return move && tables_.move(*move).allocation == static_cast<std::uint32_t>(slot_) &&
           tables_.move(*move).client == client;
  }
  // Where a worker would send what comes from a peer, and by which next hop; 0: nowhere.
  std::pair<Endpoint, std::uint32_t> goes_to() const {
    const AllocationEntry& entry = tables_.allocation(slot_);
    const std::uint32_t hop = entry.client_next_hop.load();
    if (hop != 0) return {entry.client, hop};
    const MoveEntry* moved = tables_.moved(slot_);
    if (moved == nullptr) return {{}, 0};
    return {moved->client, moved->client_next_hop.load()};
  }
  int held() const {
    int all = 0;
    for (const auto& [hop, count] : routes_.held) {
      EXPECT_GE(count, 0);
      all += count;
    }
    return all;
  }

  const std::uint8_t shards_;
  Qsbr qsbr_;
  Routes routes_;
  Tables tables_;
  TableWriter writer_;
  AllocationSlot slot_{};
};

INSTANTIATE_TEST_SUITE_P(Shards, Moves, testing::Values(1, 3));

TEST_P(Moves, BothFiveTuplesLeadToItUntilDataCome) {
  ASSERT_TRUE(begin(place(2), 7));
  EXPECT_TRUE(leads(place(1)));
  EXPECT_FALSE(leads(place(2))) << "the fast lane is not to know it";
  EXPECT_TRUE(leads_by_move(place(2)));
  EXPECT_FALSE(tables_.find_move(0, place(3)));
  EXPECT_FALSE(tables_.find_move(kSix, place(2))) << "of another listener";
  const MoveEntry& move = tables_.move(*tables_.find_move(0, place(2)));
  EXPECT_EQ(move.number, 7);
  EXPECT_EQ(move.generation, tables_.allocation(slot_).generation);
  EXPECT_FALSE(move.told.load());
  EXPECT_EQ(goes_to(), std::pair(place(1), 1U));
  go_round();
  EXPECT_EQ(goes_to(), std::pair(place(1), 1U));
}

TEST_P(Moves, GoesOnByTheNewFiveTupleAlone) {
  ASSERT_TRUE(begin(place(2)));
  writer_.complete_move(slot_);
  EXPECT_FALSE(leads(place(1)));
  EXPECT_TRUE(leads_by_move(place(2)));
  EXPECT_EQ(goes_to(), std::pair(place(2), 2U));
  EXPECT_EQ(tables_.allocation(slot_).client, place(1)) << "a reader may be at it";
  writer_.housekeeping();
  EXPECT_EQ(tables_.allocation(slot_).client, place(1));
  go_round();
  EXPECT_EQ(tables_.allocation(slot_).client, place(2));
  EXPECT_TRUE(leads(place(2)));
  EXPECT_TRUE(leads_by_move(place(2))) << "for who has found nothing before";
  EXPECT_EQ(goes_to(), std::pair(place(2), 2U));
  go_round();
  EXPECT_FALSE(leads_by_move(place(2)));
  EXPECT_EQ(tables_.moved(slot_), nullptr);
  EXPECT_TRUE(leads(place(2)));
  EXPECT_EQ(goes_to(), std::pair(place(2), 2U));
  EXPECT_EQ(held(), 1);
}

TEST_P(Moves, ToAnotherFamilyAndListener) {
  const Endpoint six{*Address::parse("2001:db8:9::9"), 4000};
  routes_.routes[six.address] = NextHopIndex{9};
  ASSERT_TRUE(begin(six));
  writer_.complete_move(slot_);
  EXPECT_EQ(goes_to(), std::pair(six, 9U));
  for (int i = 0; i < 2; ++i)
    go_round();
  EXPECT_TRUE(leads(six, kSix));
  EXPECT_FALSE(leads(six, 0));
  EXPECT_EQ(goes_to(), std::pair(six, 9U));
}

TEST_P(Moves, AnotherTakesItsPlace) {
  ASSERT_TRUE(begin(place(2)));
  ASSERT_TRUE(begin(place(3), 2));
  EXPECT_FALSE(leads_by_move(place(2)));
  EXPECT_TRUE(leads_by_move(place(3)));
  writer_.cancel_move(slot_);
  EXPECT_FALSE(leads_by_move(place(3)));
  EXPECT_TRUE(leads(place(1)));
  writer_.cancel_move(slot_);
}

// However far the one before has come.
TEST_P(Moves, OneAfterTheOther) {
  for (int rounds = 0; rounds < 4; ++rounds) {
    for (const std::uint8_t n : {2, 3, 4, 1}) {
      ASSERT_TRUE(begin(place(n)));
      writer_.complete_move(slot_);
      EXPECT_EQ(goes_to(), std::pair(place(n), std::uint32_t{n}));
      for (int i = 0; i < rounds; ++i) {
        go_round();
        EXPECT_EQ(goes_to(), std::pair(place(n), std::uint32_t{n}));
        EXPECT_TRUE(leads(place(n)) || leads_by_move(place(n)));
      }
      if (rounds == 0) go_round();  // or else there is no room left
    }
  }
  for (int i = 0; i < 3; ++i)
    go_round();
  EXPECT_TRUE(leads(place(1)));
  for (const std::uint8_t n : {2, 3, 4})
    EXPECT_FALSE(leads(place(n)) || leads_by_move(place(n)));
  EXPECT_EQ(held(), 1);
}

TEST_P(Moves, TwiceBeforeAReaderGoesRound) {
  ASSERT_TRUE(begin(place(2)));
  writer_.complete_move(slot_);
  ASSERT_TRUE(begin(place(3)));
  EXPECT_TRUE(leads_by_move(place(2)));
  EXPECT_TRUE(leads_by_move(place(3)));
  writer_.complete_move(slot_);
  EXPECT_FALSE(leads_by_move(place(2)));
  EXPECT_EQ(goes_to(), std::pair(place(3), 3U));
  for (int i = 0; i < 3; ++i)
    go_round();
  EXPECT_TRUE(leads(place(3)));
  EXPECT_EQ(held(), 1);
}

// Whenever that is.
TEST_P(Moves, EndsWithItsAllocation) {
  for (int rounds = 0; rounds < 4; ++rounds) {
    for (const bool pending : {false, true}) {
      ASSERT_TRUE(begin(place(2)));
      writer_.complete_move(slot_);
      for (int i = 0; i < rounds; ++i)
        go_round();
      EXPECT_TRUE(!pending || begin(place(3)));
      writer_.withdraw_allocation(slot_);
      for (const std::uint8_t n : {1, 2, 3}) {
        EXPECT_FALSE(tables_.find_client(0, place(n)));
        EXPECT_FALSE(tables_.find_move(0, place(n)));
      }
      EXPECT_EQ(held(), 0);
      for (int i = 0; i < 3; ++i)
        go_round();
      EXPECT_EQ(writer_.retired(), 0U);
      slot_ = *add(place(1), 50000);
      EXPECT_EQ(goes_to(), std::pair(place(1), 1U));
    }
  }
}

TEST_P(Moves, FollowsRoutesBetweenTwoFiveTuples) {
  ASSERT_TRUE(begin(place(2)));
  writer_.complete_move(slot_);
  routes_.routes[place(2).address] = NextHopIndex{12};
  ++routes_.now;
  writer_.housekeeping();
  EXPECT_EQ(goes_to(), std::pair(place(2), 12U));
  EXPECT_EQ(held(), 1);
  go_round();
  EXPECT_EQ(goes_to(), std::pair(place(2), 12U));
  routes_.routes[place(2).address] = NextHopIndex{13};
  ++routes_.now;
  writer_.housekeeping();
  EXPECT_EQ(goes_to(), std::pair(place(2), 13U));
  EXPECT_EQ(held(), 1);
}

TEST_P(Moves, WhatIsToldOfAPathIsNotOfTheNext) {
  tables_.allocation(slot_).lower_path_mtu(100, 600);
  ASSERT_TRUE(begin(place(2)));
  writer_.complete_move(slot_);
  go_round();
  EXPECT_EQ(tables_.allocation(slot_).path_mtu_at(101), PathMtu::kNone);
}

// Places come back only when no reader can be at them; until then there is none, and what was
// begun stays.
TEST_P(Moves, AsManyAsThereIsRoomFor) {
  for (std::uint8_t n = 0; n < kMost; ++n)
    ASSERT_TRUE(begin(place(static_cast<std::uint8_t>(2 + n))));
  EXPECT_FALSE(begin(place(10)));
  EXPECT_TRUE(leads_by_move(place(1 + kMost)));
  go_round();
  EXPECT_TRUE(begin(place(10)));
  EXPECT_TRUE(leads_by_move(place(10)));
}

}  // namespace
}  // namespace turnpike::flow

// The ledger of quotas: exact whoever asks at the same time.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "turn_world.h"
#include "turnpike/quota.h"

namespace turnpike {
namespace {

using namespace test;

FiveTuple numbered(std::uint32_t number) {
  const Address client =
      Address::v4(10, static_cast<std::uint8_t>(number >> 16),
                  static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number));
  return {ClientEndpoint{{client, 1000}}, {kServer, 3478}, Transport::kUdp};
}

TEST(QuotaLedger, IsExactWhereManyThreadsAskAtOnce) {
  QuotaLedger ledger(100, 150, true);
  std::atomic<std::uint32_t> granted{0};
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i, name = i % 2 == 0 ? "alice" : "bob"] {
      for (std::uint32_t k = 0; k < 1000; ++k) {
        if (ledger.reserve({name}, numbered(i * 1000 + k)) == QuotaLedger::Verdict::kReserved)
          ++granted;
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_LE(ledger.count({"alice"}), 100U);
  EXPECT_LE(ledger.count({"bob"}), 100U);
  EXPECT_EQ(ledger.count({"alice"}) + ledger.count({"bob"}), granted);
  EXPECT_EQ(granted, 150U);
}

TEST(QuotaLedger, CountsAllUsersTogether) {
  QuotaLedger ledger(0, 1, false);
  EXPECT_EQ(ledger.reserve({"alice"}, numbered(1)), QuotaLedger::Verdict::kReserved);
  EXPECT_EQ(ledger.reserve({"bob"}, numbered(2)), QuotaLedger::Verdict::kFull);
  ledger.release({"alice"}, numbered(1));
  EXPECT_EQ(ledger.reserve({"bob"}, numbered(2)), QuotaLedger::Verdict::kReserved);
}

// All of them at one address, and each of a user of its own.
TEST(QuotaLedger, IsExactForASourceWhereManyThreadsAskAtOnce) {
  QuotaLedger ledger({0}, 0, true, 100);
  const auto here = [](std::uint32_t number) {
    FiveTuple five_tuple = numbered(0);
    five_tuple.client.port = static_cast<std::uint16_t>(number);
    return five_tuple;
  };
  std::vector<std::thread> threads;
  std::atomic<std::uint32_t> granted{0};
  for (std::uint32_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint32_t k = 0; k < 1000; ++k) {
        const QuotaUser user{std::to_string(i * 1000 + k)};
        const auto verdict = ledger.reserve(user, here(i * 1000 + k));
        if (verdict == QuotaLedger::Verdict::kReserved) ++granted;
        if (verdict == QuotaLedger::Verdict::kReserved && k % 2 == 0) {
          ledger.release(user, here(i * 1000 + k));
          --granted;
        }
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(granted, 100U);
  EXPECT_EQ(ledger.count_of_source(numbered(0).client.address), 100U);
  EXPECT_EQ(ledger.reserve({"other"}, here(9999)), QuotaLedger::Verdict::kSourceOverQuota);
  EXPECT_EQ(ledger.reserve({"other"}, numbered(1)), QuotaLedger::Verdict::kReserved);
}

TEST(QuotaLedger, CountsAUserOfEachRealmByHimself) {
  using Thing = QuotaLedger::Thing;
  QuotaLedger ledger({1, 2, 0}, 0, false);
  EXPECT_EQ(ledger.reserve({"alice", 0}, numbered(1)), QuotaLedger::Verdict::kReserved);
  EXPECT_EQ(ledger.reserve({"alice", 1}, numbered(2)), QuotaLedger::Verdict::kReserved);
  EXPECT_EQ(ledger.reserve({"alice", 1}, numbered(3)), QuotaLedger::Verdict::kOverQuota);
  EXPECT_TRUE(ledger.reserve({"alice", 0}, Thing::kPermission, 2));
  EXPECT_TRUE(ledger.reserve({"alice", 1}, Thing::kPermission, 2));
  EXPECT_FALSE(ledger.reserve({"alice", 0}, Thing::kPermission, 1));
  ledger.release({"alice", 1}, numbered(2));
  EXPECT_EQ(ledger.count({"alice", 0}), 1U);
  EXPECT_EQ(ledger.count({"alice", 1}), 0U);
  EXPECT_EQ(ledger.count({"alice", 1}, Thing::kPermission), 2U);
}

TEST(QuotaLedger, KeepsAUsersOwnLimitsUntilHisNextAllocation) {
  using Thing = QuotaLedger::Thing;
  QuotaLedger ledger({1, 1, 1}, 0, true);
  const UserLimits large{3, 4, 0};
  EXPECT_EQ(ledger.reserve({"alice"}, numbered(1), nullptr, large),
            QuotaLedger::Verdict::kReserved);
  EXPECT_TRUE(ledger.reserve({"alice"}, Thing::kPermission, 4));
  EXPECT_FALSE(ledger.reserve({"alice"}, Thing::kPermission, 1));
  EXPECT_TRUE(ledger.reserve({"alice"}, Thing::kChannel, 1000)) << "0: no limit";
  EXPECT_EQ(ledger.reserve({"alice"}, numbered(2)), QuotaLedger::Verdict::kOverQuota);
  EXPECT_TRUE(ledger.reserve({"alice"}, Thing::kAllocation, 2)) << "a refusal changes nothing";
  ledger.release({"alice"}, Thing::kAllocation, 2);
  // One that takes up a reservation says whose limits hold, as any other.
  const Address from = numbered(3).client.address;
  EXPECT_EQ(ledger.reserve({"alice"}, numbered(3), &from), QuotaLedger::Verdict::kReserved);
  EXPECT_FALSE(ledger.reserve({"alice"}, Thing::kChannel, 1));
  EXPECT_EQ(ledger.reserve({"bob"}, numbered(4)), QuotaLedger::Verdict::kReserved);
  EXPECT_EQ(ledger.reserve({"bob"}, numbered(5)), QuotaLedger::Verdict::kOverQuota);
}

// What a user relays is limited by his number: ending all he has and coming back is no way to more.
TEST(QuotaLedger, GivesWhoComesBackHisNumberAgain) {
  QuotaLedger ledger(0, 0, true);
  const auto come = [&](const char* name, std::uint32_t which) {
    EXPECT_EQ(ledger.reserve({name}, numbered(which)), QuotaLedger::Verdict::kReserved);
    return ledger.number({name});
  };
  const auto go = [&](const char* name, std::uint32_t which) {
    ledger.release({name}, numbered(which));
    EXPECT_EQ(ledger.count({name}), 0U);
  };
  const std::uint32_t alice = come("alice", 1), bob = come("bob", 2);
  EXPECT_NE(alice, bob);
  for (int i = 0; i < 100; ++i) {
    go("alice", 1);
    EXPECT_EQ(ledger.number({"alice"}), 0U) << "she has nothing";
    EXPECT_EQ(come("alice", 1), alice);
  }
}

// There are no more numbers than users at a time, twice: what goes by them has so much room.
TEST(QuotaLedger, HasFewNumbersForManyUsers) {
  QuotaLedger ledger(0, 0, true);
  std::set<std::uint32_t> numbers;
  const auto name = [](std::uint32_t i) { return std::to_string(i); };
  for (std::uint32_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(ledger.reserve({name(i)}, numbered(i)), QuotaLedger::Verdict::kReserved);
    numbers.insert(ledger.number({name(i)}));
    for (std::uint32_t k = i < 10 ? 0 : i - 9; k < i; ++k)
      ASSERT_NE(ledger.number({name(k)}), ledger.number({name(i)})) << "two have one";
    if (i >= 9) ledger.release({name(i - 9)}, numbered(i - 9));
  }
  EXPECT_LE(numbers.size(), 22U);
}

TEST(QuotaLedger, RemembersNoLimitsOfWhoHasNothing) {
  QuotaLedger ledger({1, 1, 0}, 0, false);
  ASSERT_EQ(ledger.reserve({"alice"}, numbered(1), nullptr, UserLimits{0}),
            QuotaLedger::Verdict::kReserved);
  ledger.release({"alice"}, numbered(1));
  EXPECT_TRUE(ledger.reserve({"alice"}, QuotaLedger::Thing::kPermission, 1));
  EXPECT_FALSE(ledger.reserve({"alice"}, QuotaLedger::Thing::kPermission, 1));
}

}  // namespace
}  // namespace turnpike

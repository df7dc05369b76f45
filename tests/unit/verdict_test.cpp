// What one direction's half of a verdict comes to, packet by packet.
#include <gtest/gtest.h>

#include "flow/verdict.h"

namespace turnpike::flow {
namespace {

using policy::RuleAction;

constexpr std::uint16_t kEpoch = 7;
constexpr Finding::Seen kNothing{.scanned = 4};
Finding::Seen seen(policy::RuleNumber rule, RuleAction action, bool decides,
                   std::uint8_t scanned = 4) {
  return {.rule = rule, .action = action, .decides = decides, .scanned = scanned};
}

TEST(Verdict, PassesPlainlyAfterSoManyPackets) {
  for (const std::uint8_t scanned : {1, 2, 4, 8}) {
    Finding finding(0, kEpoch);
    for (int i = 0; i < scanned; ++i) {
      ASSERT_TRUE(finding.is_open());
      EXPECT_EQ(finding.add({.scanned = scanned}), Lot::kPass);
    }
    EXPECT_FALSE(finding.is_open());
    EXPECT_EQ(finding.half(), Finding::plain_pass(kEpoch));
  }
}

TEST(Verdict, OfTheClientIsTheFirstUnwelcomePackets) {
  for (const auto& [action, lot] :
       {std::pair{RuleAction::kDrop, Lot::kDrop}, std::pair{RuleAction::kLimit, Lot::kLimit},
        std::pair{RuleAction::kEnd, Lot::kEnd}}) {
    Finding finding(0, kEpoch);
    finding.add(kNothing);
    EXPECT_EQ(finding.add(seen(2047, action, true)), lot);
    EXPECT_FALSE(finding.is_open());
    EXPECT_EQ(finding.lot(), lot);
    EXPECT_EQ(finding.rule(), 2047);
  }
}

TEST(Verdict, OfAPeerIsNotDecidedByOnePacket) {
  for (const std::uint8_t scanned : {1, 2, 4, 8}) {
    Finding finding(0, kEpoch);
    EXPECT_EQ(finding.add(seen(3, RuleAction::kDrop, false, scanned)), Lot::kDrop);
    ASSERT_TRUE(finding.is_open());
    for (int i = 1; finding.is_open(); ++i) {
      ASSERT_LE(i, scanned);
      EXPECT_EQ(finding.add({.scanned = scanned}), Lot::kPass);
    }
    EXPECT_EQ(finding.half(), Finding::plain_pass(kEpoch));
  }
}

TEST(Verdict, OfAPeerIsDecidedByAllOfTheFirst) {
  for (const std::uint8_t scanned : {1, 2, 4, 8}) {
    Finding finding(0, kEpoch);
    for (int i = 0; i < std::max<int>(scanned, 2); ++i) {
      ASSERT_TRUE(finding.is_open());
      EXPECT_EQ(finding.add(seen(3, RuleAction::kDrop, false, scanned)), Lot::kDrop);
    }
    EXPECT_FALSE(finding.is_open());
    EXPECT_EQ(finding.lot(), Lot::kDrop);
    EXPECT_EQ(finding.rule(), 3);
  }
}

TEST(Verdict, OfAPeerNeverEndsAnAllocation) {
  Finding finding(0, kEpoch);
  while (finding.is_open())
    EXPECT_EQ(finding.add(seen(3, RuleAction::kEnd, false)), Lot::kDrop);
  EXPECT_EQ(finding.lot(), Lot::kDrop);
}

TEST(Verdict, OfACountingRuleKeepsIt) {
  Finding finding(0, kEpoch);
  finding.add(kNothing);
  finding.add(seen(5, RuleAction::kCount, true));
  finding.add(seen(6, RuleAction::kCount, true));
  finding.add(kNothing);
  EXPECT_FALSE(finding.is_open());
  EXPECT_EQ(finding.lot(), Lot::kPass);
  EXPECT_EQ(finding.rule(), 5);
}

TEST(Verdict, OfOtherRulesCountsForNothing) {
  const Finding finding(Finding::plain_pass(kEpoch), kEpoch + 1);
  EXPECT_TRUE(finding.is_open());
  EXPECT_NE(finding.half(), Finding::plain_pass(kEpoch + 1));
}

TEST(Verdict, HalvesDoNotTouch) {
  const std::uint64_t word = with_verdict_half(0, true, 0xAABB'CCDD);
  EXPECT_EQ(verdict_half(word, true), 0xAABB'CCDDU);
  EXPECT_EQ(verdict_half(word, false), 0U);
  const std::uint64_t both = with_verdict_half(word, false, 0x1122'3344);
  EXPECT_EQ(verdict_half(both, true), 0xAABB'CCDDU);
  EXPECT_EQ(verdict_half(both, false), 0x1122'3344U);
}

}  // namespace
}  // namespace turnpike::flow

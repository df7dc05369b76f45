// Rules over who asks: which one counts, what it says, and what is refused as a rule.
#include <gtest/gtest.h>

#include "policy/identity_rules.h"

namespace turnpike::policy {
namespace {

using Of = IdentityAttribute;

std::variant<std::shared_ptr<const IdentityRules>, PatternError> compile(
    std::vector<IdentityRule> rules, std::uint8_t shards = 1) {
  return IdentityRules::make({.rules = std::move(rules), .shards = shards, .build = {}});
}

std::shared_ptr<const IdentityRules> made(std::vector<IdentityRule> rules,
                                          std::uint8_t shards = 1) {
  return std::get<std::shared_ptr<const IdentityRules>>(compile(std::move(rules), shards));
}

IdentityRule refusing(const char* name, Of attribute, const char* pattern, bool caseless = false) {
  return {name, attribute, {.expression = pattern, .caseless = caseless}, true, std::nullopt};
}
IdentityRule allowing(const char* name, Of attribute, const char* pattern) {
  return {name, attribute, {.expression = pattern}, false, std::nullopt};
}
IdentityRule limiting(const char* name, Of attribute, const char* pattern, std::uint32_t most) {
  return {name, attribute, {.expression = pattern}, false, UserLimits{most, 2 * most, 3 * most}};
}

TEST(IdentityRules, HoldAPatternAgainstItsAttributeAlone) {
  const IdentityAttributes texts[] = {
      {"evil", "", "", ""}, {"", "evil", "", ""}, {"", "", "evil", ""}, {"", "", "", "evil"}};
  for (std::size_t of = 0; of < kIdentityAttributes; ++of) {
    const auto rules = made({refusing("evil", static_cast<Of>(of), "^evil$")});
    for (std::size_t is = 0; is < kIdentityAttributes; ++is)
      EXPECT_EQ(rules->judge(0, texts[is]).refused, is == of) << of << ", " << is;
  }
}

TEST(IdentityRules, OfSeveralThatMatchCountTheFirstOfTheFileWhicheverItsAttribute) {
  const auto rules =
      made({allowing("friends", Of::kSoftware, "^friend"), refusing("bots", Of::kUsername, "^bot"),
            limiting("gateways", Of::kSoftware, "gate", 100), refusing("rest", Of::kRealm, ".")});
  EXPECT_FALSE(rules->judge(0, {"bot1", "example.org", "", "friendly gate"}).refused);
  EXPECT_TRUE(rules->judge(0, {"bot1", "example.org", "", "gate"}).refused);
  const IdentityVerdict gateway = rules->judge(0, {"alice", "example.org", "", "gate"});
  EXPECT_FALSE(gateway.refused);
  EXPECT_EQ(gateway.limits, (UserLimits{100, 200, 300}));
  const IdentityVerdict rest = rules->judge(0, {"alice", "example.org", "", ""});
  EXPECT_TRUE(rest.refused);
  EXPECT_EQ(rest.limits, std::nullopt);
  for (std::size_t rule = 0; rule < 4; ++rule)
    EXPECT_EQ(rules->requests(rule), 1U) << rule;
}

TEST(IdentityRules, LetInWhomNoneMatchesAndWhatIsAbsentMatchesNone) {
  const auto rules =
      made({refusing("any", Of::kOrigin, "."), refusing("x", Of::kSoftware, "^x?y")});
  const IdentityVerdict verdict = rules->judge(0, {"alice", "example.org", "", ""});
  EXPECT_FALSE(verdict.refused);
  EXPECT_EQ(verdict.limits, std::nullopt);
  EXPECT_EQ(rules->requests(0) + rules->requests(1), 0U);
}

TEST(IdentityRules, HeedNoCaseWhereTheyAreToldNotTo) {
  const auto rules = made(
      {refusing("one", Of::kUsername, "^evil"), refusing("other", Of::kSoftware, "^evil", true)});
  EXPECT_FALSE(rules->judge(0, {"EVIL", "", "", ""}).refused);
  EXPECT_TRUE(rules->judge(0, {"", "", "", "EvIl"}).refused);
}

TEST(IdentityRules, SeeAttributesOfAllBytesAndOfTheGreatestSize) {
  const auto rules = made({refusing("end", Of::kSoftware, "\\x00end$")});
  std::string text(759, '\0');
  EXPECT_FALSE(rules->judge(0, {"", "", "", text}).refused);
  text += "end";
  EXPECT_TRUE(rules->judge(0, {"", "", "", text}).refused);
}

TEST(IdentityRules, AreCountedOfAllShardsTogether) {
  const auto rules = made({allowing("all", Of::kUsername, ".")}, 3);
  for (std::uint8_t shard = 0; shard < 3; ++shard)
    rules->judge(shard, {"alice", "", "", ""});
  EXPECT_EQ(rules->requests(0), 3U);
}

TEST(IdentityRules, ThatAreWrongAreToldByTheirPlaceAmongAll) {
  const auto bad = compile({allowing("a", Of::kUsername, "a"), allowing("b", Of::kRealm, "b"),
                            allowing("c", Of::kRealm, "c(")});
  ASSERT_TRUE(std::holds_alternative<PatternError>(bad));
  EXPECT_EQ(std::get<PatternError>(bad).pattern, 2U);
  const auto empty = compile({allowing("a", Of::kOrigin, "a"), allowing("b", Of::kUsername, "b*")});
  ASSERT_TRUE(std::holds_alternative<PatternError>(empty));
  EXPECT_EQ(std::get<PatternError>(empty).pattern, 1U);
}

TEST(IdentityRules, AreNotMoreThanMetricsBear) {
  std::vector<IdentityRule> many(IdentityRules::kMostRules + 1, allowing("a", Of::kUsername, "a"));
  const auto result = compile(std::move(many));
  ASSERT_TRUE(std::holds_alternative<PatternError>(result));
  EXPECT_EQ(std::get<PatternError>(result).pattern, PatternError::kWholeSet);
}

}  // namespace
}  // namespace turnpike::policy

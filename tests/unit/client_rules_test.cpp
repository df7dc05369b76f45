// Which clients are answered: everyone, some, or all but some.
#include "policy/client_rules.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace turnpike::policy {
namespace {

Address at(const std::string& text) {
  return Address::parse(text).value();
}
PrefixSet set_of(const std::vector<std::string>& texts) {
  std::vector<Prefix> prefixes;
  for (const std::string& text : texts)
    prefixes.push_back(Prefix::parse(text).value());
  return PrefixSet(prefixes);
}

TEST(ClientRules, AnswerEveryoneUnlessTold) {
  EXPECT_TRUE(ClientRules().answer_everyone());
  EXPECT_TRUE(ClientRules().answer(at("192.0.2.1")));
  EXPECT_TRUE(ClientRules().answer(at("2001:db8::1")));
}

TEST(ClientRules, AnswerOnlyWhomTheyAllow) {
  const ClientRules rules(set_of({"11.0.0.0/8"}), {});
  EXPECT_FALSE(rules.answer_everyone());
  EXPECT_TRUE(rules.answer(at("11.1.2.3")));
  EXPECT_FALSE(rules.answer(at("12.1.2.3")));
  EXPECT_FALSE(rules.answer(at("2001:db8::1")));
}

TEST(ClientRules, DenyEvenWithinWhatTheyAllow) {
  const ClientRules rules(set_of({"11.0.0.0/8"}), set_of({"11.1.0.0/16", "2001:db8::/32"}));
  EXPECT_TRUE(rules.answer(at("11.2.0.0")));
  EXPECT_FALSE(rules.answer(at("11.1.0.0")));
  const ClientRules deny_only({}, set_of({"11.1.0.0/16", "2001:db8::/32"}));
  EXPECT_TRUE(deny_only.answer(at("11.2.0.0")));
  EXPECT_TRUE(deny_only.answer(at("2001:db9::")));
  EXPECT_FALSE(deny_only.answer(at("11.1.255.255")));
  EXPECT_FALSE(deny_only.answer(at("2001:db8::1")));
}

}  // namespace
}  // namespace turnpike::policy

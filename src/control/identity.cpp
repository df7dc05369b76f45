// A class becomes the limits that its allocations_per_user stands for, in each rule that names it.
#include "control/identity.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>
#include <variant>

#include "control/fit.h"
#include "control/patterns.h"
#include "control/settings.h"

namespace turnpike::control {
namespace {

using config::IdentityRuleConfig;

policy::IdentityAttribute attribute_of(IdentityRuleConfig::Attribute attribute) {
  switch (attribute) {
    case IdentityRuleConfig::Attribute::kUsername:
      return policy::IdentityAttribute::kUsername;
    case IdentityRuleConfig::Attribute::kRealm:
      return policy::IdentityAttribute::kRealm;
    case IdentityRuleConfig::Attribute::kOrigin:
      return policy::IdentityAttribute::kOrigin;
    case IdentityRuleConfig::Attribute::kSoftware:
      return policy::IdentityAttribute::kSoftware;
  }
  throw std::logic_error("no such attribute");
}

// The configuration's checks have found the class.
std::optional<UserLimits> limits_of(const IdentityRuleConfig& rule, const config::Config& config) {
  if (rule.action != IdentityRuleConfig::Action::kClass) return std::nullopt;
  const auto& classes = config.identity.classes;
  const auto found = std::find_if(classes.begin(), classes.end(),
                                  [&](const auto& one) { return one.name == rule.of_class; });
  return user_limits(config, found->allocations_per_user);
}

}  // namespace

std::shared_ptr<const policy::IdentityRules> make_identity_rules(const config::Config& config) {
  if (config.identity.rules.empty()) return nullptr;
  policy::IdentityRules::Config rules;
  for (const IdentityRuleConfig& rule : config.identity.rules) {
    rules.rules.push_back({.name = rule.name,
                           .attribute = attribute_of(rule.attribute),
                           .pattern = {.expression = rule.pattern, .caseless = rule.caseless},
                           .refuses = rule.action == IdentityRuleConfig::Action::kDeny,
                           .limits = limits_of(rule, config)});
  }
  rules.shards = config.shards;
  rules.build = pattern_build(config, "identity");
  auto made = policy::IdentityRules::make(std::move(rules));
  if (const auto* error = std::get_if<policy::PatternError>(&made)) {
    if (error->pattern == policy::PatternError::kWholeSet)
      throw Misfit("identity.rule: " + error->problem);
    refuse(config.identity.rules[error->pattern].where, "pattern", error->problem);
  }
  return std::get<std::shared_ptr<const policy::IdentityRules>>(std::move(made));
}

std::vector<observe::IdentityRuleUse> use_of(const policy::IdentityRules& rules) {
  std::vector<observe::IdentityRuleUse> uses;
  for (std::size_t i = 0; i < rules.rules().size(); ++i)
    uses.push_back({rules.rules()[i].name, rules.requests(i)});
  return uses;
}

}  // namespace turnpike::control

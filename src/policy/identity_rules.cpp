// Each attribute has a set of its own: a pattern is held against nothing but what it is about. A
// match tells its rule's place among all, so the lowest one told by any set is the rule.
#include "policy/identity_rules.h"

#include <algorithm>
#include <cassert>
#include <span>
#include <string_view>
#include <utility>

namespace turnpike::policy {

IdentityRules::IdentityRules(Config config) : rules_(std::move(config.rules)) {
  assert(!rules_.empty() && rules_.size() <= kMostRules);
  for (std::uint8_t shard = 0; shard < config.shards; ++shard) {
    shards_.push_back(std::make_unique<Shard>());
    shards_.back()->counts = std::make_unique<Counter[]>(rules_.size());
  }
}

std::variant<std::shared_ptr<const IdentityRules>, PatternError> IdentityRules::make(
    Config config) {
  if (config.rules.size() > kMostRules) {
    return PatternError{
        PatternError::kWholeSet,
        std::to_string(config.rules.size()) + " rules: more than " + std::to_string(kMostRules)};
  }
  const PatternBuild build = config.build;
  std::shared_ptr<IdentityRules> made(new IdentityRules(std::move(config)));
  std::array<std::vector<Pattern>, kIdentityAttributes> patterns;
  for (std::size_t i = 0; i < made->rules_.size(); ++i) {
    IdentityRule& rule = made->rules_[i];
    rule.pattern.id = static_cast<std::uint32_t>(i);
    patterns[static_cast<std::size_t>(rule.attribute)].push_back(rule.pattern);
  }
  for (std::size_t of = 0; of < kIdentityAttributes; ++of) {
    if (patterns[of].empty()) continue;
    auto compiled = PatternSet::make(patterns[of], build);
    if (auto* error = std::get_if<PatternError>(&compiled)) {
      if (error->pattern != PatternError::kWholeSet)
        error->pattern = patterns[of][error->pattern].id;
      return std::move(*error);
    }
    made->sets_[of] = std::make_unique<const PatternSet>(std::move(std::get<PatternSet>(compiled)));
    for (const std::unique_ptr<Shard>& shard : made->shards_)
      shard->scratch[of] = std::make_unique<Scratch>(*made->sets_[of]);
  }
  return made;
}

IdentityVerdict IdentityRules::judge(std::uint8_t shard,
                                     const IdentityAttributes& attributes) const {
  const std::array<std::string_view, kIdentityAttributes> texts{
      attributes.username, attributes.realm, attributes.origin, attributes.software};
  std::size_t first = rules_.size();
  for (std::size_t of = 0; of < kIdentityAttributes; ++of) {
    if (!sets_[of] || texts[of].empty()) continue;
    const std::span bytes(reinterpret_cast<const std::uint8_t*>(texts[of].data()),
                          texts[of].size());
    shards_[shard]->scratch[of]->scan(
        *sets_[of], bytes, [&](unsigned rule) { first = std::min<std::size_t>(first, rule); });
  }
  if (first == rules_.size()) return {};
  shards_[shard]->counts[first].add();
  return {rules_[first].refuses, rules_[first].limits};
}

std::uint64_t IdentityRules::requests(std::size_t rule) const {
  std::uint64_t all = 0;
  for (const std::unique_ptr<Shard>& shard : shards_)
    all += shard->counts[rule].get();
  return all;
}

std::size_t IdentityRules::bytes() const {
  std::size_t all = 0;
  for (const auto& set : sets_)
    all += set ? set->bytes() : 0;
  return all;
}

PatternOrigin IdentityRules::origin() const {
  PatternOrigin all;
  for (const auto& set : sets_) {
    if (set) all.add(set->origin());
  }
  return all;
}

}  // namespace turnpike::policy

// A match tells a rule's number, so the lowest one told is the rule.
#include "policy/payload_rules.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace turnpike::policy {
namespace {

constexpr std::uint64_t kLeastBurst = 2000;  // bytes: any packet passes at times

}  // namespace

PayloadRules::PayloadRules(Config config)
    : rules_(std::move(config.rules)), scanned_(config.scanned), epoch_(config.epoch) {
  assert(scanned_ >= 1 && scanned_ <= kMostScanned && epoch_ != 0 && rules_.size() <= kMostRules);
  if (config.drops_unknown) {
    rules_.push_back({.name = "unknown", .action = RuleAction::kDrop});
    unknown_ = static_cast<RuleNumber>(rules_.size());
  }
  asked_.push_back({});  // of no rule
  for (const PayloadRule& rule : rules_)
    asked_.push_back({rule.from_peer, rule.from_client});
  meters_ = std::make_unique<SharedMeter[]>(rules_.size());
  for (const PayloadRule& rule : rules_) {
    const std::uint64_t bytes = rule.bits_per_second / 8;
    rates_.emplace_back(bytes, std::max(bytes / 10, kLeastBurst), config.workers);
  }
  for (std::uint16_t worker = 0; worker < config.workers; ++worker) {
    workers_.push_back(std::make_unique<Worker>());
    workers_.back()->counts = std::make_unique<RuleCounts[]>(rules_.size());
    workers_.back()->credits = std::make_unique<Credit[]>(rules_.size());
  }
}

std::variant<std::shared_ptr<const PayloadRules>, PatternError> PayloadRules::make(Config config) {
  if (config.rules.size() > kMostRules) {
    return PatternError{
        PatternError::kWholeSet,
        std::to_string(config.rules.size()) + " rules: more than " + std::to_string(kMostRules)};
  }
  const PatternBuild build = config.build;
  std::shared_ptr<PayloadRules> made(new PayloadRules(std::move(config)));
  std::vector<Pattern> all;
  std::vector<std::size_t> whose;
  for (std::size_t i = 0; i < made->rules_.size(); ++i) {
    for (Pattern& pattern : made->rules_[i].patterns) {
      pattern.id = static_cast<std::uint32_t>(i + 1);
      all.push_back(pattern);
      whose.push_back(i);
    }
  }
  if (all.empty()) return made;
  auto compiled = PatternSet::make(all, build);
  if (auto* error = std::get_if<PatternError>(&compiled)) {
    if (error->pattern != PatternError::kWholeSet) error->pattern = whose[error->pattern];
    return std::move(*error);
  }
  made->set_ = std::make_unique<const PatternSet>(std::move(std::get<PatternSet>(compiled)));
  for (const std::unique_ptr<Worker>& worker : made->workers_)
    worker->scratch = std::make_unique<Scratch>(*made->set_);
  return made;
}

RuleNumber PayloadRules::match(std::uint16_t worker, std::span<const std::uint8_t> body,
                               bool from_client) const {
  constexpr unsigned kNone = 0xFFFF'FFFF;
  unsigned first = kNone;
  if (set_) {
    workers_[worker]->scratch->scan(*set_, body, [&](unsigned id) {
      if (asked_[id][from_client ? 1 : 0]) first = std::min(first, id);
    });
  }
  return first == kNone ? unknown_ : static_cast<RuleNumber>(first);
}

bool PayloadRules::keeps_rate(std::uint16_t worker, RuleNumber rule, std::uint64_t now_ms,
                              std::size_t bytes) const {
  Credit& credit = workers_[worker]->credits[rule - 1u];
  const auto units = static_cast<std::uint32_t>(bytes);
  if (!credit.has(now_ms, rates_[rule - 1u], meters_[rule - 1u], units)) return false;
  credit.take(units);
  return true;
}

}  // namespace turnpike::policy

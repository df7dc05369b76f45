// What payload rules are to make of a packet, as docs/protocol.md and flow/verdict.h say it and not
// as they do it: of each flow and direction, all packets since the rules are these.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "flow/verdict.h"
#include "model.h"
#include "policy/payload_rules.h"
#include "watched_writer.h"

namespace turnpike::simulation {

using flow::Lot;
using policy::PayloadRules;
using policy::RuleAction;
using policy::RuleNumber;

// A rule for each of the words that bodies begin with, and the set that is made of them.
struct Rules {
  static constexpr std::array<const char*, 6> kWords{"a", "b", "c", "d", "e", "f"};

  // Of a rule that limits; the burst as PayloadRules has it.
  static constexpr std::uint64_t kBytesPerSecond = 10'000, kBurst = 2'000;

  PayloadRules::Config config;
  std::shared_ptr<const PayloadRules> set;

  // 0: none.
  RuleNumber match(std::size_t word, bool to_client) const {
    const policy::PayloadRule& rule = config.rules[word];
    if (to_client ? rule.from_peer : rule.from_client) return static_cast<RuleNumber>(word + 1);
    return config.drops_unknown ? unknown() : RuleNumber{0};
  }
  RuleNumber unknown() const { return static_cast<RuleNumber>(kWords.size() + 1); }
  RuleAction action(RuleNumber rule) const {
    if (rule == 0) return RuleAction::kAllow;
    return rule == unknown() ? RuleAction::kDrop : config.rules[rule - 1U].action;
  }
};

// `Random`: below() a bound.
template <typename Random>
Rules some_rules(Random&& below, std::uint16_t epoch, std::uint16_t workers) {
  static constexpr std::array<RuleAction, 5> kActions{RuleAction::kAllow, RuleAction::kCount,
                                                      RuleAction::kLimit, RuleAction::kDrop,
                                                      RuleAction::kEnd};
  Rules rules;
  for (const char* word : Rules::kWords) {
    const auto directions = below(6);  // most are for both
    rules.config.rules.push_back({.name = word,
                                  .patterns = {{std::string("^") + word}},
                                  .from_client = directions != 0,
                                  .from_peer = directions != 1,
                                  .action = kActions[below(kActions.size())],
                                  .bits_per_second = 8 * Rules::kBytesPerSecond});
  }
  rules.config.scanned = static_cast<std::uint8_t>(1 + below(PayloadRules::kMostScanned));
  rules.config.drops_unknown = below(3) == 0;
  rules.config.epoch = epoch;
  rules.config.workers = workers;
  auto made = PayloadRules::make(rules.config);
  require(std::holds_alternative<std::shared_ptr<const PayloadRules>>(made), "no rules");
  rules.set = std::get<0>(std::move(made));
  return rules;
}

class VerdictModel {
 public:
  struct Outcome {
    Lot lot{};
    RuleNumber rule = 0;
  };

  // Of the flow that is a permission's or channel's `birth`.
  Outcome judge(const Rules& rules, Birth birth, bool to_client, std::size_t word) {
    Direction& one = flows_[{birth, to_client}];
    if (one.epoch != rules.config.epoch) one = {.epoch = rules.config.epoch};
    if (one.decided) return *one.decided;
    const RuleNumber rule = rules.match(word, to_client);
    const Outcome outcome{lot_of(rules.action(rule), to_client), rule};
    one.seen.push_back(outcome);
    const bool welcome = outcome.lot == Lot::kPass;
    if (!welcome && !to_client && rule != rules.unknown()) {
      // Whose end has been asked for is dropped until it comes.
      one.decided = {outcome.lot == Lot::kEnd ? Lot::kDrop : outcome.lot, rule};
      return outcome;
    }
    const bool any_welcome = std::any_of(one.seen.begin(), one.seen.end(), [](const Outcome& seen) {
      return seen.lot == Lot::kPass;
    });
    const std::size_t scanned = rules.config.scanned;
    if (any_welcome && one.seen.size() >= scanned) one.decided = {Lot::kPass, 0};
    if (!any_welcome && one.seen.size() >= std::max<std::size_t>(scanned, 2)) one.decided = outcome;
    return outcome;
  }

 private:
  struct Direction {
    std::uint16_t epoch = 0;
    std::vector<Outcome> seen;
    std::optional<Outcome> decided;
  };
  static Lot lot_of(RuleAction action, bool to_client) {
    switch (action) {
      case RuleAction::kAllow:
      case RuleAction::kCount:
        return Lot::kPass;
      case RuleAction::kLimit:
        return Lot::kLimit;
      case RuleAction::kDrop:
        return Lot::kDrop;
      case RuleAction::kEnd:
        return to_client ? Lot::kDrop : Lot::kEnd;
    }
    return Lot::kPass;
  }

  std::map<std::pair<Birth, bool>, Direction> flows_;
};

}  // namespace turnpike::simulation

// A rule of a protocol becomes one rule of each protocol that its name stands for.
#include "control/payload.h"

#include <set>
#include <string>
#include <utility>
#include <variant>

#include "control/fit.h"
#include "control/patterns.h"
#include "policy/protocols.h"

namespace turnpike::control {
namespace {

using config::PayloadRuleConfig;

policy::RuleAction action_of(PayloadRuleConfig::Action action) {
  switch (action) {
    case PayloadRuleConfig::Action::kAllow:
      return policy::RuleAction::kAllow;
    case PayloadRuleConfig::Action::kCount:
      return policy::RuleAction::kCount;
    case PayloadRuleConfig::Action::kLimit:
      return policy::RuleAction::kLimit;
    case PayloadRuleConfig::Action::kDrop:
      return policy::RuleAction::kDrop;
    case PayloadRuleConfig::Action::kEnd:
      return policy::RuleAction::kEnd;
  }
  throw std::logic_error("no such action");
}

// Collects rules, each with the place where it was written, under names of their own.
class Collector {
 public:
  void add(const PayloadRuleConfig& from, const std::string& name,
           std::vector<policy::Pattern> patterns) {
    std::string unique = name;
    for (int n = 2; !names_.insert(unique).second; ++n)
      unique = name + "-" + std::to_string(n);
    rules_.push_back({.name = unique,
                      .patterns = std::move(patterns),
                      .from_client = from.from != PayloadRuleConfig::Direction::kPeer,
                      .from_peer = from.from != PayloadRuleConfig::Direction::kClient,
                      .action = action_of(from.action),
                      .bits_per_second = from.rate});
    origins_.push_back(&from);
  }
  void add(const PayloadRuleConfig& from) {
    if (from.protocol.empty())
      return add(from, from.name, {{.expression = from.pattern, .caseless = from.caseless}});
    const std::vector<std::string_view> protocols = policy::protocols_named(from.protocol);
    if (protocols.empty()) {
      std::string known = "abuse, webrtc";
      for (const policy::Protocol& protocol : policy::protocols())
        known += ", " + std::string(protocol.name);
      refuse(from.where, "protocol",
             "expected one of " + known + "; found \"" + from.protocol + "\"");
    }
    for (const std::string_view protocol : protocols) {
      const bool named = !from.name.empty() && protocols.size() == 1;
      add(from, named ? from.name : std::string(protocol), policy::patterns_of(protocol, 0));
    }
  }
  std::vector<policy::PayloadRule> take() { return std::move(rules_); }
  const PayloadRuleConfig* origin(std::size_t rule) const { return origins_[rule]; }

 private:
  std::vector<policy::PayloadRule> rules_;
  std::vector<const PayloadRuleConfig*> origins_;
  std::set<std::string> names_{"unknown"};
};

}  // namespace

std::shared_ptr<const policy::PayloadRules> make_payload_rules(const config::Config& config) {
  const config::PayloadSection& payload = config.payload;
  if (payload.rules.empty() && !payload.webrtc_only) return nullptr;
  const PayloadRuleConfig known{.protocol = std::string(policy::kWebrtc),
                                .action = PayloadRuleConfig::Action::kAllow};
  Collector collector;
  for (const PayloadRuleConfig& rule : payload.rules)
    collector.add(rule);
  if (payload.webrtc_only) collector.add(known);
  policy::PayloadRules::Config rules;
  rules.rules = collector.take();
  rules.scanned = payload.packets;
  rules.drops_unknown = payload.webrtc_only;
  rules.workers = config.workers;
  rules.build = pattern_build(config, "payload");
  auto made = policy::PayloadRules::make(std::move(rules));
  if (const auto* error = std::get_if<policy::PatternError>(&made)) {
    if (error->pattern == policy::PatternError::kWholeSet)
      throw Misfit("payload.rule: " + error->problem);
    const PayloadRuleConfig& rule = *collector.origin(error->pattern);
    refuse(rule.where, rule.protocol.empty() ? "pattern" : "protocol", error->problem);
  }
  return std::get<std::shared_ptr<const policy::PayloadRules>>(std::move(made));
}

std::vector<observe::RuleUse> use_of(const policy::PayloadRules& rules) {
  std::vector<observe::RuleUse> uses;
  for (std::size_t i = 0; i < rules.rules().size(); ++i) {
    observe::RuleUse use{.name = rules.rules()[i].name};
    for (std::uint16_t worker = 0; worker < rules.workers(); ++worker) {
      const policy::RuleCounts& counts =
          rules.counts(worker, static_cast<policy::RuleNumber>(i + 1));
      use.packets += counts.packets.get();
      use.bytes += counts.bytes.get();
      use.flows += counts.flows.get();
    }
    uses.push_back(std::move(use));
  }
  return uses;
}

}  // namespace turnpike::control

// What may be in the first packets of a flow: named rules, the first that matches counts. A flow is
// one permission or channel of an allocation, each direction by itself.
//
// Immutable but for what workers write while they scan, each its own: scratch and counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/meter.h"
#include "policy/patterns.h"
#include "turnpike/counter.h"

namespace turnpike::policy {

enum class RuleAction : std::uint8_t {
  kAllow,  // nothing, and no later rule is asked
  kCount,
  kLimit,  // all flows of the rule together, to its rate
  kDrop,
  kEnd,  // the allocation; from a peer: kDrop
};

// By its place among the rules, from 1; 0: none.
using RuleNumber = std::uint16_t;

struct PayloadRule {
  std::string name;
  std::vector<Pattern> patterns;  // ids are set by PayloadRules
  bool from_client = true, from_peer = true;
  RuleAction action = RuleAction::kCount;
  std::uint64_t bits_per_second = 0;  // kLimit; of bodies, with a burst of a tenth of a second
};

// Of one rule, by one worker, who alone writes it.
struct RuleCounts {
  Counter packets;  // that it matched, or that are of a flow which it has decided
  Counter bytes;    // theirs, without TURN's framing
  Counter flows;    // that it has decided, each direction for itself

  void add(std::size_t size) {
    packets.add();
    bytes.add(size);
  }
};

class PayloadRules {
 public:
  // Verdicts have so many bits for a rule (flow/verdict.h); the last one is `unknown`'s.
  static constexpr std::size_t kMostRules = 2046;
  static constexpr std::uint8_t kMostScanned = 8;

  struct Config {
    std::vector<PayloadRule> rules;
    // Of a flow and direction, so many packets are looked into; 1 to kMostScanned.
    std::uint8_t scanned = 4;
    // What no rule matches is dropped, under the name `unknown`; otherwise it passes.
    bool drops_unknown = false;
    std::uint16_t workers = 1;
    PatternBuild build;
    // Which one of the sets that flows have met: their verdicts hold for it alone. Not 0.
    std::uint16_t epoch = 1;
  };
  // PatternError::pattern is a rule's place. Throws as PatternSet::make() does.
  static std::variant<std::shared_ptr<const PayloadRules>, PatternError> make(Config config);

  // The first rule whose patterns `body` matches, of those of its direction; 0: none does. One
  // thread a worker.
  RuleNumber match(std::uint16_t worker, std::span<const std::uint8_t> body,
                   bool from_client) const;

  // Whether a packet of so many bytes keeps to the rule's rate (kLimit), which it then uses up.
  bool keeps_rate(std::uint16_t worker, RuleNumber rule, std::uint64_t now_ms,
                  std::size_t bytes) const;

  RuleAction action(RuleNumber rule) const { return rules_[rule - 1u].action; }
  // That of what no other rule matches; 0: there is none.
  RuleNumber unknown() const { return unknown_; }
  RuleCounts& counts(std::uint16_t worker, RuleNumber rule) const {
    return workers_[worker]->counts[rule - 1u];
  }

  std::uint8_t scanned() const { return scanned_; }
  std::uint16_t epoch() const { return epoch_; }
  // With `unknown`, if there is one; by number - 1.
  const std::vector<PayloadRule>& rules() const { return rules_; }
  std::uint16_t workers() const { return static_cast<std::uint16_t>(workers_.size()); }
  std::size_t bytes() const { return set_ ? set_->bytes() : 0; }
  PatternOrigin origin() const { return set_ ? set_->origin() : PatternOrigin{}; }

 private:
  struct alignas(64) Worker {
    std::unique_ptr<Scratch> scratch;
    std::unique_ptr<RuleCounts[]> counts;
    std::unique_ptr<Credit[]> credits;
  };
  explicit PayloadRules(Config config);

  std::vector<PayloadRule> rules_;
  std::unique_ptr<const PatternSet> set_;  // none, if no rule has a pattern
  std::vector<std::unique_ptr<Worker>> workers_;
  // By number: whether it is asked of a direction; kept apart from the names.
  std::vector<std::array<bool, 2>> asked_;
  std::unique_ptr<SharedMeter[]> meters_;  // by number - 1, as those:
  std::vector<MeterRate> rates_;
  std::uint8_t scanned_;
  std::uint16_t epoch_;
  RuleNumber unknown_ = 0;
};

}  // namespace turnpike::policy

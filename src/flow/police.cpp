// Out of the schedules' way: what is decided and passes doesn't come here.
#include "flow/police.h"

namespace turnpike::flow {

Police::Police(const Setup& setup, const Tables& tables, std::uint16_t worker)
    : tables_(tables), worker_(worker), meters_(tables, setup.listeners, setup.meters) {
  ended_.reserve(kMostEnded);
}

bool Police::is_undecided(const Passing& passing) const {
  const std::uint64_t word = passing.verdict->load(std::memory_order_relaxed);
  return Finding(verdict_half(word, passing.to_client), rules_->epoch()).is_open();
}

// Workers that look into packets of one flow at the same time each add what they have found.
Finding Police::look_into(const Passing& passing, Lot& lot) {
  const policy::RuleNumber rule = rules_->match(worker_, passing.body, !passing.to_client);
  const Finding::Seen seen{.rule = rule,
                           .action = rule == 0 ? policy::RuleAction::kAllow : rules_->action(rule),
                           .decides = !passing.to_client && rule != rules_->unknown(),
                           .scanned = rules_->scanned()};
  std::uint64_t word = passing.verdict->load(std::memory_order_relaxed);
  for (;;) {
    Finding finding(verdict_half(word, passing.to_client), rules_->epoch());
    if (!finding.is_open()) {  // another worker was quicker
      lot = finding.lot();
      return finding;
    }
    lot = finding.add(seen);
    const std::uint64_t next = with_verdict_half(word, passing.to_client, finding.half());
    if (!passing.verdict->compare_exchange_weak(word, next, std::memory_order_relaxed)) continue;
    if (rule != 0) rules_->counts(worker_, rule).add(passing.body.size());
    if (!finding.is_open() && finding.rule() != 0)
      rules_->counts(worker_, finding.rule()).flows.add();
    return finding;
  }
}

// If another worker writes meanwhile, the flow's next packet does this again.
void Police::settle(const Passing& passing, const Finding& finding) {
  std::uint64_t word = passing.verdict->load(std::memory_order_relaxed);
  const std::uint64_t next = with_verdict_half(word, passing.to_client, finding.half());
  passing.verdict->compare_exchange_strong(word, next, std::memory_order_relaxed);
}

// False: no place; the flow's next packet asks again.
bool Police::end(const Passing& passing, policy::RuleNumber rule) {
  if (ended_.size() == kMostEnded) return false;
  const AllocationEntry& entry = tables_.allocation(passing.allocation);
  ended_.push_back({entry.shard,
                    {.kind = Notice::Kind::kEnd,
                     .generation = entry.generation,
                     .slot = passing.allocation,
                     .rule = rule}});
  return true;
}

Drop Police::judge_by_rules(Instant now, const Passing& passing) {
  const std::uint64_t word = passing.verdict->load(std::memory_order_relaxed);
  Finding finding(verdict_half(word, passing.to_client), rules_->epoch());
  Lot lot;
  if (finding.is_open()) {
    finding = look_into(passing, lot);
  } else {
    lot = finding.lot();
    if (finding.rule() != 0) rules_->counts(worker_, finding.rule()).add(passing.body.size());
  }
  switch (lot) {
    case Lot::kPass:
      return Drop::kNone;
    case Lot::kLimit:
      return rules_->keeps_rate(worker_, finding.rule(), now.ms, passing.body.size())
                 ? Drop::kNone
                 : Drop::kPayloadLimit;
    case Lot::kEnd:
      if (end(passing, finding.rule())) finding.settle_end();
      settle(passing, finding);
      break;
    case Lot::kDrop:
      break;
  }
  return Drop::kPayloadRule;
}

}  // namespace turnpike::flow

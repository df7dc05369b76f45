// Out of the schedules' way: what is decided and passes doesn't come here.
#include "flow/police.h"

namespace turnpike::flow {

Police::Police(const Setup& setup, const Tables& tables, std::uint16_t worker)
    : tables_(tables), worker_(worker), meters_(tables, setup.meters) {
  untold_.reserve(kMostUntold);
}

bool Police::is_undecided(const Passing& passing) const {
  const std::uint64_t word = passing.verdict->load(std::memory_order_relaxed);
  return Finding(verdict_half(word, passing.to_client), rules_->epoch()).is_open();
}

// Workers that look into packets of one flow at the same time each add what they have found.
Police::Judgement Police::look_into(const Passing& passing) {
  const policy::RuleNumber rule = rules_->match(worker_, passing.body, !passing.to_client);
  const Finding::Seen seen{.rule = rule,
                           .action = rule == 0 ? policy::RuleAction::kAllow : rules_->action(rule),
                           .decides = !passing.to_client && rule != rules_->unknown(),
                           .scanned = rules_->scanned()};
  std::uint64_t word = passing.verdict->load(std::memory_order_relaxed);
  for (;;) {
    Finding finding(verdict_half(word, passing.to_client), rules_->epoch());
    if (!finding.is_open())  // another worker was quicker
      return {finding.lot(), finding.rule()};
    const Lot lot = finding.add(seen);
    const std::uint64_t next = with_verdict_half(word, passing.to_client, finding.half());
    if (!passing.verdict->compare_exchange_weak(word, next, std::memory_order_relaxed)) continue;
    if (rule != 0) rules_->counts(worker_, rule).add(passing.body.size());
    if (!finding.is_open() && finding.rule() != 0)
      rules_->counts(worker_, finding.rule()).flows.add();
    return {lot, rule};
  }
}

// If another worker writes meanwhile, the flow's next packet does this again.
void Police::settle_end(const Passing& passing) const {
  std::uint64_t word = passing.verdict->load(std::memory_order_relaxed);
  Finding finding(verdict_half(word, passing.to_client), rules_->epoch());
  finding.settle_end();
  const std::uint64_t next = with_verdict_half(word, passing.to_client, finding.half());
  passing.verdict->compare_exchange_strong(word, next, std::memory_order_relaxed);
}

bool Police::tell(AllocationSlot allocation, Notice notice) {
  if (untold_.size() == kMostUntold) return false;
  const AllocationEntry& entry = tables_.allocation(allocation);
  notice.slot = allocation;
  notice.generation = entry.generation;
  untold_.push_back({entry.shard, notice});
  return true;
}

Drop Police::judge_by_rules(Instant now, const Passing& passing) {
  const std::uint64_t word = passing.verdict->load(std::memory_order_relaxed);
  const Finding finding(verdict_half(word, passing.to_client), rules_->epoch());
  Judgement judgement{};
  if (finding.is_open()) {
    judgement = look_into(passing);
  } else {
    judgement = {finding.lot(), finding.rule()};
    if (judgement.rule != 0) rules_->counts(worker_, judgement.rule).add(passing.body.size());
  }
  switch (judgement.lot) {
    case Lot::kPass:
      return Drop::kNone;
    case Lot::kLimit:
      return rules_->keeps_rate(worker_, judgement.rule, now.ms, passing.body.size())
                 ? Drop::kNone
                 : Drop::kPayloadLimit;
    case Lot::kEnd:
      if (tell(passing.allocation, {.kind = Notice::Kind::kEnd, .rule = judgement.rule}))
        settle_end(passing);
      break;
    case Lot::kDrop:
      break;
  }
  return Drop::kPayloadRule;
}

}  // namespace turnpike::flow

// Behind the law (admission.h): what may pass is judged by what is in it and how much it is, before
// anything of the packet is overwritten. The fast lane asks what is known; what has to be looked
// into it leaves to the general stages, which do that for a burst together.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "flow/drop.h"
#include "flow/meters.h"
#include "flow/setup.h"
#include "flow/verdict.h"
#include "flow/worker_policy.h"
#include "tables/tables.h"
#include "turnpike/flow_sink.h"
#include "turnpike/request.h"
#include "turnpike/time.h"

namespace turnpike::flow {

// A packet that may pass, and will, unless it is refused here.
struct Passing {
  AllocationSlot allocation{};
  std::uint16_t generation = 0;  // the allocation's
  bool to_client = false;
  Family peer{};                                  // by which IP the peer is reached
  std::atomic<std::uint64_t>* verdict = nullptr;  // its permission's or channel's
  std::span<const std::uint8_t> body;             // the application's bytes
};

// One worker's, whose number is `worker`.
class Police {
 public:
  Police(const Setup& setup, const Tables& tables, std::uint16_t worker);

  // From now on it goes by `policy`, which stays until the next call. Once a round.
  void use(const WorkerPolicy& policy) {
    rules_ = policy.payload.get();
    plain_pass_ = rules_ == nullptr ? 0 : Finding::plain_pass(rules_->epoch());
    meters_.use(policy.meters);
    watches_ = rules_ != nullptr || meters_.watch();
  }
  // Whether there is anything to judge by: asked first, so that an idle one costs a compare.
  bool watches() const { return watches_; }

  // Whether allocations have states that judge() will ask for, and one of them.
  bool has_limits() const { return meters_.watch(); }
  void prefetch(std::uint32_t slot) const { meters_.prefetch(slot); }
  // Whether it has to be looked into.
  bool is_open(const Passing& passing) const {
    return rules_ != nullptr && !rules_pass(passing) && is_undecided(passing);
  }
  // Drop::kNone: it passes. Called once for each packet, by whichever schedule relays it, where
  // something watches.
  Drop judge(Instant now, const Passing& passing) {
    if (rules_ != nullptr && !rules_pass(passing)) [[unlikely]] {
      const Drop refused = judge_by_rules(now, passing);
      if (refused != Drop::kNone) return refused;
    }
    if (!meters_.watch()) return Drop::kNone;
    const std::size_t headers = passing.peer == Family::kIpv4 ? 28 : 48;
    return meters_.take(now, passing.allocation, passing.generation, passing.to_client,
                        static_cast<std::uint32_t>(headers + passing.body.size()));
  }

  // Of an ICMP error that the allocation's client is to be told of, whose packet had so many bytes
  // of IP: no rule looks into it, limits of what goes to the client count it.
  Drop judge_error(Instant now, AllocationSlot allocation, std::uint16_t generation,
                   std::uint32_t bytes) {
    return meters_.watch() ? meters_.take(now, allocation, generation, true, bytes) : Drop::kNone;
  }

  // The allocation's shard is to be told of it. False: there is no place; whoever has a reason asks
  // again. Says whose it is by itself.
  bool tell(AllocationSlot allocation, Notice notice);
  // What shards are to be told; told() forgets the first `count` of it.
  struct Untold {
    std::uint8_t shard = 0;
    Notice notice;
  };
  std::span<const Untold> untold() const { return untold_; }
  void told(std::size_t count) {
    untold_.erase(untold_.begin(), untold_.begin() + static_cast<std::ptrdiff_t>(count));
  }

 private:
  // As nearly all do.
  bool rules_pass(const Passing& passing) const {
    return verdict_half(passing.verdict->load(std::memory_order_relaxed), passing.to_client) ==
           plain_pass_;
  }
  bool is_undecided(const Passing& passing) const;
  Drop judge_by_rules(Instant now, const Passing& passing);
  // Of one packet, and by which rule.
  struct Judgement {
    Lot lot{};
    policy::RuleNumber rule = 0;
  };
  Judgement look_into(const Passing& passing);
  void settle_end(const Passing& passing) const;

  // More than a shard takes of a worker's at once (EngineRings): of whom there is no place here,
  // his next packet tells.
  static constexpr std::size_t kMostUntold = 256;

  const Tables& tables_;
  const std::uint16_t worker_;
  const policy::PayloadRules* rules_ = nullptr;
  std::uint32_t plain_pass_ = 0;
  bool watches_ = false;
  Meters meters_;
  std::vector<Untold> untold_;
};

}  // namespace turnpike::flow

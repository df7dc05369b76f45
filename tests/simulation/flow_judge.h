// What is to become of a packet that has a way, by payload rules and limits: held against what a
// pipeline has made of it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "flow/worker_policy.h"
#include "meter_model.h"
#include "verdict_model.h"
#include "watched_writer.h"

namespace turnpike::simulation {

using flow::Drop;
using flow::kMeterKinds;
using flow::kMeterLevels;
using flow::MeterLevel;

// What workers go by, as the real ones and the models take it.
struct Policy {
  explicit Policy(const StatelessAnswers& answers) : worker(answers) {}

  flow::WorkerPolicy worker;
  std::optional<Rules> rules;
  std::array<std::array<Rate, kMeterKinds>, kMeterLevels> rates;

  static constexpr std::uint32_t kMostPerSecond = 5000;
  static constexpr std::uint32_t kBytes = 200;  // of a limit of bytes, for each packet of another
};

// `below`: a random number below a bound.
template <typename Below>
void set_limits(Policy& policy, Below&& below, std::uint16_t workers) {
  const bool any = below(4) != 0;
  for (std::size_t level = 0; level < kMeterLevels; ++level) {
    for (std::size_t kind = 0; kind < kMeterKinds; ++kind) {
      if (!any || below(4) != 0) continue;
      const std::uint64_t unit = kind == 0 ? Policy::kBytes : 1;
      const std::uint64_t per_second =
          std::array<std::uint64_t, 3>{20, 500, Policy::kMostPerSecond}[below(3)];
      // Of a moment, or of some seconds.
      const std::uint64_t burst =
          std::max<std::uint64_t>(per_second * (1 + below(30)) / (below(2) == 0 ? 300 : 5), 16);
      policy.rates[level][kind] = {per_second * unit, burst * unit};
      policy.worker.meters.rates[level][kind] = MeterRate(per_second * unit, burst * unit, workers);
    }
  }
}

// By which a packet is to go.
struct Way {
  FiveTuple five_tuple;
  bool to_client = false;
  Endpoint to;                // as the wire has it
  Family peer{};              // by which IP the peer is reached
  Birth flow = 0;             // the permission's or channel's
  WatchedWriter::Born owner;  // the allocation
  std::uint32_t user = 0;     // whose
};

struct Body {
  static constexpr std::uint32_t kMost = 600;
  std::size_t word = 0;  // of Rules::kWords, with which it begins
  std::uint32_t size = 0;
};

// What became of it; Drop::kNone: it passes.
struct Fate {
  std::uint32_t worker = 0;
  Drop drop{};
  bool ends = false;  // its allocation's shard is to be told
};

class FlowJudge {
 public:
  explicit FlowJudge(std::uint16_t workers) : workers_(workers) {}

  // A worker has another policy than before; of what is born after `births` nothing was metered by
  // an earlier one, once all have the same: `settled`.
  void changed(bool settled, Birth births) {
    buckets_.clear();
    settled_ = settled;
    births_then_ = births;
  }

  // Of a worker that goes by `policy`.
  void judge(Instant now, const Policy& policy, const Way& way, const Body& body,
             const Fate& fate) {
    if (judge_by_rules(now, policy, way, body, fate)) judge_by_meters(now, policy, way, body, fate);
  }

 private:
  struct Bucket {
    MeterModel model;
    std::uint32_t number = 0;  // its user's, by which it is found
  };
  // By level, whose, kind and direction.
  using BucketKey = std::tuple<std::size_t, std::uint64_t, std::size_t, bool>;
  static constexpr std::array<const char*, kMeterLevels> kLevels{"an allocation", "a user",
                                                                 "a realm", "the node"};

  // Whether rules are to let it pass.
  bool judge_by_rules(Instant now, const Policy& policy, const Way& way, const Body& body,
                      const Fate& fate) {
    VerdictModel::Outcome due{Lot::kPass, 0};
    if (policy.rules) due = verdicts_.judge(*policy.rules, way.flow, way.to_client, body.word);
    const bool ends = due.lot == Lot::kEnd;
    require(fate.ends == ends, ends ? "nobody is told of an allocation that is to end"
                                    : "an allocation is to end by no rule");
    const bool dropped = ends || due.lot == Lot::kDrop;
    require(dropped == (fate.drop == Drop::kPayloadRule),
            dropped ? "a packet passes that a rule is to drop"
                    : "a packet is dropped by a rule that isn't its flow's");
    if (due.lot == Lot::kLimit) return judge_by_rate(now, *policy.rules, due.rule, body, fate);
    require(fate.drop != Drop::kPayloadLimit,
            "a packet is limited by a rule that isn't its flow's");
    return !dropped;
  }
  // Of all flows of the rule together.
  bool judge_by_rate(Instant now, const Rules& rules, RuleNumber rule, const Body& body,
                     const Fate& fate) {
    const Rate rate{Rules::kBytesPerSecond, Rules::kBurst};
    const MeterModel::Drawing drawing{
        workers_, MeterRate(rate.per_second, rate.burst, workers_).quantum(), Body::kMost};
    const auto [found, is_new] =
        of_rules_.try_emplace({rules.config.epoch, rule}, MeterModel::fresh(rate, drawing, now));
    const bool refused = fate.drop == Drop::kPayloadLimit;
    if (refused) {
      found->second.refused(now, body.size, fate.worker, "a rule");
    } else {
      found->second.passed(now, body.size, "a rule");
    }
    return !refused;
  }

  // While workers go by different limits, each may let it pass, or not.
  void judge_by_meters(Instant now, const Policy& policy, const Way& way, const Body& body,
                       const Fate& fate) {
    static constexpr std::array<std::array<Drop, kMeterKinds>, kMeterLevels> kDrops{
        {{Drop::kAllocationBandwidth, Drop::kAllocationPacketRate},
         {Drop::kUserBandwidth, Drop::kUserPacketRate},
         {Drop::kRealmBandwidth, Drop::kRealmPacketRate},
         {Drop::kNodeBandwidth, Drop::kNodePacketRate}}};
    bool refused = false;
    const std::uint32_t headers = way.peer == Family::kIpv4 ? 28 : 48;
    for (std::size_t level = 0; level < kMeterLevels; ++level) {
      for (std::size_t kind = 0; kind < kMeterKinds; ++kind) {
        const bool by_this = fate.drop == kDrops[level][kind];
        const bool limited = !policy.rates[level][kind].unlimited();
        require(!by_this || limited, "a packet is above a limit that there isn't");
        refused |= by_this;
        if (!limited || !settled_) continue;
        const std::uint32_t units = kind == 0 ? headers + body.size : 1;
        MeterModel& meter = meter_of(now, policy, level, kind, way);
        if (by_this) meter.refused(now, units, fate.worker, kLevels[level]);
        if (fate.drop == Drop::kNone) meter.passed(now, units, kLevels[level]);
      }
    }
    require(refused || fate.drop == Drop::kNone, "a packet is dropped that may pass");
  }
  // Of a user by who he is: his number may change, and his limit not.
  MeterModel& meter_of(Instant now, const Policy& policy, std::size_t level, std::size_t kind,
                       const Way& way) {
    const Rate& rate = policy.rates[level][kind];
    const std::uint32_t unit = kind == 0 ? Policy::kBytes : 1;
    const MeterModel::Drawing drawing{workers_,
                                      MeterRate(rate.per_second, rate.burst, workers_).quantum(),
                                      kind == 0 ? Body::kMost + 48 : 1};
    MeterModel::Drawing before = drawing;
    before.quantum = Policy::kMostPerSecond / 500 * unit;
    const auto what = static_cast<MeterLevel>(level);
    const bool is_fresh = what == MeterLevel::kAllocation && way.owner.birth > births_then_;
    std::uint64_t whose = 0;
    if (what == MeterLevel::kAllocation) whose = way.owner.birth;
    if (what == MeterLevel::kUser) whose = way.user;
    const std::uint32_t number = way.owner.flow.user;
    const auto [found, is_new] =
        buckets_.try_emplace(BucketKey{level, whose, kind, way.to_client},
                             Bucket{is_fresh ? MeterModel::fresh(rate, drawing, now)
                                             : MeterModel::changed(rate, drawing, before, now),
                                    number});
    Bucket& bucket = found->second;
    if (what == MeterLevel::kUser && bucket.number != number) bucket.model.empty();
    bucket.number = number;
    return bucket.model;
  }

  const std::uint16_t workers_;
  VerdictModel verdicts_;
  std::map<std::pair<std::uint16_t, RuleNumber>, MeterModel> of_rules_;  // by epoch
  std::map<BucketKey, Bucket> buckets_;
  bool settled_ = true;
  Birth births_then_ = 0;
};

}  // namespace turnpike::simulation

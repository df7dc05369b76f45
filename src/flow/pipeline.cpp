#include "flow/pipeline.h"

#include <cassert>

#include "flow/frame.h"

namespace turnpike::flow {

Pipeline::Pipeline(const Setup& setup, const Tables& tables, NextHopResolver& next_hops,
                   const FrontDoor& door, const TokenSealer& tokens, WorkerCounters& counters,
                   std::uint16_t worker)
    : setup_(setup),
      tables_(tables),
      next_hops_(next_hops),
      door_(door),
      tokens_(tokens),
      counters_(counters),
      strangers_(setup.strangers.per_source, setup.strangers.sources, setup.strangers.key),
      all_strangers_(setup.strangers.all),
      ids_(setup.transaction_key, worker),
      requests_(setup.requests,
                std::size_t{tables.limits().shards} * tables.limits().allocations_per_shard) {
  if (setup.fast_lane)
    fast_lane_.emplace(setup, tables, next_hops, door, counters, next_ip_id_, ids_);
}

void Pipeline::process(Instant now, std::span<Packet> burst) {
  assert(burst.size() <= kMaxBurst);
  if (fast_lane_ && fast_lane_->process(now_s(now), burst) == burst.size()) return;
  classify(now, burst);
  look_up(now, burst);
  rewrite(now, burst);
  for (const Packet& packet : burst) {
    assert(packet.verdict != Verdict::kContinue);
    if (packet.verdict == Verdict::kDrop) {
      counters_.drops[static_cast<std::size_t>(packet.drop)].add();
    }
  }
}

void Pipeline::finish_reply(Packet& packet, std::size_t reply_size) {
  turn_round(packet, reply_size);
}

}  // namespace turnpike::flow

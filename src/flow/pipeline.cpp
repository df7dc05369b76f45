// The stages one after another, each over the whole burst; before them the fast lane, which does
// the same for what most bursts are made of.
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
      own_arrivals_(next_hops.arrivals() == nullptr ? setup.ports.size() : 0),
      arrivals_(next_hops.arrivals() == nullptr ? own_arrivals_.data() : next_hops.arrivals()),
      door_(door),
      tokens_(tokens),
      counters_(counters),
      strangers_(setup.strangers.per_source, setup.strangers.sources, setup.strangers.key),
      all_strangers_(setup.strangers.all),
      ids_(setup.transaction_key, worker),
      icmp_receivers_(setup.icmp_per_receiver, 1024, setup.strangers.key),
      requests_(setup.requests,
                std::size_t{tables.limits().shards} * tables.limits().allocations_per_shard),
      behind_requests_(std::size_t{tables.limits().shards} *
                       tables.limits().allocations_per_shard) {
  for (std::size_t port = 0; port < own_arrivals_.size(); ++port)
    own_arrivals_[port].mac.store(mac_word(setup.ports[port].mac), std::memory_order_relaxed);
  if (setup.fast_lane)
    fast_lane_.emplace(setup, tables, next_hops, arrivals_, door, counters, ip_ids_, ids_);
}

void Pipeline::process(Instant now, std::span<Packet> burst) {
  assert(burst.size() <= kMaxBurst);
  if (fast_lane_ && fast_lane_->process(now_s(now), burst) == burst.size()) return;
  classify(now, burst);
  look_up(now, burst);
  rewrite(now, burst);
  for (Packet& packet : burst)
    settle(packet);
}

// In the burst's order: what stands behind a request there waits as well.
void Pipeline::settle(Packet& packet) {
  assert(packet.verdict != Verdict::kContinue);
  if (packet.opens_way && packet.verdict == Verdict::kEngine)
    behind_requests_.asked(packet.allocation);
  if (packet.verdict != Verdict::kDrop) return;
  const bool no_way = (packet.lane == Lane::kChannelData && packet.drop == Drop::kNoChannel) ||
                      (packet.lane == Lane::kSend && packet.drop == Drop::kNoPermission);
  if (no_way && behind_requests_.awaited(packet.allocation)) {
    packet.verdict = Verdict::kWait;
  } else {
    counters_.drops[static_cast<std::size_t>(packet.drop)].add();
  }
}

void Pipeline::finish_reply(Packet& packet, std::size_t reply_size) {
  turn_round(packet, reply_size);
}

}  // namespace turnpike::flow

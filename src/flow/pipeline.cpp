// The stages in their order. The fast lane does the same for what is plain, and goes first, because
// nearly all packets are: what it leaves goes this way.
#include "flow/pipeline.h"

#include <algorithm>
#include <cassert>

#include "flow/frame.h"

namespace turnpike::flow {
namespace {

bool discovers(const Setup& setup) {
  return std::any_of(setup.listeners.begin(), setup.listeners.end(),
                     [](const Listener& one) { return one.discovery.has_value(); });
}

}  // namespace

Pipeline::Pipeline(const Setup& setup, const Tables& tables, NextHopResolver& next_hops,
                   const WorkerPolicy& policy, const TokenSealer& tokens, WorkerCounters& counters,
                   std::uint16_t worker)
    : setup_(setup),
      here_(setup),
      tcp_here_(setup, Transport::kTcp),
      dtls_here_(setup, Transport::kDtls),
      has_dtls_(std::any_of(setup.listeners.begin(), setup.listeners.end(),
                            [](const Listener& one) { return one.transport == Transport::kDtls; })),
      cookies_(setup.cookie_key),
      tables_(tables),
      next_hops_(next_hops),
      own_arrivals_(next_hops.arrivals() == nullptr ? setup.ports.size() : 0),
      arrivals_(next_hops.arrivals() == nullptr ? own_arrivals_.data() : next_hops.arrivals()),
      policy_(&policy),
      tokens_(tokens),
      counters_(counters),
      strangers_(setup.strangers.sources, setup.strangers.key),
      discoverers_(discovers(setup) ? setup.strangers.sources : 1, setup.strangers.key),
      ids_(setup.transaction_key, worker),
      icmp_receivers_(1024, setup.strangers.key),
      requests_(setup.requests,
                std::size_t{tables.limits().shards} * tables.limits().allocations_per_shard),
      behind_requests_(std::size_t{tables.limits().shards} * tables.limits().allocations_per_shard),
      police_(setup, tables, worker) {
  police_.use(policy);
  for (std::size_t port = 0; port < own_arrivals_.size(); ++port)
    own_arrivals_[port].mac.store(mac_word(setup.ports[port].mac), std::memory_order_relaxed);
  if (setup.fast_lane)
    fast_lane_.emplace(setup, here_, tables, next_hops, arrivals_, counters, ip_ids_, ids_,
                       police_);
}

void Pipeline::process(Instant now, std::span<Packet> burst) {
  assert(burst.size() <= kMaxBurst);
  if (fast_lane_ && fast_lane_->process(*policy_, now, burst) == burst.size()) return;
  classify(now, burst);
  look_up(now, burst);
  if (police_.watches()) police(now, burst);
  rewrite(now, burst);
  for (Packet& packet : burst)
    settle(packet);
}

// Of what is relayed or told, as look_up() has found it.
void Pipeline::police(Instant now, std::span<Packet> burst) {
  for (Packet& packet : burst) {
    if (packet.verdict != Verdict::kContinue) continue;
    Drop refused = Drop::kNone;
    switch (packet.lane) {
      case Lane::kChannelData:
      case Lane::kSend:
      case Lane::kPeer:
        refused = judge(now, packet, packet.lane == Lane::kPeer);
        break;
      case Lane::kIcmp:
        refused = police_.judge_error(now, packet.allocation,
                                      tables_.allocation(packet.allocation).generation,
                                      packet.length - packet.l3);
        break;
      default:
        break;
    }
    if (refused != Drop::kNone) drop(packet, refused);
  }
}

Drop Pipeline::judge(Instant now, const Packet& packet, bool to_client) {
  return police_.judge(now, {packet.allocation,
                             tables_.allocation(packet.allocation).generation,
                             to_client,
                             packet.peer.address.family,
                             packet.payload_verdict,
                             {packet.data + packet.body, packet.body_size}});
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

bool Pipeline::stream_closed(ListenerIndex listener, const Endpoint& client) {
  if (const auto allocation = tables_.find_client(listener, client))
    return police_.tell(*allocation, {.kind = Notice::Kind::kClosed});
  const auto slot = tables_.find_move(listener, client);
  if (!slot) return true;
  const MoveEntry& move = tables_.move(*slot);
  return police_.tell(AllocationSlot{move.allocation},
                      {.kind = Notice::Kind::kClosed, .move = move.number});
}

void Pipeline::finish_reply(Packet& packet, std::size_t reply_size) {
  turn_round(packet, reply_size);
}

}  // namespace turnpike::flow

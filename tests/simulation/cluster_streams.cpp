// Connections of clients: how their ends come to shards (as workers and engines do it), and what
// may be left of them then.
#include <algorithm>

#include "cluster_shard.h"

namespace turnpike::simulation {

void Cluster::stream_closed(const FiveTuple& five_tuple) {
  model_.forget(now);
  for (const auto& shard : shards_) {
    const FakeSink& sink = shard->sink;
    for (const auto& [slot, flow] : sink.allocations) {
      const auto move = sink.moves.find(slot);
      const bool moves = move != sink.moves.end() && move->second.five_tuple == five_tuple;
      if (flow.five_tuple != five_tuple && !moves) continue;
      const std::uint16_t number = moves ? move->second.number : std::uint16_t{0};
      of_streams_.push_back({shard.get(), slot, sink.owner_of(slot), number, five_tuple,
                             model_.of_stream(five_tuple)});
      return;
    }
  }
}

Cluster::Heard Cluster::hear_of_stream() {
  if (of_streams_.empty()) return Heard::kNothing;
  const auto which = static_cast<std::ptrdiff_t>(
      surroundings_.random_below(static_cast<std::uint32_t>(of_streams_.size())));
  const StreamNotice notice = of_streams_[static_cast<std::size_t>(which)];
  of_streams_.erase(of_streams_.begin() + which);
  FakeSink& sink = notice.shard->sink;
  if (!sink.is_owner(notice.slot, notice.owner))
    return sink.allocations.contains(notice.slot) ? Heard::kMistakable : Heard::kTooLate;
  const FiveTuple at = sink.allocations.at(notice.slot).five_tuple;
  const User* const owner = owners_.at(at);
  notice.shard->server->stream_ended(now, AllocationSlot{notice.slot}, notice.move);
  if (notice.promised) model_.stream_ended(now, *notice.promised);
  if (!sink.is_owner(notice.slot, notice.owner)) return Heard::kEnd;
  const FiveTuple& after = sink.allocations.at(notice.slot).five_tuple;
  owners_[after] = owner;
  return after == at ? Heard::kStays : Heard::kMoves;
}

std::vector<FiveTuple> Cluster::needed_streams() const {
  std::vector<FiveTuple> needed;
  const auto need = [&](const FiveTuple& five_tuple) {
    const bool awaited = std::any_of(of_streams_.begin(), of_streams_.end(),
                                     [&](const auto& one) { return one.five_tuple == five_tuple; });
    if (five_tuple.transport != Transport::kUdp && !awaited) needed.push_back(five_tuple);
  };
  for (const auto& [five_tuple, allocation] : model_.allocations()) {
    if (allocation.ticket.empty()) need(five_tuple);
    if (allocation.to) need(*allocation.to);
  }
  return needed;
}

}  // namespace turnpike::simulation

// How an allocation's client moves to another five-tuple (RFC 8016) without a lock, a lost packet
// or a second slot: permissions, channels, meters and all else that goes by the slot stay where
// they are, and the fast lane knows nothing of moves.
//
//   begun      An entry of its own leads from the new five-tuple to the allocation, in an index
//   that
//              is asked when the one of clients has nothing: so what comes by it goes the general
//              way, which tells the shard of data.
//   completed  The old five-tuple is unlinked, and the allocation's next hop is none, which sends
//              what goes to the client the general way, too, and there to the move's entry.
//   in entry   A grace period later nobody can be at the client of the allocation's entry any more:
//              whoever is, has come by its word in the index, or has seen its next hop. It is
//              written, linked, and has its next hop again.
//   over       Another one later nobody looks for what has been unlinked before it was linked
//              anew: the move's entry goes.
#include "tables/table_writer_impl.h"

namespace turnpike::flow {

void TableWriter::Impl::unlink_move(std::uint32_t move) {
  const MoveEntry& entry = parts.moves[move];
  const std::uint64_t hash = parts.client_hash(entry.listener, entry.client);
  shard.moves.erase(hash, move);
  parts.away(hash).fetch_sub(1, std::memory_order_acq_rel);
  moves.retire(move);
}

void TableWriter::Impl::await(std::uint32_t slot) {
  const Qsbr::Token token = qsbr.start();
  moving_of(slot).token = token;
  awaited.push_back({slot, token});
}

// After the grace period that the allocation's move has waited for.
void TableWriter::Impl::go_on(std::uint32_t slot) {
  Moving& it = moving_of(slot);
  if (it.in_entry) {
    unlink_move(it.moved);
    parts.moved[slot].store(0, std::memory_order_relaxed);
    it.moved = kNoSlot;
    it.token = 0;
    return;
  }
  const MoveEntry& move = parts.moves[it.moved];
  AllocationEntry& entry = parts.allocations[slot];
  entry.client = move.client;
  entry.listener = move.listener;
  entry.forget_path_mtu();
  link_client(slot);
  // Held by this entry from now on; the move's keeps the number for who has been sent to it.
  entry.client_next_hop.store(move.client_next_hop.load(std::memory_order_relaxed),
                              std::memory_order_release);
  it.in_entry = true;
  await(slot);
}

void TableWriter::Impl::go_on_with_moves() {
  std::size_t left = kReclaimsPerCall;
  while (!awaited.empty() && left-- > 0) {
    const Awaited first = awaited.front();
    const bool stands = moving_of(first.slot).token == first.token;
    if (stands && !qsbr.passed(first.token)) return;
    awaited.pop_front();
    if (stands) go_on(first.slot);
  }
}

// With their allocation.
void TableWriter::Impl::end_moves(std::uint32_t slot) {
  Moving& it = moving_of(slot);
  if (it.pending != kNoSlot) unlink_move(it.pending);
  if (it.moved != kNoSlot) {
    if (!it.in_entry)
      release_hop(parts.moves[it.moved].client_next_hop.load(std::memory_order_relaxed));
    unlink_move(it.moved);
    parts.moved[slot].store(0, std::memory_order_relaxed);
  }
  it = {};
}

bool TableWriter::begin_move(const MoveFlow& flow) {
  const auto allocation = static_cast<std::uint32_t>(flow.allocation);
  assert(impl_->allocations.is_live(allocation));
  const auto slot = impl_->take(impl_->moves);
  if (!slot) return false;
  cancel_move(flow.allocation);

  MoveEntry& entry = impl_->parts.moves[*slot];
  entry.client = flow.five_tuple.client;
  entry.listener = impl_->listener_of(flow.five_tuple);
  entry.allocation = allocation;
  entry.generation = impl_->parts.allocations[allocation].generation;
  entry.number = flow.number;
  entry.told.store(false, std::memory_order_relaxed);

  const std::uint64_t hash = impl_->parts.client_hash(entry.listener, entry.client);
  impl_->parts.away(hash).fetch_add(1, std::memory_order_acq_rel);
  impl_->shard.moves.insert(hash, *slot);
  impl_->moving_of(allocation).pending = *slot;
  return true;
}

void TableWriter::complete_move(AllocationSlot allocation) {
  const auto slot = static_cast<std::uint32_t>(allocation);
  Impl::Moving& it = impl_->moving_of(slot);
  assert(it.pending != kNoSlot);
  const std::uint32_t move = it.pending;
  it.pending = kNoSlot;
  MoveEntry& entry = impl_->parts.moves[move];
  entry.client_next_hop.store(impl_->resolve_client(entry, slot), std::memory_order_relaxed);
  const std::uint32_t before = it.moved;
  const bool between = impl_->is_between(slot);
  impl_->parts.moved[slot].store(move + 1, std::memory_order_release);
  it.moved = move;
  if (between)
    impl_->release_hop(impl_->parts.moves[before].client_next_hop.load(std::memory_order_relaxed));
  if (before != kNoSlot) impl_->unlink_move(before);
  // What it waits for stays the same, where the allocation's own entry has been left already.
  if (between) return;
  impl_->exchange_hop(impl_->parts.allocations[slot].client_next_hop,
                      static_cast<std::uint32_t>(kNoNextHop));
  impl_->unlink_client(slot);
  it.in_entry = false;
  impl_->await(slot);
}

void TableWriter::cancel_move(AllocationSlot allocation) {
  Impl::Moving& it = impl_->moving_of(static_cast<std::uint32_t>(allocation));
  if (it.pending == kNoSlot) return;
  impl_->unlink_move(it.pending);
  it.pending = kNoSlot;
}

}  // namespace turnpike::flow

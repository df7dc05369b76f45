// The promises of RFC 8016, and which answers a client that moves may get.
#include <algorithm>

#include "model.h"

namespace turnpike::simulation {

using stun::Attribute;
using stun::MessageView;

using Codes = Model::Codes;

std::optional<Model::Ticket> Model::ticket_in(const MessageView& message) {
  const auto found = message.find(Attribute::kMobilityTicket);
  if (!found) return std::nullopt;
  return Ticket(found->value.begin(), found->value.end());
}

// Whichever of its tickets it is.
Model::Allocations::const_iterator Model::with_ticket(const Ticket& ticket) const {
  const auto given = tickets_.find(ticket);
  if (given == tickets_.end()) return allocations_.end();
  return std::find_if(allocations_.begin(), allocations_.end(),
                      [&](const auto& one) { return one.second.number == given->second; });
}

bool Model::is_repeated(std::uint32_t seconds, const FiveTuple& from, const FiveTuple& at,
                        const Allocation& allocation, const MessageView& request) {
  return ticket_in(request) == allocation.old_ticket && seconds < allocation.old_until_s &&
         allocation.refreshed_by == request.transaction_id() &&
         (from == at || from == allocation.to);
}

Codes Model::due_of_move(std::uint32_t seconds, const FiveTuple& from, const std::string& user,
                         const MessageView& request, const Circumstances& circumstances) const {
  if (!config_.mobility) return {405};
  const Ticket ticket = *ticket_in(request);
  if (!tickets_.contains(ticket)) return {400};
  const auto found = with_ticket(ticket);
  if (found == allocations_.end()) return {437};
  const auto& [at, allocation] = *found;
  if (allocation.user != user) return {441};
  if (is_repeated(seconds, from, at, allocation, request)) return {0};
  const bool old = ticket == allocation.old_ticket && seconds < allocation.old_until_s;
  if (ticket != allocation.ticket && !old) return {400};
  if (from == at || (from == allocation.to && !old)) return {400};
  if (old && (!allocation.unconfirmed || from == allocation.given_up)) return {400};
  Codes codes = due_of_refresh(allocation, request);
  if (!codes.contains(0) || request.u32(Attribute::kLifetime) == 0U) return codes;
  if (circumstances.tunnelled) return {403};
  if (from == allocation.to) return {0};
  if (knows(from)) return {437};
  // While it is in two places it counts in both.
  const Address& client = from.client.address;
  if (client != at.client.address) {
    const std::uint32_t given_up = moves_to(at, allocation, client) ? 1 : 0;
    count(circumstances.source, held_from(client) - given_up, 1, 486, codes);
  }
  if (circumstances.tables_may_be_full) codes.insert(508);
  return codes;
}

void Model::move(Instant now, const FiveTuple& from, const MessageView& request,
                 const MessageView& answer) {
  const auto place = with_ticket(*ticket_in(request));
  require(place != allocations_.end(), "a ticket opens what has ended");
  const auto found = allocations_.erase(place, place);  // the same place, to be changed
  Allocation& allocation = found->second;
  const bool repeated = is_repeated(now_s(now), from, found->first, allocation, request);
  const auto given = ticket_in(answer);
  if (repeated) {
    require(given == allocation.ticket, "a retransmission is answered otherwise");
    return;
  }
  if (request.u32(Attribute::kLifetime) == 0U) {
    require(!given, "a ticket of what has ended");
    return refresh(now, found, request, answer);
  }
  require(given.has_value(), "a move without a new ticket");
  if (ticket_in(request) == allocation.ticket) {
    require(tickets_.emplace(*given, allocation.number).second, "a ticket is given twice");
    allocation.old_ticket = allocation.ticket;
    allocation.old_until_s = expiry_s(now, config_.old_ticket_s);
    allocation.ticket = *given;
    allocation.unconfirmed = true;
  }
  require(given == allocation.ticket, "another ticket than the one that is good");
  allocation.refreshed_by = request.transaction_id();
  if (allocation.to != from) {
    require(!knows(from), "a five-tuple has two allocations");
    if (allocation.to) allocation.given_up = allocation.to;
    allocation.to = from;
    ++allocation.moves;
  }
  refresh(now, found, request, answer);
}

void Model::had_no_room(const MessageView& request) {
  const auto ticket = ticket_in(request);
  if (!ticket || request.method() != stun::Method::kRefresh) return;
  const auto place = with_ticket(*ticket);
  if (place == allocations_.end() || !place->second.to) return;
  Allocation& allocation = allocations_.erase(place, place)->second;  // to be changed
  allocation.given_up = allocation.to;
  allocation.to.reset();
}

void Model::data_came(Instant now, const FiveTuple& from) {
  forget(now);
  const auto found = find(from);
  if (found == allocations_.end() || found->second.to != from) return;
  found->second.unconfirmed = false;
  complete(now, found);
}

void Model::complete(Instant now, Allocations::iterator found) {
  Allocation moved = found->second;
  const FiveTuple to = *moved.to;
  remember(found->first, moved, now_s(now));
  allocations_.erase(found);
  moved.to.reset();
  moved.given_up.reset();
  allocations_[to] = moved;
}

std::optional<Model::OfStream> Model::of_stream(const FiveTuple& five_tuple) const {
  const auto found = find(five_tuple);
  if (found == allocations_.end()) return std::nullopt;
  const bool moves = found->first != five_tuple;
  return OfStream{found->second.birth, moves ? found->second.moves : 0};
}

// docs/protocol.md 32: what may move waits for its client, where it has no other place already.
void Model::stream_ended(Instant now, const OfStream& ended) {
  forget(now);
  const auto found = std::find_if(allocations_.begin(), allocations_.end(),
                                  [&](const auto& one) { return one.second.birth == ended.birth; });
  if (found == allocations_.end()) return;
  Allocation& allocation = found->second;
  if (allocation.ticket.empty()) return end(now, FiveTuple(found->first));
  if (!allocation.to) return;
  if (ended.move == 0) {
    // Of whichever stream it has left: it is at another already, and has proved to be at a third.
    if (found->first.transport != Transport::kUdp) complete(now, found);
  } else if (ended.move == allocation.moves) {
    allocation.to.reset();
  }
}

}  // namespace turnpike::simulation

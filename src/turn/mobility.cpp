// Mobility (RFC 8016; docs/protocol.md 35): a Refresh with a ticket, from another five-tuple than
// the allocation's. Both then lead to it, until data come by the new one.
#include "turn/server_impl.h"
#include "turn/tunnels.h"

namespace turnpike {

using stun::Attribute;
using stun::Method;

namespace {

constexpr int kNumberBits = 40;  // as a ticket holds

}  // namespace

TokenSealer::Ticket Server::Impl::ticket_of(const Allocation& allocation,
                                            std::uint16_t serial) const {
  return tokens_.seal_ticket({.shard = config_.shard,
                              .serial = serial,
                              .slot = static_cast<std::uint32_t>(allocation.slot),
                              .allocation = allocation.mobility->number});
}

Mobility Server::Impl::new_mobility() const {
  Mobility mobility;
  for (int bits = 0; bits < kNumberBits; bits += 8)
    mobility.number = mobility.number << 8 | host_.random_below(0x100);
  return mobility;
}

// Whose request it is: a ticket says it, whatever five-tuple brings it.
Allocation* Server::Impl::meant(const Request& request) {
  const std::uint32_t seconds = now_s(request.now);
  const auto ticket = request.message.find(Attribute::kMobilityTicket);
  if (request.message.method() != Method::kRefresh || !ticket)
    return book_.find(request.five_tuple, seconds);
  const auto content = tokens_.open_ticket(ticket->value);
  if (!content || content->shard != config_.shard) return nullptr;
  Allocation* allocation = book_.find(AllocationSlot{content->slot}, seconds);
  const bool same = allocation != nullptr && allocation->mobility &&
                    allocation->mobility->number == content->allocation;
  return same ? allocation : nullptr;
}

// `serial`, of the ticket. The old one has been answered with a new one; that the answer got lost,
// its client shows by asking again: from where it is moving to, or from yet another place, as long
// as no data have shown that it has the new one. But not from a place that it has left meanwhile:
// whoever repeats what it has said there would move it back.
Refusal Server::Impl::may_move(const Request& request, const Allocation& allocation,
                               std::uint16_t serial) const {
  const Mobility& mobility = *allocation.mobility;
  const FiveTuple& from = request.five_tuple;
  const bool old = serial == mobility.old_serial && now_s(request.now) < mobility.old_until_s;
  if (serial != mobility.serial && !old) return {400, "Mobility Ticket Is An Old One"};
  if (from == allocation.five_tuple || (from == mobility.to && !old))
    return {400, "Address Has Not Changed"};
  if (old && (!mobility.unconfirmed || from == mobility.given_up))
    return {400, "Mobility Ticket Is An Old One"};
  return {};
}

// The nonce was this five-tuple's, and this five-tuple's alone: a Refresh that somebody has
// overheard moves nothing from where he is.
void Server::Impl::move(Request& request, Allocation* allocation) {
  if (!policy_->mobility) return refuse(request, {405});
  const auto content = tokens_.open_ticket(request.message.find(Attribute::kMobilityTicket)->value);
  if (!content || content->shard != config_.shard)
    return refuse(request, {400, "Mobility Ticket Is Nobody's"});
  if (allocation == nullptr) return refuse(request, {437, "Allocation Of This Ticket Has Ended"});
  // Of one name in two realms, two are meant.
  if (allocation->owner.username != request.user.username ||
      allocation->owner.account.realm != request.realm)
    return refuse(request, {441, "Allocation Is Another User's"});
  Mobility& mobility = *allocation->mobility;
  const bool repeated =
      content->serial == mobility.old_serial && now_s(request.now) < mobility.old_until_s &&
      mobility.refreshed_by == request.message.transaction_id() &&
      (request.five_tuple == mobility.to || request.five_tuple == allocation->five_tuple);
  if (repeated)
    return answer_refresh(request, mobility.granted_s, ticket_of(*allocation, mobility.serial));
  if (const Refusal refusal = may_move(request, *allocation, content->serial))
    return refuse(request, refusal);
  std::array<bool, 2> families{};
  if (const Refusal refusal = refresh_refused(request, *allocation, families))
    return refuse(request, refusal);
  // What ends needs no new place; and a ticket of what has ended is of no use.
  if (request.message.u32(Attribute::kLifetime) == 0U) return refresh(request, *allocation);
  // As an Allocate from there would be.
  if (is_tunnelled(request.five_tuple.client.address))
    return refuse(request, {403, "Client Address Is A Tunnel's"});
  if (request.five_tuple != mobility.to) {
    // One that has ended is in nobody's way.
    static_cast<void>(book_.find(request.five_tuple, now_s(request.now)));
    bool no_room = false;
    switch (book_.begin_move(*allocation, request.five_tuple, no_room)) {
      case QuotaLedger::Verdict::kFiveTupleTaken:
        return refuse(request, {437, "Five-Tuple In Use"});
      case QuotaLedger::Verdict::kSourceOverQuota:
        return refuse(
            request, {486, "Too Many Allocations From This Address", Limit::kAllocationsPerSource});
      default:
        break;
    }
    if (no_room) return refuse(request, {508, "Too Many Moves", Limit::kAllocations});
  }
  if (content->serial == mobility.serial) {
    mobility.old_serial = mobility.serial;
    mobility.old_until_s = expiry_s(request.now, config_.old_ticket_s);
    mobility.unconfirmed = true;
    mobility.serial = static_cast<std::uint16_t>(mobility.serial % 0xFFFF + 1);
  }
  mobility.refreshed_by = request.message.transaction_id();
  mobility.granted_s = lifetime(request.message);
  refresh(request, *allocation, ticket_of(*allocation, mobility.serial));
}

void Server::Impl::data_came(Instant now, AllocationSlot slot, std::uint16_t move) {
  Allocation* allocation = book_.find(slot, now_s(now));
  if (allocation == nullptr || !allocation->mobility || !allocation->mobility->to ||
      allocation->mobility->move != move)
    return;
  allocation->mobility->unconfirmed = false;
  book_.complete_move(*allocation, now_s(now));
}

// What was said of a stream may be older than a move away from it: nothing that stands ends by it.
void Server::Impl::stream_ended(Instant now, AllocationSlot slot, std::uint16_t move) {
  Allocation* allocation = book_.find(slot, now_s(now));
  if (allocation == nullptr) return;
  if (!allocation->mobility) {
    end(now, slot);
    return;
  }
  Mobility& mobility = *allocation->mobility;
  if (!mobility.to) return;
  if (move != 0) {
    if (move == mobility.move) book_.cancel_move(*allocation);
  } else if (allocation->five_tuple.transport != Transport::kUdp) {
    book_.complete_move(*allocation, now_s(now));  // RFC 8016 §3.2.2
  }
}

}  // namespace turnpike

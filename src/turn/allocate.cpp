// Allocate (RFC 8656 §7.2), check by check in the RFC's order.
#include <algorithm>
#include <cassert>

#include "turn/server_impl.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kIpv4Octet = 1;
constexpr std::uint8_t kIpv6Octet = 2;

constexpr Refusal kFiveTupleInUse{437, "Five-Tuple In Use"};
constexpr Refusal kIdentityRefused{403, "Identity Refused"};
constexpr Refusal kTooManyAllocations{508, "Too Many Allocations", Limit::kAllocations};
constexpr Refusal kTooManyFromHere{486, "Too Many Allocations From This Address",
                                   Limit::kAllocationsPerSource};
constexpr Refusal kNoEvenPort{508, "No Such Port Free", Limit::kPorts};
constexpr Refusal kNoPort{508, "No Port Free", Limit::kPorts};
// Which of the ways a token can be wrong would help only who guesses.
constexpr Refusal kNoSuchReservation{508, "No Such Reservation"};

Refusal refusal_of(QuotaLedger::Verdict verdict) {
  switch (verdict) {
    case QuotaLedger::Verdict::kFiveTupleTaken:  // by another shard, a moment ago
      return kFiveTupleInUse;
    case QuotaLedger::Verdict::kOverQuota:
      return {486, {}, Limit::kAllocationsPerUser};
    case QuotaLedger::Verdict::kSourceOverQuota:
      return kTooManyFromHere;
    case QuotaLedger::Verdict::kFull:
      return kTooManyAllocations;
    case QuotaLedger::Verdict::kReserved:
      break;
  }
  return {};
}

Family family_of(std::size_t index) {
  return index == 0 ? Family::kIpv4 : Family::kIpv6;
}

}  // namespace

// What an Allocate has taken, until it is an allocation or is given back.
struct Server::Impl::Claim {
  std::array<std::optional<RelayEndpoint>, 2> relayed;  // by family_index()
  std::optional<std::pair<Family, std::uint16_t>> address_error;
  std::optional<std::uint32_t> redeemed;  // the reservation that this takes up
  Address reserved_from;                  // who made it
  std::optional<std::uint32_t> reserved;  // the one that this makes
  std::optional<UserLimits> limits;       // of the user, where they aren't everybody's
  bool streams = false;                   // it is TCP's

  const Address* redeemed_from() const { return redeemed ? &reserved_from : nullptr; }
};

std::uint32_t Server::Impl::lifetime(const MessageView& message) const {
  const std::uint32_t wanted = message.u32(Attribute::kLifetime).value_or(policy_->lifetime_min_s);
  return std::max(policy_->lifetime_min_s, std::min(wanted, policy_->lifetime_max_s));
}

Address Server::Impl::public_of(const Address& relayed) const {
  for (const RelayedAddress& one : config_.relayed) {
    if (one.internal == relayed) return one.public_address();
  }
  return relayed;
}

void Server::Impl::allocate(Request& request, Allocation* existing) {
  const MessageView& message = request.message;
  if (existing != nullptr) {
    // RFC 8656 §7.2: 437 whoever asks; 441 is for other requests (§5), and ends a client's attempt.
    if (existing->created_by == message.transaction_id() &&
        existing->owner.username == request.user.username) {
      if (existing->streams && existing->streams->asked)
        return discard(request.token, Discard::kDuplicateParked);
      return answer_allocate(request, *existing);
    }
    return refuse(request, kFiveTupleInUse);
  }
  // A late duplicate of the Allocate whose allocation is gone makes no ghost.
  if (const Tombstone* tombstone = book_.tombstone(request.five_tuple);
      tombstone != nullptr && tombstone->created_by == message.transaction_id()) {
    return refuse(request, {437, "Allocation Of This Request Has Ended"});
  }
  const auto transport = message.requested_transport();
  if (!transport) {
    return refuse(request, message.has(Attribute::kRequestedTransport)
                               ? Refusal{400, "Requested Transport Malformed"}
                               : Refusal{400, "Requested Transport Missing"});
  }
  const bool streams = *transport == kTcp;
  if (*transport != kUdp && !streams) return refuse(request, {442});
  if (streams) {
    if (const Refusal refusal = streams_refused(request)) return refuse(request, refusal);
  }
  if (message.has(Attribute::kLifetime) && !message.u32(Attribute::kLifetime))
    return refuse(request, {400, "Lifetime Malformed"});
  if (const auto ticket = message.find(Attribute::kMobilityTicket)) {
    if (!ticket->value.empty()) return refuse(request, {400, "Mobility Ticket In An Allocate"});
    if (!policy_->mobility) return refuse(request, {405});
  }
  const IdentityVerdict identity = judge_identity(request);
  if (identity.refused) return refuse(request, kIdentityRefused);
  if (redirect(request)) return;

  Claim claimed;
  claimed.limits = identity.limits;
  if (const Refusal refusal = claim(request, claimed)) return refuse(request, refusal);
  claimed.streams = streams;
  Allocation* const made = establish(request, claimed);
  if (made == nullptr) {
    abandon(request, claimed);
    return refuse(request, {508, {}, Limit::kAllocations});
  }
  if (!streams) return answer_allocate(request, *made);
  await_relays(request, *made);
}

// The name is the one that the keys were found for: USERHASH, and other ways to write the same
// name, don't get around a rule (docs/protocol.md 23).
IdentityVerdict Server::Impl::judge_identity(const Request& request) const {
  const MessageView& message = request.message;
  return host_.judge_identity({.username = request.user.username,
                               .realm = realm_of(request).name,
                               .origin = message.text(Attribute::kOrigin).value_or(""),
                               .software = message.text(Attribute::kSoftware).value_or("")});
}

// RFC 8489 §10: the alternates of the client's own family first.
bool Server::Impl::redirect(const Request& request) {
  for (const ServerPolicy::Redirect& redirect : policy_->redirects) {
    if (redirect.server != request.five_tuple.server ||
        redirect.transport != request.five_tuple.transport)
      continue;
    MessageWriter writer = begin(request, Class::kError);
    writer.add_error_code(300);
    for (const bool same : {true, false}) {
      for (const Endpoint& alternate : redirect.alternates) {
        if ((alternate.address.family == redirect.server.address.family) == same)
          writer.add_address(Attribute::kAlternateServer, alternate);
      }
    }
    send(request, writer, 300, true);
    return true;
  }
  return false;
}

// Takes what the allocation needs, or refuses with nothing taken.
Refusal Server::Impl::claim(const Request& request, Claim& claimed) {
  const MessageView& message = request.message;
  const bool reserved = message.has(Attribute::kReservationToken);
  std::array<bool, 2> wanted{};
  if (!reserved) {
    if (const Refusal refusal = choose_families(request, wanted)) return refusal;
  } else if (message.has(Attribute::kEvenPort) || message.has(Attribute::kRequestedAddressFamily) ||
             message.has(Attribute::kAdditionalAddressFamily)) {
    return {400, "Reservation Token Beside Even Port Or Family"};
  }
  if (book_.is_full()) return kTooManyAllocations;
  if (reserved) {
    if (const Refusal refusal = claim_reserved(request, claimed)) return refusal;
  }
  if (const Refusal refusal = refusal_of(quotas_.reserve(
          request.user.account, request.five_tuple, claimed.redeemed_from(), claimed.limits))) {
    return refusal;
  }
  if (reserved) return {};
  const Refusal refusal = claim_ports(request, wanted, claimed);
  if (refusal) quotas_.release(request.user.account, request.five_tuple);
  return refusal;
}

// Makes what was claimed an allocation; nullptr where the tables have no room.
Allocation* Server::Impl::establish(const Request& request, const Claim& claimed) {
  Allocation made;
  made.five_tuple = request.five_tuple;
  made.created_by = request.message.transaction_id();
  made.owner = request.user;
  made.relayed = claimed.relayed;
  made.lifetime_s = lifetime(request.message);
  made.address_error = claimed.address_error;
  for (std::size_t family = 0; family < 2; ++family) {
    if (made.relayed[family]) made.expires_s[family] = expiry_s(request.now, made.lifetime_s);
  }
  if (request.message.has(Attribute::kMobilityTicket)) made.mobility = new_mobility();
  if (claimed.streams) made.streams.emplace();
  if (claimed.reserved) made.token = tokens_.seal({config_.shard, *claimed.reserved});
  Allocation* kept = book_.add(std::move(made));
  if (kept != nullptr && claimed.redeemed) book_.take_up(*claimed.redeemed, request.five_tuple);
  return kept;
}

// A reservation goes on, ports that nobody has seen need no rest.
void Server::Impl::abandon(const Request& request, const Claim& claimed) {
  quotas_.release(request.user.account, request.five_tuple, claimed.redeemed_from());
  if (claimed.redeemed) return;
  if (claimed.reserved) book_.cancel(*claimed.reserved);
  for (const auto& relayed : claimed.relayed) {
    if (relayed) book_.put_back(*relayed);
  }
}

Refusal Server::Impl::choose_families(const Request& request, std::array<bool, 2>& wanted) const {
  const MessageView& message = request.message;
  const bool additional = message.has(Attribute::kAdditionalAddressFamily);
  if (message.has(Attribute::kEvenPort) && !message.even_port_reserve())
    return {400, "Even Port Malformed"};
  if (additional) {
    const bool pair = message.even_port_reserve().value_or(false);
    if (message.has(Attribute::kRequestedAddressFamily))
      return {400, "Requested And Additional Address Family"};
    if (pair) return {400, "Additional Address Family Beside A Pair Of Ports"};
    if (message.family_octet(Attribute::kAdditionalAddressFamily) != kIpv6Octet)
      return {400, "Additional Address Family Is Not IPv6"};
    wanted = {true, true};
    return {};
  }
  if (!message.has(Attribute::kRequestedAddressFamily)) {
    wanted[0] = true;
    return book_.relays(Family::kIpv4) ? Refusal{} : Refusal{440};
  }
  const auto octet = message.family_octet(Attribute::kRequestedAddressFamily);
  if (!octet) return {400, "Requested Address Family Malformed"};
  if (*octet != kIpv4Octet && *octet != kIpv6Octet) return {440};
  const std::size_t family = *octet == kIpv4Octet ? 0 : 1;
  wanted[family] = true;
  return book_.relays(family_of(family)) ? Refusal{} : Refusal{440};
}

Refusal Server::Impl::claim_reserved(const Request& request, Claim& claimed) const {
  const auto token = request.message.find(Attribute::kReservationToken);
  const auto content = tokens_.open(token->value);
  if (!content || content->shard != config_.shard) return kNoSuchReservation;
  const Reservation* reservation = book_.reservation(content->id, now_s(request.now));
  if (reservation == nullptr) return kNoSuchReservation;
  if (reservation->account != request.user.account) return kNoSuchReservation;  // overheard
  const RelayEndpoint& relayed = reservation->relayed;
  claimed.relayed[family_index(relayed.address.family)] = relayed;
  claimed.redeemed = content->id;
  claimed.reserved_from = reservation->client;
  return {};
}

Refusal Server::Impl::claim_ports(const Request& request, const std::array<bool, 2>& wanted,
                                  Claim& claimed) {
  const bool even = request.message.has(Attribute::kEvenPort);
  const bool pair = request.message.even_port_reserve().value_or(false);
  if (pair && !book_.has_room_for_reservation())
    return {508, "Too Many Reservations", Limit::kReservations};
  // A reservation holds a port as an allocation does, and counts as one.
  const QuotaUser& user = request.user.account;
  const Address& client = request.five_tuple.client.address;
  if (pair) {
    if (const Refusal refusal = refusal_of(quotas_.reserve(user, client))) return refusal;
  }
  for (std::size_t family = 0; family < 2; ++family) {
    if (!wanted[family]) continue;
    claimed.relayed[family] = book_.draw(family_of(family), even, pair);
    if (claimed.relayed[family]) continue;
    // Of two, one may be missing (RFC 8656 §7.2, ADDRESS-ERROR-CODE).
    claimed.address_error = {family_of(family), book_.relays(family_of(family))
                                                    ? std::uint16_t{508}
                                                    : std::uint16_t{440}};
  }
  if (!claimed.relayed[0] && !claimed.relayed[1]) {
    if (pair) quotas_.release(user, client);
    return even ? kNoEvenPort : kNoPort;
  }
  if (claimed.address_error && claimed.address_error->second == 508) count(Limit::kPorts);
  if (!pair) return {};
  // Asked for in one family only.
  RelayEndpoint second = claimed.relayed[0] ? *claimed.relayed[0] : *claimed.relayed[1];
  ++second.port;
  claimed.reserved =
      book_.reserve(second, user, client, expiry_s(request.now, config_.reservation_lifetime_s));
  return {};
}

void Server::Impl::answer_allocate(const Request& request, const Allocation& allocation) {
  MessageWriter writer = begin(request, Class::kSuccess);
  write_success(writer, allocation, request.five_tuple.client);
  send(request, writer, 0, true);
}

void Server::Impl::write_success(MessageWriter& writer, const Allocation& allocation,
                                 const Endpoint& client) {
  for (const auto& relayed : allocation.relayed) {
    if (relayed)
      writer.add_xor_address(Attribute::kXorRelayedAddress,
                             {public_of(relayed->address), relayed->port});
  }
  writer.add_u32(Attribute::kLifetime, allocation.lifetime_s);
  if (allocation.token) writer.add(Attribute::kReservationToken, *allocation.token);
  // Of a retransmission's answer the first, too.
  if (allocation.mobility)
    writer.add(Attribute::kMobilityTicket, ticket_of(allocation, Mobility{}.serial));
  if (allocation.address_error) {
    writer.add_address_error_code(allocation.address_error->first,
                                  allocation.address_error->second);
  }
  writer.add_xor_address(Attribute::kXorMappedAddress, client);
}

}  // namespace turnpike

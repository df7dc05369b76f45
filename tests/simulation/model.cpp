// The promises of RFC 8656, one by one.
#include "model.h"

#include <algorithm>
#include <utility>

namespace turnpike::simulation {
namespace {

using stun::Attribute;
using stun::AttributeView;
using stun::MessageView;
using stun::Method;

std::array<std::optional<Endpoint>, 2> relayed_in(const MessageView& answer) {
  std::array<std::optional<Endpoint>, 2> relayed;
  answer.for_each([&](const AttributeView& attribute) {
    if (attribute.type != static_cast<std::uint16_t>(Attribute::kXorRelayedAddress)) return true;
    const auto endpoint = answer.xor_address(attribute);
    require(endpoint.has_value(), "a relayed address can't be read");
    auto& place = relayed[family_index(endpoint->address.family)];
    require(!place, "two relayed addresses of one family");
    place = endpoint;
    return true;
  });
  return relayed;
}

std::optional<TokenSealer::Token> token_in(const MessageView& message) {
  const auto found = message.find(Attribute::kReservationToken);
  if (!found || found->value.size() != TokenSealer::Token{}.size()) return std::nullopt;
  TokenSealer::Token token{};
  std::copy(found->value.begin(), found->value.end(), token.begin());
  return token;
}

}  // namespace

void Model::success(Instant now, const FiveTuple& five_tuple, const std::string& user,
                    const MessageView& request, const MessageView& answer) {
  forget(now);
  if (request.method() == Method::kRefresh && request.has(Attribute::kMobilityTicket))
    return move(now, five_tuple, request, answer);
  const auto found = find(five_tuple);
  require(found == allocations_.end() || found->second.user == user,
          "somebody else's allocation is used");
  if (request.method() == Method::kAllocate)
    return allocate(now, five_tuple, user, request, answer);
  require(found != allocations_.end(), "a success without an allocation");
  require(!answer.has(Attribute::kMobilityTicket), "a ticket that nobody asked for");
  if (request.method() == Method::kRefresh) return refresh(now, found, request, answer);
  if (request.method() == Method::kCreatePermission) return permit(now, found->second, request);
  require(request.method() == Method::kChannelBind, "a success of an unknown method");
  bind(now, found->second, request);
}

Model::Allocations::const_iterator Model::find(const FiveTuple& five_tuple) const {
  return std::find_if(allocations_.begin(), allocations_.end(), [&](const auto& one) {
    return one.first == five_tuple || one.second.to == five_tuple;
  });
}

Model::Allocations::iterator Model::find(const FiveTuple& five_tuple) {
  const auto found = std::as_const(*this).find(five_tuple);
  return allocations_.erase(found, found);  // the same place, to be changed
}

void Model::forget(Instant now) {
  const std::uint32_t seconds = now_s(now);
  for (auto one = allocations_.begin(); one != allocations_.end();) {
    auto& [five_tuple, allocation] = *one;
    const std::uint32_t last_s = std::max(allocation.until_s[0], allocation.until_s[1]);
    for (std::size_t family = 0; family < 2; ++family) {
      if (allocation.until_s[family] <= seconds) end_family(allocation, family);
    }
    std::erase_if(allocation.permissions, [&](const auto& it) { return it.second <= seconds; });
    std::erase_if(allocation.channels,
                  [&](const auto& it) { return it.second.until_s <= seconds; });
    if (allocation.relayed[0] || allocation.relayed[1]) {
      ++one;
      continue;
    }
    remember(five_tuple, allocation, last_s);
    one = allocations_.erase(one);
  }
  std::erase_if(reservations_, [&](const auto& it) { return it.second.until_s <= seconds; });
  std::erase_if(ghosts_, [&](const auto& it) { return it.second <= seconds; });
}

void Model::end(Instant now, const FiveTuple& five_tuple) {
  forget(now);
  const auto found = allocations_.find(five_tuple);
  if (found == allocations_.end()) return;  // it was over, and its shard had not looked yet
  remember(five_tuple, found->second, now_s(now));
  allocations_.erase(found);
}

void Model::remember(const FiveTuple& five_tuple, const Allocation& ended, std::uint32_t at_s) {
  ghosts_[{five_tuple, ended.created_by}] = at_s + config_.tombstone_s;
  ended_.insert({five_tuple, ended.created_by});
}

Model::Reservations::const_iterator Model::reservation_of(const MessageView& request) const {
  const auto token = token_in(request);
  return token ? reservations_.find(*token) : reservations_.end();
}

void Model::end_family(Allocation& allocation, std::size_t family) const {
  allocation.relayed[family].reset();
  allocation.until_s[family] = 0;
  std::erase_if(allocation.permissions,
                [&](const auto& it) { return family_index(it.first.family) == family; });
  std::erase_if(allocation.channels, [&](const auto& it) {
    return family_index(it.second.peer.address.family) == family;
  });
}

std::uint32_t Model::clamp(const MessageView& request) const {
  const std::uint32_t asked = request.u32(Attribute::kLifetime).value_or(config_.lifetime_min_s);
  return std::clamp(asked, config_.lifetime_min_s, config_.lifetime_max_s);
}

void Model::allocate(Instant now, const FiveTuple& five_tuple, const std::string& user,
                     const MessageView& request, const MessageView& answer) {
  const auto relayed = relayed_in(answer);
  require(answer.has(Attribute::kMobilityTicket) == request.has(Attribute::kMobilityTicket),
          "a ticket that nobody asked for, or none");
  if (const auto found = find(five_tuple); found != allocations_.end()) {
    require(found->second.created_by == request.transaction_id(),
            "a five-tuple has a second allocation");
    require(found->second.relayed == relayed, "a retransmission is answered otherwise");
    return;
  }
  require(!remembers_ghosts_ || !ghosts_.contains({five_tuple, request.transaction_id()}),
          "a late duplicate makes a ghost");
  require(answer.xor_address(Attribute::kXorMappedAddress) == Endpoint(five_tuple.client),
          "the mapped address is another's");
  require(answer.u32(Attribute::kLifetime) == clamp(request), "another lifetime than is due");
  Allocation made;
  made.user = user;
  made.birth = ++births_;
  made.created_by = request.transaction_id();
  made.relayed = relayed;
  for (std::size_t family = 0; family < 2; ++family) {
    if (relayed[family]) made.until_s[family] = expiry_s(now, clamp(request));
  }
  check_families(made, request, answer);
  check_ports(made, request);
  if (const auto token = token_in(answer)) {
    require(request.even_port_reserve().value_or(false), "a reservation that nobody asked for");
    Endpoint next = made.relayed[0] ? *made.relayed[0] : *made.relayed[1];
    ++next.port;
    require(!reservations_.contains(*token), "two reservations have one token");
    reservations_[*token] = {next, user, five_tuple.client.address,
                             expiry_s(now, config_.reservation_lifetime_s)};
  }
  if (const auto ticket = ticket_in(answer)) {
    made.number = ++numbers_;
    made.ticket = *ticket;
    require(tickets_.emplace(*ticket, made.number).second, "a ticket is given twice");
  }
  allocations_[five_tuple] = made;
}

void Model::check_families(const Allocation& made, const MessageView& request,
                           const MessageView& answer) const {
  require(request.requested_transport() == 17, "another transport than UDP");
  if (request.has(Attribute::kReservationToken)) return;
  if (request.has(Attribute::kAdditionalAddressFamily)) {
    const bool both = made.relayed[0] && made.relayed[1];
    require(both != answer.has(Attribute::kAddressErrorCode), "a missing family without a reason");
    return;
  }
  const bool v6 = request.family_octet(Attribute::kRequestedAddressFamily) == 2;
  require(made.relayed[0].has_value() == !v6 && made.relayed[1].has_value() == v6,
          "another family than was asked for");
}

void Model::check_ports(const Allocation& made, const MessageView& request) {
  if (request.has(Attribute::kReservationToken)) {
    const auto found = reservation_of(request);
    require(found != reservations_.end(), "a reservation that nobody made, or twice, or too late");
    require(
        made.relayed[family_index(found->second.relayed.address.family)] == found->second.relayed,
        "another port than was reserved");
    reservations_.erase(found);
  }
  for (const auto& relayed : made.relayed) {
    if (!relayed) continue;
    require(relayed->port >= config_.port_min && relayed->port <= config_.port_max,
            "a port out of range");
    require(!request.has(Attribute::kEvenPort) || relayed->port % 2 == 0, "an odd port");
    for (const auto& [other, allocation] : allocations_) {
      require(allocation.relayed[0] != relayed && allocation.relayed[1] != relayed,
              "a relayed address has two owners");
    }
    for (const auto& [token, reservation] : reservations_)
      require(reservation.relayed != *relayed, "a reserved port is given away");
  }
}

void Model::refresh(Instant now, Allocations::iterator found, const MessageView& request,
                    const MessageView& answer) {
  Allocation& allocation = found->second;
  const bool ends = request.u32(Attribute::kLifetime) == 0U;
  require(answer.u32(Attribute::kLifetime) == (ends ? 0 : clamp(request)),
          "another lifetime than is due");
  const auto named = request.family_octet(Attribute::kRequestedAddressFamily);
  const bool meant =
      !named || (*named == 1 && allocation.relayed[0]) || (*named == 2 && allocation.relayed[1]);
  require(meant, "a refresh of a family that is not there");
  for (std::size_t family = 0; family < 2; ++family) {
    if (!allocation.relayed[family] || (named && *named != family + 1)) continue;
    allocation.until_s[family] = expiry_s(now, clamp(request));
    if (ends) end_family(allocation, family);
  }
  if (allocation.relayed[0] || allocation.relayed[1]) return;
  remember(found->first, allocation, now_s(now));
  allocations_.erase(found);
}

void Model::check_peer(const Allocation& allocation, const Address& peer) const {
  require(peer != kForbidden, "a forbidden peer is let in");
  require(allocation.relayed[family_index(peer.family)].has_value(),
          "a peer of another family is let in");
}

void Model::permit(Instant now, Allocation& allocation, const MessageView& request) {
  bool any = false;
  request.for_each([&](const AttributeView& attribute) {
    if (attribute.type != static_cast<std::uint16_t>(Attribute::kXorPeerAddress)) return true;
    const auto given = request.xor_address(attribute);
    require(given.has_value(), "a malformed peer is let in");
    const Address peer = public_of(config_, given->address);
    check_peer(allocation, peer);
    allocation.permissions[peer] = expiry_s(now, config_.permission_lifetime_s);
    any = true;
    return true;
  });
  require(any, "a permission for nobody");
  require(allocation.permissions.size() <= config_.max_permissions_per_allocation,
          "more permissions than allowed");
}

void Model::bind(Instant now, Allocation& allocation, const MessageView& request) {
  const auto number = request.channel_number();
  const auto given = request.xor_address(Attribute::kXorPeerAddress);
  require(number && *number >= 0x4000 && *number <= config_.channel_max,
          "a channel number out of range");
  require(given && given->port != 0, "a channel to nowhere");
  const Endpoint peer{public_of(config_, given->address), given->port};
  check_peer(allocation, peer.address);
  for (const auto& [other, channel] : allocation.channels)
    require((other == *number) == (channel.peer == peer), "a channel is bound twice");
  allocation.channels[*number] = {peer, expiry_s(now, config_.channel_lifetime_s)};
  allocation.permissions[peer.address] = expiry_s(now, config_.permission_lifetime_s);
  require(allocation.channels.size() <= config_.max_channels_per_allocation,
          "more channels than allowed");
  require(allocation.permissions.size() <= config_.max_permissions_per_allocation,
          "more permissions than allowed");
}

// RFC 8656 §12.6: a channel sends even where its permission has run out.
std::optional<Endpoint> Model::by_channel(const FiveTuple& five_tuple, ChannelNumber number) const {
  const auto found = find(five_tuple);
  if (found == allocations_.end()) return std::nullopt;
  const auto channel = found->second.channels.find(number);
  if (channel == found->second.channels.end()) return std::nullopt;
  return channel->second.peer;
}

bool Model::by_send(const FiveTuple& five_tuple, const Address& peer) const {
  const auto found = find(five_tuple);
  return found != allocations_.end() && found->second.permissions.contains(peer);
}

std::optional<Model::Delivery> Model::from_peer(const Endpoint& public_relayed,
                                                const Endpoint& peer) const {
  for (const auto& [five_tuple, allocation] : allocations_) {
    if (allocation.relayed[family_index(public_relayed.address.family)] != public_relayed) continue;
    for (const auto& [number, channel] : allocation.channels) {
      if (channel.peer == peer) return Delivery{five_tuple, number};
    }
    if (!allocation.permissions.contains(peer.address)) return std::nullopt;
    return Delivery{five_tuple, std::nullopt};
  }
  return std::nullopt;
}

}  // namespace turnpike::simulation

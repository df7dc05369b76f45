// Allocate (RFC 8656 §7.2), check by check in the RFC's order.
#include <algorithm>

#include "turn/server_impl.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;

constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kIpv4Octet = 1;
constexpr std::uint8_t kIpv6Octet = 2;

// RFC 8656 §21.4: tunnels' addresses let a client reach what the tunnel's other end forbids.
bool is_tunnelled(const Address& client) {
  if (client.family == Family::kIpv4) return false;
  const auto& b = client.bytes;
  const bool teredo = b[0] == 0x20 && b[1] == 0x01 && b[2] == 0 && b[3] == 0;
  const bool six_to_four = b[0] == 0x20 && b[1] == 0x02;
  return teredo || six_to_four;
}

Family family_of(std::size_t index) {
  return index == 0 ? Family::kIpv4 : Family::kIpv6;
}

}  // namespace

std::uint32_t Server::Impl::lifetime(const MessageView& message) const {
  const std::uint32_t wanted =
      message.u32(Attribute::kLifetime).value_or(config_.lifetime_default_s);
  return std::max(config_.lifetime_default_s, std::min(wanted, config_.lifetime_max_s));
}

bool Server::Impl::relays(Family family) const {
  return std::any_of(config_.relayed.begin(), config_.relayed.end(),
                     [&](const RelayedAddress& one) { return one.internal.family == family; });
}

Address Server::Impl::face_of(const Address& relayed) const {
  for (const RelayedAddress& one : config_.relayed) {
    if (one.internal == relayed) return one.face();
  }
  return relayed;
}

PortPool& Server::Impl::pool_of(const Address& relayed) {
  std::size_t i = 0;
  while (config_.relayed[i].internal != relayed)
    ++i;
  return pools_[i];
}

void Server::Impl::allocate(Request& request, Allocation* existing) {
  const MessageView& message = request.message;
  if (existing != nullptr) {
    if (existing->created_by == message.transaction_id())
      return answer_allocate(request, *existing);
    return refuse(request, 437);
  }
  // A late duplicate of the Allocate whose allocation is gone makes no ghost.
  if (const auto tombstone = tombstones_.find(request.five_tuple);
      tombstone != tombstones_.end() && tombstone->second.created_by == message.transaction_id()) {
    return refuse(request, 437);
  }
  if (is_tunnelled(request.five_tuple.client.address)) return refuse(request, 403);
  const auto transport = message.requested_transport();
  if (!transport) return refuse(request, 400);
  if (*transport != kUdp) return refuse(request, 442);
  if (message.has(Attribute::kLifetime) && !message.u32(Attribute::kLifetime))
    return refuse(request, 400);

  for (const ServerConfig::Redirect& redirect : config_.redirects) {
    if (redirect.server != request.five_tuple.server) continue;
    MessageWriter writer = begin(request, Class::kError);
    writer.add_error_code(300);
    // RFC 8489 §10: the client's own family first.
    for (const bool same : {true, false}) {
      for (const Endpoint& alternate : redirect.alternates) {
        if ((alternate.address.family == redirect.server.address.family) == same) {
          writer.add_address(Attribute::kAlternateServer, alternate);
        }
      }
    }
    return send(request, writer, 300, true);
  }

  Allocation made;
  made.five_tuple = request.five_tuple;
  made.created_by = message.transaction_id();
  made.keys = request.user;
  made.lifetime_s = lifetime(message);
  std::array<bool, 2> wanted{};
  std::uint16_t code = 0;
  const bool reserved = message.has(Attribute::kReservationToken);
  if (reserved) {
    const bool alone = !message.has(Attribute::kEvenPort) &&
                       !message.has(Attribute::kRequestedAddressFamily) &&
                       !message.has(Attribute::kAdditionalAddressFamily);
    if (!alone) return refuse(request, 400);
  } else {
    code = choose_families(request, wanted);
    if (code != 0) return refuse(request, code);
  }
  if (allocations_.size() >= config_.max_allocations) return refuse(request, 508);
  if (!quotas_.reserve(request.user.quota_name)) return refuse(request, 486);
  code = reserved ? claim_reserved(request, made) : claim_ports(request, wanted, made);
  if (code == 0) {
    AllocationFlow flow;
    flow.five_tuple = made.five_tuple;
    flow.relayed = made.relayed;
    for (std::size_t family = 0; family < 2; ++family) {
      if (made.relayed[family]) made.expires_s[family] = expiry_s(request.now, made.lifetime_s);
    }
    flow.expires_s = made.expires_s;
    if (const auto slot = host_.flows().publish_allocation(flow)) {
      made.slot = *slot;
    } else {
      code = 508;
    }
  }
  if (code != 0) {
    for (const auto& relayed : made.relayed) {
      if (relayed) give_back(*relayed, now_s(request.now));
    }
    quotas_.release(request.user.quota_name);
    return refuse(request, code);
  }
  const auto [where, inserted] = allocations_.emplace(made.five_tuple, std::move(made));
  schedule(where->second);
  update_gauges();
  answer_allocate(request, where->second);
}

// Which families; an error code, or 0.
std::uint16_t Server::Impl::choose_families(const Request& request,
                                            std::array<bool, 2>& wanted) const {
  const MessageView& message = request.message;
  const bool additional = message.has(Attribute::kAdditionalAddressFamily);
  if (message.has(Attribute::kEvenPort) && !message.even_port_reserve()) return 400;
  if (additional) {
    const bool pair = message.even_port_reserve().value_or(false);
    if (message.has(Attribute::kRequestedAddressFamily) || pair) return 400;
    if (message.family_octet(Attribute::kAdditionalAddressFamily) != kIpv6Octet) return 400;
    wanted = {true, true};
    return 0;
  }
  if (!message.has(Attribute::kRequestedAddressFamily)) {
    wanted[0] = true;
    return relays(Family::kIpv4) ? 0 : 440;
  }
  const auto octet = message.family_octet(Attribute::kRequestedAddressFamily);
  if (!octet) return 400;
  if (*octet != kIpv4Octet && *octet != kIpv6Octet) return 440;
  const std::size_t family = *octet == kIpv4Octet ? 0 : 1;
  wanted[family] = true;
  return relays(family_of(family)) ? 0 : 440;
}

std::uint16_t Server::Impl::claim_reserved(const Request& request, Allocation& made) {
  const auto token = request.message.find(Attribute::kReservationToken);
  const auto content = tokens_.open(token->value);
  if (!content || content->shard != config_.shard) return 508;
  const auto found = reservations_.find(content->id);
  if (found == reservations_.end() || found->second.expires_s <= now_s(request.now)) return 508;
  made.relayed[family_index(found->second.relayed.address.family)] = found->second.relayed;
  reservations_.erase(found);
  return 0;
}

std::uint16_t Server::Impl::claim_ports(const Request& request, const std::array<bool, 2>& wanted,
                                        Allocation& made) {
  const bool even = request.message.has(Attribute::kEvenPort);
  const bool pair = request.message.even_port_reserve().value_or(false);
  for (std::size_t family = 0; family < 2; ++family) {
    if (!wanted[family]) continue;
    if (auto drawn = draw(family_of(family), even, pair)) {
      made.relayed[family] = *drawn;
    } else {
      // Of two, one may be missing (RFC 8656 §7.2, ADDRESS-ERROR-CODE).
      made.address_error = {family_of(family),
                            relays(family_of(family)) ? std::uint16_t{508} : std::uint16_t{440}};
    }
  }
  if (!made.relayed[0] && !made.relayed[1]) return 508;
  if (!pair) return 0;
  const auto& first = made.relayed[0] ? made.relayed[0] : made.relayed[1];
  std::uint32_t id = host_.random_below(1U << 24);
  while (reservations_.contains(id))
    id = (id + 1) & 0xFFFFFF;
  RelayEndpoint second = *first;
  ++second.port;
  reservations_[id] = {second, expiry_s(request.now, config_.reservation_lifetime_s)};
  made.token = tokens_.seal({config_.shard, id});
  return 0;
}

// From one of the family's addresses at random, or any other that has a port left.
std::optional<RelayEndpoint> Server::Impl::draw(Family family, bool even, bool pair) {
  const std::size_t n = config_.relayed.size();
  if (n == 0) return std::nullopt;
  const std::size_t start = host_.random_below(static_cast<std::uint32_t>(n));
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t which = (start + i) % n;
    if (config_.relayed[which].internal.family != family) continue;
    const auto port = even ? pools_[which].take_even(host_, pair) : pools_[which].take(host_);
    if (port) return RelayEndpoint{{config_.relayed[which].internal, *port}};
  }
  return std::nullopt;
}

void Server::Impl::give_back(const RelayEndpoint& relayed, std::uint32_t seconds) {
  pool_of(relayed.address).release(relayed.port, seconds + config_.port_rest_s);
}

void Server::Impl::answer_allocate(const Request& request, const Allocation& allocation) {
  MessageWriter writer = begin(request, Class::kSuccess);
  for (const auto& relayed : allocation.relayed) {
    if (relayed)
      writer.add_xor_address(Attribute::kXorRelayedAddress,
                             {face_of(relayed->address), relayed->port});
  }
  writer.add_u32(Attribute::kLifetime, allocation.lifetime_s);
  if (allocation.token) writer.add(Attribute::kReservationToken, *allocation.token);
  if (allocation.address_error) {
    writer.add_address_error_code(allocation.address_error->first,
                                  allocation.address_error->second);
  }
  writer.add_xor_address(Attribute::kXorMappedAddress, request.five_tuple.client);
  send(request, writer, 0, true);
}

}  // namespace turnpike

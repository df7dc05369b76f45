// Which answers a request may get from a server that knows who asks: mostly exactly one. What
// depends on how much is left (ports, tables) is one of two.
#include <algorithm>
#include <string>

#include "model.h"
#include "wire/attributes.h"

namespace turnpike::simulation {
namespace {

using stun::Attribute;
using stun::AttributeView;
using stun::MessageView;
using stun::Method;

using Codes = Model::Codes;

constexpr std::uint8_t kUdp = 17;

bool malformed_lifetime(const MessageView& request) {
  return request.has(Attribute::kLifetime) && !request.u32(Attribute::kLifetime);
}

}  // namespace

void Model::judge(Instant now, const FiveTuple& five_tuple, const std::string& user,
                  const MessageView& request, std::uint16_t result,
                  const Circumstances& circumstances) {
  forget(now);
  const Codes codes = due(now_s(now), five_tuple, user, request, circumstances);
  if (codes.contains(result)) return;
  std::string what = std::to_string(result) + " for method " +
                     std::to_string(static_cast<int>(request.method())) + " where due was";
  for (const std::uint16_t code : codes)
    what += " " + std::to_string(code);
  throw Failure{what};
}

Codes Model::due(std::uint32_t seconds, const FiveTuple& five_tuple, const std::string& user,
                 const MessageView& request, const Circumstances& circumstances) const {
  std::array<std::uint16_t, stun::kAttributesMax> unknown{};
  if (stun::unknown_attributes(request, unknown) != 0) return {420};
  const Method method = request.method();
  if (method == Method::kRefresh && request.has(Attribute::kMobilityTicket))
    return due_of_move(seconds, five_tuple, user, request, circumstances);
  const auto found = find(five_tuple);
  const Allocation* allocation = found == allocations_.end() ? nullptr : &found->second;
  if (method != Method::kAllocate && allocation != nullptr && allocation->user != user)
    return {441};
  const bool opens = method == Method::kAllocate || method == Method::kChannelBind;
  if (opens && circumstances.tunnelled) return {403};
  if (method == Method::kAllocate) return due_of_allocate(five_tuple, user, request, circumstances);
  if (allocation == nullptr) return {437};
  if (method == Method::kRefresh) return due_of_refresh(*allocation, request);
  Codes codes = method == Method::kChannelBind ? due_of_bind(*allocation, request, circumstances)
                                               : due_of_permit(*allocation, request, circumstances);
  if (codes.contains(0) && circumstances.tables_may_be_full) codes.insert(508);
  return codes;
}

Codes Model::due_of_allocate(const FiveTuple& five_tuple, const std::string& user,
                             const MessageView& request, const Circumstances& circumstances) const {
  if (const auto found = find(five_tuple); found != allocations_.end()) {
    const bool again =
        found->second.created_by == request.transaction_id() && found->second.user == user;
    return {again ? std::uint16_t{0} : std::uint16_t{437}};
  }
  Codes codes = due_of_new(five_tuple, user, request, circumstances);
  // The server's memory of what has ended begins when it looks, and so may outlast ours.
  const std::pair ghost{five_tuple, request.transaction_id()};
  if (ended_.contains(ghost)) codes.insert(437);
  if (remembers_ghosts_ && ghosts_.contains(ghost)) codes.erase(0);
  return codes;
}

Codes Model::due_of_new(const FiveTuple& five_tuple, const std::string& user,
                        const MessageView& request, const Circumstances& circumstances) const {
  const auto transport = request.requested_transport();
  if (!transport) return {400};
  if (*transport != kUdp) return {442};
  if (malformed_lifetime(request)) return {400};
  if (const auto ticket = request.find(Attribute::kMobilityTicket)) {
    if (!ticket->value.empty()) return {400};
    if (!config_.mobility) return {405};
  }
  for (const ServerConfig::Redirect& redirect : config_.redirects) {
    if (redirect.server == five_tuple.server) return {300};
  }
  const bool requested = request.has(Attribute::kRequestedAddressFamily);
  const bool additional = request.has(Attribute::kAdditionalAddressFamily);
  const bool even = request.has(Attribute::kEvenPort);
  const bool pair = request.even_port_reserve().value_or(false);
  if (request.has(Attribute::kReservationToken)) {
    if (even || requested || additional) return {400};
    return due_of_reserved(five_tuple, user, request, circumstances);
  }
  if (even && !request.even_port_reserve()) return {400};
  const auto relays = [&](std::uint8_t octet) {
    return std::any_of(config_.relayed.begin(), config_.relayed.end(), [&](const auto& relayed) {
      return static_cast<std::uint8_t>(relayed.internal.family) == octet;
    });
  };
  if (additional) {
    const bool v6 = request.family_octet(Attribute::kAdditionalAddressFamily) == 2;
    if (requested || pair || !v6) return {400};
  } else if (requested) {
    const auto octet = request.family_octet(Attribute::kRequestedAddressFamily);
    if (!octet) return {400};
    if (!relays(*octet)) return {440};
  } else if (!relays(1)) {
    return {440};
  }
  Codes codes{0};
  const std::uint32_t wanted = pair ? 2 : 1;
  count(circumstances.of_user(QuotaLedger::Thing::kAllocation), held_by(user), wanted, 486, codes);
  count(circumstances.source, held_from(five_tuple.client.address), wanted, 486, codes);
  count(circumstances.node, static_cast<std::uint32_t>(allocations_.size()), 1, 508, codes);
  if (circumstances.may_be_short()) codes.insert(508);
  return codes;
}

// It has its place among its user's already, and among its source's if it comes from there.
Codes Model::due_of_reserved(const FiveTuple& five_tuple, const std::string& user,
                             const MessageView& request, const Circumstances& circumstances) const {
  const auto reservation = reservation_of(request);
  if (reservation == reservations_.end() || reservation->second.user != user) return {508};
  Codes codes{0};
  const Address& client = five_tuple.client.address;
  if (reservation->second.client != client)
    count(circumstances.source, held_from(client), 1, 486, codes);
  count(circumstances.node, static_cast<std::uint32_t>(allocations_.size()), 1, 508, codes);
  if (!circumstances.one_shard || circumstances.may_be_short()) codes.insert(508);
  return codes;
}

void Model::count(const Room& room, std::uint32_t known, std::uint32_t wanted,
                  std::uint16_t refusal, Codes& codes) {
  if (wanted == 0) return;
  if (std::uint64_t{room.held} + wanted > room.least) codes.insert(refusal);
  if (std::uint64_t{known} + wanted > room.most) codes.erase(0);
}

Codes Model::due_of_refresh(const Allocation& allocation, const MessageView& request) {
  if (request.has(Attribute::kRequestedAddressFamily)) {
    const auto octet = request.family_octet(Attribute::kRequestedAddressFamily);
    if (!octet) return {400};
    if ((*octet != 1 || !allocation.relayed[0]) && (*octet != 2 || !allocation.relayed[1]))
      return {443};
  }
  return {malformed_lifetime(request) ? std::uint16_t{400} : std::uint16_t{0}};
}

// What stands against this peer, if anything does.
std::uint16_t Model::objection(const Allocation& allocation, const Address& peer) {
  if (!allocation.relayed[family_index(peer.family)]) return 443;
  return peer == kForbidden ? 403 : 0;
}

Codes Model::due_of_permit(const Allocation& allocation, const MessageView& request,
                           const Circumstances& circumstances) const {
  bool malformed = false;
  std::set<Address> peers;
  request.for_each([&](const AttributeView& attribute) {
    if (attribute.type != static_cast<std::uint16_t>(Attribute::kXorPeerAddress)) return true;
    const auto given = request.xor_address(attribute);
    malformed |= !given;
    if (given) peers.insert(public_of(config_, given->address));
    return true;
  });
  const bool too_many = peers.size() > config_.max_permissions_per_allocation;
  if (malformed) return too_many ? Codes{400, 508} : Codes{400};
  if (peers.empty()) return {400};
  if (too_many) return {508};
  Codes objections;
  for (const Address& peer : peers) {
    if (const std::uint16_t code = objection(allocation, peer); code != 0) objections.insert(code);
  }
  if (!objections.empty()) return objections;
  const std::size_t before = occupied(allocation).size();
  peers.merge(occupied(allocation));
  if (peers.size() > config_.max_permissions_per_allocation) return {508};
  Codes codes{0};
  count(circumstances.of_user(QuotaLedger::Thing::kPermission), permissions_of(allocation.user),
        static_cast<std::uint32_t>(peers.size() - before), 508, codes);
  return codes;
}

Codes Model::due_of_bind(const Allocation& allocation, const MessageView& request,
                         const Circumstances& circumstances) const {
  const auto number = request.channel_number();
  const auto given = request.xor_address(Attribute::kXorPeerAddress);
  if (!number || *number < 0x4000 || *number > config_.channel_max || !given || given->port == 0)
    return {400};
  const Endpoint peer{public_of(config_, given->address), given->port};
  if (const std::uint16_t code = objection(allocation, peer.address); code != 0) return {code};
  bool bound = false;
  for (const auto& [other, channel] : allocation.channels) {
    if ((other == *number) != (channel.peer == peer)) return {400};
    bound |= other == *number;
  }
  if (bound) return {0};
  if (allocation.channels.size() >= config_.max_channels_per_allocation) return {508};
  std::set<Address> permitted = occupied(allocation);
  const bool fresh = permitted.insert(peer.address).second;
  if (permitted.size() > config_.max_permissions_per_allocation) return {508};
  Codes codes{0};
  count(circumstances.of_user(QuotaLedger::Thing::kChannel), channels_of(allocation.user), 1, 508,
        codes);
  count(circumstances.of_user(QuotaLedger::Thing::kPermission), permissions_of(allocation.user),
        fresh ? 1 : 0, 508, codes);
  return codes;
}

// Permissions, and those that have run out while a channel holds them: they take a place all the
// same.
std::set<Address> Model::occupied(const Allocation& allocation) {
  std::set<Address> addresses;
  for (const auto& [address, until_s] : allocation.permissions)
    addresses.insert(address);
  for (const auto& [number, channel] : allocation.channels)
    addresses.insert(channel.peer.address);
  return addresses;
}

// Allocations, and the reservations that count as such.
std::uint32_t Model::held_by(const std::string& user) const {
  const auto owned = [&](const auto& one) { return one.second.user == user; };
  return static_cast<std::uint32_t>(
      std::count_if(allocations_.begin(), allocations_.end(), owned) +
      std::count_if(reservations_.begin(), reservations_.end(), owned));
}

std::uint32_t Model::held_from(const Address& client) const {
  std::uint32_t held = 0;
  for (const auto& [five_tuple, allocation] : allocations_) {
    held += five_tuple.client.address == client ? 1 : 0;
    held += moves_to(five_tuple, allocation, client) ? 1 : 0;
  }
  for (const auto& [token, reservation] : reservations_)
    held += reservation.client == client ? 1 : 0;
  return held;
}

std::uint32_t Model::permissions_of(const std::string& user) const {
  std::size_t held = 0;
  for (const auto& [five_tuple, allocation] : allocations_)
    held += allocation.user == user ? occupied(allocation).size() : 0;
  return static_cast<std::uint32_t>(held);
}

std::uint32_t Model::channels_of(const std::string& user) const {
  std::size_t held = 0;
  for (const auto& [five_tuple, allocation] : allocations_)
    held += allocation.user == user ? allocation.channels.size() : 0;
  return static_cast<std::uint32_t>(held);
}

}  // namespace turnpike::simulation

// Refresh (RFC 8656 §8.2): all of an allocation, or one family of a dual one; a lifetime of zero
// ends it.
#include "turn/server_impl.h"

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageWriter;

constexpr std::array<Family, 2> kFamilies{Family::kIpv4, Family::kIpv6};

}  // namespace

Refusal Server::Impl::refresh_refused(const Request& request, const Allocation& allocation,
                                      std::array<bool, 2>& meant) const {
  meant = {allocation.relayed[0].has_value(), allocation.relayed[1].has_value()};
  if (request.message.has(Attribute::kRequestedAddressFamily)) {
    const auto octet = request.message.family_octet(Attribute::kRequestedAddressFamily);
    if (!octet) return {400, "Requested Address Family Malformed"};
    for (const Family family : kFamilies) {
      meant[family_index(family)] &= *octet == static_cast<std::uint8_t>(family);
    }
    if (!meant[0] && !meant[1]) return {443, "Allocation Has No Such Family"};
  }
  if (request.message.has(Attribute::kLifetime) && !request.message.u32(Attribute::kLifetime))
    return {400, "Lifetime Malformed"};
  return {};
}

void Server::Impl::refresh(Request& request, Allocation& allocation,
                           const std::optional<TokenSealer::Ticket>& ticket) {
  std::array<bool, 2> meant{};
  if (const Refusal refusal = refresh_refused(request, allocation, meant))
    return refuse(request, refusal);
  const bool ends = request.message.u32(Attribute::kLifetime) == 0U;
  const std::uint32_t granted = ends ? 0 : lifetime(request.message);
  for (const Family family : kFamilies) {
    const std::size_t index = family_index(family);
    if (!meant[index]) continue;
    if (ends) {
      book_.end_family(allocation, family, now_s(request.now));
    } else {
      allocation.expires_s[index] = expiry_s(request.now, granted);
      if (!allocation.streams)
        host_.flows().extend_relayed(allocation.slot, family, allocation.expires_s[index]);
    }
  }
  book_.settle(allocation, now_s(request.now));  // the new end may be earlier than the old one
  answer_refresh(request, granted, ticket);
}

void Server::Impl::answer_refresh(const Request& request, std::uint32_t granted_s,
                                  const std::optional<TokenSealer::Ticket>& ticket) {
  MessageWriter writer = begin(request, Class::kSuccess);
  writer.add_u32(Attribute::kLifetime, granted_s);
  if (ticket) writer.add(Attribute::kMobilityTicket, *ticket);
  send(request, writer, 0, true);
}

}  // namespace turnpike

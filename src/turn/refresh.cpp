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

void Server::Impl::refresh(Request& request, Allocation& allocation) {
  std::array<bool, 2> meant{allocation.relayed[0].has_value(), allocation.relayed[1].has_value()};
  if (request.message.has(Attribute::kRequestedAddressFamily)) {
    const auto octet = request.message.family_octet(Attribute::kRequestedAddressFamily);
    if (!octet) return refuse(request, {400, "Requested Address Family Malformed"});
    for (const Family family : kFamilies) {
      meant[family_index(family)] &= *octet == static_cast<std::uint8_t>(family);
    }
    if (!meant[0] && !meant[1]) return refuse(request, {443, "Allocation Has No Such Family"});
  }
  const auto asked = request.message.u32(Attribute::kLifetime);
  if (request.message.has(Attribute::kLifetime) && !asked)
    return refuse(request, {400, "Lifetime Malformed"});
  const bool ends = asked && *asked == 0;
  const std::uint32_t granted = ends ? 0 : lifetime(request.message);
  for (const Family family : kFamilies) {
    const std::size_t index = family_index(family);
    if (!meant[index]) continue;
    if (ends) {
      book_.end_family(allocation, family, now_s(request.now));
    } else {
      allocation.expires_s[index] = expiry_s(request.now, granted);
      host_.flows().extend_relayed(allocation.slot, family, allocation.expires_s[index]);
    }
  }
  book_.settle(allocation, now_s(request.now));  // the new end may be earlier than the old one
  MessageWriter writer = begin(request, Class::kSuccess);
  writer.add_u32(Attribute::kLifetime, granted);
  send(request, writer, 0, true);
}

}  // namespace turnpike

// A set of prefixes against a walk over the list it was made of: for lists whose prefixes lie in,
// beside and upon each other, of every length, and for the addresses at and beyond every edge.
#include <rapidcheck.h>

#include <algorithm>
#include <vector>

#include "policy/prefix_set.h"

namespace {

using namespace turnpike;

Prefix cut(Address address, unsigned length) {
  for (unsigned bit = length; bit < 8 * address.size(); ++bit)
    address.bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> bit % 8));
  return {address, static_cast<std::uint8_t>(length)};
}

Address any_address(Family family) {
  Address address;
  address.family = family;
  for (std::size_t i = 0; i < address.size(); ++i)
    address.bytes[i] = *rc::gen::arbitrary<std::uint8_t>();
  return address;
}

// The next address up or down; none beyond the first and the last.
Address neighbour(Address address, bool up) {
  const Address before = address;
  for (std::size_t i = address.size(); i-- > 0;) {
    address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] + (up ? 1 : -1));
    if (address.bytes[i] != (up ? 0 : 0xFF)) return address;
  }
  return before;
}

Address last_of(const Prefix& prefix) {
  Address address = prefix.address;
  for (unsigned bit = prefix.length; bit < 8 * address.size(); ++bit)
    address.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80U >> bit % 8);
  return address;
}

Family any_family() {
  return *rc::gen::element(Family::kIpv4, Family::kIpv6);
}

// By chance anywhere or, as lists mostly are, near another: in it, around it, the same, or the
// next.
Prefix another(const std::vector<Prefix>& before) {
  const auto kind = before.empty() ? 0 : *rc::gen::inRange(0, 6);
  if (kind == 0) {
    const Address address = any_address(any_family());
    return cut(address, *rc::gen::inRange<unsigned>(0, 8 * address.size() + 1));
  }
  const Prefix& one = *rc::gen::elementOf(before);
  const auto bits = static_cast<unsigned>(8 * one.address.size());
  switch (kind) {
    case 1:
      return one;
    case 2:
      return cut(neighbour(last_of(one), true), one.length);
    case 3:
      return cut(neighbour(one.address, false), one.length);
    case 4: {  // inside
      Address address = any_address(one.address.family);
      for (unsigned bit = 0; bit < one.length; ++bit) {
        const auto mask = static_cast<std::uint8_t>(0x80U >> bit % 8);
        std::uint8_t& byte = address.bytes[bit / 8];
        byte = static_cast<std::uint8_t>((byte & ~mask) | (one.address.bytes[bit / 8] & mask));
      }
      return cut(address, *rc::gen::inRange<unsigned>(one.length, bits + 1));
    }
    default:  // around
      return cut(one.address, *rc::gen::inRange<unsigned>(0, one.length + 1U));
  }
}

// Blocks of one length at short steps: so close that each bit decides.
void add_crowd(std::vector<Prefix>& prefixes) {
  Address address = any_address(any_family());
  const auto bits = static_cast<unsigned>(8 * address.size());
  const auto length = *rc::gen::element(bits, bits - 1, bits - 8);
  const auto count = *rc::gen::inRange(0, 1000);
  for (int i = 0; i < count; ++i) {
    for (int step = *rc::gen::inRange(1, 4); step > 0; --step)
      address = neighbour(last_of(cut(address, length)), true);
    prefixes.push_back(cut(address, length));
  }
}

void holds_what_its_prefixes_hold() {
  std::vector<Prefix> prefixes;
  if (*rc::gen::arbitrary<bool>()) add_crowd(prefixes);
  const auto count = *rc::gen::inRange(0, 200);
  // One that holds everything leaves nothing to tell apart.
  const auto shortest = *rc::gen::element(0, 8, 24, 32);
  for (int i = 0; i < count; ++i) {
    const Prefix prefix = another(prefixes);
    if (prefix.length >= shortest) prefixes.push_back(prefix);
  }
  const policy::PrefixSet set(prefixes);
  const auto check = [&](const Address& address) {
    const bool inside = std::any_of(prefixes.begin(), prefixes.end(),
                                    [&](const Prefix& prefix) { return prefix.contains(address); });
    RC_ASSERT(set.contains(address) == inside);
  };
  for (const Prefix& prefix : prefixes) {
    const Address last = last_of(prefix);
    for (const Address& address : {prefix.address, last})
      check(address);
    check(neighbour(prefix.address, false));
    check(neighbour(last, true));
  }
  for (int i = 0; i < 20; ++i)
    check(any_address(any_family()));
  RC_ASSERT(set.empty() == prefixes.empty());
  RC_ASSERT(set.ranges() <= prefixes.size());
}

}  // namespace

int main() {
  return rc::check("a set holds what its prefixes hold", holds_what_its_prefixes_hold) ? 0 : 1;
}

// Clients behind tunnels: their addresses let them reach what the tunnel's other end forbids, and
// loop packets from tunnel to relay and back (RFC 8656 §21.4, RFC 6156 §9.1).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "turnpike/address.h"

namespace turnpike {

// Addresses that are known to be tunnelled by their form.
inline bool is_tunnelled(const Address& client) {
  if (client.family == Family::kIpv4) return false;
  const auto& b = client.bytes;
  const auto starts = [&](auto... bytes) {
    std::size_t i = 0;
    return ((b[i++] == bytes) && ...);
  };
  const bool teredo = starts(0x20, 0x01, 0, 0);
  const bool six_to_four = starts(0x20, 0x02);
  // The interface identifier 0000:5EFE:a.b.c.d, or 0200:5EFE:… for a global one (RFC 5214 §6.1).
  const bool isatap = (b[8] & 0xFD) == 0 && b[9] == 0 && b[10] == 0x5E && b[11] == 0xFE;
  // ::a.b.c.d, of automatic tunnels (RFC 4291 §2.5.5.1).
  const bool compatible =
      std::all_of(b.begin(), b.begin() + 12, [](auto byte) { return byte == 0; });
  return teredo || six_to_four || isatap || compatible;
}

}  // namespace turnpike

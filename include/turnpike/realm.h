// A realm (RFC 8489 §9.2): whose users may come, and what its clients are told. A node may have
// several, each listener one of them. Its realms are one list; all who speak of one say its place
// there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace turnpike {

// Place in the node's list of realms.
using RealmIndex = std::uint8_t;

inline constexpr std::size_t kMostRealms = 64;

struct Realm {
  std::string name;  // prepared: an OpaqueString

  // What PASSWORD-ALGORITHMS lists: that for which every user has a key (docs/protocol.md 8).
  bool sha256_offered = true;
  bool md5_offered = true;
  // Bits of the nonce cookie (docs/protocol.md 7).
  bool password_algorithms = true;
  bool username_anonymity = true;  // every user can be found by USERHASH

  bool strict_expiry = false;  // expired REST credentials can't Refresh
};

}  // namespace turnpike

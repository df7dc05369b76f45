// Refusing peers that must not be reached through a relay (RFC 8656 §21; IANA's special-purpose
// registries): whoever can make a relay send to 127.0.0.1 is inside.
//
// An IPv6 address that carries IPv4 addresses is judged twice: as itself and as each of them. Both
// must pass, so allowing a NAT64 prefix by name does not open the private addresses behind it.
#include "policy/peer_rules.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

namespace turnpike::policy {
namespace {

constexpr Prefix cidr(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d,
                      std::uint8_t length) {
  return {Address::v4(a, b, c, d), length};
}

// An IPv6 prefix by its first four groups and, for the two that need it, the two after.
constexpr Prefix cidr(std::array<std::uint16_t, 6> groups, std::uint8_t length) {
  Prefix prefix;
  prefix.address.family = Family::kIpv6;
  prefix.length = length;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    prefix.address.bytes[2 * i] = static_cast<std::uint8_t>(groups[i] >> 8);
    prefix.address.bytes[2 * i + 1] = static_cast<std::uint8_t>(groups[i]);
  }
  return prefix;
}

constexpr Prefix kMapped = cidr({0, 0, 0, 0, 0, 0xFFFF}, 96);  // RFC 4291 §2.5.5.2
constexpr Prefix kCompatible = cidr({0, 0, 0, 0, 0, 0}, 96);   // RFC 4291 §2.5.5.1; ::, ::1 too
constexpr Prefix kTranslated = cidr({0, 0, 0, 0, 0xFFFF, 0}, 96);     // RFC 2765 §2.1
constexpr Prefix kNat64 = cidr({0x64, 0xFF9B, 0, 0, 0, 0}, 96);       // RFC 6052 §2.1
constexpr Prefix kLocalNat64 = cidr({0x64, 0xFF9B, 1, 0, 0, 0}, 48);  // RFC 8215
constexpr Prefix kTeredo = cidr({0x2001, 0, 0, 0, 0, 0}, 32);         // RFC 4380 §4
constexpr Prefix k6to4 = cidr({0x2002, 0, 0, 0, 0, 0}, 16);           // RFC 3056 §2

constexpr std::array kRefused{
    cidr(0, 0, 0, 0, 8),         // "this network"
    cidr(10, 0, 0, 0, 8),        // private
    cidr(100, 64, 0, 0, 10),     // shared by carriers' NATs
    cidr(127, 0, 0, 0, 8),       // loopback
    cidr(168, 63, 129, 16, 32),  // a cloud's host agent, at a public address
    cidr(169, 254, 0, 0, 16),    // link local; clouds' metadata
    cidr(172, 16, 0, 0, 12),     // private
    cidr(192, 0, 0, 0, 24),      // IETF protocol assignments
    cidr(192, 0, 2, 0, 24),      // documentation
    cidr(192, 88, 99, 0, 24),    // 6to4 relay anycast
    cidr(192, 168, 0, 0, 16),    // private
    cidr(198, 18, 0, 0, 15),     // benchmarking
    cidr(198, 51, 100, 0, 24),   // documentation
    cidr(203, 0, 113, 0, 24),    // documentation
    cidr(224, 0, 0, 0, 4),       // multicast
    cidr(240, 0, 0, 0, 4),       // reserved, and 255.255.255.255
    // RFC 4291 §2.4 lets global unicast be anywhere, IANA gives it out of 2000::/3 alone: all that
    // is outside is special, an overlay's own, or of no use yet.
    cidr({0, 0, 0, 0, 0, 0}, 3), cidr({0x4000, 0, 0, 0, 0, 0}, 2), cidr({0x8000, 0, 0, 0, 0, 0}, 1),
    cidr({0x2001, 0, 0, 0, 0, 0}, 23),         // IETF protocol assignments; Teredo
    cidr({0x2001, 0xDB8, 0, 0, 0, 0}, 32),     // documentation
    k6to4, cidr({0x3FFF, 0, 0, 0, 0, 0}, 20),  // documentation
};

// What is refused unless it is allowed by name.
std::vector<Prefix> refused_by(const PeerRules::Config& config) {
  std::vector<Prefix> all(kRefused.begin(), kRefused.end());
  all.insert(all.end(), config.deny.begin(), config.deny.end());
  all.insert(all.end(), config.nat64_prefixes.begin(), config.nat64_prefixes.end());
  for (const Address& address : config.broadcast)
    all.push_back({address, static_cast<std::uint8_t>(8 * address.size())});
  return all;
}

std::vector<Address> sorted(std::vector<Address> addresses) {
  std::sort(addresses.begin(), addresses.end());
  return addresses;
}

// RFC 5214 §6.1: the interface identifier is 0000:5efe or 0200:5efe (universal bit) and the
// address.
bool is_isatap(const Address& address) {
  return address.family == Family::kIpv6 && (address.bytes[8] & 0xFD) == 0 &&
         address.bytes[9] == 0 && address.bytes[10] == 0x5E && address.bytes[11] == 0xFE;
}

// The IPv4 addresses an IPv6 address carries. At most: Teredo's two and ISATAP's.
class Carried {
 public:
  void add_at(const Address& from, std::size_t offset) {
    addresses_[size_++] = Address::from_bytes(Family::kIpv4, from.bytes.data() + offset);
  }
  void add(const Address& address) { addresses_[size_++] = address; }
  std::span<const Address> view() const { return std::span(addresses_).first(size_); }

 private:
  std::array<Address, 8> addresses_{};
  std::size_t size_ = 0;
};

// RFC 6052 §2.2: the address follows the prefix and skips bits 64 to 71.
Address in_nat64(const Address& address, std::uint8_t prefix_length) {
  Address found;
  std::size_t from = prefix_length / 8;
  for (std::size_t i = 0; i < 4; ++i, ++from) {
    if (from == 8) ++from;
    found.bytes[i] = address.bytes[from];
  }
  return found;
}

// Those of RFC 6052 §2.2 that fit into kLocalNat64.
constexpr std::array<std::uint8_t, 4> kLocalNat64Lengths{48, 56, 64, 96};

bool is_nat64_length(std::uint8_t length) {
  return (length >= 32 && length <= 64 && length % 8 == 0) || length == 96;
}

// RFC 4380 §4: the server's address in the clear, the client's inverted.
void add_teredo(const Address& address, Carried& carried) {
  carried.add_at(address, 4);
  Address client = Address::from_bytes(Family::kIpv4, address.bytes.data() + 12);
  for (std::size_t i = 0; i < 4; ++i)
    client.bytes[i] ^= 0xFF;
  carried.add(client);
}

Carried carried_by(const Address& address) {
  Carried carried;
  if (address.family != Family::kIpv6) return carried;
  const bool last_four = kMapped.contains(address) || kCompatible.contains(address) ||
                         kTranslated.contains(address) || kNat64.contains(address);
  if (last_four || is_isatap(address)) carried.add_at(address, 12);
  if (k6to4.contains(address)) carried.add_at(address, 2);
  if (kTeredo.contains(address)) add_teredo(address, carried);
  return carried;
}

}  // namespace

PeerRules::PeerRules(const Config& config)
    : allow_(config.allow),
      allow_also_(config.allow_also),
      refused_(refused_by(config)),
      deny_also_(config.deny_also),
      nat64_prefixes_(config.nat64_prefixes),
      ourselves_(sorted(config.ourselves)),
      relayed_(sorted(config.relayed)) {}

bool PeerRules::relays(const Address& peer) const {
  return std::binary_search(relayed_.begin(), relayed_.end(), peer);
}

PeerVerdict PeerRules::judge(const Address& peer) const {
  // Its own relayed addresses by their own name: looped inside, where permissions decide.
  if (relays(peer)) return PeerVerdict::kAllowed;
  if (!reachable(peer)) return PeerVerdict::kForbidden;
  // Only of an address that would be allowed: which others this host has is nobody's business.
  return is_ourselves(peer) ? PeerVerdict::kOwnHost : PeerVerdict::kAllowed;
}

bool PeerRules::is_ourselves(const Address& address) const {
  return std::binary_search(ourselves_.begin(), ourselves_.end(), address);
}

// One address by itself, without what it carries.
bool PeerRules::passes(const Address& address) const {
  if (allow_.contains(address) || allow_also_.contains(address)) return true;
  return !refused_.contains(address) && !deny_also_.contains(address) && !is_isatap(address);
}

// All but whether it is one of this host's by its own name.
bool PeerRules::reachable(const Address& peer) const {
  const auto may_reach = [this](const Address& address) {
    return !is_ourselves(address) && passes(address);
  };
  if (!passes(peer)) return false;
  const Carried carried = carried_by(peer);
  for (const Address& inner : carried.view()) {
    if (!may_reach(inner)) return false;
  }
  bool known_place = false;
  for (const Prefix& prefix : nat64_prefixes_) {
    if (!prefix.contains(peer) || !is_nat64_length(prefix.length)) continue;
    known_place = true;
    if (!may_reach(in_nat64(peer, prefix.length))) return false;
  }
  if (known_place || !kLocalNat64.contains(peer)) return true;
  // RFC 8215: a network cuts its own prefixes of any length out of this block, and unless it says
  // here which, the address may be at any place.
  return std::all_of(kLocalNat64Lengths.begin(), kLocalNat64Lengths.end(),
                     [&](std::uint8_t length) { return may_reach(in_nat64(peer, length)); });
}

}  // namespace turnpike::policy

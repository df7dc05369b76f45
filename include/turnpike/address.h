// Addresses, ports and five-tuples, as values.
//
// A client, a peer and a relayed transport address are each an address and a port, and confusing
// two of them is how a relay sends a packet to the wrong host: so each has a type of its own.
// Address bytes are in network order, as on the wire; a port number is in host order, always.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace turnpike {

// The values are those of STUN's family field (RFC 8489 §14.1).
enum class Family : std::uint8_t { kIpv4 = 1, kIpv6 = 2 };

// 0 for IPv4 and 1 for IPv6: for arrays that have one place for each family.
constexpr std::size_t family_index(Family family) {
  return family == Family::kIpv4 ? 0 : 1;
}

// An IPv4 or IPv6 address. A v4-mapped IPv6 address stays an IPv6 address: nothing here converts
// one into the other, so a disguise can't pass as what it imitates.
struct Address {
  std::array<std::uint8_t, 16> bytes{};  // network order; IPv4 in the first four, the rest zero
  Family family = Family::kIpv4;

  static constexpr Address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    Address address;
    address.bytes[0] = a;
    address.bytes[1] = b;
    address.bytes[2] = c;
    address.bytes[3] = d;
    return address;
  }
  // `raw` has 4 bytes (IPv4) or 16 (IPv6), in network order.
  static Address from_bytes(Family family, const std::uint8_t* raw) {
    Address address;
    address.family = family;
    std::memcpy(address.bytes.data(), raw, family == Family::kIpv4 ? 4 : 16);
    return address;
  }
  // "192.0.2.1" or "2001:db8::1", without brackets, zone or prefix; nullopt for anything else.
  static std::optional<Address> parse(std::string_view text);

  constexpr std::size_t size() const { return family == Family::kIpv4 ? 4 : 16; }
  std::span<const std::uint8_t> view() const { return {bytes.data(), size()}; }
  bool is_unspecified() const;
  bool is_multicast() const;  // 224.0.0.0/4 or ff00::/8
  // fe80::/10: needs a scope, which no STUN message can carry.
  bool is_ipv6_link_local() const;
  std::string to_string() const;

  friend constexpr auto operator<=>(const Address&, const Address&) = default;
};

// A transport address. `port` is in host order.
struct Endpoint {
  Address address;
  std::uint16_t port = 0;

  // "192.0.2.1:3478" or "[2001:db8::1]:3478"; nullopt for anything else.
  static std::optional<Endpoint> parse(std::string_view text);
  std::string to_string() const;

  friend constexpr auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// The three ends that must not be confused (RFC 8656 §2).
struct ClientEndpoint : Endpoint {};  // a client's server-reflexive transport address
struct PeerEndpoint : Endpoint {};    // a peer's transport address
struct RelayEndpoint : Endpoint {};  // a relayed transport address, as the wire of this node has it

// What a client speaks to a listener. TLS is TCP's: it is in the streams that a listener takes.
// DTLS is one of its own: who speaks it is another than who has the same port by UDP.
enum class Transport : std::uint8_t { kUdp, kTcp, kDtls };
inline constexpr std::size_t kTransports = 3;

// What identifies an allocation (RFC 8656 §3.2).
struct FiveTuple {
  ClientEndpoint client;
  Endpoint server;  // the listening transport address, as the wire of this node has it
  Transport transport = Transport::kUdp;

  friend constexpr auto operator<=>(const FiveTuple&, const FiveTuple&) = default;
};

// An address block, 192.0.2.0/24. Bits beyond `length` are zero.
struct Prefix {
  Address address;
  std::uint8_t length = 0;  // in bits, at most 32 or 128

  // "192.0.2.0/24", or a bare address for a single one; nullopt for anything else, which includes
  // bits set beyond the length.
  static std::optional<Prefix> parse(std::string_view text);
  bool contains(const Address& candidate) const;
  std::string to_string() const;

  friend constexpr auto operator<=>(const Prefix&, const Prefix&) = default;
};

}  // namespace turnpike

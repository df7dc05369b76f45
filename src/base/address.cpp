// Text forms of addresses, endpoints and prefixes.
//
// inet_pton is strict where strictness matters: it takes neither "010.0.0.1" nor "10.1" nor a zone,
// so a configuration can't mean another address than its reader thinks.
#include "turnpike/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace turnpike {
namespace {

// Decimal digits alone, no sign, no leading zero.
std::optional<unsigned> parse_number(std::string_view text, unsigned max) {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

bool bit(const Address& address, std::size_t index) {
  return (address.bytes[index / 8] >> (7 - index % 8) & 1) != 0;
}

}  // namespace

std::optional<Address> Address::parse(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.size() >= terminated.size() || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  std::copy(text.begin(), text.end(), terminated.begin());
  Address address;
  address.family = text.find(':') == std::string_view::npos ? Family::kIpv4 : Family::kIpv6;
  const int domain = address.family == Family::kIpv4 ? AF_INET : AF_INET6;
  if (inet_pton(domain, terminated.data(), address.bytes.data()) != 1) return std::nullopt;
  return address;
}

bool Address::is_unspecified() const {
  const auto raw = view();
  return std::all_of(raw.begin(), raw.end(), [](std::uint8_t byte) { return byte == 0; });
}

bool Address::is_multicast() const {
  return family == Family::kIpv4 ? (bytes[0] & 0xF0) == 0xE0 : bytes[0] == 0xFF;
}

bool Address::is_ipv6_link_local() const {
  return family == Family::kIpv6 && bytes[0] == 0xFE && (bytes[1] & 0xC0) == 0x80;
}

std::string Address::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(family == Family::kIpv4 ? AF_INET : AF_INET6, bytes.data(), text.data(), text.size());
  return text.data();
}

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);

  const auto address = Address::parse(host);
  const auto port = parse_number(text.substr(colon + 1), 65535);
  if (!address || !port) return std::nullopt;
  // Brackets are IPv6's, and it can't do without: "::1:80" would be an address too.
  if (bracketed != (address->family == Family::kIpv6)) return std::nullopt;
  return Endpoint{*address, static_cast<std::uint16_t>(*port)};
}

std::string Endpoint::to_string() const {
  const std::string host = address.to_string();
  const std::string port_text = std::to_string(port);
  if (address.family == Family::kIpv4) return host + ":" + port_text;
  return "[" + host + "]:" + port_text;
}

std::optional<Prefix> Prefix::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto address = Address::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  const unsigned bits = static_cast<unsigned>(address->size() * 8);
  unsigned length = bits;
  if (slash != std::string_view::npos) {
    const auto number = parse_number(text.substr(slash + 1), bits);
    if (!number) return std::nullopt;
    length = *number;
  }
  for (std::size_t i = length; i < bits; ++i) {
    if (bit(*address, i)) return std::nullopt;
  }
  return Prefix{*address, static_cast<std::uint8_t>(length)};
}

bool Prefix::contains(const Address& candidate) const {
  if (candidate.family != address.family) return false;
  const std::size_t whole = length / 8;
  if (std::memcmp(candidate.bytes.data(), address.bytes.data(), whole) != 0) return false;
  if (length % 8 == 0) return true;
  const unsigned mask = 0xFFU << (8 - length % 8) & 0xFFU;
  return ((candidate.bytes[whole] ^ address.bytes[whole]) & mask) == 0;
}

std::string Prefix::to_string() const {
  return address.to_string() + "/" + std::to_string(length);
}

}  // namespace turnpike

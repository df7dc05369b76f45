// Strings are read whole or not at all: what is left over at the end is a mistake too.
#include "config/texts.h"

#include <algorithm>
#include <cstddef>

#include "turnpike/integrity.h"

namespace turnpike::config {
namespace {

// As Linux takes it, less what DPDK's device arguments would read as their own.
bool is_interface_name(std::string_view name) {
  return !name.empty() && name.size() <= 15 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return c > 0x20 && c < 0x7F && c != '/' && c != ':' && c != ',' && c != '=';
         });
}

bool is_socket_path(std::string_view path) {
  return !path.empty() && path.size() <= 107 && std::all_of(path.begin(), path.end(), [](char c) {
    return c > 0x20 && c < 0x7F && c != ',' && c != '=';
  });
}

// "01:00.0" or with a domain before, "0000:01:00.0", which is what is returned.
std::optional<std::string> parse_pci(std::string_view text) {
  std::string whole = text.size() == 7 ? "0000:" + std::string(text) : std::string(text);
  constexpr std::string_view kShape = "xxxx:xx:xx.7";
  if (whole.size() != kShape.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const bool hex = std::string_view("0123456789abcdefABCDEF").find(whole[i]) != std::string::npos;
    const bool fits = kShape[i] == 'x'   ? hex
                      : kShape[i] == '7' ? whole[i] >= '0' && whole[i] <= '7'
                                         : whole[i] == kShape[i];
    if (!fits) {
      return std::nullopt;
    }
    // DPDK's names are in lower case.
    if (whole[i] >= 'A' && whole[i] <= 'F') {
      whole[i] = static_cast<char>(whole[i] - 'A' + 'a');
    }
  }
  return whole;
}

// Each hexadecimal pair, with `separator` between; nullopt unless there are exactly N.
template <std::size_t N>
std::optional<std::array<std::uint8_t, N>> parse_hex(std::string_view text,
                                                     std::string_view separator) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<std::uint8_t, N> bytes;
  const std::size_t stride = 2 + separator.size();
  if (text.size() != N * stride - separator.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < N; ++i) {
    const std::size_t at = i * stride;
    const auto digit = [&](std::size_t index) {
      const char c = text[index];
      return kDigits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
    };
    const std::size_t high = digit(at), low = digit(at + 1);
    const bool separated = i + 1 == N || text.substr(at + 2, separator.size()) == separator;
    if (high == std::string_view::npos || low == std::string_view::npos || !separated) {
      return std::nullopt;
    }
    bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return bytes;
}

bool is_unicast(const Address& address) {
  const bool multicast =
      address.family == Family::kIpv4 ? address.bytes[0] >= 224 : address.bytes[0] == 0xFF;
  return !multicast && !address.is_unspecified();
}

// A relayed address costs its port tables: a prefix gives at most this many.
constexpr unsigned kPrefixBitsMax = 8;

// RFC 8489 §14.3, §14.9, §14.14: fewer than 128 characters, in at most 763 bytes; a username at
// most 508 bytes. Characters are counted as bytes that don't continue one.
std::optional<std::string> parse_prepared(std::string_view text, std::size_t bytes_max,
                                          std::size_t characters_max) {
  const auto characters = std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  });
  const bool fits = text.size() <= bytes_max &&
                    static_cast<std::size_t>(characters) <= characters_max &&
                    stun::opaque_string(text).has_value();
  return fits ? std::optional(std::string(text)) : std::nullopt;
}

}  // namespace

std::optional<std::string> parse_devargs(std::string_view text) {
  const bool fits = std::all_of(text.begin(), text.end(),
                                [](char c) { return c > 0x20 && c < 0x7F && c != '"'; });
  if (!fits || text.starts_with(',') || text.ends_with(',')) {
    return std::nullopt;
  }
  return std::string(text);
}

std::optional<Device> parse_device(std::string_view text) {
  if (auto pci = parse_pci(text)) {
    return Device{PortDriver::kPci, *pci};
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view driver = text.substr(0, colon);
  const std::string name(text.substr(colon + 1));
  if (driver == "memif") {
    return is_socket_path(name) ? std::optional(Device{PortDriver::kMemif, name}) : std::nullopt;
  }
  if (!is_interface_name(name)) {
    return std::nullopt;
  }
  if (driver == "af_xdp") {
    return Device{PortDriver::kAfXdp, name};
  }
  if (driver == "af_packet") {
    return Device{PortDriver::kAfPacket, name};
  }
  return driver == "tap" ? std::optional(Device{PortDriver::kTap, name}) : std::nullopt;
}

std::optional<ListenerTransport> parse_transport(std::string_view text) {
  if (text == "udp") return ListenerTransport::kUdp;
  if (text == "tcp") return ListenerTransport::kTcp;
  if (text == "tls") return ListenerTransport::kTls;
  if (text == "auto") return ListenerTransport::kAuto;
  if (text == "dtls") return ListenerTransport::kDtls;
  return std::nullopt;
}

std::optional<NextHopMac> parse_next_hop(std::string_view text) {
  if (text.empty()) {
    return NextHopMac();
  }
  const NextHopMac mac = parse_hex<6>(text, ":");
  if (!mac || ((*mac)[0] & 1) != 0) {
    return std::nullopt;
  }
  return std::optional<NextHopMac>(std::in_place, mac);
}

std::optional<InterfaceAddress> parse_interface_address(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    return std::nullopt;
  }
  const auto address = Address::parse(text.substr(0, slash));
  // The length is read as that of the all-zero block, which has no bits beyond any length.
  const std::string zero = address && address->family == Family::kIpv4 ? "0.0.0.0" : "::";
  const auto block = Prefix::parse(zero + std::string(text.substr(slash)));
  if (!address || address->is_unspecified() || !block || block->length == 0) {
    return std::nullopt;
  }
  return InterfaceAddress{*address, block->length};
}

std::optional<Endpoint> parse_server(std::string_view text) {
  const auto endpoint = Endpoint::parse(text);
  return endpoint && endpoint->port != 0 && is_unicast(endpoint->address) ? endpoint : std::nullopt;
}

std::optional<Endpoint> parse_metrics(std::string_view text) {
  const auto endpoint = Endpoint::parse(text);
  return endpoint && endpoint->port != 0 ? endpoint : std::nullopt;
}

std::optional<Address> parse_unicast(std::string_view text) {
  const auto address = Address::parse(text);
  return address && is_unicast(*address) ? address : std::nullopt;
}

std::optional<std::vector<Address>> parse_addresses(std::string_view text) {
  const auto prefix = Prefix::parse(text);
  if (!prefix || !is_unicast(prefix->address)) {
    return std::nullopt;
  }
  const std::size_t size = prefix->address.size();
  const unsigned free_bits = static_cast<unsigned>(size * 8) - prefix->length;
  if (free_bits > kPrefixBitsMax) {
    return std::nullopt;
  }
  std::vector<Address> addresses(std::size_t{1} << free_bits, prefix->address);
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    // At most eight bits are free: all are in the last byte.
    addresses[i].bytes[size - 1] |= static_cast<std::uint8_t>(i);
  }
  return addresses;
}

std::optional<Prefix> parse_nat64(std::string_view text) {
  const auto prefix = Prefix::parse(text);
  const bool fits = prefix && prefix->address.family == Family::kIpv6 && prefix->length >= 32 &&
                    prefix->length <= 96 && prefix->length % 8 == 0 && prefix->length != 72 &&
                    prefix->length != 80 && prefix->length != 88;
  return fits ? prefix : std::nullopt;
}

std::optional<std::string> parse_exception(std::string_view text) {
  const bool fits = text.empty() || is_interface_name(text);
  return fits ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<std::string> parse_realm(std::string_view text) {
  // It travels as the inside of a quoted string (§14.9): quotes would need escapes in it.
  const bool plain = text.find_first_of("\"\\") == std::string_view::npos;
  // Sent, compared and hashed into keys as prepared, all three alike (§14.9).
  return plain && parse_prepared(text, 763, 127) ? stun::opaque_string(text) : std::nullopt;
}

std::optional<std::string> parse_software(std::string_view text) {
  return text.empty() ? std::optional(std::string()) : parse_prepared(text, 763, 127);
}

std::optional<std::string> parse_username(std::string_view text) {
  return parse_prepared(text, 508, 508);
}

std::optional<std::string> parse_password(std::string_view text) {
  return parse_prepared(text, 763, 763);
}

std::optional<std::string> parse_md5_key(std::string_view text) {
  return parse_hex<16>(text, "") ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<std::string> parse_rest_secret(std::string_view text) {
  return text.empty() ? std::nullopt : std::optional(std::string(text));
}

std::optional<RestFormat> parse_rest_format(std::string_view text) {
  if (text == "time:user") {
    return RestFormat::kTimeUser;
  }
  return text == "user:time" ? std::optional(RestFormat::kUserTime) : std::nullopt;
}

std::optional<bool> parse_channel_numbers(std::string_view text) {
  if (text == "rfc8656") {
    return false;
  }
  return text == "rfc5766" ? std::optional(true) : std::nullopt;
}

std::optional<std::string> parse_user(std::string_view text) {
  const bool plain = text.size() <= 32 && text.find_first_of(": \t\n/") == std::string_view::npos;
  return plain ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<bool> parse_ttl(std::string_view text) {
  if (text == "decrement") {
    return false;
  }
  return text == "reset" ? std::optional(true) : std::nullopt;
}

std::optional<std::string> parse_log_level(std::string_view text) {
  for (const std::string_view level : {"trace", "debug", "info", "warning", "error"}) {
    if (text == level) {
      return std::string(text);
    }
  }
  return std::nullopt;
}

}  // namespace turnpike::config

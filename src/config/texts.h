// What strings of the configuration can say. Each function returns nullopt for what it is not.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace turnpike::config {

constexpr std::string_view kDeviceExpected =
    "af_xdp:INTERFACE, af_packet:INTERFACE, tap:NAME, memif:SOCKET or a PCI address such as "
    "0000:01:00.0";

struct Device {
  PortDriver driver = PortDriver::kAfXdp;
  std::string name;
};

// "af_xdp:eth0", "memif:/run/x.sock", "0000:01:00.0" or "01:00.0".
std::optional<Device> parse_device(std::string_view text);
// Pairs of key and value; neither a word nor a device of its own for DPDK's command line.
std::optional<std::string> parse_devargs(std::string_view text);
// The name of an interface to make; empty and "none" are taken too.
std::optional<std::string> parse_exception(std::string_view text);

using NextHopMac = std::optional<std::array<std::uint8_t, 6>>;
// Empty: none. A group address can't be a next hop.
std::optional<ListenerTransport> parse_transport(std::string_view text);
std::optional<NextHopMac> parse_next_hop(std::string_view text);

// An address with its network's length.
std::optional<InterfaceAddress> parse_interface_address(std::string_view text);
std::optional<Address> parse_unicast(std::string_view text);
// An address, or each one of a prefix of at most 256.
std::optional<std::vector<Address>> parse_addresses(std::string_view text);
// RFC 6052 §2.2.
std::optional<Prefix> parse_nat64(std::string_view text);
// A unicast address and a port.
std::optional<Endpoint> parse_server(std::string_view text);
// Any address and a port.
std::optional<Endpoint> parse_metrics(std::string_view text);

// Prepared, as it is sent, compared and hashed (RFC 8489 §14.9).
std::optional<std::string> parse_realm(std::string_view text);
std::optional<std::string> parse_software(std::string_view text);
std::optional<std::string> parse_username(std::string_view text);
std::optional<std::string> parse_password(std::string_view text);
// As it is: 32 hexadecimal digits.
std::optional<std::string> parse_md5_key(std::string_view text);
std::optional<std::string> parse_rest_secret(std::string_view text);
std::optional<RestFormat> parse_rest_format(std::string_view text);

// Whether numbers go to 0x7FFF, as RFC 5766 has them.
std::optional<bool> parse_channel_numbers(std::string_view text);
// Whether each relayed packet starts with a full TTL.
std::optional<bool> parse_ttl(std::string_view text);
// Whether there is such a user is the host's to say, at the start.
std::optional<std::string> parse_user(std::string_view text);
std::optional<std::string> parse_log_level(std::string_view text);

}  // namespace turnpike::config

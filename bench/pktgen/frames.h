// Frames out of transport addresses, and back: Ethernet, IP and UDP headers in the caller's memory.
#pragma once

#include <cstdint>
#include <optional>

#include "options.h"
#include "turnpike/stun.h"

namespace turnpike::pktgen {

using stun::Bytes;

constexpr std::size_t kMostHeaders = 14 + 40 + 8;

constexpr std::size_t headers_size(Family family) {
  return family == Family::kIpv4 ? 14 + 20 + 8 : 14 + 40 + 8;
}

struct Macs {
  Mac source, destination;
};

// Writes Ethernet, IP and UDP headers for a UDP payload of `payload_size` that stands, or will
// stand, behind them. The UDP checksum is left zero. Both endpoints have one family.
void write_headers(std::uint8_t* frame, const Macs& macs, const Endpoint& from, const Endpoint& to,
                   std::size_t payload_size);
// Sets the lengths anew, and the IPv4 header's checksum.
void set_payload_size(std::uint8_t* frame, Family family, std::size_t payload_size);
// Over the whole datagram as it stands.
void set_udp_checksum(std::uint8_t* frame, Family family, std::size_t payload_size);
// After zeros at an even place of the payload have become bytes whose sum is `sum`.
void add_to_udp_checksum(std::uint8_t* frame, Family family, std::uint16_t sum);

struct Datagram {
  Endpoint source, destination;
  Bytes payload;
};

// The UDP datagram in a frame; nullopt for anything else, fragments and impossible lengths too.
std::optional<Datagram> parse_datagram(Bytes frame);
// Whether IPv4 header and UDP checksum of a frame that parse_datagram() took are right. None (zero)
// is right in IPv4; on `kernel_link`s so is the pseudo header's sum alone, which the kernel leaves
// to hardware to complete.
bool checksums_good(Bytes frame, bool kernel_link);

}  // namespace turnpike::pktgen

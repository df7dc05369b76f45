// What a relayed packet carries over from its old headers to its new ones, and how the new ones are
// written around a body that stays where it is (RFC 8656 §13, §14).
#pragma once

#include <cstdint>
#include <optional>

#include "flow/packet.h"
#include "turnpike/address.h"
#include "turnpike/stun.h"

namespace turnpike::flow {

// Read before anything is overwritten.
struct Carried {
  std::uint8_t ttl = 0;
  std::uint8_t traffic_class = 0;         // DSCP and ECN
  std::uint16_t id = 0;                   // IPv4; not carried, but the relay's own (RFC 8656 §14)
  bool dont_fragment = false;             // IPv4
  bool had_checksum = true;               // false: an IPv4 sender that sent zero
  std::optional<std::uint16_t> body_sum;  // folded; nullopt where the old checksum can't tell
};

// Of packet.body within the UDP datagram at packet.l4.
Carried take_off(const Packet& packet);

// Makes the frame [Ethernet][IP][UDP][framing][body][padding]: the `framing_size` bytes before the
// body and the `padding` bytes behind it are in place already. Ethernet gets its type, not its
// addresses. Moves packet.data and sets length, l3, l4, payload, payload_size and family. The
// caller has checked the room (room_for()).
void put_on(Packet& packet, const Carried& carried, const Endpoint& source,
            const Endpoint& destination, std::size_t framing_size, std::size_t padding);

// Whether headers for `family` and the framing fit before the body, and the padding behind it.
bool room_for(const Packet& packet, Family family, std::size_t framing_size, std::size_t padding);

// Sum of the UDP pseudo-header for what stands at packet.l3, over a datagram of `udp_size` bytes.
std::uint16_t pseudo_sum(const Packet& packet, std::size_t udp_size);

// Writes IP and UDP headers anew, with whole checksums, for a datagram that is answered: source and
// destination change places, Ethernet's too. `payload_size` bytes of payload are in place.
void turn_round(Packet& packet, std::size_t payload_size);

// Whether an address can be one host's: nothing is sent to others in answer (RFC 1122 §3.2.1.3,
// RFC 4443 §2.4 (e)).
bool is_one_host(const Address& address);

}  // namespace turnpike::flow

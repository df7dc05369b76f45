// The general way to take a packet's headers off and put others on: any shape of what comes, with
// IP options, bytes behind the body, or a checksum that a local sender left to its device. The
// headers themselves are conversion.h's.
#pragma once

#include <cstdint>

#include "flow/conversion.h"
#include "flow/packet.h"
#include "turnpike/address.h"

namespace turnpike::flow {

// Of packet.body within the UDP datagram at packet.l4. The body is read only where the old checksum
// says nothing about it, and it has to be known: for the family `to`.
Carried take_off(const Packet& packet, Family to);

// Makes the frame [Ethernet][IP][UDP][framing][body][padding]: the `framing_size` bytes before the
// body and the `padding` bytes behind it are in place already. Ethernet gets its type, not its
// addresses. Moves packet.data and sets length, l3, l4, payload, payload_size and family. The
// caller has checked the room (room_for()).
void put_on(Packet& packet, Carried carried, const Endpoint& source, const Endpoint& destination,
            std::size_t framing_size, std::size_t padding);

// Whether headers for `family` and the framing fit before the body, and the padding behind it.
bool room_for(const Packet& packet, Family family, std::size_t framing_size, std::size_t padding);

// Sum of the UDP pseudo-header for what stands at packet.l3, over a datagram of `udp_size` bytes.
std::uint16_t pseudo_sum(const Packet& packet, std::size_t udp_size);

// Whether the UDP checksum is right, or rightly not there.
bool udp_checksum_holds(const Packet& packet);

// Writes IP and UDP headers anew, with whole checksums, for a datagram that is answered: source and
// destination change places, Ethernet's too. `payload_size` bytes of payload are in place.
void turn_round(Packet& packet, std::size_t payload_size);

// What is answered leaves from `source`, of the packet's family, and, unless it is 0, goes to
// `to_port` of the host that it came from: as if it had come that way. Before turn_round(), which
// makes the checksums whole.
void redirect(Packet& packet, const Endpoint& source, std::uint16_t to_port);

// Whether an address can be one host's: nothing is sent to others in answer (RFC 1122 §3.2.1.3,
// RFC 4443 §2.4 (e)).
bool is_one_host(const Address& address);

}  // namespace turnpike::flow

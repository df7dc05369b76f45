// Cuts a finished frame into fragments by copy (RFC 791 §3.2, RFC 8200 §4.5): the transmit stage's
// tool for what is longer than the link.
#pragma once

#include <cstdint>
#include <span>

#include "flow/packet.h"

namespace turnpike::flow {

inline constexpr std::size_t kMaxFragments = 8;

// How many fragments a packet of so much behind its IP header takes.
std::size_t fragments_of(Family family, std::size_t size, std::size_t mtu);

// Where fragments go: `take` gives a buffer for one frame of at most `size` bytes or an empty span
// (then the rest is given up), `done` says how many bytes of it were used.
class FragmentSink {
 public:
  virtual ~FragmentSink() = default;
  virtual std::span<std::uint8_t> take(std::size_t size) = 0;
  virtual void done(std::size_t size) = 0;
};

// `packet` is an outgoing frame, verdict kTransmit, with its Ethernet header in place. `mtu` is of
// IP. `id` tells this datagram's fragments from others' over IPv6; over IPv4 its own does. False,
// with nothing sent, if it takes more than kMaxFragments; false after some if `sink` ran out.
bool fragment(const Packet& packet, std::size_t mtu, std::uint32_t id, FragmentSink& sink);

}  // namespace turnpike::flow

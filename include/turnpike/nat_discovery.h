// How a client finds out what NATs it is behind (RFC 5780, and RFC 3489 before it): a server with
// two addresses and two ports answers from another of the four than was asked, and says by which
// address the client can ask another itself.
#pragma once

#include <array>
#include <cstdint>

#include "turnpike/address.h"

namespace turnpike {

// A transport address of ours.
struct FacedEndpoint {
  Endpoint internal;  // as the wire of this node has it
  Endpoint external;  // as clients know it
};

// Which of the four an answer comes from: the flags of CHANGE-REQUEST (RFC 5780 §7.2) without the
// bit behind them. 0 is where the request went to.
using Origin = std::uint8_t;
inline constexpr Origin kChangePort = 1, kChangeAddress = 2;
inline constexpr Origin kChangeBoth = kChangePort | kChangeAddress;
constexpr Origin origin_of(std::uint32_t change_request) {
  return static_cast<Origin>(change_request >> 1 & kChangeBoth);
}

// The four as one of them sees them (RFC 5780 §6.1, table 1). No two have the same external
// endpoint: a client that is told to ask another and asks the same one again takes any NAT for a
// harmless one.
struct NatDiscovery {
  std::array<FacedEndpoint, 4> origins;  // by Origin
};

// How an answer goes, where that was asked for.
struct AnswerWay {
  Origin origin = 0;
  std::uint16_t to_port = 0;  // RESPONSE-PORT; 0: where the request came from

  friend constexpr bool operator==(const AnswerWay&, const AnswerWay&) = default;
};

}  // namespace turnpike

// Binding as RFC 3489 had it, before there was a magic cookie: libnice finds its reflexive
// candidates that way, and older telephones. RFC 8489 §11 (by RFC 5389 §12.2) has a server answer
// with MAPPED-ADDRESS and the sixteen bytes of the transaction id as they came. SOURCE-ADDRESS is
// there besides (RFC 3489 §8.1) and, where there is a second address, CHANGED-ADDRESS;
// CHANGE-REQUEST is done there. As stateless as today's Binding.
#pragma once

#include <cstdint>
#include <span>

#include "turnpike/address.h"
#include "turnpike/listener.h"
#include "turnpike/nat_discovery.h"
#include "turnpike/stun.h"

namespace turnpike::stun {

enum class Classic : std::uint8_t {
  kNot,           // something else
  kMalformed,     // a request whose length or attributes are wrong
  kSharedSecret,  // a request for a secret of RFC 3489 §8.2, which goes over TLS and is long gone
  kSuccess,       // answered
  kUnknown,       // answered with 420: wants what would need a second address, or a reflector
};

struct ClassicResult {
  Classic what = Classic::kNot;
  std::size_t size = 0;  // of the answer in `out`
  Origin origin = 0;     // kSuccess: where it is to leave from
};

// `bytes` is a datagram without magic cookie that came to `listener`; `out` doesn't overlap it and
// has at least 548 bytes. Where the listener has no second address there is no CHANGED-ADDRESS in
// the answer. Any thread; no allocation.
ClassicResult answer_classic(Bytes bytes, const Endpoint& client, const Listener& listener,
                             std::span<std::uint8_t> out);

}  // namespace turnpike::stun

// The header by which a proxy says for whom it has connected (the PROXY protocol, versions 1 and 2,
// of HAProxy's doc/proxy-protocol.txt).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "turnpike/address.h"

namespace turnpike::transport {

struct ProxyHeader {
  enum class State : std::uint8_t {
    kMore,   // it isn't all there
    kWhole,  // `size` bytes are it
    kNone,   // what is there is none, or says nothing that can be used
  };
  State state = State::kNone;
  std::size_t size = 0;
  // For whom; none: the proxy speaks for itself (LOCAL), or doesn't know (UNKNOWN, UNSPEC).
  std::optional<Endpoint> client;
};

// Of a header with all that may follow its addresses.
inline constexpr std::size_t kMostProxyHeader = 16 + 2048;

// At the start of what a proxy has sent.
ProxyHeader read_proxy_header(std::span<const std::uint8_t> bytes);

}  // namespace turnpike::transport

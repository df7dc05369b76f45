// Whether a relay works with given credentials: an allocation, a permission, a channel, and what
// is sent through the relay to itself (RFC 8656).
#pragma once

#include <optional>
#include <string>

#include "natcheck/carrier.h"

namespace turnpike::natcheck {

// What a client proves who it is by: a password, or what makes one (the REST form).
struct Credentials {
  std::string user, password, secret;

  bool given() const { return !user.empty() || !secret.empty(); }
};

struct TurnReport {
  // What has worked, in this order; the first that hasn't is told of by `error`.
  bool connected = false, allocated = false, permitted = false, echoed = false, bound = false,
       channel_echoed = false;
  std::string error;   // in words; empty: all has worked
  std::string advice;  // what to do about it, where that is known
  std::optional<Endpoint> relayed, mapped;
  double request_ms = 0;  // of a request and its answer
  double echo_ms = 0;     // of data, through the relay and back
  TlsShown tls;

  bool works() const { return error.empty(); }
};

// By `way`, to `port`; the allocation is given back. Each step takes at most `patience`. `now_s`:
// the time of day, for the REST form.
TurnReport check_turn(Way way, const Path& path, std::uint16_t port, const TlsSettings& tls,
                      const Credentials& credentials, std::int64_t now_s, Clock::duration patience);

}  // namespace turnpike::natcheck

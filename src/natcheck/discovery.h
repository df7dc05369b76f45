// The tests of RFC 5780 §4 and of RFC 4787's other behaviours, by UDP on one path.
#pragma once

#include <string>

#include "natcheck/exchange.h"
#include "natcheck/findings.h"
#include "natcheck/path.h"

namespace turnpike::natcheck {

struct Discovery {
  Observations seen;
  double round_trip_ms = 0;
  std::string software;  // what the server calls itself
};

// Asks the server of `path` at `port`. `patience`: how long for what may be silent; there are at
// most four such waits, and two seconds more for their pace. Throws std::system_error.
Discovery discover(const Path& path, std::uint16_t port, Clock::duration patience);

}  // namespace turnpike::natcheck

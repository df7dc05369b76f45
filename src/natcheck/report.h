// All that was found out, path by path, and how it is told.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "natcheck/discovery.h"
#include "natcheck/findings.h"
#include "natcheck/lifetime.h"
#include "natcheck/options.h"
#include "natcheck/turn_check.h"

namespace turnpike::natcheck {

// A STUN Binding by TCP or TLS.
struct StreamReport {
  bool connected = false, answered = false;
  std::string error;  // why not, in words
  double connect_ms = 0, round_trip_ms = 0;
  std::optional<Endpoint> mapped;
  TlsShown tls;
};

struct PathReport {
  Path path;
  Discovery udp;
  StreamReport tcp, tls;
  Lifetime lifetime;
  std::vector<std::pair<Way, TurnReport>> turn;
  Findings found;
};

struct Report {
  std::string host;
  std::uint16_t port = 0, tls_port = 0;
  std::vector<PathReport> paths;
  std::vector<std::string> without_way;  // interfaces that lead to no server
  bool turn_asked = false, lifetime_asked = false;
  double seconds = 0;
};

// What the program exits with: 0 calls get along, mostly without a relay; 1 a relay is needed; 3
// the server wasn't reached; 4 it can't tell; 5 TURN was asked for and works by no transport. Of
// several paths the best counts.
int exit_status(const Report& report);

// What couldn't be told, and why: a sentence each.
std::vector<std::string> doubts(const PathReport& path, bool lifetime_asked);

// For people: each thing with what it means and what to do.
std::string tell_people(const Report& report, bool colours);
// One JSON object in a line; what isn't known is null.
std::string tell_programs(const Report& report);

}  // namespace turnpike::natcheck

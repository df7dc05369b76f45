// What the stream generator is asked to do, from its command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::streams {

enum class Mode : std::uint8_t { kMedia, kStorm, kIdle, kReconnect };
enum class Security : std::uint8_t { kTcp, kTls, kDtls };
enum class Directions : std::uint8_t { kBoth, kUp, kDown };
// How far a client of a storm goes before it leaves.
enum class Until : std::uint8_t { kHandshake, kBinding, kAllocation };

struct Options {
  Mode mode = Mode::kMedia;
  Security security = Security::kTcp;
  Endpoint server;
  std::vector<Address> from;     // local addresses, taken in turn; none: the kernel chooses
  std::optional<Address> peers;  // local address of the peers; none: the one of the first client
  std::string name;              // for SNI
  // No TURN: the server is a proxy that passes bytes on, to connections that we take here.
  std::optional<Endpoint> raw;
  bool tls12 = false;  // TLS 1.2 at most
  std::string user = "alice", password = "secret";

  std::uint32_t clients = 100;
  std::uint32_t window = 64;  // clients of each thread that are on their way at a time
  std::uint32_t lifetime_s = 600, refresh_s = 200;

  Directions directions = Directions::kBoth;
  std::uint16_t payload = 160;
  double rate_pps = 10000;  // storm: clients a second; 0: as fast as can be
  double seconds = 10, warm_up_s = 0.25;
  bool pause = false;

  Until until = Until::kAllocation;
  bool resume = false;

  unsigned threads = 1;
  int core = -1;  // of the first thread, the next ones on the next; -1: anywhere
  std::string json_file;
};

struct Exit {
  int status = 0;
  std::string text;
};

// A usage error exits with 2 and says what to type.
std::variant<Options, Exit> read_options(int argc, const char* const* argv);

}  // namespace turnpike::streams

// What the check is asked to do: command line, environment and files.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "natcheck/carrier.h"
#include "natcheck/turn_check.h"

namespace turnpike::natcheck {

struct Options {
  std::string host;  // a name or an address
  std::uint16_t port = 3478, tls_port = 5349;
  std::string interface;  // a name or a local address; empty: each
  bool ipv4 = true, ipv6 = true;
  double patience_s = 2;  // for what may be silent
  double lifetime_s = 0;  // how long a lifetime is looked for; 0: it isn't
  TlsSettings tls;        // its name is the host's, where no other was given
  Credentials credentials;
  std::vector<Way> turn_ways;
  bool json = false;
};

// Nothing more to do: what to print, and the status to exit with.
struct Exit {
  int status = 0;
  std::string text;
};

// The host and the ports that `text` names: host, host:port, [IPv6]:port, an IPv6 address, or a
// URI of RFC 7064 and RFC 7065. False: none of these.
bool read_server(const std::string& text, Options& options);

// Reads secrets from the environment and files too. A mistake is an Exit of status 2 that says what
// to type, and never a secret.
std::variant<Options, Exit> read_options(int argc, const char* const* argv);

// Overwrites the secrets among the arguments, so that no list of processes shows them.
void hide_secrets(int argc, char** argv);

}  // namespace turnpike::natcheck

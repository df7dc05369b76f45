// Which peers may be reached: refused are IPv6 addresses that are not global unicast (2000::/3) and
// the special-purpose ones of both families, in every disguise (v4-mapped, v4-compatible, 6to4,
// Teredo, NAT64, ISATAP), unless the operator allows them by name.
#pragma once

#include <vector>

#include "turnpike/address.h"

namespace turnpike::policy {

class PeerRules {
 public:
  struct Config {
    std::vector<Prefix> allow;  // wins over everything but `ourselves`
    std::vector<Prefix> deny;   // wins over the defaults' silence
    std::vector<Prefix>
        nat64_prefixes;  // /32 … /96: IPv4 addresses inside are judged as IPv4 (RFC 6052); those
                         // in other parts of 64:ff9b:1::/48 at every place they could be
    std::vector<Address>
        ourselves;  // listening and metrics addresses, public faces too: always refused
    std::vector<Address>
        relayed;  // our relayed addresses and their faces: allowed (hairpin) even if in `ourselves`
    std::vector<Address> broadcast;  // of connected networks: refused
  };
  explicit PeerRules(const Config& config);

  // Any thread.
  bool allowed(const Address& peer) const;

 private:
  Config config_;
};

}  // namespace turnpike::policy

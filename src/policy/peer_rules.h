// Which peers may be reached: refused are IPv6 addresses that are not global unicast (2000::/3) and
// the special-purpose ones of both families, in every disguise (v4-mapped, v4-compatible, 6to4,
// Teredo, NAT64, ISATAP), unless the operator allows them by name.
#pragma once

#include <vector>

#include "policy/prefix_set.h"
#include "turnpike/address.h"
#include "turnpike/server.h"

namespace turnpike::policy {

class PeerRules {
 public:
  struct Config {
    std::vector<Prefix> allow;  // wins over everything but `ourselves`
    std::vector<Prefix> deny;   // wins over the defaults' silence
    // Further ones of each, that stay the same while the rest changes: made once, and shared.
    PrefixSet allow_also, deny_also;
    std::vector<Prefix>
        nat64_prefixes;  // /32 … /96: IPv4 addresses inside are judged as IPv4 (RFC 6052); those
                         // in other parts of 64:ff9b:1::/48 at every place they could be
    // Listening and metrics addresses, public addresses too, and all others of this host: always
    // refused. In any order.
    std::vector<Address> ourselves;
    std::vector<Address> relayed;  // our relayed addresses, public ones too: allowed (hairpin) even
                                   // if in `ourselves`
    std::vector<Address> broadcast;  // of connected networks: refused
  };
  explicit PeerRules(const Config& config);

  // Any thread. Costs the same however many prefixes and addresses there are.
  PeerVerdict judge(const Address& peer) const;
  bool allowed(const Address& peer) const { return judge(peer) == PeerVerdict::kAllowed; }
  // Whether it is a relayed address of ours: packets to it are looped inside.
  bool relays(const Address& peer) const;

 private:
  bool is_ourselves(const Address& address) const;
  bool passes(const Address& address) const;
  bool reachable(const Address& peer) const;

  PrefixSet allow_, allow_also_;
  PrefixSet refused_, deny_also_;  // the former by default, too
  std::vector<Prefix> nat64_prefixes_;
  std::vector<Address> ourselves_, relayed_;  // sorted
};

}  // namespace turnpike::policy

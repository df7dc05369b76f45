// What engines go by that may change while they run: their part of the node's policy, which control
// replaces whole (base/published.h).
#pragma once

#include <memory>
#include <vector>

#include "auth/credentials.h"
#include "policy/identity_rules.h"
#include "policy/peer_rules.h"
#include "turnpike/server.h"

namespace turnpike::engine {

// Of one realm.
struct RealmPolicy {
  policy::PeerRules peers;
  // Those of one policy may be the next one's too. There always are some.
  std::shared_ptr<const auth::Credentials> credentials;
};

// Whom TCP allocations may reach (RFC 6062), beside what peer rules say.
struct StreamPeers {
  std::vector<Endpoint> own_host;  // on this host, by name
  std::uint16_t port_min = 0;      // relay ports
  std::uint16_t port_max = 0xFFFF;
};

struct EnginePolicy {
  std::vector<RealmPolicy> realms;  // by RealmIndex, as many as the server's
  ServerPolicy server;
  StreamPeers streams;
  std::shared_ptr<const policy::IdentityRules> identity;  // nullptr: none
};

}  // namespace turnpike::engine

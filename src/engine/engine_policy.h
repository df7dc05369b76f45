// What engines go by that may change while they run: their part of the node's policy, which control
// replaces whole (base/published.h).
#pragma once

#include <memory>

#include "auth/credentials.h"
#include "policy/peer_rules.h"
#include "turnpike/server.h"

namespace turnpike::engine {

struct EnginePolicy {
  policy::PeerRules peers;
  // Those of one policy may be the next one's too. There always are some.
  std::shared_ptr<const auth::Credentials> credentials;
  ServerPolicy server;
};

}  // namespace turnpike::engine

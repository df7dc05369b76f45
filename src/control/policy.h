// All that may change while the node runs, as one immutable value: workers and engines take it once
// a round, each its part of the same one. What is fixed for the process (ports, listeners, relayed
// addresses, keys, sizes of tables) is not in it, but in each part's own settings.
#pragma once

#include "engine/engine_policy.h"
#include "flow/worker_policy.h"

namespace turnpike::control {

struct Policy {
  flow::WorkerPolicy worker;
  engine::EnginePolicy engine;
};

}  // namespace turnpike::control

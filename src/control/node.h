// The node: every object there is, made in three steps (allocate, start ports, run) and ended in
// the opposite order.
#pragma once

#include "config/config.h"

namespace turnpike::control {

// Runs until SIGINT or SIGTERM; returns the exit status: 2 where the configuration does not fit
// this host. Throws std::exception with a message for the operator for whatever else fails.
int run_node(config::Config config);

}  // namespace turnpike::control

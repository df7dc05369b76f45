// Least privilege: what a start needs is asked for by name, and given up once the node runs.
#pragma once

#include <string>

#include "config/config.h"

namespace turnpike::control {

// Why this process can't start `config`: the capabilities (capabilities(7)) that it lacks and what
// they are for. Empty: nothing is missing.
std::string missing_capabilities(const config::Config& config);

// Keeps what a running node and its clean-up need (CAP_NET_ADMIN, and CAP_NET_RAW for shared
// ports), gives up all else, for every thread of the process, and becomes `config.user` if one is
// named. Called by the main thread once ports are made and before other threads of ours run. Says
// in the log what is kept. Throws std::runtime_error.
void drop_privileges(const config::Config& config);

}  // namespace turnpike::control

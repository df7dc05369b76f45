// Payload rules, from what the configuration says of them to what workers hold packets against.
#pragma once

#include <memory>
#include <vector>

#include "config/config.h"
#include "observe/metrics.h"
#include "policy/payload_rules.h"

namespace turnpike::control {

// Compiled, while this process has one thread (policy/patterns.h); nullptr: there are none. Throws
// Misfit, which says where the mistake stands, and std::runtime_error.
std::shared_ptr<const policy::PayloadRules> make_payload_rules(const config::Config& config);

// What they have met so far. Any thread.
std::vector<observe::RuleUse> use_of(const policy::PayloadRules& rules);

}  // namespace turnpike::control

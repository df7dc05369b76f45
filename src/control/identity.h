// Identity rules, from what the configuration says of them to what engines hold an Allocate
// against.
#pragma once

#include <memory>
#include <vector>

#include "config/config.h"
#include "observe/metrics.h"
#include "policy/identity_rules.h"

namespace turnpike::control {

// Compiled, while this process has one thread (policy/patterns.h); nullptr: there are none. Throws
// Misfit, which says where the mistake stands, and std::runtime_error.
std::shared_ptr<const policy::IdentityRules> make_identity_rules(const config::Config& config);

// What they have met so far. Any thread.
std::vector<observe::IdentityRuleUse> use_of(const policy::IdentityRules& rules);

}  // namespace turnpike::control

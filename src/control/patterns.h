// What the operator and the service manager are told of patterns that are compiled at the start.
#pragma once

#include <string>

#include "config/config.h"
#include "policy/patterns.h"

namespace turnpike::control {

// For rules of this kind ("payload"): the log and the manager hear of it before patterns are
// compiled.
policy::PatternBuild pattern_build(const config::Config& config, const std::string& kind);

// "payload rules: 12, 3 KiB compiled in 45 ms"
void say_patterns(const config::Config& config, const std::string& kind, std::size_t rules,
                  std::size_t bytes, const policy::PatternOrigin& origin);

// Where the cache is of no use to them.
void warn_of_cache(const policy::PatternOrigin& origin);

}  // namespace turnpike::control

// Patterns into a database, in bounded time. The library's compiler can't be told to stop, and what
// it takes can't be told from a pattern's length: some of a few kilobytes take minutes.
#pragma once

#include <span>
#include <variant>
#include <vector>

#include "policy/patterns.h"

namespace turnpike::policy {

// The database as hs_serialize_database() gives it. Runs in a process of its own, which ends with
// this one and may use so many seconds of a core; so it is called while this process has one thread
// (fork(2)). Throws std::runtime_error where there can be no such process, or another ends it.
std::variant<std::vector<char>, PatternError> compile_patterns(std::span<const Pattern> patterns,
                                                               unsigned most_s);

}  // namespace turnpike::policy

// Everything in its order: UDP, TCP, TLS, TURN, on each path.
#pragma once

#include <functional>
#include <string>

#include "natcheck/report.h"

namespace turnpike::natcheck {

// Takes some seconds for each path, and the lifetime that is looked for. `say` is told what is
// going on. Throws std::runtime_error where the server's name can't be resolved.
Report check_up(const Options& options, const std::function<void(const std::string&)>& say);

}  // namespace turnpike::natcheck

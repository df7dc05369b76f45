// The log: one line for what an operator should know, to standard error. Never from a worker or an
// engine thread, and never a secret.
#pragma once

#include <string>

namespace turnpike::log {

// `level` as in the configuration: trace, debug, info, warning or error.
void start(const std::string& level);

void debug(const std::string& line);
void info(const std::string& line);
void warning(const std::string& line);
void error(const std::string& line);

}  // namespace turnpike::log

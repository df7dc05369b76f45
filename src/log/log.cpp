// The log, by spdlog; this is the one file that pays for compiling it.
#include "log/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace turnpike::log {

void start(const std::string& level) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("turnpike"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::set_level(spdlog::level::from_str(level));
  spdlog::flush_on(spdlog::level::info);
}

// As an argument, not as the format: a line may have braces in it.
void debug(const std::string& line) {
  spdlog::debug("{}", line);
}

void info(const std::string& line) {
  spdlog::info("{}", line);
}

void warning(const std::string& line) {
  spdlog::warn("{}", line);
}

void error(const std::string& line) {
  spdlog::error("{}", line);
}

}  // namespace turnpike::log

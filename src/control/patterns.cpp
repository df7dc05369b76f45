// A compile may take as long as the manager waits for all of a start.
#include "control/patterns.h"

#include "control/service.h"
#include "log/log.h"

namespace turnpike::control {

policy::PatternBuild pattern_build(const config::Config& config, const std::string& kind) {
  policy::PatternBuild build;
  build.cache = config.payload.cache;
  build.compiling = [kind, most_s = build.most_s](std::size_t patterns) {
    log::info("compiling " + std::to_string(patterns) + " patterns of " + kind +
              " rules, which may take " + std::to_string(most_s) + " s");
    notify_manager(("STATUS=compiling patterns of " + kind + " rules").c_str());
    // Thrice as long, for where the core is shared.
    notify_manager(("EXTEND_TIMEOUT_USEC=" + std::to_string(most_s * 3'000'000ULL)).c_str());
  };
  return build;
}

void say_patterns(const config::Config& config, const std::string& kind, std::size_t rules,
                  std::size_t bytes, const policy::PatternOrigin& origin) {
  log::info(std::to_string(rules) + " " + kind + " rules, " + std::to_string(bytes >> 10) +
            " KiB compiled" +
            (origin.was_cached ? ", from " + config.payload.cache
                               : " in " + std::to_string(origin.compile_ms) + " ms"));
}

void warn_of_cache(const policy::PatternOrigin& origin) {
  if (origin.cache_problem.empty()) return;
  log::warning("payload.cache: " + origin.cache_problem +
               "; so patterns are compiled anew at each start");
}

}  // namespace turnpike::control

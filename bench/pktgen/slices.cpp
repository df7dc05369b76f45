// Waits for a line on stdin, sends for as long as it says, and tells what came.
#include "slices.h"

#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "report.h"
#include "stop.h"

namespace turnpike::pktgen {
namespace {

// Lines of stdin, waited for while the session is kept. Sleeps between looks: the processor belongs
// to whoever runs meanwhile.
class Commands {
 public:
  explicit Commands(const World& world) : world_(world) {}

  // The next line; nothing at the end of the input.
  std::optional<std::string> next() {
    while (!stop_requested()) {
      if (const std::size_t end = text_.find('\n'); end != std::string::npos) {
        std::string line = text_.substr(0, end);
        text_.erase(0, end + 1);
        return line;
      }
      pollfd input{STDIN_FILENO, POLLIN, 0};
      if (::poll(&input, 1, 20) > 0) {
        std::array<char, 256> read_now{};
        const ssize_t n = ::read(STDIN_FILENO, read_now.data(), read_now.size());
        if (n <= 0) return std::nullopt;
        text_.append(read_now.data(), static_cast<std::size_t>(n));
      } else if (world_.far_end == FarEnd::kRelay) {
        world_.session.keep_all(0);
      }
    }
    return std::nullopt;
  }

 private:
  const World& world_;
  std::string text_;
};

}  // namespace

void run_slices(const World& world, Traffic& traffic, std::optional<double> ceiling_pps) {
  Commands commands(world);
  for (std::uint32_t i = 0; world.options.slices == 0 || i < world.options.slices; ++i) {
    double seconds = world.options.seconds;
    double rate = world.options.rate_pps;
    if (world.options.pause) {
      const auto line = commands.next();
      if (!line || *line == "quit") return;
      if (!line->starts_with("go")) {
        say("turnpike-pktgen: expected `go`, `go SECONDS`, `go SECONDS PPS` or `quit`, found " +
            *line);
        continue;
      }
      char* rest = nullptr;
      if (const double asked = std::strtod(line->c_str() + 2, &rest); asked > 0) seconds = asked;
      if (const double asked = std::strtod(rest, nullptr); asked > 0) rate = asked;
    }
    if (stop_requested()) return;
    if (world.options.warm_up_s > 0) (void)traffic.run(rate, world.options.warm_up_s, nullptr);
    print_json(tally_json(traffic.run(rate, seconds, nullptr), true, ceiling_pps));
  }
}

}  // namespace turnpike::pktgen

// turnpike-natcheck: what is between this host and a STUN server. Exit status: see report.h, and 2
// for a mistake of usage.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <variant>

#include "natcheck/checkup.h"

namespace {

constexpr int kNotReached = 3;

// For people, and only where it doesn't end up in a file.
bool is_terminal(int fd) {
  return isatty(fd) == 1;
}

bool wants_colours() {
  const char* no = std::getenv("NO_COLOR");
  return is_terminal(STDOUT_FILENO) && (no == nullptr || *no == '\0');
}

}  // namespace

int main(int argc, char** argv) {
  using namespace turnpike::natcheck;
  std::signal(SIGPIPE, SIG_IGN);  // a server that hangs up is told of
  try {
    auto asked = read_options(argc, argv);
    hide_secrets(argc, argv);
    if (const auto* exit = std::get_if<Exit>(&asked)) {
      std::fputs(exit->text.c_str(), exit->status == 0 ? stdout : stderr);
      return exit->status;
    }
    const auto& options = std::get<Options>(asked);
    const bool progress = !options.json && is_terminal(STDERR_FILENO);
    const Report report = check_up(options, [&](const std::string& what) {
      if (progress) std::fprintf(stderr, "%s ...\n", what.c_str());
    });
    const std::string text =
        options.json ? tell_programs(report) : tell_people(report, wants_colours());
    std::fputs(text.c_str(), stdout);
    return exit_status(report);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "turnpike-natcheck: %s\n", error.what());
    return kNotReached;
  }
}

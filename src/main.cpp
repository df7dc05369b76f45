// The program: reads its command line and runs the node. Exit status 0 is a clean stop, 1 a failure
// told on standard error, 2 a mistake of usage or configuration.
#include <cstdio>
#include <exception>
#include <utility>
#include <variant>

#include "config/command_line.h"
#include "config/wipe.h"
#include "control/node.h"

int main(int argc, char** argv) {
  try {
    auto asked = turnpike::config::read_command_line(argc, argv);
    turnpike::config::hide_secrets(argc, argv);
    turnpike::config::wipe_stack();
    if (const auto* exit = std::get_if<turnpike::config::Exit>(&asked)) {
      std::fputs(exit->text.c_str(), exit->status == 0 ? stdout : stderr);
      return exit->status;
    }
    return turnpike::control::run_node(std::move(std::get<turnpike::config::Config>(asked)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "turnpike: %s\n", error.what());
    return 1;
  }
}

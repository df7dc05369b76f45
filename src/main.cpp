// The program: reads its command line and runs the node. Exit status 0 is a clean stop, 1 a failure
// told on standard error, 2 a mistake of usage or configuration.
#include <cstdio>
#include <exception>
#include <utility>
#include <variant>

#include "control/command_line.h"
#include "control/node.h"
#include "control/wipe.h"

int main(int argc, char** argv) {
  try {
    auto asked = turnpike::control::read_command_line(argc, argv);
    turnpike::control::hide_secrets(argc, argv);
    turnpike::control::wipe_stack();
    if (const auto* exit = std::get_if<turnpike::control::Exit>(&asked)) {
      std::fputs(exit->text.c_str(), exit->status == 0 ? stdout : stderr);
      return exit->status;
    }
    return turnpike::control::run_node(std::move(std::get<turnpike::control::Config>(asked)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "turnpike: %s\n", error.what());
    return 1;
  }
}

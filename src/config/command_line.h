// The command line: `turnpike --port af_xdp:eth0 --user alice:secret --realm example.org` is enough
// to run; all else is in the file that --config names, over which flags win.
#pragma once

#include <string>
#include <variant>

#include "config/config.h"
#include "config/source.h"

namespace turnpike::config {

// Nothing more to do: what to print, and the status to exit with. 2 is for mistakes of usage or
// configuration, which go to standard error.
struct Exit {
  int status = 0;
  std::string text;
};

// Takes the arguments in; files that they name are read by Source::read(), unless --check-config
// asks for no more than that: then there is nothing to start, and an Exit says how it went.
std::variant<Source, Exit> parse_command_line(int argc, const char* const* argv);

// The same, and what the source says now.
std::variant<Config, Exit> read_command_line(int argc, const char* const* argv);

// Overwrites the secrets among the arguments, so that no list of processes shows them. Called once
// they have been read.
void hide_secrets(int argc, char** argv);

}  // namespace turnpike::config

// The command line: `turnpike --port af_xdp:eth0 --user alice:secret --realm example.org` is enough
// to run; all else is in the file that --config names, over which flags win.
#pragma once

#include <string>
#include <variant>

#include "config/config.h"

namespace turnpike::config {

// Nothing more to do: what to print, and the status to exit with. 2 is for mistakes of usage or
// configuration, which go to standard error.
struct Exit {
  int status = 0;
  std::string text;
};

// Reads arguments, and the files they name.
std::variant<Config, Exit> read_command_line(int argc, const char* const* argv);

// Overwrites the secrets among the arguments, so that no list of processes shows them. Called once
// they have been read.
void hide_secrets(int argc, char** argv);

}  // namespace turnpike::config

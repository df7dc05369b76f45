// posix_spawn and not fork: a process with workers and gigabytes of tables is not copied for `ip`.
#include "kernel/command.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>

namespace turnpike::kernel {

void run_command(std::vector<std::string> words) {
  std::string line;
  std::vector<char*> arguments;
  for (std::string& word : words) {
    line += (line.empty() ? "" : " ") + word;
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  pid_t child = 0;
  int status = 0;
  const bool ran =
      posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ) == 0 &&
      waitpid(child, &status, 0) == child;
  if (!ran || status != 0) throw std::runtime_error("`" + line + "` failed");
}

}  // namespace turnpike::kernel

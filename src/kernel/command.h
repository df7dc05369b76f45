// Programs of the host that do what the kernel's interfaces make long: ip, nft.
#pragma once

#include <string>
#include <vector>

namespace turnpike::kernel {

// Runs `words[0]`, found by PATH, and waits for it. Throws std::runtime_error with the whole line
// if it can't be run or fails. Start and end only: it blocks.
void run_command(std::vector<std::string> words);

}  // namespace turnpike::kernel

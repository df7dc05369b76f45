// Short strings lie within their objects: what reading secrets left on the stack is overwritten
// here.
#pragma once

#include <string.h>

#include <array>

namespace turnpike::config {

// The stack below the caller's frame, deeper than reading a configuration goes.
[[gnu::noinline]] inline void wipe_stack() {
  std::array<char, 512 * 1024> below;
  explicit_bzero(below.data(), below.size());
}

}  // namespace turnpike::config

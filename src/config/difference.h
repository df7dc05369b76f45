// What differs between two configurations, for whoever reads one again while the node runs: which
// keys of the file, and whether the node can take up the change as it runs or wants a restart.
#pragma once

#include <string_view>
#include <vector>

#include "config/config.h"

namespace turnpike::config {

struct Difference {
  std::string_view key;  // as the file has it: a table, or a key of one
  bool live = false;     // may change while the node runs; otherwise it wants a restart

  friend bool operator==(const Difference&, const Difference&) = default;
};

// In the order of difference.cpp's table. What was filled in where the file left it out counts as
// well: both are completed, or neither. Secrets that one has forgotten differ from those that the
// other still has. Warnings don't count.
std::vector<Difference> differences(const Config& before, const Config& after);

}  // namespace turnpike::config

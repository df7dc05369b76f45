// The file of flows that --setup-only writes, for generators that can't set up TURN by themselves:
// a line of JSON about the links, then one for each flow. All values are flat, so that a script
// without a JSON library can read it.
#pragma once

#include <string>

#include "traffic.h"

namespace turnpike::pktgen {

// Throws std::runtime_error if the file can't be written.
void write_flow_file(const World& world, const std::string& path);

}  // namespace turnpike::pktgen

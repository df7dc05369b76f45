// Ctrl-C and SIGTERM: runs end early, and what was set up is released.
#pragma once

namespace turnpike::pktgen {

void watch_signals();
bool stop_requested();

}  // namespace turnpike::pktgen

// A handler may do no more than set a flag: loops look at it.
#include "stop.h"

#include <atomic>
#include <csignal>

namespace turnpike::pktgen {
namespace {

std::atomic<bool> stopping{false};

void stop(int /*signal*/) {
  stopping.store(true, std::memory_order_relaxed);
}

}  // namespace

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = stop;
  action.sa_flags = SA_RESETHAND;  // a second one ends the process at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() {
  return stopping.load(std::memory_order_relaxed);
}

}  // namespace turnpike::pktgen

// Room for letters is never short: open() counts who may still have one to come.
#include "transport/host_door.h"

#include <cassert>

namespace turnpike::transport {

bool HostDoor::open(const Endpoint& relayed) {
  if (open_.fetch_add(1, std::memory_order_relaxed) >= kMostSockets) {
    open_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  [[maybe_unused]] const bool put = letters_.put({relayed, true});
  assert(put);
  bell_.ring();
  return true;
}

void HostDoor::close(const Endpoint& relayed) {
  [[maybe_unused]] const bool put = letters_.put({relayed, false});
  assert(put);
  bell_.ring();
}

}  // namespace turnpike::transport

// Room for letters is never short: take_room() counts who may still have one to come.
#include "transport/host_door.h"

#include <cassert>

namespace turnpike::transport {

bool HostDoor::take_room(std::uint32_t user) {
  const std::scoped_lock lock(mutex_);
  const auto found = of_user_.find(user);
  const std::size_t has = found == of_user_.end() ? 0 : found->second;
  if (has >= kMostSockets - open_) return false;
  of_user_[user] = has + 1;
  ++open_;
  return true;
}

bool HostDoor::open(const Endpoint& relayed, std::uint32_t user) {
  if (!take_room(user)) return false;
  [[maybe_unused]] const bool put = letters_.put({relayed, user, true});
  assert(put);
  bell_.ring();
  return true;
}

void HostDoor::close(const Endpoint& relayed, std::uint32_t user) {
  [[maybe_unused]] const bool put = letters_.put({relayed, user, false});
  assert(put);
  bell_.ring();
}

void HostDoor::closed(std::uint32_t user) {
  const std::scoped_lock lock(mutex_);
  const auto found = of_user_.find(user);
  if (--found->second == 0) of_user_.erase(found);
  --open_;
}

}  // namespace turnpike::transport

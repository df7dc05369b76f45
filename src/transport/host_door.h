// How shards have a kernel socket opened on a relayed transport address, for peers on the relay's
// own host, and closed: letters to the thread that has these sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/mailbox.h"
#include "dataplane/doorbell.h"
#include "tables/next_hop.h"

namespace turnpike::transport {

class HostDoor final : public flow::HostDoor {
 public:
  // Each is a descriptor. A user gets one more as long as he has fewer than are left for all:
  // alone he has half of them, and whoever comes next finds some.
  static constexpr std::size_t kMostSockets = 8192;

  struct Letter {
    Endpoint relayed;
    std::uint32_t user = 0;
    bool opens = false;
  };

  // `bell` is the thread's.
  explicit HostDoor(dataplane::Doorbell& bell) : bell_(bell), letters_(2 * kMostSockets) {}

  bool open(const Endpoint& relayed, std::uint32_t user) override;
  void close(const Endpoint& relayed, std::uint32_t user) override;

  // The thread's.
  bool has_letters() const { return !letters_.empty(); }
  void take(std::vector<Letter>& out) { letters_.take(out); }
  // One of the user's that was to be closed is: another may be opened.
  void closed(std::uint32_t user);

 private:
  bool take_room(std::uint32_t user);

  dataplane::Doorbell& bell_;
  Mailbox<Letter> letters_;  // at most two of each
  // Asked for, and not closed() yet: of all, and by user.
  std::mutex mutex_;
  std::size_t open_ = 0;
  std::unordered_map<std::uint32_t, std::size_t> of_user_;
};

}  // namespace turnpike::transport

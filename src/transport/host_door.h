// How shards have a kernel socket opened on a relayed transport address, for peers on the relay's
// own host, and closed: letters to the thread that has these sockets.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/mailbox.h"
#include "dataplane/doorbell.h"
#include "tables/next_hop.h"

namespace turnpike::transport {

class HostDoor final : public flow::HostDoor {
 public:
  // Each is a descriptor.
  static constexpr std::size_t kMostSockets = 8192;

  struct Letter {
    Endpoint relayed;
    bool opens = false;
  };

  // `bell` is the thread's.
  explicit HostDoor(dataplane::Doorbell& bell) : bell_(bell), letters_(2 * kMostSockets) {}

  bool open(const Endpoint& relayed) override;
  void close(const Endpoint& relayed) override;

  // The thread's.
  bool has_letters() const { return !letters_.empty(); }
  void take(std::vector<Letter>& out) { letters_.take(out); }
  // One that was to be closed is: another may be opened.
  void closed() { open_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  dataplane::Doorbell& bell_;
  std::atomic<std::size_t> open_{0};  // asked for, and not closed() yet
  Mailbox<Letter> letters_;           // at most two of each
};

}  // namespace turnpike::transport

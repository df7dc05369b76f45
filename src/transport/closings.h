// What a transport thread has to tell workers of clients who are gone: each behind the last of its
// messages, and before the first of whoever comes next from the same place.
#pragma once

#include <cstdint>
#include <vector>

#include "base/keyed_hash.h"
#include "dataplane/stream_port.h"
#include "transport/ends.h"

namespace turnpike::transport {

// One thread's.
class Closings {
 public:
  Closings(dataplane::StreamPort& port, const HashKey& key)
      : hash_{key}, waiting_(port.workers()), port_(port) {}

  // The worker that has all messages of these two ends.
  std::uint16_t worker_of(const Ends& ends) const {
    return static_cast<std::uint16_t>((hash_(ends) >> 32) % waiting_.size());
  }
  // Where its worker has lent no frame, retry() tells it later; messages wait meanwhile, too.
  void say(const Ends& ends);
  // Whether a message would overtake one of these on its way to `worker`.
  bool waits(std::uint16_t worker) const { return !waiting_[worker].empty(); }
  bool waits() const;
  void retry();

 private:
  bool tell(std::uint16_t worker, const Ends& ends);

  EndsHash hash_;
  std::vector<std::vector<Ends>> waiting_;  // by worker
  dataplane::StreamPort& port_;
};

}  // namespace turnpike::transport

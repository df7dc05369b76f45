// It sleeps in poll(2) when nothing moves; a worker wakes it.
#include "dataplane/exception_thread.h"

#include <poll.h>
#include <pthread.h>

#include <algorithm>

#include "dataplane/clock.h"

namespace turnpike::dataplane {
namespace {

constexpr int kMostWaitMs = 100;
constexpr int kCrowdedMs = 1;  // until the worker has taken some

}  // namespace

void ExceptionThread::start() {
  heartbeat_.beat(real_ms());
  thread_ = std::thread([this] { run(); });
}

void ExceptionThread::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_relaxed);
  bell_.wake();
  thread_.join();
}

void ExceptionThread::run() {
  pthread_setname_np(pthread_self(), "exceptions");
  while (!stopping_.load(std::memory_order_relaxed)) {
    heartbeat_.beat(real_ms());
    bool more = false;
    for (ExceptionPath* const path : paths_)
      more |= path->move();
    if (more) continue;
    bell_.wait_by(
        [this] {
          return std::any_of(paths_.begin(), paths_.end(),
                             [](const ExceptionPath* path) { return path->has_work(); });
        },
        [this] { sleep(); });
  }
}

// An interface whose frames have no room isn't asked for more, and keeps them meanwhile.
void ExceptionThread::sleep() {
  std::vector<pollfd> waits{{bell_.fd(), POLLIN, 0}};
  int most_ms = kMostWaitMs;
  for (const ExceptionPath* const path : paths_) {
    if (path->has_room())
      waits.push_back({path->fd(), POLLIN, 0});
    else
      most_ms = kCrowdedMs;
  }
  poll(waits.data(), waits.size(), most_ms);
  if ((waits.front().revents & POLLIN) != 0) bell_.clear();
}

}  // namespace turnpike::dataplane

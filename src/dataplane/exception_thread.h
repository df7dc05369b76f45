// The thread that moves frames between workers and exception interfaces, both ways: what the kernel
// and its programs say on ports that are the relay's own, TCP among it, waits for nothing else.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "base/heartbeat.h"
#include "dataplane/doorbell.h"
#include "dataplane/exception.h"

namespace turnpike::dataplane {

class ExceptionThread {
 public:
  // The paths outlive it; there is at least one.
  explicit ExceptionThread(std::vector<ExceptionPath*> paths) : paths_(std::move(paths)) {}
  ~ExceptionThread() { stop(); }

  void start();
  // Idempotent.
  void stop();

  // For workers, after all of a round is with the paths.
  Doorbell& bell() { return bell_; }
  // Any thread.
  const Heartbeat& heartbeat() const { return heartbeat_; }

 private:
  void run();
  void sleep();

  const std::vector<ExceptionPath*> paths_;
  Doorbell bell_;
  Heartbeat heartbeat_;  // this thread: wo, others: ro
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace turnpike::dataplane

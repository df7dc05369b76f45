// Chores of control's loop, each at a pace of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace turnpike::control {

class Timers {
 public:
  // First at `first_ms` of the caller's clock, then `every_ms` after each time it was done.
  void add(std::uint64_t first_ms, std::uint64_t every_ms, std::function<void()> chore) {
    timers_.push_back({first_ms, every_ms, std::move(chore)});
  }
  void run_due(std::uint64_t now_ms) {
    for (Timer& timer : timers_) {
      if (now_ms < timer.due_ms) continue;
      timer.due_ms = now_ms + timer.every_ms;
      timer.chore();
    }
  }

 private:
  struct Timer {
    std::uint64_t due_ms;
    std::uint64_t every_ms;
    std::function<void()> chore;
  };
  std::vector<Timer> timers_;
};

}  // namespace turnpike::control

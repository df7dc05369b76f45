// A thread's sign of life: when it last went round, and how often it came late.
#pragma once

#include <cstdint>

#include "turnpike/counter.h"

namespace turnpike {

class Heartbeat {
 public:
  // Between two rounds; what is longer counts as a stall.
  static constexpr std::uint64_t kLateMs = 1000;

  // The thread's own, but for the first, which is before it starts. Milliseconds of any clock.
  void beat(std::uint64_t now_ms) {
    const std::uint64_t last = last_ms_.get();
    if (last != 0 && now_ms > last + kLateMs) late_.add();
    last_ms_.set(now_ms);
  }

  // Any thread.
  std::uint64_t last_ms() const { return last_ms_.get(); }
  std::uint64_t late() const { return late_.get(); }

 private:
  Counter last_ms_, late_;
};

}  // namespace turnpike

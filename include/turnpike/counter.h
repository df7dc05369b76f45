// A count that one thread writes and any thread reads.
#pragma once

#include <atomic>
#include <cstdint>

namespace turnpike {

// Single writer: add() is a plain add, not a locked one.
class Counter {
 public:
  void add(std::uint64_t more = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }
  void set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace turnpike

// How a thread that sleeps is woken by those that bring it work, at the price of one fence while it
// is awake. One thread sleeps, any number ring. No DPDK, so that ThreadSanitizer can look at it.
#pragma once

#include <atomic>
#include <cstdint>

namespace turnpike::dataplane {

class Doorbell {
 public:
  // Throws std::runtime_error when the kernel gives no descriptor.
  Doorbell();
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // The sleeper's: returns when somebody has rung, when `most_ns` have passed, or at once if
  // has_work() is true. It may return without a reason.
  //
  // No ring is lost: the sleeper writes asleep_, then reads what has_work() looks at; who rings has
  // written that, then reads asleep_. Between each write and read stands a sequentially consistent
  // fence, and of two such fences one comes first: either has_work() sees the work, or ring() sees
  // the sleeper. In the second case the descriptor keeps the ring for a sleeper not yet in poll().
  template <typename HasWork>
  void wait(std::uint64_t most_ns, HasWork has_work) {
    wait_by(has_work, [this, most_ns] { sleep(most_ns); });
  }
  // For who sleeps in a way of its own, which fd() ends by being readable, until clear().
  template <typename HasWork, typename Sleep>
  void wait_by(HasWork has_work, Sleep sleep) {
    asleep_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!has_work()) sleep();
    asleep_.store(false, std::memory_order_relaxed);
  }
  int fd() const { return fd_; }
  void clear();

  // After the work has been brought: a system call if the sleeper sleeps, and no other ringer has
  // taken it upon itself.
  void ring() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_relaxed) &&
        asleep_.exchange(false, std::memory_order_relaxed))
      wake();
  }

  // For what has_work() doesn't see: ends this sleep or the next one.
  void wake();

 private:
  void sleep(std::uint64_t most_ns);

  int fd_ = -1;
  alignas(64) std::atomic<bool> asleep_{false};  // sleeper: rw, ringers: rw
};

}  // namespace turnpike::dataplane

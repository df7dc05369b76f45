// Quiescent-state-based reclamation: readers say when they hold nothing, the writer waits (without
// blocking) until each has said so once. One Qsbr serves one set of readers (the workers, of
// tables; workers and engines, of policy) and any number of writers (shards, control).
//
// Why not rte_rcu_qsbr: the same idea, but Debian's DPDK is not instrumented for ThreadSanitizer,
// and the tables that rely on it are tested without DPDK.
#pragma once

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace turnpike {

class Qsbr {
 public:
  static constexpr std::size_t kMaxReaders = 128;
  using Token = std::uint64_t;

  // Reader side. A reader is offline until its first quiescent() and again after offline(); an
  // offline reader holds nothing and delays nobody.
  void quiescent(std::size_t reader) {
    assert(reader < kMaxReaders);
    std::atomic<std::uint64_t>& seen = readers_[reader].seen;
    const std::uint64_t now = current_.load(std::memory_order_acquire);
    if (seen.load(std::memory_order_relaxed) != kOffline) {
      // What was unlinked before `now` is unlinked in all this reader reads from here on (acquire,
      // above), and all it has read so far is read before a writer can see the new value.
      seen.store(now, std::memory_order_release);
      return;
    }
    coming(reader);
    // Coming online races with a writer that unlinks and still finds this reader offline. Of two
    // sequentially consistent pairs, (store seen, load current) here and (add to current, load
    // seen) there, at least one load sees the other side's write: either the writer waits for this
    // reader, or this reader sees what was unlinked.
    seen.store(now, std::memory_order_seq_cst);
    (void)current_.load(std::memory_order_seq_cst);
  }
  void offline(std::size_t reader) {
    assert(reader < kMaxReaders);
    readers_[reader].seen.store(kOffline, std::memory_order_release);
  }

  // Writer side. Call start() after unlinking; what was unlinked may be reused once passed(token).
  Token start() { return current_.fetch_add(1, std::memory_order_seq_cst) + 1; }
  bool passed(Token token) const {
    // No more of them than have ever been: each look takes a line away from its owner.
    const std::size_t readers = come_.load(std::memory_order_seq_cst);
    for (std::size_t reader = 0; reader < readers; ++reader) {
      const std::uint64_t seen = readers_[reader].seen.load(std::memory_order_seq_cst);
      if (seen != kOffline && seen < token) return false;
    }
    return true;
  }

 private:
  static constexpr std::uint64_t kOffline = ~std::uint64_t{0};
  struct alignas(64) Reader {
    std::atomic<std::uint64_t> seen{kOffline};  // reader: wo, writers: ro
  };

  // Before the reader says that it is online, so that the race below covers this too: a writer that
  // doesn't know the reader yet has unlinked what the reader then doesn't see any more.
  void coming(std::size_t reader) {
    std::size_t known = come_.load(std::memory_order_relaxed);
    while (known <= reader &&
           !come_.compare_exchange_weak(known, reader + 1, std::memory_order_seq_cst)) {
    }
  }

  alignas(64) std::atomic<std::uint64_t> current_{1};  // writers: rw, readers: ro
  std::atomic<std::size_t> come_{0};  // one more than the greatest reader so far; readers: wo
  std::array<Reader, kMaxReaders> readers_;
};

}  // namespace turnpike

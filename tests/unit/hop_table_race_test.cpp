// Shards that take and let go of next hops, control that takes them back, and a worker that follows
// an index it has read, at the same time. Meant for ThreadSanitizer as well.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "kernel/hop_table.h"

namespace turnpike::kernel {
namespace {

using flow::kNoNextHop;
using flow::NextHop;
using flow::NextHopIndex;

constexpr std::size_t kEntries = 8;
constexpr int kChanges = 10000;
constexpr std::uint32_t kHops = 24;  // few, so that numbers are used again at once

Address neighbour(std::uint32_t n) {
  return Address::v4(10, 0, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n));
}

// What a worker finds by: which neighbour the entry is for, and its next hop.
struct Entry {
  std::atomic<std::uint64_t> word{0};  // neighbour << 32 | hop
};

TEST(HopTableRace, AWorkerNeverSendsToAnothersNeighbour) {
  Qsbr qsbr;
  HopTable hops(kHops, qsbr);
  std::mutex mutex;
  std::array<Entry, kEntries> entries;
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};

  const auto shard = [&](std::size_t first) {
    std::uint32_t state = static_cast<std::uint32_t>(first) * 2654435761U + 1;
    for (int i = 0; i < kChanges; ++i) {
      state = state * 1664525U + 1013904223U;
      Entry& entry = entries[first + state % (kEntries / 2)];
      const std::uint32_t to = state >> 8 & 0x3F;
      HopTable::Key key;
      key.interface = 1;
      key.gateway = neighbour(to);
      key.on_link = false;
      NextHopIndex hop = kNoNextHop;
      {
        const std::scoped_lock lock(mutex);
        hop = hops.acquire(key, 0, [] { return flow::MacWord{0}; });
      }
      if (hop == kNoNextHop) std::this_thread::yield();
      const std::uint64_t old = entry.word.load(std::memory_order_relaxed);
      entry.word.store(std::uint64_t{to} << 32 | static_cast<std::uint32_t>(hop),
                       std::memory_order_release);
      const NextHopIndex before{static_cast<std::uint32_t>(old)};
      if (before != kNoNextHop) hops.release(before);
    }
  };
  std::thread control([&] {
    while (!done.load(std::memory_order_relaxed)) {
      const std::scoped_lock lock(mutex);
      hops.sweep(kHops);
    }
  });
  std::thread worker([&] {
    qsbr.quiescent(0);
    // A frame that waits for a MAC beyond its burst.
    std::uint64_t kept = 0;
    std::uint32_t generation = 0;
    const auto right = [&](std::uint64_t word) {
      const NextHop& hop = hops.data()[static_cast<std::uint32_t>(word)];
      return hop.gateway == neighbour(static_cast<std::uint32_t>(word >> 32));
    };
    while (!done.load(std::memory_order_relaxed)) {
      for (const Entry& entry : entries) {
        const std::uint64_t word = entry.word.load(std::memory_order_acquire);
        if (static_cast<std::uint32_t>(word) == 0) continue;
        if (!right(word)) ++wrong;
        if (kept == 0) {
          kept = word;
          generation = hops.data()[static_cast<std::uint32_t>(word)].generation.load();
        }
      }
      if (kept != 0) {
        const NextHop& hop = hops.data()[static_cast<std::uint32_t>(kept)];
        if (hop.generation.load(std::memory_order_relaxed) != generation) {
          kept = 0;
        } else if (!right(kept)) {
          ++wrong;
        }
      }
      qsbr.quiescent(0);
    }
    qsbr.offline(0);
  });
  std::thread one([&] { shard(0); });
  std::thread two([&] { shard(kEntries / 2); });
  one.join();
  two.join();
  done.store(true);
  control.join();
  worker.join();
  EXPECT_EQ(wrong, 0);
  for (const Entry& entry : entries) {
    const NextHopIndex hop{static_cast<std::uint32_t>(entry.word.load())};
    if (hop != kNoNextHop) hops.release(hop);
  }
  for (int i = 0; i < 9; ++i)
    hops.sweep(kHops);
  EXPECT_EQ(hops.in_use(), 0U);
}

}  // namespace
}  // namespace turnpike::kernel

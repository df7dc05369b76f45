// Of sanitized builds alone: a queue under a lock, first in, first out. DPDK's library isn't
// instrumented, so that what drivers do to a buffer isn't judged, but for what they call memcpy and
// the like for.
#include "dataplane/pool_watch.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <stdexcept>

#if defined(__has_feature)  // clang's, which gcc 12 says otherwise
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) (static_cast<void>(address))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address))
#define __asan_address_is_poisoned(address) false
#endif

namespace turnpike::dataplane {
namespace {

struct Watched {
  std::mutex mutex;
  std::deque<void*> there;
  bool armed = false, all_come_back = false;
};

constexpr const char* kName = "watched";

Watched& of(const rte_mempool* pool) {
  return *static_cast<Watched*>(pool->pool_data);
}

// A fault that no sanitizer knows by itself, told where it is: abort() brings the stack.
[[noreturn]] void fail(const rte_mempool* pool, const char* what, std::size_t count) {
  std::fprintf(stderr, "ERROR: pool %s: %zu %s\n", pool->name, count, what);
  std::abort();
}

int allocate(rte_mempool* pool) {
  pool->pool_data = new (std::nothrow) Watched;
  return pool->pool_data == nullptr ? -ENOMEM : 0;
}

void release(rte_mempool* pool) {
  delete static_cast<Watched*>(pool->pool_data);
}

int enqueue(rte_mempool* pool, void* const* buffers, unsigned count) {
  Watched& watched = of(pool);
  const std::lock_guard lock(watched.mutex);
  for (unsigned i = 0; i < count; ++i) {
    if (watched.armed) {
      if (__asan_address_is_poisoned(buffers[i])) fail(pool, "buffer given back twice", 1);
      ASAN_POISON_MEMORY_REGION(buffers[i], pool->elt_size);
    }
    watched.there.push_back(buffers[i]);
  }
  return 0;
}

int dequeue(rte_mempool* pool, void** buffers, unsigned count) {
  Watched& watched = of(pool);
  const std::lock_guard lock(watched.mutex);
  if (watched.there.size() < count) return -ENOBUFS;
  for (unsigned i = 0; i < count; ++i) {
    buffers[i] = watched.there.front();
    watched.there.pop_front();
    ASAN_UNPOISON_MEMORY_REGION(buffers[i], pool->elt_size);
  }
  return 0;
}

unsigned get_count(const rte_mempool* pool) {
  Watched& watched = of(pool);
  const std::lock_guard lock(watched.mutex);
  return static_cast<unsigned>(watched.there.size());
}

const char* add_operations() {
  rte_mempool_ops operations{};
  std::snprintf(operations.name, sizeof operations.name, "%s", kName);
  operations.alloc = allocate;
  operations.free = release;
  operations.enqueue = enqueue;
  operations.dequeue = dequeue;
  operations.get_count = get_count;
  if (rte_mempool_register_ops(&operations) < 0) throw std::runtime_error("no watched pools");
  return kName;
}

// All of the pool's memory, with what lies between two buffers.
void poison(rte_mempool* /*pool*/, void* /*unused*/, rte_mempool_memhdr* memory,
            unsigned /*index*/) {
  ASAN_POISON_MEMORY_REGION(memory->addr, memory->len);
}

void unpoison(rte_mempool* /*pool*/, void* /*unused*/, rte_mempool_memhdr* memory,
              unsigned /*index*/) {
  ASAN_UNPOISON_MEMORY_REGION(memory->addr, memory->len);
}

}  // namespace

const char* pool_operations() {
  static const char* const name = add_operations();
  return name;
}

unsigned pool_cache(unsigned /*wanted*/) {
  return 0;
}

void watch(rte_mempool* pool, bool all_come_back) {
  rte_mempool_mem_iter(pool, poison, nullptr);
  of(pool).all_come_back = all_come_back;
  of(pool).armed = true;
}

void unwatch(rte_mempool* pool) {
  const bool is_ours = std::strcmp(rte_mempool_get_ops(pool->ops_index)->name, kName) == 0;
  if (!is_ours || pool->pool_data == nullptr || !of(pool).armed) return;
  const std::size_t there = get_count(pool);
  if (of(pool).all_come_back && there != pool->populated_size)
    fail(pool, "buffers lost", pool->populated_size - there);
  of(pool).armed = false;
  rte_mempool_mem_iter(pool, unpoison, nullptr);
}

}  // namespace turnpike::dataplane

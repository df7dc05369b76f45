// How sanitizers see what DPDK's pools would hide from them. In a sanitized build a buffer that has
// been given back, and what lies between two, is poison to AddressSanitizer; it is given out again
// as late as can be; who gives one back twice, and a pool that ends while one of those that must
// come back is out, ends the process. ThreadSanitizer sees by the pool's lock that who takes a
// buffer comes after who gave it back. In any other build these do nothing.
#pragma once

#include <rte_mempool.h>

namespace turnpike::dataplane {

// The name of the operations that pools of buffers are made with.
const char* pool_operations();
// How many buffers a thread may keep for itself where `wanted` are asked for.
unsigned pool_cache(unsigned wanted);
// Once the pool has all its buffers, and none is out. Whether `all_come_back` before it goes:
// af_xdp's driver keeps those that the kernel has.
void watch(rte_mempool* pool, bool all_come_back);
// Before any pool goes, watched or not, when no thread uses it any more.
void unwatch(rte_mempool* pool);

}  // namespace turnpike::dataplane

// What the node is built with: DPDK's own pools, with its caches.
#include <rte_mbuf_pool_ops.h>

#include "dataplane/pool_watch.h"

namespace turnpike::dataplane {

const char* pool_operations() {
  return rte_mbuf_best_mempool_ops();
}

unsigned pool_cache(unsigned wanted) {
  return wanted;
}

void watch(rte_mempool* /*pool*/, bool /*all_come_back*/) {}
void unwatch(rte_mempool* /*pool*/) {}

}  // namespace turnpike::dataplane

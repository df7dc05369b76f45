// Each buffer has FrameNotes behind its mbuf.
#include "dataplane/pools.h"

#include <rte_errno.h>

#include <algorithm>
#include <stdexcept>

#include "dataplane/engine_ring.h"
#include "dataplane/pool_watch.h"

namespace turnpike::dataplane {

void PoolDeleter::operator()(rte_mempool* pool) const {
  unwatch(pool);
  rte_mempool_free(pool);
}

Pool make_pool(const std::string& name, unsigned count, unsigned room, int socket, unsigned cache) {
  // FrameNotes must keep its alignment behind the mbuf.
  constexpr std::uint16_t kPrivate = RTE_ALIGN(sizeof(FrameNotes), RTE_MBUF_PRIV_ALIGN);
  const auto create = [&](int where) {
    return rte_pktmbuf_pool_create_by_ops(
        name.c_str(), count, pool_cache(std::min(cache, count / 4)), kPrivate,
        static_cast<std::uint16_t>(room), where, pool_operations());
  };
  Pool pool(create(socket));
  if (!pool && socket != SOCKET_ID_ANY) pool.reset(create(SOCKET_ID_ANY));
  if (!pool) throw std::runtime_error("no memory for " + name + ": " + rte_strerror(rte_errno));
  watch(pool.get(), true);
  return pool;
}

// For af_xdp: its driver tells the kernel that a pool's buffers lie one behind the other, while a
// pool lets none cross the end of a page. What lies beyond count × size the kernel would neither
// fill nor send, and never give back. So a buffer is exactly a page: its notes are lengthened, and
// it is not spread over memory channels.
Pool make_page_pool(const std::string& name, unsigned count, int socket) {
  constexpr unsigned kPage = 4096;
  constexpr unsigned kHeader = RTE_ALIGN(sizeof(rte_mempool_objhdr), RTE_CACHE_LINE_SIZE);
  constexpr unsigned kElement = kPage - kHeader;
  constexpr unsigned kPrivate = kElement - sizeof(rte_mbuf) - kRoom;
  static_assert(kPrivate >= sizeof(FrameNotes) && kPrivate % RTE_MBUF_PRIV_ALIGN == 0);
  const auto create = [&](int where) {
    Pool pool(rte_mempool_create_empty(
        name.c_str(), count, kElement, pool_cache(std::min(256U, count / 4)),
        sizeof(rte_pktmbuf_pool_private), where, RTE_MEMPOOL_F_NO_SPREAD));
    if (!pool) return pool;
    rte_pktmbuf_pool_private room{};
    room.mbuf_data_room_size = kRoom;
    room.mbuf_priv_size = kPrivate;
    rte_mempool_set_ops_byname(pool.get(), pool_operations(), nullptr);
    rte_pktmbuf_pool_init(pool.get(), &room);
    if (rte_mempool_populate_default(pool.get()) < 0) return Pool();
    rte_mempool_obj_iter(pool.get(), rte_pktmbuf_init, nullptr);
    return pool;
  };
  Pool pool = create(socket);
  if (!pool && socket != SOCKET_ID_ANY) pool = create(SOCKET_ID_ANY);
  if (!pool) throw std::runtime_error("no memory for " + name + ": " + rte_strerror(rte_errno));
  if (pool->nb_mem_chunks != 1 ||
      rte_mempool_calc_obj_size(pool->elt_size, pool->flags, nullptr) != kPage) {
    throw std::runtime_error("no memory in one piece for " + name +
                             ", which af_xdp needs; hugepages = false has it");
  }
  watch(pool.get(), false);
  return pool;
}

}  // namespace turnpike::dataplane

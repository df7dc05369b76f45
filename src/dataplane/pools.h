// Pools of buffers.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <memory>
#include <string>

#include "dataplane/device.h"

namespace turnpike::dataplane {

struct PoolDeleter {
  void operator()(rte_mempool* pool) const;
};
using Pool = std::unique_ptr<rte_mempool, PoolDeleter>;

// Beside the frame: headers grow by at most 68 bytes (IPv4 ChannelData's way to an IPv6 Data
// indication), which DPDK's headroom of 128 holds. A buffer of kRoom stays below a page with its
// mbuf, which af_xdp needs.
constexpr unsigned kRoom = kFrameRoom + RTE_PKTMBUF_HEADROOM + 512;
// Buffers of `room` bytes, with FrameNotes; `cache` of them for each thread. Throws
// std::runtime_error when memory is short.
Pool make_pool(const std::string& name, unsigned count, unsigned room, int socket = SOCKET_ID_ANY,
               unsigned cache = 256);
// Likewise of kRoom bytes, for af_xdp: each is exactly a page, and all lie in one piece.
Pool make_page_pool(const std::string& name, unsigned count, int socket);

}  // namespace turnpike::dataplane

#include "dataplane/reassembly.h"

#include <rte_cycles.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include <cstring>
#include <stdexcept>

namespace turnpike::dataplane {
namespace {

// Datagrams that are too old go when others come (the call that looks for them isn't part of DPDK's
// stable ABI).
constexpr std::uint32_t kPerBucket = 4;
constexpr std::uint32_t kBuckets = 2 * Reassembly::kDatagrams / kPerBucket;

}  // namespace

Reassembly::Reassembly(unsigned worker, rte_mempool* frames, rte_mempool* large)
    : table_(rte_ip_frag_table_create(kBuckets, kPerBucket, kDatagrams, rte_get_tsc_hz(),
                                      SOCKET_ID_ANY)),
      frames_(frames),
      large_(large) {
  if (table_ == nullptr) {
    throw std::runtime_error("no memory for the fragments of worker " + std::to_string(worker));
  }
}

Reassembly::~Reassembly() {
  sweep();
  rte_ip_frag_table_destroy(table_);
}

rte_mbuf* Reassembly::add(rte_mbuf* mbuf, std::uint16_t l3, bool v4, std::uint64_t tsc,
                          bool& lost) {
  mbuf->l2_len = l3;
  rte_mbuf* whole = nullptr;
  if (v4) {
    auto* ip = rte_pktmbuf_mtod_offset(mbuf, rte_ipv4_hdr*, l3);
    mbuf->l3_len = rte_ipv4_hdr_len(ip);
    whole = rte_ipv4_frag_reassemble_packet(table_, &given_up_, mbuf, tsc, ip);
  } else {
    auto* ip = rte_pktmbuf_mtod_offset(mbuf, rte_ipv6_hdr*, l3);
    auto* extension = reinterpret_cast<rte_ipv6_fragment_ext*>(ip + 1);
    mbuf->l3_len = sizeof(rte_ipv6_hdr) + sizeof(rte_ipv6_fragment_ext);
    whole = rte_ipv6_frag_reassemble_packet(table_, &given_up_, mbuf, tsc, ip, extension);
  }
  if (whole == nullptr) return nullptr;
  rte_mbuf* one = linear(whole);
  rte_pktmbuf_free(whole);
  if (one == nullptr) {
    lost = true;
    return nullptr;
  }
  if (v4) {
    // The library leaves the header's checksum to a device.
    auto* ip = rte_pktmbuf_mtod_offset(one, rte_ipv4_hdr*, l3);
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
  }
  return one;
}

rte_mbuf* Reassembly::linear(rte_mbuf* chain) {
  const bool is_short =
      chain->pkt_len + RTE_PKTMBUF_HEADROOM <= rte_pktmbuf_data_room_size(frames_);
  rte_mbuf* one = rte_pktmbuf_alloc(is_short ? frames_ : large_);
  if (one == nullptr) return nullptr;
  char* room = rte_pktmbuf_tailroom(one) >= chain->pkt_len
                   ? rte_pktmbuf_append(one, static_cast<std::uint16_t>(chain->pkt_len))
                   : nullptr;
  if (room == nullptr) {
    rte_pktmbuf_free(one);
    return nullptr;
  }
  for (const rte_mbuf* piece = chain; piece != nullptr; piece = piece->next) {
    std::memcpy(room, rte_pktmbuf_mtod(piece, const char*), piece->data_len);
    room += piece->data_len;
  }
  one->port = chain->port;
  return one;
}

unsigned Reassembly::sweep() {
  const unsigned n = given_up_.cnt;
  rte_ip_frag_free_death_row(&given_up_, 4);
  return n;
}

}  // namespace turnpike::dataplane

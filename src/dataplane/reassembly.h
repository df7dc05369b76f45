// Fragments for the relay, put together by copy into one large buffer (at most 8 pieces, one
// second). Per worker; the work is DPDK's librte_ip_frag.
#pragma once

#include <rte_ip_frag.h>
#include <rte_mempool.h>

#include <cstdint>

namespace turnpike::dataplane {

class Reassembly {
 public:
  // Datagrams at a time, and pieces that wait, whoever sends first fragments alone.
  static constexpr unsigned kDatagrams = 256;
  static constexpr unsigned kMostWaiting = 8 * kDatagrams;

  // `large` gives the buffers for whole datagrams. Throws std::runtime_error when memory is short.
  // What is whole is put into a buffer of `frames`, or of `large` if it is too long for that. The
  // latter are few, and what fits a link may stay in its transmit ring.
  Reassembly(unsigned worker, rte_mempool* frames, rte_mempool* large);
  ~Reassembly();
  Reassembly(const Reassembly&) = delete;
  Reassembly& operator=(const Reassembly&) = delete;

  // Takes `mbuf` (its IP header at offset l3). Returns the whole datagram in one buffer once its
  // last piece is there; nullptr otherwise. `lost` is set if the datagram was whole but no buffer
  // could hold it.
  rte_mbuf* add(rte_mbuf* mbuf, std::uint16_t l3, bool v4, std::uint64_t tsc, bool& lost);
  // Frees what has been given up; returns how many fragments.
  unsigned sweep();

 private:
  rte_mbuf* linear(rte_mbuf* chain);

  rte_ip_frag_tbl* table_;
  rte_ip_frag_death_row given_up_{};
  rte_mempool* frames_;
  rte_mempool* large_;
};

}  // namespace turnpike::dataplane

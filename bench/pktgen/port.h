// The generator's end of a link: a DPDK device with one receive and one transmit queue, and the
// MACs of both ends.
//
// There are two pools. `frames` is for media: its buffers have the payload written once, at a fixed
// place, and only headers are copied before it for each send (templates.h). `general` is for all
// else, and for what is received.
#pragma once

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "memory_files.h"
#include "neighbour.h"
#include "options.h"

namespace turnpike::pktgen {

constexpr std::uint16_t kBurst = 32;

inline Bytes bytes_of(const rte_mbuf* mbuf) {
  return {rte_pktmbuf_mtod(mbuf, const std::uint8_t*), rte_pktmbuf_data_len(mbuf)};
}

struct Pools {
  rte_mempool* general = nullptr;
  rte_mempool* frames = nullptr;
};

// Throws std::runtime_error when memory is short.
Pools make_pools();

class Port {
 public:
  // How the far end of a memif is made: as a server for ourselves (--loop), or joined as a client.
  enum class Role : std::uint8_t { kJoins, kServes };

  // Makes and configures the device; start() waits for the link. Both throw std::runtime_error with
  // what to do.
  Port(const Link& link, const Pools& pools, Role role = Role::kJoins);
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  void start();
  void await_link();
  void await_link_down();
  // Asks for the next hop's MAC unless it is known, as `asker` unless we have an address of our
  // own; throws if nobody answers.
  void resolve(const Plan& plan, const Address& server, const Address& asker);

  // Returns how many the device took; the caller keeps the others.
  std::uint16_t transmit(rte_mbuf** mbufs, std::uint16_t count) {
    return rte_eth_tx_burst(id_, 0, mbufs, count);
  }
  std::uint16_t receive(rte_mbuf** mbufs, std::uint16_t count) {
    return rte_eth_rx_burst(id_, 0, mbufs, count);
  }
  // For what is not media: frames are gathered and go with flush(); what the device does not take
  // is dropped, and requests are sent again.
  void queue(Bytes frame);
  std::uint8_t* queue_room(std::size_t size);
  std::uint16_t flush();

  // Answers a question for an address of ours; false if `frame` is none.
  bool answer(Bytes frame, const Plan& plan);

  const Macs& macs(Family family) const { return macs_[family_index(family)]; }
  const Mac& mac() const { return macs_[0].source; }
  // A kernel may be at the other end: it asks for neighbours, and sends partial checksums.
  bool is_kernel_link() const { return kernel_link_; }
  const std::string& name() const { return link_.device; }

 private:
  void make_device(Role role);
  void configure();
  bool has_link() const;
  [[noreturn]] void fail(const std::string& what) const;

  Link link_;
  Pools pools_;
  std::string device_name_;
  std::uint16_t id_ = 0;
  bool made_ = false, is_virtual_ = false, kernel_link_ = false;
  std::unique_ptr<MemoryFiles> files_;
  std::array<Macs, 2> macs_{};  // by family_index
  std::array<bool, 2> resolved_{};
  std::array<rte_mbuf*, kBurst> queued_{};
  std::uint16_t queued_count_ = 0;
};

}  // namespace turnpike::pktgen

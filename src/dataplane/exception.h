// The exception interface of an owned port: a TAP with the port's MAC, through which the kernel
// gets what is not the relay's (ARP, ND, ping, ssh, routing) and sends it. Bounded both ways;
// frames are copies in buffers of their own pool.
#pragma once

#include <rte_mempool.h>

#include <array>
#include <cstdint>
#include <string>

#include "dataplane/engine_ring.h"

namespace turnpike::dataplane {

class ExceptionPath {
 public:
  // Makes the TAP and brings it up. Throws std::runtime_error.
  ExceptionPath(std::size_t port, const std::string& name, const std::array<std::uint8_t, 6>& mac,
                std::uint16_t mtu, rte_mempool* pool, unsigned workers);
  ~ExceptionPath();
  ExceptionPath(const ExceptionPath&) = delete;
  ExceptionPath& operator=(const ExceptionPath&) = delete;

  const std::string& name() const { return name_; }

  // Worker side. False: full, or no buffer. The copy is complete before control can see it.
  bool to_kernel(unsigned worker, const std::uint8_t* frame, std::size_t size);
  // By the worker that transmits on the port's first queue. The caller owns what it gets.
  unsigned from_kernel(rte_mbuf** out, unsigned most);

  // Control side: moves what waits, both ways.
  void poll();
  void drain();

 private:
  std::string name_;
  int fd_ = -1;
  rte_mempool* pool_;
  std::vector<Ring> up_;  // by worker
  Ring down_;
};

}  // namespace turnpike::dataplane

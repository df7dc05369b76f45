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
  // How many buffers the pool of so many ports must have: what their rings hold. Not one may be
  // kept by a thread's cache, since those who take them are never those who free them.
  static unsigned buffers(std::size_t ports, unsigned workers);

  ExceptionPath(const ExceptionPath&) = delete;
  ExceptionPath& operator=(const ExceptionPath&) = delete;

  const std::string& name() const { return name_; }

  // Worker side. False: full, or no buffer. The copy is complete before control can see it.
  bool to_kernel(unsigned worker, const std::uint8_t* frame, std::size_t size);
  // By the worker that transmits on the port's first queue: copies in buffers of `pool`, since a
  // NIC keeps what it has sent until its ring goes round. The caller owns them. `lost` counts those
  // for which there was no buffer.
  unsigned from_kernel(rte_mempool* pool, rte_mbuf** out, unsigned most, unsigned& lost);

  // Control's thread: whether the port's link is up, which routing daemons see.
  void set_carrier(bool up);

  // The exception thread's side.
  // Moves some of what waits, both ways; true: there may be more.
  bool move();
  // Whether workers have something for the kernel; and whether there is room for what it has.
  bool has_work() const;
  bool has_room() const;
  // For poll(2): readable when the kernel has something. Less than 0: the interface is gone.
  int fd() const { return gone_ ? -1 : fd_; }

  // After all threads have ended.
  void drain();

 private:
  bool read_one();

  std::string name_;
  int fd_ = -1;
  bool gone_ = false;  // the interface; exception thread: rw
  bool carrier_ = true;
  rte_mempool* pool_;
  std::vector<Ring> up_;  // by worker
  Ring down_;
};

}  // namespace turnpike::dataplane

// The kernel's sockets: a descriptor with an owner, and what is asked of those of TCP.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "turnpike/address.h"

namespace turnpike::transport {

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(Socket&& other) noexcept : fd_(other.release()) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int fd() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// A transport address as the kernel has it.
union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};
// Returns how long it is.
socklen_t write_address(const Endpoint& endpoint, SocketAddress& out);
Endpoint read_address(const SocketAddress& from);

// For datagrams, non-blocking, also where the address isn't there yet; less than 0: errno says why.
int bind_datagrams(const Endpoint& endpoint);
// How many datagrams such a socket has lost for want of room, modulo 2^32: when the one that was
// read with `control` came, if any had been lost by then; and by now.
inline constexpr std::size_t kOverflowRoom = CMSG_SPACE(sizeof(std::uint32_t));  // of `control`
std::optional<std::uint32_t> overflows_before(msghdr& read);
std::uint32_t overflows_of(int fd);
// Non-blocking, with what a relay's listener needs. Throws std::runtime_error with the address.
int listen_on(const Endpoint& endpoint);
// The next connection, non-blocking, without delay, and kept alive; less than 0: errno says why.
int accept_on(int listening, Endpoint& client);
// Sockets of a relayed transport address (RFC 6062), which is `from` of many connections besides:
// where peers connect to, and a connection on its way to `peer`, with the options that accept_on()
// gives. Less than 0: errno says why.
int listen_for_peers(const Endpoint& endpoint);
int connect_from(const Endpoint& from, const Endpoint& peer);
// What became of it, once it can be written: 0, or an errno.
int connect_result(int fd);
// How many descriptors the process may have, `wanted` if that can be had.
std::uint64_t raise_descriptor_limit(std::uint64_t wanted);

}  // namespace turnpike::transport

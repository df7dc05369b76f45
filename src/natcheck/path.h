// From which of the host's addresses to which of the server's: each way is looked at by itself.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include "turnpike/address.h"

namespace turnpike::natcheck {

struct Path {
  std::string interface;  // sockets are bound to it; empty: the kernel chooses
  Address local;
  Address server;
};

// A path from each interface that has a way to one of `servers`, of which there is at most one of
// a family. `only`: the name of one interface, or an address of the host's; empty: all that are
// up, loopback not counted. Where a server is the host itself, the one path to it.
// `without_way`: interfaces that were asked for, or have an address, and lead to no server.
std::vector<Path> find_paths(const std::vector<Address>& servers, const std::string& only,
                             std::vector<std::string>& without_way);

// The addresses of `host`, the first of each family. It may be one itself. Bounded in time by the
// resolver: a few seconds. Throws std::runtime_error with what getaddrinfo() says.
std::vector<Address> resolve(const std::string& host);

// An endpoint as the kernel has it.
class KernelAddress {
 public:
  explicit KernelAddress(const Endpoint& endpoint);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }

 private:
  sockaddr_storage storage_{};
  socklen_t size_;
};
Endpoint endpoint_of(const sockaddr_storage& storage);

// A descriptor that closes itself; -1: none.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const { return fd_; }

 private:
  int fd_;
};

// A non-blocking socket of `type` (SOCK_STREAM, SOCK_DGRAM) at `path`'s local address and `port`
// (0: any). Throws std::system_error.
Descriptor open_socket(const Path& path, int type, std::uint16_t port);
Endpoint local_of(const Descriptor& socket);

}  // namespace turnpike::natcheck

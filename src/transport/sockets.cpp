// Options that a system lacks are gone without.
#include "transport/sockets.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace turnpike::transport {
namespace {

constexpr int kBacklog = 4096;
constexpr int kPeersBacklog = 64;  // of one allocation
// What a client may have sent ahead: enough for any call, and no more than is read in a moment.
constexpr int kReceiveBuffer = 128 * 1024;
constexpr int kDatagramBuffer = 1024 * 1024;
// A client that is gone without a word is noticed within half a minute, whether there is something
// to say to it or not.
constexpr int kAliveAfterS = 15, kAliveEveryS = 5, kAliveTimes = 3;
constexpr int kUserTimeoutMs = 30'000;

void set(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);
}

}  // namespace

socklen_t write_address(const Endpoint& endpoint, SocketAddress& out) {
  out = {};
  if (endpoint.address.family == Family::kIpv4) {
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(endpoint.port);
    std::memcpy(&out.v4.sin_addr, endpoint.address.bytes.data(), 4);
    return sizeof out.v4;
  }
  out.v6.sin6_family = AF_INET6;
  out.v6.sin6_port = htons(endpoint.port);
  std::memcpy(&out.v6.sin6_addr, endpoint.address.bytes.data(), 16);
  return sizeof out.v6;
}

Endpoint read_address(const SocketAddress& from) {
  if (from.any.sa_family == AF_INET) {
    return {Address::from_bytes(Family::kIpv4,
                                reinterpret_cast<const std::uint8_t*>(&from.v4.sin_addr)),
            ntohs(from.v4.sin_port)};
  }
  return {
      Address::from_bytes(Family::kIpv6, reinterpret_cast<const std::uint8_t*>(&from.v6.sin6_addr)),
      ntohs(from.v6.sin6_port)};
}

namespace {

void set_options(int fd) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, kAliveAfterS);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, kAliveEveryS);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, kAliveTimes);
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
}

// The one that listens and those that connect share their port.
int bound_to(const Endpoint& endpoint) {
  SocketAddress address;
  const socklen_t size = write_address(endpoint, address);
  const int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  set(fd, SOL_SOCKET, SO_RCVBUF, kReceiveBuffer);
  if (endpoint.address.family == Family::kIpv6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (bind(fd, &address.any, size) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

}  // namespace

int bind_datagrams(const Endpoint& endpoint) {
  SocketAddress address;
  const socklen_t size = write_address(endpoint, address);
  const int fd = socket(address.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  set(fd, IPPROTO_IP, IP_FREEBIND, 1);
  set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
  set(fd, SOL_SOCKET, SO_RCVBUF, kDatagramBuffer);
  if (endpoint.address.family == Family::kIpv6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (bind(fd, &address.any, size) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

std::optional<std::uint32_t> overflows_before(msghdr& read) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&read); part != nullptr; part = CMSG_NXTHDR(&read, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SO_RXQ_OVFL) continue;
    std::uint32_t count = 0;
    std::memcpy(&count, CMSG_DATA(part), sizeof count);
    return count;
  }
  return std::nullopt;
}

std::uint32_t overflows_of(int fd) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  socklen_t size = sizeof memory;
  getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory.data(), &size);
  return memory[SK_MEMINFO_DROPS];
}

int listen_on(const Endpoint& endpoint) {
  SocketAddress address;
  const socklen_t size = write_address(endpoint, address);
  const int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set(fd, SOL_SOCKET, SO_RCVBUF, kReceiveBuffer);  // its connections have it from the start
    if (endpoint.address.family == Family::kIpv6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (bind(fd, &address.any, size) == 0 && listen(fd, kBacklog) == 0) return fd;
  }
  const int error = errno;
  if (fd >= 0) close(fd);
  throw std::runtime_error("listener " + endpoint.to_string() + " (TCP): " + std::strerror(error));
}

int accept_on(int listening, Endpoint& client) {
  SocketAddress address{};
  socklen_t size = sizeof address;
  const int fd = accept4(listening, &address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return fd;
  client = read_address(address);
  set_options(fd);
  return fd;
}

int listen_for_peers(const Endpoint& endpoint) {
  const int fd = bound_to(endpoint);
  if (fd < 0 || listen(fd, kPeersBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int connect_from(const Endpoint& from, const Endpoint& peer) {
  const int fd = bound_to(from);
  if (fd < 0) return fd;
  set_options(fd);
  SocketAddress address;
  const socklen_t size = write_address(peer, address);
  if (connect(fd, &address.any, size) == 0 || errno == EINPROGRESS) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int connect_result(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

std::uint64_t raise_descriptor_limit(std::uint64_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  if (limit.rlim_cur >= wanted) return limit.rlim_cur;
  for (const rlim_t most : {std::max<rlim_t>(limit.rlim_max, wanted), limit.rlim_max}) {
    const rlimit more{std::min<rlim_t>(most, wanted), most};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0) return more.rlim_cur;
  }
  return limit.rlim_cur;
}

}  // namespace turnpike::transport

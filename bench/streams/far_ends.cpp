// Messages are ChannelData here too, so that both ways are cut and checked alike.
#include "far_ends.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include "link.h"
#include "wire/headers.h"
#include "wire/stream_framing.h"

namespace turnpike::streams {
namespace {

constexpr std::size_t kRead = 1 << 18, kMostMessage = 1 << 16;
constexpr int kBacklog = 4096;

}  // namespace

FarEnds::FarEnds(const Endpoint& endpoint)
    : listening_(socket(endpoint.address.family == Family::kIpv4 ? AF_INET : AF_INET6,
                        SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      room_(kRead + kMostMessage) {
  std::array<std::uint8_t, sizeof(sockaddr_in6)> room{};
  const unsigned size = to_kernel(endpoint, room);
  const int on = 1;
  setsockopt(listening_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listening_, reinterpret_cast<const sockaddr*>(room.data()), size) != 0 ||
      listen(listening_, kBacklog) != 0)
    throw std::runtime_error("--raw " + endpoint.to_string() + ": " + std::strerror(errno));
  epoll_event event{.events = EPOLLIN, .data = {.fd = listening_}};
  epoll_ctl(epoll_, EPOLL_CTL_ADD, listening_, &event);
}

FarEnds::~FarEnds() {
  for (const auto& [fd, end] : ends_)
    ::close(fd);
  ::close(listening_);
  ::close(epoll_);
}

void FarEnds::accept_all() {
  for (;;) {
    const int fd = accept4(listening_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ends_[fd].fd = fd;
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.fd = fd}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }
}

void FarEnds::serve(const Taker& take) {
  std::array<epoll_event, 256> events;
  const int count = epoll_wait(epoll_, events.data(), events.size(), 0);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    if (fd == listening_) {
      accept_all();
      continue;
    }
    End& end = ends_[fd];
    if (write_unsent(end) && read(end, take)) continue;
    of_.erase(end.client);
    ends_.erase(fd);
    ::close(fd);
  }
}

bool FarEnds::read(End& end, const Taker& take) {
  for (;;) {
    std::copy(end.rest.begin(), end.rest.end(), room_.begin());
    const ssize_t n = recv(end.fd, room_.data() + end.rest.size(), kRead, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    const Bytes all = Bytes(room_).first(end.rest.size() + static_cast<std::size_t>(n));
    std::size_t used = 0;
    while (used < all.size()) {
      const Bytes left = all.subspan(used);
      const auto message = wire::first_message(left, true);
      if (message.state == wire::StreamMessage::State::kStrange) return false;
      if (message.state == wire::StreamMessage::State::kMore || message.taken > left.size()) break;
      const Bytes payload =
          left.subspan(stun::kChannelDataHeaderSize, message.size - stun::kChannelDataHeaderSize);
      const bool first = !end.named;
      if (first && payload.size() >= 4) {
        end.named = true;
        end.client = wire::load_be32(payload.data());
        of_[end.client] = end.fd;
      }
      take(end.client, payload, first);
      used += message.taken;
    }
    end.rest.assign(all.begin() + static_cast<std::ptrdiff_t>(used), all.end());
  }
}

bool FarEnds::write_unsent(End& end) {
  while (!end.unsent.empty()) {
    const ssize_t n = ::send(end.fd, end.unsent.data(), end.unsent.size(), MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN;
    end.unsent.erase(end.unsent.begin(), end.unsent.begin() + n);
  }
  return true;
}

bool FarEnds::send(std::uint32_t client, Bytes messages) {
  const auto found = of_.find(client);
  if (found == of_.end()) return false;
  End& end = ends_[found->second];
  if (!end.unsent.empty()) return false;
  const ssize_t n = ::send(end.fd, messages.data(), messages.size(), MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) return false;
  end.unsent.assign(messages.begin() + std::max<ssize_t>(n, 0), messages.end());
  return true;
}

}  // namespace turnpike::streams

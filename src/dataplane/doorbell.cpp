// An eventfd, rung only when the sleeper has said that it sleeps.
#include "dataplane/doorbell.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace turnpike::dataplane {

Doorbell::Doorbell() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) throw std::runtime_error(std::string("eventfd: ") + std::strerror(errno));
}

Doorbell::~Doorbell() {
  close(fd_);
}

void Doorbell::wake() {
  const std::uint64_t one = 1;
  // It can only fail where 2^64 - 2 rings wait already, and then the sleeper wakes as well.
  [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof one);
}

void Doorbell::sleep(std::uint64_t most_ns) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  const timespec most{static_cast<time_t>(most_ns / kSecond), static_cast<long>(most_ns % kSecond)};
  pollfd one{fd_, POLLIN, 0};
  if (ppoll(&one, 1, &most, nullptr) > 0) clear();
}

void Doorbell::clear() {
  std::uint64_t rings = 0;
  [[maybe_unused]] const ssize_t taken = read(fd_, &rings, sizeof rings);
}

}  // namespace turnpike::dataplane

// Sockets are told of as long as they have something (no EPOLLET): each has its turn of a burst.
#include "transport/host_sockets.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "log/log.h"
#include "transport/frames.h"

namespace turnpike::transport {
namespace {

constexpr unsigned kBurst = 32;
constexpr unsigned kBurstsPerRound = 8;  // of each worker
constexpr int kEvents = 64;
constexpr int kMostWaitMs = 100;
// Sockets that couldn't be had are tried again, so many at a time: each costs some microseconds.
constexpr std::size_t kTriesAtOnce = 256;
constexpr std::uint64_t kTryAgainMs = 1000;
constexpr std::uint64_t kTellAgainMs = 10'000;
// One byte more than is relayed: so that what is longer can be told.
constexpr std::size_t kRoom = dataplane::StreamPort::kMostMessage + 1;

}  // namespace

struct HostSockets::Datagrams {
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kBurst * kRoom);
  std::array<SocketAddress, kBurst> from{};
  std::array<iovec, kBurst> parts{};
  struct alignas(cmsghdr) Control {
    std::array<std::uint8_t, kOverflowRoom> bytes;
  };
  std::array<Control, kBurst> controls{};
  std::array<mmsghdr, kBurst> headers{};
};

std::size_t HostSockets::EndpointHash::operator()(const Endpoint& endpoint) const {
  std::array<std::uint64_t, 2> words{};
  std::memcpy(words.data(), endpoint.address.bytes.data(), sizeof words);
  return static_cast<std::size_t>(table_hash(key, words[0], words[1], endpoint.port));
}

HostSockets::HostSockets(const std::vector<Endpoint>& listeners, const HashKey& key,
                         dataplane::StreamPort& port, HostDoor& door, std::uint64_t (*clock_ms)())
    : hash_{key},
      port_(port),
      door_(door),
      clock_ms_(clock_ms),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      places_(0, hash_),
      datagrams_(std::make_unique<Datagrams>()) {
  if (epoll_.fd() < 0) throw std::runtime_error(std::string("epoll: ") + std::strerror(errno));
  epoll_event event{.events = EPOLLIN, .data = {.fd = port_.bell().fd()}};
  epoll_ctl(epoll_.fd(), EPOLL_CTL_ADD, port_.bell().fd(), &event);
  raise_descriptor_limit(raise_descriptor_limit(0) + HostDoor::kMostSockets);
  for (const Endpoint& endpoint : listeners) {
    if (add(endpoint, true)) continue;
    warnings_.push_back("listener " + endpoint.to_string() +
                        ": clients on this host don't get in for now: " + std::strerror(errno));
  }
}

HostSockets::~HostSockets() {
  stop();
}

void HostSockets::start() {
  heartbeat_.beat(clock_ms_());
  thread_ = std::thread([this] { run(); });
}

void HostSockets::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_relaxed);
  port_.bell().wake();
  thread_.join();
}

void HostSockets::run() {
  pthread_setname_np(pthread_self(), "own-host");
  while (!stopping_.load(std::memory_order_relaxed)) {
    heartbeat_.beat(clock_ms_());
    wait();
    take_letters();
    try_again();
    more_ = take_frames();
  }
}

void HostSockets::wait() {
  std::array<epoll_event, kEvents> events;
  int count = -1;
  port_.bell().wait_by(
      [this] { return more_ || port_.has_work() || door_.has_letters(); },
      [&] { count = epoll_wait(epoll_.fd(), events.data(), kEvents, kMostWaitMs); });
  if (count < 0) count = epoll_wait(epoll_.fd(), events.data(), kEvents, 0);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    if (fd == port_.bell().fd())
      port_.bell().clear();
    else
      read(fd);
  }
}

bool HostSockets::open(Places::value_type& place) {
  Socket socket(bind_datagrams(place.first));
  if (socket.fd() < 0) return false;
  epoll_event event{.events = EPOLLIN, .data = {.fd = socket.fd()}};
  epoll_ctl(epoll_.fd(), EPOLL_CTL_ADD, socket.fd(), &event);
  bound_.emplace(socket.fd(), &place);
  if (!place.second.listens) counters_.sockets.set(counters_.sockets.get() + 1);
  place.second.socket = std::move(socket);
  return true;
}

bool HostSockets::add(const Endpoint& endpoint, bool listens) {
  Places::value_type& place = *places_.try_emplace(endpoint, Place{.listens = listens}).first;
  if (open(place)) return true;
  const int error = errno;
  missing_.insert(endpoint);
  counters_.missing.set(missing_.size());
  errno = error;
  return false;
}

// What was lost since the last datagram would be told by nothing any more.
void HostSockets::remove(const Endpoint& endpoint) {
  const auto found = places_.find(endpoint);
  if (const int fd = found->second.socket.fd(); fd >= 0) {
    count_overflows(found->second, overflows_of(fd));
    bound_.erase(fd);
    counters_.sockets.set(counters_.sockets.get() - 1);
  } else {
    missing_.erase(endpoint);
    counters_.missing.set(missing_.size());
  }
  places_.erase(found);
}

void HostSockets::take_letters() {
  door_.take(letters_);
  for (const HostDoor::Letter& letter : letters_) {
    if (!letter.opens) {
      remove(letter.relayed);
      door_.closed(letter.user);
      continue;
    }
    if (add(letter.relayed, false)) continue;
    const int error = errno;
    counters_.no_socket.add();
    if (const std::uint64_t now_ms = clock_ms_(); now_ms >= tells_again_ms_) {
      tells_again_ms_ = now_ms + kTellAgainMs;
      log::warning(std::string("peers on this host can't be reached for now: no socket: ") +
                   std::strerror(error));
    }
  }
}

// Each in its turn, so that one whose port is another program's keeps none behind it waiting.
void HostSockets::try_again() {
  if (missing_.empty()) return;
  const std::uint64_t now_ms = clock_ms_();
  if (now_ms < tries_again_ms_) return;
  tries_again_ms_ = now_ms + kTryAgainMs;
  for (std::size_t left = std::min(missing_.size(), kTriesAtOnce); left > 0; --left) {
    auto next = missing_.upper_bound(tried_);
    if (next == missing_.end()) next = missing_.begin();
    tried_ = *next;
    if (open(*places_.find(tried_))) missing_.erase(next);
  }
  counters_.missing.set(missing_.size());
}

void HostSockets::read(int fd) {
  const auto bound = bound_.find(fd);
  if (bound == bound_.end()) return;
  Places::value_type& place = *bound->second;
  Datagrams& room = *datagrams_;
  for (unsigned i = 0; i < kBurst; ++i) {
    room.parts[i] = {room.bytes.data() + i * kRoom, kRoom};
    room.headers[i].msg_hdr = {.msg_name = &room.from[i],
                               .msg_namelen = sizeof room.from[i],
                               .msg_iov = &room.parts[i],
                               .msg_iovlen = 1,
                               .msg_control = room.controls[i].bytes.data(),
                               .msg_controllen = kOverflowRoom,
                               .msg_flags = 0};
  }
  // An error that a datagram of ours has met (ICMP's) is told once, and is nobody's.
  const int n = recvmmsg(fd, room.headers.data(), kBurst, MSG_DONTWAIT, nullptr);
  for (int i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (const auto told = overflows_before(room.headers[at].msg_hdr))
      count_overflows(place.second, *told);
    hand_over(read_address(room.from[at]), place.first,
              {room.bytes.data() + at * kRoom, room.headers[at].msg_len});
  }
}

// The kernel's count wraps; one that is less than the last is of an earlier datagram.
void HostSockets::count_overflows(Place& place, std::uint32_t told) {
  const std::uint32_t more = told - place.overflows;
  if (more == 0 || more > UINT32_MAX / 2) return;
  counters_.lost_overflow.add(more);
  place.overflows = told;
}

void HostSockets::hand_over(const Endpoint& from, const Endpoint& to, stun::Bytes message) {
  counters_.in.add();
  if (message.size() >= kRoom) return counters_.lost_too_long.add();
  if (places_.contains(from)) return counters_.lost_own_service.add();
  const auto worker = static_cast<std::uint16_t>((hash_(from) >> 32) % port_.workers());
  rte_mbuf* const frame = port_.take(worker, message.size());
  if (frame == nullptr) return counters_.lost_no_frame.add();
  const FrameHeader header(from, to);
  auto* const data = rte_pktmbuf_mtod(frame, std::uint8_t*);
  std::memcpy(data + header.size(), message.data(), message.size());
  header.write(data, message.size());
  frame->data_len = static_cast<std::uint16_t>(header.size() + message.size());
  frame->pkt_len = frame->data_len;
  port_.submit(worker, frame);
}

bool HostSockets::take_frames() {
  bool more = false;
  for (std::uint16_t worker = 0; worker < port_.workers(); ++worker) {
    std::array<rte_mbuf*, kBurst> frames;
    unsigned n = kBurst;
    for (unsigned burst = 0; burst < kBurstsPerRound && n == kBurst; ++burst) {
      n = port_.collect(worker, frames.data(), kBurst);
      for (unsigned i = 0; i < n; ++i)
        send({rte_pktmbuf_mtod(frames[i], const std::uint8_t*), frames[i]->data_len});
      port_.give_back(worker, frames.data(), n);
    }
    more |= n == kBurst;
  }
  return more;
}

void HostSockets::send(stun::Bytes frame) {
  Outgoing outgoing;
  if (!read_outgoing(frame, outgoing)) return counters_.lost_no_socket.add();
  const auto from = places_.find(outgoing.server);
  if (from == places_.end() || from->second.socket.fd() < 0) return counters_.lost_no_socket.add();
  // Never to the relay itself by this way: what is its own is looped inside, under its rules.
  if (places_.contains(outgoing.client)) return counters_.lost_own_service.add();
  SocketAddress to;
  const socklen_t size = write_address(outgoing.client, to);
  const auto sent = [&] {
    return sendto(from->second.socket.fd(), outgoing.message.data(), outgoing.message.size(),
                  MSG_DONTWAIT | MSG_NOSIGNAL, &to.any, size) >= 0;
  };
  // The first may tell of an error that another datagram has met.
  if (sent() || (errno != EAGAIN && sent())) return counters_.out.add();
  counters_.lost_refused.add();
}

}  // namespace turnpike::transport

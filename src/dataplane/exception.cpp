// A TAP of our own making, read and written without waiting, so many frames a round.
#include "dataplane/exception.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace turnpike::dataplane {
namespace {

constexpr unsigned kDownSize = 512;
constexpr unsigned kFramesPerMove = 64;

// All workers' together hold some 2,048 frames, however many workers there are.
unsigned up_size(unsigned workers) {
  return workers <= 4 ? 512 : workers <= 16 ? 128 : 32;
}

// While the interface's link-local address is tentative, the kernel solicits no neighbours: for the
// first second or two no IPv6 packet could be relayed. Where IPv6 is off there is no such file.
void skip_duplicate_address_detection(const std::string& interface) {
  std::ofstream("/proc/sys/net/ipv6/conf/" + interface + "/accept_dad") << "0\n";
}

}  // namespace

ExceptionPath::ExceptionPath(std::size_t port, const std::string& name,
                             const std::array<std::uint8_t, 6>& mac, std::uint16_t mtu,
                             rte_mempool* pool, unsigned workers)
    : name_(name),
      pool_(pool),
      down_(make_ring("down", static_cast<unsigned>(port), 0, kDownSize)) {
  for (unsigned worker = 0; worker < workers; ++worker) {
    up_.push_back(make_ring("up", static_cast<unsigned>(port), worker, up_size(workers)));
  }
  fd_ = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  bool ok = fd_ >= 0 && control >= 0 && ioctl(fd_, TUNSETIFF, &request) == 0;
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, mac.data(), mac.size());
  ok = ok && ioctl(control, SIOCSIFHWADDR, &request) == 0;
  request.ifr_mtu = mtu;
  ok = ok && ioctl(control, SIOCSIFMTU, &request) == 0;
  if (ok) skip_duplicate_address_detection(name);
  // The kernel's own flags stay: without IFF_MULTICAST there would be no neighbour discovery.
  ok = ok && ioctl(control, SIOCGIFFLAGS, &request) == 0;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
  ok = ok && ioctl(control, SIOCSIFFLAGS, &request) == 0;
  const int error = errno;
  if (control >= 0) close(control);
  if (!ok) {
    if (fd_ >= 0) close(fd_);
    throw std::runtime_error("exception interface " + name + ": " + std::strerror(error) +
                             " (/dev/net/tun)");
  }
}

unsigned ExceptionPath::buffers(std::size_t ports, unsigned workers) {
  constexpr unsigned kInHand = 64;  // being written, read or copied
  return static_cast<unsigned>(ports) * (kDownSize + workers * up_size(workers) + kInHand);
}

ExceptionPath::~ExceptionPath() {
  drain();
  close(fd_);
}

bool ExceptionPath::to_kernel(unsigned worker, const std::uint8_t* frame, std::size_t size) {
  // Asked first: a flood of what isn't ours must not cost a copy each.
  if (room_left(up_[worker].get()) == 0) return false;
  rte_mbuf* copy = rte_pktmbuf_alloc(pool_);
  if (copy == nullptr) return false;
  char* room = rte_pktmbuf_append(copy, static_cast<std::uint16_t>(size));
  if (room != nullptr) std::memcpy(room, frame, size);
  if (room == nullptr || rte_ring_sp_enqueue(up_[worker].get(), copy) != 0) {
    rte_pktmbuf_free(copy);
    return false;
  }
  return true;
}

unsigned ExceptionPath::from_kernel(rte_mempool* pool, rte_mbuf** out, unsigned most,
                                    unsigned& lost) {
  const unsigned n =
      rte_ring_sc_dequeue_burst(down_.get(), reinterpret_cast<void**>(out), most, nullptr);
  unsigned copied = 0;
  for (unsigned i = 0; i < n; ++i) {
    rte_mbuf* frame = out[i];
    rte_mbuf* copy = rte_pktmbuf_copy(frame, pool, 0, UINT32_MAX);
    rte_pktmbuf_free(frame);
    if (copy != nullptr) out[copied++] = copy;
  }
  lost = n - copied;
  return copied;
}

void ExceptionPath::set_carrier(bool up) {
  if (up == carrier_) return;
  int carrier = up ? 1 : 0;
  if (ioctl(fd_, TUNSETCARRIER, &carrier) == 0) carrier_ = up;
}

bool ExceptionPath::has_work() const {
  return std::any_of(up_.begin(), up_.end(),
                     [](const Ring& ring) { return !has_none(ring.get()); });
}

bool ExceptionPath::has_room() const {
  return room_left(down_.get()) != 0;
}

bool ExceptionPath::move() {
  bool more = false;
  for (const Ring& ring : up_) {
    std::array<rte_mbuf*, kFramesPerMove> frames;
    const unsigned n = rte_ring_sc_dequeue_burst(
        ring.get(), reinterpret_cast<void**>(frames.data()), kFramesPerMove, nullptr);
    for (unsigned i = 0; i < n; ++i) {
      // A full TAP loses the frame, as a full queue of a NIC does.
      [[maybe_unused]] const ssize_t written =
          write(fd_, rte_pktmbuf_mtod(frames[i], char*), rte_pktmbuf_data_len(frames[i]));
    }
    rte_pktmbuf_free_bulk(frames.data(), n);
    more |= n == kFramesPerMove;
  }
  unsigned read_frames = 0;
  while (read_frames < kFramesPerMove && has_room() && read_one())
    ++read_frames;
  return more || read_frames == kFramesPerMove;
}

// Into the ring, which has room.
bool ExceptionPath::read_one() {
  rte_mbuf* const frame = rte_pktmbuf_alloc(pool_);
  if (frame == nullptr) return false;
  const ssize_t size = read(fd_, rte_pktmbuf_mtod(frame, char*), rte_pktmbuf_tailroom(frame));
  if (size <= 0) {
    gone_ = size < 0 && errno != EAGAIN && errno != EINTR;
    rte_pktmbuf_free(frame);
    return false;
  }
  frame->data_len = static_cast<std::uint16_t>(size);
  frame->pkt_len = frame->data_len;
  [[maybe_unused]] const int put = rte_ring_sp_enqueue(down_.get(), frame);
  assert(put == 0);
  return true;
}

void ExceptionPath::drain() {
  void* frame = nullptr;
  for (const Ring& ring : up_) {
    while (rte_ring_sc_dequeue(ring.get(), &frame) == 0)
      rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
  }
  while (rte_ring_sc_dequeue(down_.get(), &frame) == 0)
    rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
}

}  // namespace turnpike::dataplane

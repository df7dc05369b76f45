// The thread that sends back what comes, and the faults it is told to plant.
#include "loopback.h"

#include <pthread.h>
#include <rte_lcore.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "frames.h"
#include "templates.h"
#include "wire/headers.h"

namespace turnpike::pktgen {
namespace {

// A frame held back comes again after so many others, which is within what a receiver remembers.
constexpr std::uint32_t kHeldFor = 64;

std::string make_directory() {
  std::string path = std::filesystem::temp_directory_path() / "turnpike-pktgen-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("can't make " + path);
  return path;
}

Link link_of(const std::string& path, Mac ours, Mac theirs) {
  return {"memif:" + path, ours, theirs, {}, {}};
}

}  // namespace

Loopback::Loopback(const Pools& pools, int core) : pools_(pools), directory_(make_directory()) {
  const Mac a = {2, 0, 0, 0, 0, 1};
  const Mac b = {2, 0, 0, 0, 0, 2};
  server_ =
      std::make_unique<Port>(link_of(directory_ + "/memif.sock", a, b), pools, Port::Role::kServes);
  server_->start();
  // The driver takes two devices with one name of a socket for one end; so the other spells it
  // another way.
  client_ = std::make_unique<Port>(link_of(directory_ + "/./memif.sock", b, a), pools);
  client_->start();
  client_->await_link();
  server_->await_link();
  thread_ = std::thread([this, core] { serve(core); });
}

Loopback::~Loopback() {
  stop_ = true;
  thread_.join();
  client_.reset();
  // The driver's own thread still works off that the peer has gone.
  server_->await_link_down();
  server_.reset();
  std::error_code error;
  std::filesystem::remove_all(directory_, error);
}

void Loopback::plant(Fault fault, std::uint32_t every) {
  planted_ = 0;
  every_ = every;
  fault_ = fault;
}

void Loopback::serve(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(core), &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  // Without a place of its own among DPDK's threads, it would have no cache of buffers.
  rte_thread_register();
  std::array<rte_mbuf*, kBurst> in{};
  std::array<rte_mbuf*, std::size_t{2} * kBurst + 1> out{};
  while (!stop_) {
    const std::uint16_t n = server_->receive(in.data(), kBurst);
    const std::uint16_t count = pass(in.data(), n, out.data());
    for (std::uint16_t sent = 0; sent < count && !stop_;)
      sent = static_cast<std::uint16_t>(
          sent + server_->transmit(out.data() + sent, static_cast<std::uint16_t>(count - sent)));
  }
  rte_thread_unregister();
}

std::uint16_t Loopback::pass(rte_mbuf** in, std::uint16_t count, rte_mbuf** out) {
  const Fault fault = fault_.load(std::memory_order_relaxed);
  if (fault == Fault::kNone && held_ == nullptr) {
    std::copy(in, in + count, out);
    return count;
  }
  const std::uint32_t every = every_.load(std::memory_order_relaxed);
  std::uint16_t written = 0;
  for (std::uint16_t i = 0; i < count; ++i) {
    if (fault != Fault::kNone && ++since_fault_ >= every) {
      since_fault_ = 0;
      planted_.store(planted_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      written = static_cast<std::uint16_t>(written + harm(fault, in[i], out + written));
    } else {
      out[written++] = in[i];
    }
    if (held_ != nullptr && ++since_held_ > kHeldFor) {
      out[written++] = held_;
      held_ = nullptr;
    }
  }
  return written;
}

// Returns how many frames become of one.
std::uint16_t Loopback::harm(Fault fault, rte_mbuf* mbuf, rte_mbuf** out) {
  auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
  const std::size_t size = rte_pktmbuf_data_len(mbuf);
  const Family family = Templates::family(frame);
  const std::size_t payload_size = size - headers_size(family);
  out[0] = mbuf;
  switch (fault) {
    case Fault::kDrop:
      rte_pktmbuf_free(mbuf);
      return 0;
    case Fault::kFlipPayload:
      frame[size - 8] ^= 0x10;
      set_udp_checksum(frame, family, payload_size);
      return 1;
    case Fault::kFlipChecksum:
      frame[size - 8] ^= 0x10;
      return 1;
    case Fault::kMisdeliver: {
      // Of the sender, whom a mirror sends back to: the next but one address, which has a flow too.
      const std::size_t at =
          wire::ethernet::kSize +
          (family == Family::kIpv4 ? wire::ipv4::kSource + 3 : wire::ipv6::kSource + 15);
      frame[at] ^= 2;
      set_payload_size(frame, family, payload_size);
      set_udp_checksum(frame, family, payload_size);
      return 1;
    }
    case Fault::kDuplicate:
      out[1] = rte_pktmbuf_copy(mbuf, pools_.general, 0, static_cast<std::uint32_t>(size));
      return out[1] == nullptr ? 1 : 2;
    case Fault::kReorder:
      if (held_ != nullptr) return 1;
      held_ = mbuf;
      since_held_ = 0;
      return 0;
    case Fault::kNone:
      break;
  }
  return 1;
}

}  // namespace turnpike::pktgen

// The device arguments of each kind of link, the pools, and who the neighbour is.
#include "port.h"

#include <rte_bus_vdev.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>

namespace turnpike::pktgen {
namespace {

constexpr std::uint16_t kDescriptors = 1024;
// A full transmit ring, a full receive ring and what caches and bursts hold.
constexpr unsigned kBuffers = 8191;
constexpr unsigned kCache = 256;

int made = 0;

}  // namespace

Pools make_pools() {
  Pools pools;
  pools.general = rte_pktmbuf_pool_create("general", kBuffers, kCache, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                          SOCKET_ID_ANY);
  pools.frames = rte_pktmbuf_pool_create("frames", kBuffers, kCache, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                         SOCKET_ID_ANY);
  if (pools.general == nullptr || pools.frames == nullptr)
    throw std::runtime_error("no memory for packet buffers");
  return pools;
}

void Port::fail(const std::string& what) const {
  throw std::runtime_error("port " + link_.device + ": " + what);
}

Port::Port(const Link& link, const Pools& pools, Role role) : link_(link), pools_(pools) {
  make_device(role);
  configure();
}

void Port::make_device(Role role) {
  const std::size_t colon = link_.device.find(':');
  const std::string driver = link_.device.substr(0, colon);
  const std::string device = colon == std::string::npos ? "" : link_.device.substr(colon + 1);
  const std::string number = std::to_string(made++);
  std::string arguments;
  if (driver == "memif") {
    device_name_ = "net_memif" + number;
    arguments = std::string("role=") + (role == Role::kServes ? "server" : "client") +
                ",socket-abstract=no,socket=" + device;
    if (role == Role::kJoins && rte_eal_has_hugepages()) arguments += ",zero-copy=yes";
  } else if (driver == "af_xdp") {
    device_name_ = "net_af_xdp" + number;
    arguments = "iface=" + device + ",start_queue=0,queue_count=1";
  } else if (driver == "af_packet") {
    device_name_ = "net_af_packet" + number;
    arguments = "iface=" + device + ",qpairs=1,blocksz=65536,framesz=2048,framecnt=4096";
  } else if (driver == "tap") {
    device_name_ = "net_tap" + number;
    arguments = "iface=" + device;
  } else {
    device_name_ = link_.device;
  }
  is_virtual_ = !arguments.empty();
  kernel_link_ = driver != "memif";
  if (is_virtual_ && rte_vdev_init(device_name_.c_str(), arguments.c_str()) != 0)
    fail("DPDK does not make the device (" + arguments + "): " + rte_strerror(rte_errno));
  if (rte_eth_dev_get_port_by_name(device_name_.c_str(), &id_) != 0)
    fail("DPDK has no such device; is it bound to vfio-pci? dpdk-devbind.py --status");
  made_ = true;
  rte_ether_addr own{};
  rte_eth_macaddr_get(id_, &own);
  for (std::size_t family = 0; family < 2; ++family) {
    std::copy(std::begin(own.addr_bytes), std::end(own.addr_bytes), macs_[family].source.begin());
    if (link_.mac) macs_[family].source = *link_.mac;
    if (link_.gateway_mac) macs_[family].destination = *link_.gateway_mac;
    resolved_[family] = link_.gateway_mac.has_value();
  }
}

void Port::configure() {
  const rte_eth_conf conf{};
  std::uint16_t receive = kDescriptors;
  std::uint16_t transmit = kDescriptors;
  if (const int error = rte_eth_dev_configure(id_, 1, 1, &conf); error != 0)
    fail(std::string("the device takes no configuration: ") + rte_strerror(-error));
  rte_eth_dev_adjust_nb_rx_tx_desc(id_, &receive, &transmit);
  const auto socket = static_cast<unsigned>(rte_eth_dev_socket_id(id_));
  if (const int error = rte_eth_rx_queue_setup(id_, 0, receive, socket, nullptr, pools_.general);
      error != 0)
    fail(std::string("the receive queue: ") + rte_strerror(-error));
  if (const int error = rte_eth_tx_queue_setup(id_, 0, transmit, socket, nullptr); error != 0)
    fail(std::string("the transmit queue: ") + rte_strerror(-error));
}

void Port::start() {
  if (!files_) files_ = std::make_unique<MemoryFiles>();
  if (const int error = rte_eth_dev_start(id_); error != 0) {
    fail(link_.device.starts_with("memif:")
             ? "nobody listens on this socket; start the server first"
             : std::string("does not start: ") + rte_strerror(-error));
  }
  rte_eth_promiscuous_enable(id_);
}

bool Port::has_link() const {
  rte_eth_link link{};
  rte_eth_link_get_nowait(id_, &link);
  return link.link_status == RTE_ETH_LINK_UP;
}

// A memif whose server had its socket, but was not yet ready for us, is refused once and does not
// try again: so the device is started anew.
void Port::await_link() {
  for (int attempt = 0; attempt < 10; ++attempt) {
    for (int i = 0; i < 100; ++i) {
      if (has_link()) return;
      rte_delay_us_sleep(10000);
    }
    if (!link_.device.starts_with("memif:")) continue;
    rte_eth_dev_stop(id_);
    if (!files_->restore()) break;
    start();
  }
  fail("no link; is the other end up?");
}

void Port::await_link_down() {
  for (int i = 0; i < 50 && has_link(); ++i)
    rte_delay_us_sleep(10000);
  rte_delay_us_sleep(20000);
}

void Port::resolve(const Plan& plan, const Address& server, const Address& asker) {
  const std::size_t family = family_index(server.family);
  if (resolved_[family]) return;
  const Address wanted = link_.gateways[family].value_or(server);
  std::array<std::uint8_t, kNeighbourFrame> question{};
  const std::size_t size =
      ask_neighbour(wanted, link_.addresses[family].value_or(asker), mac(), question);
  for (int attempt = 0; attempt < 10; ++attempt) {
    queue(Bytes(question).first(size));
    flush();
    const std::uint64_t deadline = rte_rdtsc() + rte_get_tsc_hz() / 2;
    while (rte_rdtsc() < deadline && !resolved_[family]) {
      std::array<rte_mbuf*, kBurst> in{};
      const std::uint16_t n = this->receive(in.data(), kBurst);
      for (std::uint16_t i = 0; i < n; ++i) {
        if (const auto found = neighbour_answer(bytes_of(in[i]), wanted)) {
          macs_[family].destination = *found;
          resolved_[family] = true;
        } else {
          answer(bytes_of(in[i]), plan);
        }
      }
      rte_pktmbuf_free_bulk(in.data(), n);
      flush();
    }
    if (resolved_[family]) return;
  }
  fail("nobody answers for " + wanted.to_string() +
       "; name the next hop with --gateway ADDRESS or --gateway-mac MAC");
}

std::uint8_t* Port::queue_room(std::size_t size) {
  if (queued_count_ == kBurst) flush();
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pools_.general);
  if (mbuf == nullptr) return nullptr;
  mbuf->data_len = static_cast<std::uint16_t>(size);
  mbuf->pkt_len = mbuf->data_len;
  queued_[queued_count_++] = mbuf;
  return rte_pktmbuf_mtod(mbuf, std::uint8_t*);
}

void Port::queue(Bytes frame) {
  if (std::uint8_t* room = queue_room(frame.size()); room != nullptr)
    std::memcpy(room, frame.data(), frame.size());
}

std::uint16_t Port::flush() {
  if (queued_count_ == 0) return 0;
  const std::uint16_t taken = transmit(queued_.data(), queued_count_);
  if (taken < queued_count_)
    rte_pktmbuf_free_bulk(queued_.data() + taken, static_cast<unsigned>(queued_count_ - taken));
  queued_count_ = 0;
  return taken;
}

bool Port::answer(Bytes frame, const Plan& plan) {
  std::array<std::uint8_t, kNeighbourFrame> out{};
  const std::size_t size = answer_neighbour(frame, plan, mac(), out);
  if (size == 0) return false;
  queue(Bytes(out).first(size));
  return true;
}

Port::~Port() {
  if (!made_) return;
  if (queued_count_ > 0) rte_pktmbuf_free_bulk(queued_.data(), queued_count_);
  rte_eth_dev_stop(id_);
  rte_eth_dev_close(id_);
  if (is_virtual_) rte_vdev_uninit(device_name_.c_str());
}

}  // namespace turnpike::pktgen

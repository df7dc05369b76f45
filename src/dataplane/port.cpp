#include "dataplane/port.h"

#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "dataplane/kernel_interface.h"

namespace turnpike::dataplane {
namespace {

const char* driver_name(Driver driver) {
  switch (driver) {
    case Driver::kPci:
      return "pci";
    case Driver::kAfXdp:
      return "af_xdp";
    case Driver::kAfPacket:
      return "af_packet";
    case Driver::kTap:
      return "tap";
    case Driver::kMemif:
      return "memif";
  }
  return "";
}

std::string name_of(const PortSpec& spec) {
  return std::string(driver_name(spec.driver)) + ":" + spec.device;
}

[[noreturn]] void fail_at(const std::string& port, const std::string& what) {
  throw std::runtime_error("port " + port + ": " + what);
}

bool is_shared(Driver driver) {
  return driver == Driver::kAfXdp || driver == Driver::kAfPacket;
}

// A packet that arrives on a queue without a socket would stay with the kernel.
std::uint16_t channels_of(const PortSpec& spec) {
  const InterfaceChannels found = interface_channels(spec.device);
  const auto channels = static_cast<std::uint16_t>(found.combined);
  if (found.receive_only > 1) {
    fail_at(name_of(spec), "the interface has " + std::to_string(found.receive_only) +
                               " receive queues, of which the driver can use one; ethtool -L " +
                               spec.device + " rx 1");
  }
  if (spec.queues != 0 && spec.queues != channels) {
    fail_at(name_of(spec), "queues = " + std::to_string(spec.queues) + ", but the interface has " +
                               std::to_string(channels) + "; ethtool -L " + spec.device +
                               " combined " + std::to_string(spec.queues));
  }
  return channels;
}

}  // namespace

std::uint16_t wanted_queues(const PortSpec& spec, std::uint16_t workers) {
  if (is_shared(spec.driver)) {
    const std::string problem = interface_problem(spec.device);
    if (!problem.empty()) fail_at(name_of(spec), problem);
  }
  if (spec.driver == Driver::kAfXdp) return channels_of(spec);
  return spec.queues != 0 ? spec.queues : workers;
}

void Port::fail(const std::string& what) const {
  fail_at(name_, what);
}

Port::Port(std::size_t index, const PortSpec& spec, const Options& options)
    : spec_(spec), name_(name_of(spec)), queues_(wanted_queues(spec, options.workers)) {
  make_device(index, options);
  read_info();
}

void Port::make_device(std::size_t index, const Options& options) {
  const std::string number = std::to_string(index);
  std::string arguments;
  switch (spec_.driver) {
    case Driver::kPci:
      device_name_ = spec_.device;
      break;
    case Driver::kAfXdp:
      shared_ = std::make_unique<SharedNic>(spec_.device, SharedNic::Mode::kXdp, options.listeners,
                                            options.relayed, options.relay_ports);
      device_name_ = "net_af_xdp" + number;
      arguments = "iface=" + spec_.device +
                  ",start_queue=0,queue_count=" + std::to_string(queues_) +
                  ",xdp_prog=" + shared_->program_path();
      break;
    case Driver::kAfPacket:
      shared_ =
          std::make_unique<SharedNic>(spec_.device, SharedNic::Mode::kPacket, options.listeners,
                                      options.relayed, options.relay_ports);
      device_name_ = "net_af_packet" + number;
      arguments = "iface=" + spec_.device + ",qpairs=" + std::to_string(queues_) +
                  ",blocksz=65536,framesz=" + std::to_string(kWideFrameRoom) + ",framecnt=256";
      break;
    case Driver::kTap:
      device_name_ = "net_tap" + number;
      arguments = "iface=" + spec_.device;
      break;
    case Driver::kMemif:
      device_name_ = "net_memif" + number;
      arguments = std::string("role=") + (spec_.memif_server ? "server" : "client") +
                  ",socket-abstract=no,socket=" + spec_.device;
      // Zero copy hands DPDK's memory to the server, by few files: hugepages in one file each.
      if (!spec_.memif_server && spec_.memif_zero_copy && rte_eal_has_hugepages())
        arguments += ",zero-copy=yes";
      break;
  }
  if (spec_.driver != Driver::kPci && rte_vdev_init(device_name_.c_str(), arguments.c_str()) != 0) {
    fail(std::string("DPDK does not make the device (") + arguments +
         "): " + rte_strerror(rte_errno));
  }
  if (rte_eth_dev_get_port_by_name(device_name_.c_str(), &id_) != 0) {
    fail("DPDK has no such device; is it bound to vfio-pci? dpdk-devbind.py --status");
  }
  made_ = true;
}

void Port::read_info() {
  rte_ether_addr mac{};
  rte_eth_macaddr_get(id_, &mac);
  std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), info_.mac.begin());
  info_.sees_own_frames = spec_.driver == Driver::kAfPacket;
  rte_eth_dev_info device{};
  rte_eth_dev_info_get(id_, &device);
  queues_ = std::min({queues_, device.max_rx_queues, device.max_tx_queues});
}

// A shared interface's MTU is the kernel's to set; ours can only be less.
void Port::set_mtu() {
  constexpr std::uint16_t kMost = 1500;  // what kFrameRoom holds with room to grow
  std::uint16_t mtu = kMost;
  if (rte_eth_dev_get_mtu(id_, &mtu) != 0 || mtu < 1280) mtu = kMost;
  info_.mtu = std::min(mtu, kMost);
  if (spec_.mtu == 0) return;
  const std::uint16_t asked = std::min(spec_.mtu, kMost);
  if (!shared() && asked != mtu) {
    const int error = rte_eth_dev_set_mtu(id_, asked);
    if (error != 0 && error != -ENOTSUP) {
      fail("the device takes no MTU of " + std::to_string(asked) + ": " + rte_strerror(-error));
    }
    info_.mtu = asked;
  }
  info_.mtu = std::min(info_.mtu, asked);
}

void Port::configure(const std::vector<rte_mempool*>& pools) {
  rte_eth_dev_info device{};
  rte_eth_dev_info_get(id_, &device);
  rte_eth_conf conf{};
  conf.rxmode.offloads = device.rx_offload_capa & RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
  if (spec_.driver != Driver::kPci) conf.rxmode.offloads = 0;
  if (queues_ > 1 && (device.flow_type_rss_offloads & RTE_ETH_RSS_UDP) != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf =
        device.flow_type_rss_offloads & (RTE_ETH_RSS_UDP | RTE_ETH_RSS_IP);
  }
  if (const int error = rte_eth_dev_configure(id_, queues_, queues_, &conf); error != 0) {
    fail(std::string("the device takes no ") + std::to_string(queues_) +
         " queues: " + rte_strerror(-error));
  }
  set_mtu();
  description_ = name_ + ", " + std::to_string(queues_) + (queues_ == 1 ? " queue" : " queues") +
                 ", MTU " + std::to_string(info_.mtu);
  std::uint16_t receive = kDescriptors;
  std::uint16_t transmit = kDescriptors;
  rte_eth_dev_adjust_nb_rx_tx_desc(id_, &receive, &transmit);
  for (std::uint16_t queue = 0; queue < queues_; ++queue) {
    if (const int error = rte_eth_rx_queue_setup(id_, queue, receive, rte_eth_dev_socket_id(id_),
                                                 nullptr, pools[queue]);
        error != 0) {
      fail("receive queue " + std::to_string(queue) + ": " + rte_strerror(-error));
    }
    if (const int error =
            rte_eth_tx_queue_setup(id_, queue, transmit, rte_eth_dev_socket_id(id_), nullptr);
        error != 0) {
      fail("transmit queue " + std::to_string(queue) + ": " + rte_strerror(-error));
    }
  }
  if (spec_.driver == Driver::kAfXdp) shared_->open_maps();
}

void Port::start() {
  if (const int error = rte_eth_dev_start(id_); error != 0) {
    const bool client = spec_.driver == Driver::kMemif && !spec_.memif_server;
    fail(client ? "nobody listens on this socket; start the other side first"
                : std::string("does not start: ") + rte_strerror(-error));
  }
  started_ = true;
  // An owned port takes whatever comes: the exception interface behind it has its own filters.
  if (!shared()) rte_eth_promiscuous_enable(id_);
}

void Port::stop() {
  if (started_) rte_eth_dev_stop(id_);
  started_ = false;
}

Port::~Port() {
  if (!made_) return;
  stop();
  rte_eth_dev_close(id_);
  if (spec_.driver != Driver::kPci) rte_vdev_uninit(device_name_.c_str());
}

}  // namespace turnpike::dataplane

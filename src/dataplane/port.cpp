// A device's arguments, its queues and its start, in the order in which DPDK wants them.
#include "dataplane/port.h"

#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "kernel/interfaces.h"

namespace turnpike::dataplane {
namespace {

constexpr unsigned kMostXdpQueues = 64;      // places in the XDP filter's map of sockets
constexpr std::uint16_t kMostTapQueues = 4;  // with more DPDK's driver overruns an array of its own

// The commonest reason for which a driver takes no XDP program, which it tells by a bare error
// number: a frame must fit into a page with what XDP wants beside it.
std::string why_no_xdp(const std::string& interface) {
  constexpr int kPage = 3498;
  const int mtu = kernel::interface_mtu(interface);
  if (mtu <= kPage) return "";
  return "; the interface's MTU is " + std::to_string(mtu) + ", and most drivers take XDP up to " +
         std::to_string(kPage) + ": ip link set " + interface +
         " mtu 1500, or use device = \"af_packet:" + interface + "\"";
}

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

// Without an IOMMU a device is given physical addresses, which only hugepages' stay.
std::string what_uio_lacks(const std::string& driver) {
  if (driver == "vfio-pci") return "";
  if (rte_eal_has_hugepages() == 0) {
    return ". " + driver +
           " needs hugepages, and there are none free, or hugepages = false: echo 512 > "
           "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
  }
  if (rte_eal_iova_mode() != RTE_IOVA_PA) {
    return ". " + driver +
           " needs physical addresses, which DPDK doesn't use here, for want of CAP_SYS_ADMIN or "
           "for another port's sake: start as root, or bind all to vfio-pci";
  }
  return "";
}

// Why DPDK doesn't find a device, as far as the kernel knows it.
std::string why_no_pci(const std::string& device) {
  const std::filesystem::path at = "/sys/bus/pci/devices/" + device;
  std::error_code error;
  if (!std::filesystem::exists(at, error))
    return "This machine has nothing at that address; lspci -D lists what it has";
  std::string vendor;
  std::ifstream(at / "vendor") >> vendor;
  const std::string driver = std::filesystem::read_symlink(at / "driver", error).filename();
  if (vendor == "0x15b3")  // these alone stay with the kernel's driver
    return "It needs the kernel's driver (mlx5_core) and Debian's ibverbs-providers";
  if (driver == "vfio-pci" || driver == "uio_pci_generic" || driver == "igb_uio")
    return "It is bound to " + driver +
           ", but DPDK has no driver for it, another program has it, or it lacks its firmware" +
           what_uio_lacks(driver);
  return "It is bound to " + (driver.empty() ? "no driver" : driver) +
         "; dpdk-devbind.py --bind=vfio-pci " + device +
         " (without an IOMMU: --bind=uio_pci_generic)";
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
  if (found.combined > kMostXdpQueues) {
    fail_at(name_of(spec), "the interface has " + std::to_string(found.combined) +
                               " channels, of which " + std::to_string(kMostXdpQueues) +
                               " can be served; as many as workers are enough: ethtool -L " +
                               spec.device + " combined WORKERS");
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
    const std::string problem = kernel::interface_problem(spec.device);
    if (!problem.empty()) fail_at(name_of(spec), problem);
  }
  if (spec.driver == Driver::kAfXdp) return channels_of(spec);
  if (spec.driver == Driver::kTap && spec.queues == 0) return std::min(workers, kMostTapQueues);
  return spec.queues != 0 ? spec.queues : workers;
}

std::uint16_t descriptors_of(const PortSpec& spec) {
  if (spec.descriptors != 0) return spec.descriptors;
  return spec.driver == Driver::kAfPacket ? 256 : 1024;
}

void Port::fail(const std::string& what) const {
  fail_at(name_, what);
}

Port::Port(std::size_t index, const PortSpec& spec, const Options& options)
    : spec_(spec),
      name_(name_of(spec)),
      queues_(wanted_queues(spec, options.workers)),
      watch_(spec.driver, is_shared(spec.driver) ? spec.device : "") {
  const std::vector<int> before = sockets_of(AF_PACKET);
  make_device(index, options);
  if (spec.driver == Driver::kAfPacket) watch_.add_sockets(before, AF_PACKET);
  read_info(options);
  if (shared_ && !shared_->is_silent()) {
    warnings_.push_back(
        name_ +
        ": without nftables the kernel answers for relay ports that nobody has, and "
        "a scan can tell which are in use");
  }
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
                  ",blocksz=65536,framesz=" + std::to_string(kWideFrameRoom) +
                  ",framecnt=" + std::to_string(descriptors_of(spec_));
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
  if (!spec_.devargs.empty()) arguments += "," + spec_.devargs;
  if (spec_.driver != Driver::kPci && rte_vdev_init(device_name_.c_str(), arguments.c_str()) != 0) {
    fail(std::string("DPDK does not make the device (") + arguments +
         "): " + rte_strerror(rte_errno));
  }
  if (rte_eth_dev_get_port_by_name(device_name_.c_str(), &id_) != 0) {
    fail("DPDK has no such device; is it bound to vfio-pci? " + why_no_pci(spec_.device));
  }
  made_ = true;
}

void Port::read_info(const Options& options) {
  rte_ether_addr mac{};
  rte_eth_macaddr_get(id_, &mac);
  std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), info_.mac.begin());
  info_.sees_own_frames = spec_.driver == Driver::kAfPacket;
  rte_eth_dev_info device{};
  rte_eth_dev_info_get(id_, &device);
  set_mtu(device.max_mtu);
  plan_ = plan_device(device, {spec_.driver, queues_, info_.mtu});
  if (!plan_.spreads) {
    warnings_.push_back(name_ +
                        ": the device doesn't share UDP out among queues: one worker "
                        "receives all of it");
  }
  queues_ = plan_.queues;

  addresses_ = spec_.addresses;
  for (const Endpoint& listener : options.listeners)
    addresses_.push_back(listener.address);
  for (const RelayedAddress& one : options.relayed)
    addresses_.push_back(one.internal);
}

// A shared interface's MTU is the kernel's to set; the relay's can only be less. Of an owned device
// it is ours.
void Port::set_mtu(std::uint16_t device_most) {
  const std::uint16_t most = most_mtu(spec_.driver);
  if (shared()) {
    const std::uint16_t kernels = kernel::interface_mtu(spec_.device);
    if (spec_.mtu > kernels) {
      fail("mtu = " + std::to_string(spec_.mtu) + ", but the interface has " +
           std::to_string(kernels) + "; ip link set " + spec_.device + " mtu " +
           std::to_string(spec_.mtu));
    }
    if (kernels > most) {
      warnings_.push_back(name_ + ": the interface's MTU is " + std::to_string(kernels) +
                          ", and packets of more than " + std::to_string(most) +
                          " bytes are not received; ip link set " + spec_.device + " mtu 1500");
    }
    info_.mtu = std::min(spec_.mtu != 0 ? spec_.mtu : kernels, most);
    return;
  }
  if (spec_.mtu > device_most) {
    fail("the device takes no MTU of " + std::to_string(spec_.mtu) + ": " +
         std::to_string(device_most) + " at most");
  }
  constexpr std::uint16_t kUsual = 1500;
  info_.mtu = spec_.mtu != 0 ? spec_.mtu : std::min(kUsual, device_most);
}

void Port::configure(const std::vector<rte_mempool*>& pools) {
  if (const int error = rte_eth_dev_configure(id_, queues_, queues_, &plan_.conf); error != 0) {
    fail(std::string("the device takes no ") + std::to_string(queues_) + " queues and MTU " +
         std::to_string(info_.mtu) + ": " + rte_strerror(-error));
  }
  // A NIC has it with the configuration, and room for tags.
  if (spec_.driver == Driver::kTap && spec_.mtu != 0) {
    if (const int error = rte_eth_dev_set_mtu(id_, info_.mtu); error != 0) {
      fail("the device takes no MTU of " + std::to_string(info_.mtu) + ": " + rte_strerror(-error));
    }
  }
  description_ = name_ + ", " + std::to_string(queues_) + (queues_ == 1 ? " queue" : " queues") +
                 ", MTU " + std::to_string(info_.mtu);
  std::uint16_t receive = descriptors_of(spec_);
  std::uint16_t transmit = receive;
  rte_eth_dev_adjust_nb_rx_tx_desc(id_, &receive, &transmit);
  const std::vector<int> before = sockets_of(AF_XDP);
  for (std::uint16_t queue = 0; queue < queues_; ++queue) {
    if (const int error = rte_eth_rx_queue_setup(id_, queue, receive, rte_eth_dev_socket_id(id_),
                                                 &plan_.receive, pools[queue]);
        error != 0) {
      fail("receive queue " + std::to_string(queue) + ": " + rte_strerror(-error) +
           (spec_.driver == Driver::kAfXdp ? why_no_xdp(spec_.device) : ""));
    }
    if (const int error =
            rte_eth_tx_queue_setup(id_, queue, transmit, rte_eth_dev_socket_id(id_), nullptr);
        error != 0) {
      fail("transmit queue " + std::to_string(queue) + ": " + rte_strerror(-error));
    }
  }
  if (spec_.driver != Driver::kAfXdp) return;
  watch_.add_sockets(before, AF_XDP);
  shared_->open_maps();
}

void Port::start() {
  if (const int error = rte_eth_dev_start(id_); error != 0) {
    const bool client = spec_.driver == Driver::kMemif && !spec_.memif_server;
    fail(client ? "nobody listens on this socket; start the other side first"
                : std::string("does not start: ") + rte_strerror(-error));
  }
  started_ = true;
  watch_.start(id_);
  if (!shared()) open_receive_filter();
}

void Port::open_receive_filter() {
  const ReceiveFilter filter{
      [this] { return rte_eth_promiscuous_enable(id_); },
      [this] { return rte_eth_allmulticast_enable(id_); },
      [this] {
        std::vector<rte_ether_addr> groups;
        for (const MacAddress& group : multicast_groups(info_.mac, addresses_)) {
          std::copy(group.begin(), group.end(), std::begin(groups.emplace_back().addr_bytes));
        }
        return rte_eth_dev_set_mc_addr_list(id_, groups.data(),
                                            static_cast<std::uint32_t>(groups.size()));
      }};
  // Only a NIC leaves anything out.
  if (open_filter(filter) || spec_.driver != Driver::kPci) return;
  warnings_.push_back(name_ +
                      ": the device takes no multicast, without which IPv6 neighbours can't find "
                      "the relay; of a virtual function: ip link set PF vf N trust on");
}

void Port::stop() {
  watch_.stop();
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

// The rules by which queues, offloads and buffers follow from what a device can do.
#include "dataplane/device.h"

#include <algorithm>
#include <string_view>

namespace turnpike::dataplane {
namespace {

std::string_view name_of(const rte_eth_dev_info& info) {
  return info.driver_name == nullptr ? std::string_view() : info.driver_name;
}

// Whose other end may be a program on this very machine. To ask these for checked sums is to let
// the other end leave them out; unasked, it must compute them.
bool is_virtual(std::string_view driver) {
  return driver == "net_virtio" || driver == "net_vmxnet3";
}

std::uint16_t queues_of(const rte_eth_dev_info& info, const DeviceWish& wish) {
  // Offers two, and with the older ones sends from one alone; nor has it RSS, so that a second
  // would be of no use.
  if (name_of(info) == "net_e1000_em") return 1;
  return std::max<std::uint16_t>(1,
                                 std::min({wish.queues, info.max_rx_queues, info.max_tx_queues}));
}

}  // namespace

DevicePlan plan_device(const rte_eth_dev_info& info, const DeviceWish& wish) {
  // What the driver says of the size of two VLAN tags: nothing. A NIC that minds its limit loses
  // full frames behind them otherwise.
  constexpr std::uint16_t kTags = 8;
  DevicePlan plan;
  plan.queues = queues_of(info, wish);
  plan.receive = info.default_rxconf;
  if (wish.driver != Driver::kPci) return plan;

  plan.conf.rxmode.mtu = std::min<std::uint32_t>(wish.mtu + kTags, info.max_mtu);
  if (!is_virtual(name_of(info)))
    plan.conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
  if ((info.dev_flags != nullptr) && (*info.dev_flags & RTE_ETH_DEV_INTR_RMV) != 0)
    plan.conf.intr_conf.rmv = 1;
  if (plan.queues == 1) {
    plan.spreads = wish.queues == 1;
    return plan;
  }
  // One worker that is late must cost its own queue packets, not the whole port.
  plan.receive.rx_drop_en = 1;
  const std::uint64_t hash = info.flow_type_rss_offloads & (RTE_ETH_RSS_UDP | RTE_ETH_RSS_IP);
  if (hash != 0) {
    plan.conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    plan.conf.rx_adv_conf.rss_conf.rss_hf = hash;
  }
  // A virtio device without RSS has its queues shared out by the host.
  plan.spreads = hash != 0 || name_of(info) == "net_virtio";
  return plan;
}

std::vector<MacAddress> multicast_groups(const MacAddress& mac,
                                         std::span<const Address> addresses) {
  std::vector<MacAddress> groups{{0x33, 0x33, 0, 0, 0, 1}};
  const auto add = [&](std::uint8_t a, std::uint8_t b, std::uint8_t c) {
    const MacAddress group{0x33, 0x33, 0xFF, a, b, c};
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  };
  add(mac[3], mac[4], mac[5]);
  for (const Address& address : addresses) {
    if (address.family == Family::kIpv6)
      add(address.bytes[13], address.bytes[14], address.bytes[15]);
  }
  return groups;
}

bool open_filter(const ReceiveFilter& filter) {
  const bool promiscuous = filter.promiscuous() == 0;
  // Some take promiscuous mode for unicast alone, so both are asked for.
  if (filter.all_multicast() == 0) return true;
  return filter.groups() == 0 || promiscuous;
}

}  // namespace turnpike::dataplane

// What DPDK is told of a NIC: decisions that the devices of a test machine don't show.
#include "dataplane/device.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace turnpike::dataplane {
namespace {

rte_eth_dev_info nic(const char* driver, std::uint16_t queues = 64) {
  rte_eth_dev_info info{};
  info.driver_name = driver;
  info.max_rx_queues = queues;
  info.max_tx_queues = queues;
  info.max_mtu = 9702;
  info.rx_offload_capa = RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_LRO;
  info.flow_type_rss_offloads = RTE_ETH_RSS_UDP | RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP;
  return info;
}

TEST(DevicePlan, LeavesTheSumsOfVirtualNicsToTheOtherEnd) {
  for (const char* driver : {"net_virtio", "net_vmxnet3"})
    EXPECT_EQ(plan_device(nic(driver), {}).conf.rxmode.offloads, 0U) << driver;
  EXPECT_EQ(plan_device(nic("net_ixgbe"), {}).conf.rxmode.offloads, RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
}

TEST(DevicePlan, TakesASumThatIsOnlyBegunForOne) {
  using flow::Checksum;
  EXPECT_EQ(checksum_state(RTE_MBUF_F_RX_L4_CKSUM_NONE, Checksum::kVerify),
            Checksum::kMaybePartial);
  EXPECT_EQ(checksum_state(RTE_MBUF_F_RX_L4_CKSUM_GOOD, Checksum::kVerify), Checksum::kGood);
  EXPECT_EQ(checksum_state(RTE_MBUF_F_RX_L4_CKSUM_BAD, Checksum::kVerify), Checksum::kVerify);
  EXPECT_EQ(checksum_state(0, Checksum::kMaybePartial), Checksum::kMaybePartial);
}

TEST(DevicePlan, HasRoomForTwoTags) {
  EXPECT_EQ(plan_device(nic("net_e1000_igb"), {Driver::kPci, 1, 1500}).conf.rxmode.mtu, 1508U);
  EXPECT_EQ(plan_device(nic("net_e1000_igb"), {Driver::kPci, 1, 9000}).conf.rxmode.mtu, 9008U);
  rte_eth_dev_info host_decides = nic("net_virtio");
  host_decides.max_mtu = 1450;
  EXPECT_EQ(plan_device(host_decides, {Driver::kPci, 1, 1450}).conf.rxmode.mtu, 1450U);
}

TEST(DevicePlan, LetsAFullQueueLoseItsOwnPacketsOnly) {
  EXPECT_EQ(plan_device(nic("net_ixgbe"), {Driver::kPci, 4, 1500}).receive.rx_drop_en, 1);
  EXPECT_EQ(plan_device(nic("net_ixgbe"), {Driver::kPci, 1, 1500}).receive.rx_drop_en, 0);
}

TEST(DevicePlan, KeepsWhatTheDriverWantsOfAQueue) {
  rte_eth_dev_info info = nic("net_ixgbe");
  info.default_rxconf.rx_free_thresh = 32;
  EXPECT_EQ(plan_device(info, {Driver::kPci, 4, 1500}).receive.rx_free_thresh, 32);
}

TEST(DevicePlan, SharesUdpOutByPortsOrElseByAddresses) {
  const DevicePlan by_ports = plan_device(nic("net_ice"), {Driver::kPci, 4, 1500});
  EXPECT_EQ(by_ports.queues, 4);
  EXPECT_EQ(by_ports.conf.rxmode.mq_mode, RTE_ETH_MQ_RX_RSS);
  EXPECT_EQ(by_ports.conf.rx_adv_conf.rss_conf.rss_hf, RTE_ETH_RSS_UDP | RTE_ETH_RSS_IP);
  EXPECT_TRUE(by_ports.spreads);

  rte_eth_dev_info addresses_only = nic("net_vmxnet3");
  addresses_only.flow_type_rss_offloads = RTE_ETH_RSS_IPV4;
  const DevicePlan plan = plan_device(addresses_only, {Driver::kPci, 4, 1500});
  EXPECT_EQ(plan.conf.rxmode.mq_mode, RTE_ETH_MQ_RX_RSS);
  EXPECT_TRUE(plan.spreads);
}

TEST(DevicePlan, SaysWhereAllUdpComesByOneQueue) {
  rte_eth_dev_info no_rss = nic("net_atlantic");
  no_rss.flow_type_rss_offloads = 0;
  const DevicePlan plan = plan_device(no_rss, {Driver::kPci, 2, 1500});
  EXPECT_FALSE(plan.spreads);
  EXPECT_EQ(plan.conf.rxmode.mq_mode, RTE_ETH_MQ_RX_NONE);
  EXPECT_TRUE(plan_device(no_rss, {Driver::kPci, 1, 1500}).spreads);
  EXPECT_FALSE(plan_device(nic("net_ice", 1), {Driver::kPci, 2, 1500}).spreads);
  // The host shares out what a virtio device gets.
  rte_eth_dev_info guest = nic("net_virtio", 2);
  guest.flow_type_rss_offloads = 0;
  EXPECT_TRUE(plan_device(guest, {Driver::kPci, 2, 1500}).spreads);
}

TEST(DevicePlan, SendsFromOneQueueWhereTheSecondSendsNothing) {
  const DevicePlan plan = plan_device(nic("net_e1000_em", 2), {Driver::kPci, 2, 1500});
  EXPECT_EQ(plan.queues, 1);
  EXPECT_FALSE(plan.spreads);
}

TEST(DevicePlan, AsksNothingOfOtherDrivers) {
  for (const Driver driver : {Driver::kAfXdp, Driver::kAfPacket, Driver::kTap, Driver::kMemif}) {
    const DevicePlan plan = plan_device(nic("net_any", 2), {driver, 3, 1500});
    EXPECT_EQ(plan.queues, 2);
    EXPECT_EQ(plan.conf.rxmode.offloads, 0U);
    EXPECT_EQ(plan.conf.rxmode.mtu, 0U);
    EXPECT_EQ(plan.conf.rxmode.mq_mode, RTE_ETH_MQ_RX_NONE);
  }
}

TEST(Frames, OfJumboMtusHaveWideBuffers) {
  EXPECT_FALSE(needs_wide_frames(Driver::kPci, 0));
  EXPECT_FALSE(needs_wide_frames(Driver::kPci, 1500));
  EXPECT_FALSE(needs_wide_frames(Driver::kAfXdp, most_mtu(Driver::kAfXdp)));
  EXPECT_TRUE(needs_wide_frames(Driver::kPci, most_mtu(Driver::kAfXdp) + 1));
  EXPECT_TRUE(needs_wide_frames(Driver::kAfPacket, 1500));
  for (const Driver driver : {Driver::kPci, Driver::kAfPacket})
    EXPECT_LE(most_mtu(driver) + kBesideMtu, kWideFrameRoom);
}

TEST(ReceiveFilter, NamesTheGroupsOfEachAddress) {
  const MacAddress mac{0x02, 0, 0, 0xAB, 0xCD, 0xEF};
  const Address addresses[] = {*Address::parse("2001:db8::1:2"), *Address::parse("192.0.2.1"),
                               *Address::parse("2001:db8:1::1:2")};
  const std::vector<MacAddress> expected{{0x33, 0x33, 0, 0, 0, 1},
                                         {0x33, 0x33, 0xFF, 0xAB, 0xCD, 0xEF},
                                         {0x33, 0x33, 0xFF, 0x01, 0x00, 0x02}};
  EXPECT_EQ(multicast_groups(mac, addresses), expected);
}

TEST(ReceiveFilter, AsksForAllMulticastWhateverPromiscuousModeSays) {
  for (const int promiscuous : {0, -ENOTSUP}) {
    int groups = 0;
    const ReceiveFilter filter{[&] { return promiscuous; }, [] { return 0; },
                               [&] { return ++groups, 0; }};
    EXPECT_TRUE(open_filter(filter));
    EXPECT_EQ(groups, 0);
  }
}

TEST(ReceiveFilter, NamesGroupsToAVirtualFunctionThatIsNotTrusted) {
  int groups = 0;
  const ReceiveFilter filter{[] { return -EPERM; }, [] { return -EPERM; },
                             [&] { return ++groups, 0; }};
  EXPECT_TRUE(open_filter(filter));
  EXPECT_EQ(groups, 1);
  const ReceiveFilter nothing{[] { return -EPERM; }, [] { return -EPERM; },
                              [] { return -ENOTSUP; }};
  EXPECT_FALSE(open_filter(nothing));
}

}  // namespace
}  // namespace turnpike::dataplane

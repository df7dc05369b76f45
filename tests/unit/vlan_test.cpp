// VLANs without a kernel that has them: links as the kernel tells them, and tags of frames.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "control/vlan_links.h"
#include "dataplane/vlan_tags.h"

namespace turnpike {
namespace {

using control::VlanLinks;
using Bytes8 = std::array<std::uint8_t, 8>;

struct Link {
  unsigned interface;
  unsigned on;
  std::uint16_t id;
  std::uint16_t protocol = ETH_P_8021Q;
  std::uint32_t mtu = 1500;
  std::string kind = "vlan";
  bool elsewhere = false;
};

void tell(VlanLinks& links, const Link& link) {
  alignas(nlmsghdr) std::array<char, 1024> buffer{};
  nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = RTM_NEWLINK;
  auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
  header->ifi_index = static_cast<int>(link.interface);
  mnl_attr_put_strz(message, IFLA_IFNAME, "any");
  mnl_attr_put_u32(message, IFLA_MTU, link.mtu);
  mnl_attr_put_u32(message, IFLA_LINK, link.on);
  if (link.elsewhere) mnl_attr_put_u32(message, IFLA_LINK_NETNSID, 3);
  nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  mnl_attr_put_strz(message, IFLA_INFO_KIND, link.kind.c_str());
  nlattr* data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
  mnl_attr_put_u16(message, IFLA_VLAN_ID, link.id);
  mnl_attr_put_u16(message, IFLA_VLAN_PROTOCOL, htons(link.protocol));
  mnl_attr_nest_end(message, data);
  mnl_attr_nest_end(message, info);
  links.take(message);
}

TEST(VlanLinks, LeadDownToAnEndWithTheirTags) {
  VlanLinks links;
  tell(links, {10, 2, 5});
  tell(links, {20, 3, 200, ETH_P_8021AD});
  tell(links, {21, 20, 300, ETH_P_8021Q, 1300});
  tell(links, {22, 21, 400});
  const std::vector<unsigned> ends{2, 3};

  const auto itself = links.way_down(2, ends);
  ASSERT_TRUE(itself);
  EXPECT_EQ(itself->interface, 2U);
  EXPECT_EQ(itself->tags.size, 0);
  const auto one = links.way_down(10, ends);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->interface, 2U);
  EXPECT_EQ(one->mtu, 1500U);
  EXPECT_EQ(one->tags.size, 4);
  EXPECT_EQ(one->tags.bytes, (Bytes8{0x81, 0, 0, 5}));
  const auto two = links.way_down(21, ends);
  ASSERT_TRUE(two);
  EXPECT_EQ(two->interface, 3U);
  EXPECT_EQ(two->mtu, 1300U);
  EXPECT_EQ(two->tags.size, 8);
  EXPECT_EQ(two->tags.bytes, (Bytes8{0x88, 0xA8, 0, 200, 0x81, 0, 0x01, 0x2C}));
  EXPECT_FALSE(links.way_down(22, ends)) << "three tags";
  EXPECT_FALSE(links.way_down(4, ends)) << "no end of ours";
  EXPECT_TRUE(links.any_on(3));
  EXPECT_FALSE(links.any_on(4));
}

TEST(VlanLinks, AreNoLinksOfOtherKindsOrNamespaces) {
  VlanLinks links;
  tell(links, {10, 2, 5, ETH_P_8021Q, 1500, "macvlan"});
  tell(links, {11, 2, 5, ETH_P_8021Q, 1500, "vlan", true});
  EXPECT_FALSE(links.way_down(10, {2}));
  EXPECT_FALSE(links.way_down(11, {2}));
}

TEST(VlanLinks, EndWhereTheyStandOnEachOther) {
  VlanLinks links;
  tell(links, {10, 11, 5});
  tell(links, {11, 10, 6});
  EXPECT_FALSE(links.way_down(10, {2}));
}

using Frame = std::vector<std::uint8_t>;
constexpr std::size_t kRoom = 16;
const Frame kMacs{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
const Frame kBody{0x08, 0x00, 0x45, 1, 2, 3, 4, 5};

Frame tagged(const Frame& tags, const Frame& body = kBody) {
  Frame frame = kMacs;
  frame.insert(frame.end(), tags.begin(), tags.end());
  frame.insert(frame.end(), body.begin(), body.end());
  return frame;
}

// A packet of a frame with room before it.
struct Held {
  explicit Held(const Frame& frame) : bytes(kRoom) {
    bytes.insert(bytes.end(), frame.begin(), frame.end());
    packet.data = bytes.data() + kRoom;
    packet.length = static_cast<std::uint32_t>(frame.size());
    packet.headroom = kRoom;
  }
  Frame now() const { return {packet.data, packet.data + packet.length}; }

  Frame bytes;
  flow::Packet packet;
  dataplane::FrameNotes notes;
};

class Tags : public testing::TestWithParam<Frame> {};
TEST_P(Tags, ComeOffAndGoBack) {
  Held held(tagged(GetParam()));
  dataplane::take_tags_off(held.packet, held.notes);
  EXPECT_EQ(held.packet.tag_bytes, GetParam().size());
  EXPECT_EQ(held.now(), tagged({}));
  EXPECT_EQ(held.packet.headroom, kRoom + GetParam().size());
  dataplane::put_tags_back(held.packet, held.notes);
  EXPECT_EQ(held.now(), tagged(GetParam()));
  EXPECT_EQ(held.packet.headroom, kRoom);
}

TEST_P(Tags, GoOnAFrameWithRoom) {
  Held held(tagged({}));
  rte_mbuf mbuf{};
  mbuf.buf_addr = held.bytes.data();
  mbuf.buf_len = static_cast<std::uint16_t>(held.bytes.size());
  mbuf.data_off = kRoom;
  mbuf.data_len = static_cast<std::uint16_t>(held.packet.length);
  mbuf.pkt_len = held.packet.length;
  mbuf.nb_segs = 1;
  mbuf.refcnt = 1;
  flow::VlanTags tags;
  std::copy(GetParam().begin(), GetParam().end(), tags.bytes.begin());
  tags.size = static_cast<std::uint8_t>(GetParam().size());
  ASSERT_TRUE(dataplane::put_tags_on(&mbuf, tags));
  const auto* data = rte_pktmbuf_mtod(&mbuf, const std::uint8_t*);
  EXPECT_EQ(Frame(data, data + mbuf.data_len), tagged(GetParam()));
  mbuf.data_off = 3;
  EXPECT_FALSE(dataplane::put_tags_on(&mbuf, tags));
}
INSTANTIATE_TEST_SUITE_P(OneAndTwo, Tags,
                         testing::Values(Frame{0x81, 0, 0x20, 5}, Frame{0x88, 0xA8, 0, 9},
                                         Frame{0x88, 0xA8, 0, 200, 0x81, 0, 1, 44}));

TEST(Tags, OfAFrameThatIsCutShortStay) {
  for (const Frame& frame : {tagged({0x81, 0}, {}), tagged({0x81, 0, 0, 5}, {}), tagged({})}) {
    Held held(frame);
    dataplane::take_tags_off(held.packet, held.notes);
    EXPECT_EQ(held.packet.tag_bytes, 0);
    EXPECT_EQ(held.now(), frame);
  }
}

}  // namespace
}  // namespace turnpike

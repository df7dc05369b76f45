// Interfaces on and over each other, as the kernel tells of them, without a kernel that has them.
#include "kernel/link_stack.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <string>
#include <vector>

namespace turnpike::kernel {
namespace {

using Bytes8 = std::array<std::uint8_t, 8>;

struct Told {
  unsigned interface;
  std::string name;
  std::string kind = {};
  unsigned on = 0;
  std::uint16_t id = 0;
  std::uint16_t protocol = ETH_P_8021Q;
  std::uint32_t mtu = 1500;
  unsigned master = 0;
  bool backup = false;  // of a bond
  bool running = true;
  bool elsewhere = false;
  std::string other_name = {};
  std::uint8_t family = AF_UNSPEC;
  bool gone = false;
  std::array<std::uint8_t, 6> mac = {};  // none
};

bool tell(LinkStack& links, const Told& told, const std::vector<std::string>& ends = {"a", "b"}) {
  alignas(nlmsghdr) std::array<char, 1024> buffer{};
  nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = told.gone ? RTM_DELLINK : RTM_NEWLINK;
  auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
  header->ifi_family = told.family;
  header->ifi_index = static_cast<int>(told.interface);
  header->ifi_flags = told.running ? IFF_UP | IFF_RUNNING : IFF_UP;
  mnl_attr_put_strz(message, IFLA_IFNAME, told.name.c_str());
  mnl_attr_put_u32(message, IFLA_MTU, told.mtu);
  if (told.on != 0) mnl_attr_put_u32(message, IFLA_LINK, told.on);
  if (told.mac != std::array<std::uint8_t, 6>{})
    mnl_attr_put(message, IFLA_ADDRESS, told.mac.size(), told.mac.data());
  if (told.master != 0) mnl_attr_put_u32(message, IFLA_MASTER, told.master);
  if (told.elsewhere) mnl_attr_put_u32(message, IFLA_LINK_NETNSID, 3);
  if (!told.other_name.empty()) {
    nlattr* list = mnl_attr_nest_start(message, IFLA_PROP_LIST);
    mnl_attr_put_strz(message, IFLA_ALT_IFNAME, told.other_name.c_str());
    mnl_attr_nest_end(message, list);
  }
  nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  if (!told.kind.empty()) {
    mnl_attr_put_strz(message, IFLA_INFO_KIND, told.kind.c_str());
    nlattr* data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
    mnl_attr_put_u16(message, IFLA_VLAN_ID, told.id);
    mnl_attr_put_u16(message, IFLA_VLAN_PROTOCOL, htons(told.protocol));
    mnl_attr_nest_end(message, data);
  }
  if (told.master != 0) {
    mnl_attr_put_strz(message, IFLA_INFO_SLAVE_KIND, "bond");
    nlattr* data = mnl_attr_nest_start(message, IFLA_INFO_SLAVE_DATA);
    mnl_attr_put_u8(message, IFLA_BOND_SLAVE_STATE, told.backup ? 1 : 0);
    mnl_attr_put_u8(message, IFLA_BOND_SLAVE_MII_STATUS, 0);
    mnl_attr_nest_end(message, data);
  }
  mnl_attr_nest_end(message, info);
  return links.take(message, ends);
}

class Links : public testing::Test {
 protected:
  void SetUp() override {
    tell(links_, {2, "a"});
    tell(links_, {3, "b"});
  }
  std::optional<LinkStack::Way> way(unsigned interface, std::uint32_t spread = 0) const {
    return links_.way_down(interface, {links_.index_of("a"), links_.index_of("b")}, spread);
  }

  LinkStack links_;
};

TEST_F(Links, OfVlansLeadDownToAnEndWithTheirTags) {
  tell(links_, {10, "a.5", "vlan", 2, 5});
  tell(links_, {20, "b.200", "vlan", 3, 200, ETH_P_8021AD});
  tell(links_, {21, "b.200.300", "vlan", 20, 300, ETH_P_8021Q, 1300});
  tell(links_, {22, "deep", "vlan", 21, 400});

  const auto itself = way(2);
  ASSERT_TRUE(itself);
  EXPECT_EQ(itself->interface, 2U);
  EXPECT_EQ(itself->tags.size, 0);
  const auto one = way(10);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->interface, 2U);
  EXPECT_EQ(one->mtu, 1500U);
  EXPECT_EQ(one->tags.size, 4);
  EXPECT_EQ(one->tags.bytes, (Bytes8{0x81, 0, 0, 5}));
  const auto two = way(21);
  ASSERT_TRUE(two);
  EXPECT_EQ(two->interface, 3U);
  EXPECT_EQ(two->mtu, 1300U);
  EXPECT_EQ(two->tags.size, 8);
  EXPECT_EQ(two->tags.bytes, (Bytes8{0x88, 0xA8, 0, 200, 0x81, 0, 0x01, 0x2C}));
  EXPECT_FALSE(way(22)) << "three tags";
  EXPECT_FALSE(way(4)) << "not there";
  EXPECT_TRUE(links_.has_vlans_on(3));
  ASSERT_EQ(links_.tags_on(2).size(), 1U);
  EXPECT_EQ(links_.tags_on(2)[0].bytes, (Bytes8{0x81, 0, 0, 5}));
  EXPECT_FALSE(links_.has_vlans_on(4));
}

TEST_F(Links, OfOtherKindsOrNamespacesLeadNowhere) {
  tell(links_, {10, "a1", "macvlan", 2});
  tell(links_, {11, "a.5", "vlan", 2, 5, ETH_P_8021Q, 1500, 0, false, true, true});
  EXPECT_FALSE(way(10));
  EXPECT_FALSE(way(11));
}

// VRRP's, whose address moves between hosts with its MAC.
TEST_F(Links, OfMacvlansLendTheirMacsToThatBelow) {
  const std::array<std::uint8_t, 6> first{0, 0, 0x5E, 0, 1, 51}, second{0, 0, 0x5E, 0, 1, 52};
  Told one{10, "vrrp.51", "macvlan", 2}, two{12, "vrrp.52", "macvlan", 11};
  one.mac = first;
  two.mac = second;
  EXPECT_TRUE(tell(links_, one)) << "news of what leads to an end";
  tell(links_, {11, "a.5", "vlan", 2, 5});
  tell(links_, two);
  EXPECT_EQ(links_.macs_on(2), (std::vector{first, second}));
  EXPECT_TRUE(links_.macs_on(3).empty());
  one.gone = true;
  tell(links_, one);
  EXPECT_EQ(links_.macs_on(2), (std::vector{second}));
}

TEST_F(Links, EndWhereTheyStandOnEachOther) {
  tell(links_, {10, "x", "vlan", 11, 5});
  tell(links_, {11, "y", "vlan", 10, 6});
  EXPECT_FALSE(way(10));
}

TEST_F(Links, OfABondLeadToItsMembersThatTakePart) {
  tell(links_, {9, "bond0", "bond"});
  EXPECT_FALSE(way(9)) << "no members";
  tell(links_, {2, "a", {}, 0, 0, 0, 1500, 9});
  tell(links_, {3, "b", {}, 0, 0, 0, 1400, 9, true});
  tell(links_, {12, "bond0.7", "vlan", 9, 7});
  for (const std::uint32_t spread : {0U, 1U}) {
    ASSERT_TRUE(way(9, spread));
    EXPECT_EQ(way(9, spread)->interface, 2U) << "the other one is a backup";
  }
  EXPECT_EQ(way(12)->interface, 2U);
  EXPECT_EQ(way(12)->tags.size, 4);
  EXPECT_TRUE(tell(links_, {3, "b", {}, 0, 0, 0, 1400, 9}));
  EXPECT_EQ(way(9, 0)->interface, 2U);
  EXPECT_EQ(way(9, 1)->interface, 3U);
  EXPECT_EQ(way(9, 1)->mtu, 1400U);
  tell(links_, {2, "a", {}, 0, 0, 0, 1500, 9, false, false});
  EXPECT_EQ(way(9, 0)->interface, 3U) << "the first one has no carrier";
}

TEST_F(Links, AreFoundByNameWhenTheyAreMadeAnew) {
  EXPECT_TRUE(tell(links_, {2, "a", {}, 0, 0, 0, 0, 0, false, false, false, {}, AF_UNSPEC, true}));
  EXPECT_EQ(links_.index_of("a"), 0U);
  EXPECT_FALSE(way(2));
  EXPECT_TRUE(tell(links_, {40, "a"}));
  EXPECT_EQ(way(40)->interface, 40U);
  EXPECT_TRUE(tell(links_, {41, "long", {}, 0, 0, 0, 1500, 0, false, true, false, "c"}, {"c"}));
  EXPECT_EQ(links_.index_of("c"), 41U);
}

TEST_F(Links, ThatAreNotOursAreNoNews) {
  EXPECT_FALSE(tell(links_, {7, "veth7", "veth"}));
  EXPECT_FALSE(tell(links_, {7, "veth7", "veth", 0, 0, 0, 1400}));
  EXPECT_FALSE(tell(links_, {2, "a"})) << "nothing new";
  EXPECT_TRUE(tell(links_, {2, "a", {}, 0, 0, 0, 1400}));
  EXPECT_TRUE(tell(links_, {10, "a.5", "vlan", 2, 5}));
  EXPECT_FALSE(tell(links_, {2, "a", {}, 0, 0, 0, 9000, 0, false, true, false, {}, AF_BRIDGE}));
  EXPECT_EQ(way(2)->mtu, 1400U);
}

}  // namespace
}  // namespace turnpike::kernel

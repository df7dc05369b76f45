#include "control/vlan_links.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "control/netlink.h"
#include "wire/headers.h"

namespace turnpike::control {
namespace {

template <typename Number>
void read(const nlattr* attribute, Number& number) {
  if (mnl_attr_get_payload_len(attribute) == sizeof number)
    std::memcpy(&number, mnl_attr_get_payload(attribute), sizeof number);
}

template <typename Visitor>
void for_each_within(const nlattr* attribute, Visitor&& visit) {
  for_each_attribute(mnl_attr_get_payload(attribute), mnl_attr_get_payload_len(attribute),
                     std::forward<Visitor>(visit));
}

// The tag of a VLAN's frames, from IFLA_LINKINFO; nothing for links of other kinds.
std::optional<std::array<std::uint8_t, 4>> read_tag(const nlattr* link_info) {
  bool is_vlan = false;
  std::uint16_t id = 0;
  std::uint16_t protocol = htons(ETH_P_8021Q);
  for_each_within(link_info, [&](const nlattr* info) {
    if (mnl_attr_get_type(info) == IFLA_INFO_KIND) {
      const std::string_view kind(static_cast<const char*>(mnl_attr_get_payload(info)),
                                  mnl_attr_get_payload_len(info));
      is_vlan = kind.substr(0, kind.find('\0')) == "vlan";
    }
    if (mnl_attr_get_type(info) != IFLA_INFO_DATA) return;
    for_each_within(info, [&](const nlattr* data) {
      if (mnl_attr_get_type(data) == IFLA_VLAN_ID) read(data, id);
      if (mnl_attr_get_type(data) == IFLA_VLAN_PROTOCOL) read(data, protocol);
    });
  });
  if (!is_vlan) return std::nullopt;
  std::array<std::uint8_t, 4> tag{};
  wire::store_be16(tag.data(), ntohs(protocol));
  wire::store_be16(tag.data() + 2, id & wire::vlan::kIdMask);
  return tag;
}

}  // namespace

void VlanLinks::take(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(ifinfomsg)) return;
  const auto* link = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  Vlan vlan;
  bool elsewhere = false;
  std::optional<std::array<std::uint8_t, 4>> tag;
  for_each_attribute(message, sizeof(ifinfomsg), [&](const nlattr* attribute) {
    const std::uint16_t type = mnl_attr_get_type(attribute);
    if (type == IFLA_LINK) read(attribute, vlan.on);
    if (type == IFLA_MTU) read(attribute, vlan.mtu);
    if (type == IFLA_LINK_NETNSID) elsewhere = true;
    if (type == IFLA_LINKINFO) tag = read_tag(attribute);
  });
  if (!tag || elsewhere) return;
  vlan.tag = *tag;
  vlans_[static_cast<unsigned>(link->ifi_index)] = vlan;
}

std::optional<VlanLinks::Way> VlanLinks::way_down(unsigned interface,
                                                  const std::vector<unsigned>& ends) const {
  Way way;
  while (std::find(ends.begin(), ends.end(), interface) == ends.end()) {
    const auto found = vlans_.find(interface);
    if (found == vlans_.end() || way.tags.size == way.tags.bytes.size()) return std::nullopt;
    const Vlan& vlan = found->second;
    // The nearer to the wire, the farther out in the frame.
    std::copy_n(way.tags.bytes.begin(), vlan.tag.size(), way.tags.bytes.begin() + vlan.tag.size());
    std::copy(vlan.tag.begin(), vlan.tag.end(), way.tags.bytes.begin());
    way.tags.size = static_cast<std::uint8_t>(way.tags.size + vlan.tag.size());
    way.mtu = std::min(way.mtu, vlan.mtu);
    interface = vlan.on;
  }
  way.interface = interface;
  return way;
}

bool VlanLinks::any_on(unsigned interface) const {
  return std::any_of(vlans_.begin(), vlans_.end(), [&](const auto& vlan) {
    const auto way = way_down(vlan.first, {interface});
    return way && way->tags.size != 0;
  });
}

}  // namespace turnpike::control

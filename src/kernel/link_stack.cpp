// From any interface down to the port beneath it, gathering tags and the smallest MTU on the
// way.
#include "kernel/link_stack.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "kernel/netlink.h"

namespace turnpike::kernel {
namespace {

constexpr std::uint16_t kVlanIdMask = 0x0FFF;  // IEEE 802.1Q: priority and DEI stand before it

using Link = LinkStack::Link;
constexpr int kMaxDepth = 8;  // of interfaces on each other; bounds a circle

template <typename Number>
void read(const nlattr* attribute, Number& number) {
  if (mnl_attr_get_payload_len(attribute) == sizeof number)
    std::memcpy(&number, mnl_attr_get_payload(attribute), sizeof number);
}

std::string_view text_of(const nlattr* attribute) {
  const std::string_view text(static_cast<const char*>(mnl_attr_get_payload(attribute)),
                              mnl_attr_get_payload_len(attribute));
  return text.substr(0, text.find('\0'));
}

template <typename Visitor>
void for_each_within(const nlattr* attribute, Visitor&& visit) {
  for_each_attribute(mnl_attr_get_payload(attribute), mnl_attr_get_payload_len(attribute),
                     std::forward<Visitor>(visit));
}

Link::Kind kind_of(std::string_view kind) {
  if (kind == "vlan") return Link::Kind::kVlan;
  if (kind == "macvlan") return Link::Kind::kMacvlan;
  if (kind == "bond") return Link::Kind::kBond;
  if (kind == "bridge") return Link::Kind::kBridge;
  if (kind == "vrf") return Link::Kind::kVrf;
  return Link::Kind::kOther;
}

void read_own(const nlattr* data, Link& link) {
  std::uint16_t id = 0;
  std::uint16_t protocol = htons(ETH_P_8021Q);
  for_each_within(data, [&](const nlattr* one) {
    if (link.kind == Link::Kind::kVlan) {
      if (mnl_attr_get_type(one) == IFLA_VLAN_ID) read(one, id);
      if (mnl_attr_get_type(one) == IFLA_VLAN_PROTOCOL) read(one, protocol);
    }
    if (link.kind == Link::Kind::kVrf && mnl_attr_get_type(one) == IFLA_VRF_TABLE)
      read(one, link.table);
  });
  if (link.kind != Link::Kind::kVlan) return;
  const std::uint16_t tag[] = {protocol, htons(id & kVlanIdMask)};
  static_assert(sizeof tag == sizeof link.tag);
  std::memcpy(link.tag.data(), tag, sizeof tag);
}

void read_bond_member(const nlattr* data, Link& link) {
  std::uint8_t state = 0, media = 0;
  for_each_within(data, [&](const nlattr* one) {
    if (mnl_attr_get_type(one) == IFLA_BOND_SLAVE_STATE) read(one, state);
    if (mnl_attr_get_type(one) == IFLA_BOND_SLAVE_MII_STATUS) read(one, media);
  });
  link.carries = state == 0 && media == 0;  // active, and up
}

// IFLA_LINKINFO: the kind comes before what belongs to it.
void read_info(const nlattr* info, Link& link) {
  bool of_bond = false;
  for_each_within(info, [&](const nlattr* one) {
    switch (mnl_attr_get_type(one)) {
      case IFLA_INFO_KIND:
        link.kind = kind_of(text_of(one));
        break;
      case IFLA_INFO_DATA:
        read_own(one, link);
        break;
      case IFLA_INFO_SLAVE_KIND:
        of_bond = text_of(one) == "bond";
        break;
      case IFLA_INFO_SLAVE_DATA:
        if (of_bond) read_bond_member(one, link);
        break;
      default:
        break;
    }
  });
}

std::optional<std::array<std::uint8_t, 6>> mac_of(const nlattr* attribute) {
  std::array<std::uint8_t, 6> mac{};
  if (mnl_attr_get_payload_len(attribute) != mac.size()) return std::nullopt;
  std::memcpy(mac.data(), mnl_attr_get_payload(attribute), mac.size());
  return mac;
}

Link read_link(const nlmsghdr* message, const ifinfomsg& header) {
  Link link;
  link.running = (header.ifi_flags & IFF_UP) != 0 && (header.ifi_flags & IFF_RUNNING) != 0;
  bool elsewhere = false;
  for_each_attribute(message, sizeof(ifinfomsg), [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case IFLA_IFNAME:
        link.name = text_of(attribute);
        break;
      case IFLA_PROP_LIST:
        for_each_within(attribute, [&](const nlattr* one) {
          if (mnl_attr_get_type(one) == IFLA_ALT_IFNAME)
            link.other_names.emplace_back(text_of(one));
        });
        break;
      case IFLA_LINK:
        read(attribute, link.on);
        break;
      case IFLA_MASTER:
        read(attribute, link.master);
        break;
      case IFLA_MTU:
        read(attribute, link.mtu);
        break;
      case IFLA_ADDRESS:
        link.mac = mac_of(attribute);
        break;
      case IFLA_LINK_NETNSID:
        elsewhere = true;
        break;
      case IFLA_LINKINFO:
        read_info(attribute, link);
        break;
      default:
        break;
    }
  });
  // Of others (a veth's other end), what they are linked to is nothing to us.
  const bool stands = link.kind == Link::Kind::kVlan || link.kind == Link::Kind::kMacvlan;
  if (elsewhere || !stands) link.on = 0;
  return link;
}

}  // namespace

bool LinkStack::take(const nlmsghdr* message, const std::vector<std::string>& ends) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(ifinfomsg)) return false;
  const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  // A bridge tells of its members by messages of its own family, which lack most.
  if (header->ifi_family != AF_UNSPEC) return false;
  const auto index = static_cast<std::uint32_t>(header->ifi_index);
  const bool led = leads_to(index, ends);
  if (message->nlmsg_type == RTM_DELLINK) {
    links_.erase(index);
    return led;
  }
  Link link = read_link(message, *header);
  Link& known = links_[index];
  if (known == link) return false;
  known = std::move(link);
  return led || leads_to(index, ends);
}

std::uint32_t LinkStack::index_of(const std::string& name) const {
  if (name.empty()) return 0;
  for (const auto& [index, link] : links_) {
    if (link.name == name ||
        std::find(link.other_names.begin(), link.other_names.end(), name) != link.other_names.end())
      return index;
  }
  return 0;
}

const Link* LinkStack::find(std::uint32_t interface) const {
  const auto found = links_.find(interface);
  return found == links_.end() ? nullptr : &found->second;
}

std::vector<std::uint32_t> LinkStack::vrf_tables() const {
  std::vector<std::uint32_t> tables;
  for (const auto& [index, link] : links_) {
    if (link.kind == Link::Kind::kVrf) tables.push_back(link.table);
  }
  return tables;
}

std::uint32_t LinkStack::member_of(std::uint32_t bond, const std::vector<std::uint32_t>& ends,
                                   std::uint32_t spread) const {
  std::vector<std::uint32_t> members;
  for (const std::uint32_t end : ends) {
    const Link* link = find(end);
    if (link != nullptr && link->master == bond && link->running && link->carries)
      members.push_back(end);
  }
  return members.empty() ? 0 : members[spread % members.size()];
}

std::optional<LinkStack::Way> LinkStack::way_down(std::uint32_t interface,
                                                  const std::vector<std::uint32_t>& ends,
                                                  std::uint32_t spread) const {
  Way way;
  for (int depth = 0; depth < kMaxDepth && interface != 0; ++depth) {
    const Link* link = find(interface);
    if (link == nullptr) return std::nullopt;
    way.mtu = std::min(way.mtu, link->mtu);
    if (std::find(ends.begin(), ends.end(), interface) != ends.end()) {
      way.interface = interface;
      return way;
    }
    if (link->kind == Link::Kind::kBond) {
      interface = member_of(interface, ends, spread);
      continue;
    }
    if (link->kind != Link::Kind::kVlan || way.tags.size == way.tags.bytes.size())
      return std::nullopt;
    // The nearer to the wire, the farther out in the frame.
    std::copy_n(way.tags.bytes.begin(), link->tag.size(),
                way.tags.bytes.begin() + link->tag.size());
    std::copy(link->tag.begin(), link->tag.end(), way.tags.bytes.begin());
    way.tags.size = static_cast<std::uint8_t>(way.tags.size + link->tag.size());
    interface = link->on;
  }
  return std::nullopt;
}

// Whether it is one of the ends, stands on one, or is a bond over one.
bool LinkStack::leads_to(std::uint32_t interface, const std::vector<std::string>& ends) const {
  for (int depth = 0; depth < kMaxDepth && interface != 0; ++depth) {
    const Link* link = find(interface);
    if (link == nullptr) return false;
    for (const std::string& end : ends) {
      const std::uint32_t index = index_of(end);
      if (index == 0) continue;
      const Link* at = find(index);
      if (index == interface || (at->master != 0 && at->master == interface)) return true;
    }
    interface = link->on;
  }
  return false;
}

std::set<std::uint32_t> LinkStack::with_way_down(const std::vector<std::uint32_t>& ends) const {
  std::set<std::uint32_t> result;
  for (const auto& [index, link] : links_) {
    if (way_down(index, ends, 0)) result.insert(index);
  }
  return result;
}

bool LinkStack::has_vlans_on(std::uint32_t interface) const {
  return !tags_on(interface).empty();
}

std::vector<flow::VlanTags> LinkStack::tags_on(std::uint32_t interface) const {
  std::vector<flow::VlanTags> all;
  for (const auto& [index, link] : links_) {
    const auto way = way_down(index, {interface}, 0);
    if (way && way->tags.size != 0) all.push_back(way->tags);
  }
  return all;
}

std::vector<std::array<std::uint8_t, 6>> LinkStack::macs_on(std::uint32_t interface) const {
  std::set<std::array<std::uint8_t, 6>> macs;
  for (const auto& [index, link] : links_) {
    if (link.kind == Link::Kind::kMacvlan && link.mac && way_down(link.on, {interface}, 0))
      macs.insert(*link.mac);
  }
  return {macs.begin(), macs.end()};
}

}  // namespace turnpike::kernel

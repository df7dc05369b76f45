// Attributes are read one by one, and one of another size than it must have is as if it weren't
// there.
#include "kernel/route_messages.h"

#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "kernel/netlink.h"

namespace turnpike::kernel {
namespace {

std::optional<Address> address_of(std::uint8_t family, const nlattr* attribute) {
  const std::size_t size = mnl_attr_get_payload_len(attribute);
  const auto* raw = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  if (family == AF_INET && size == 4) return Address::from_bytes(Family::kIpv4, raw);
  if (family == AF_INET6 && size == 16) return Address::from_bytes(Family::kIpv6, raw);
  return std::nullopt;
}

// A gateway of another family than the destination (RFC 5549): the family, then the address.
std::optional<Address> address_of_via(const nlattr* attribute) {
  const std::size_t size = mnl_attr_get_payload_len(attribute);
  const auto* raw = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  std::uint16_t family = 0;
  if (size < sizeof family) return std::nullopt;
  std::memcpy(&family, raw, sizeof family);
  if (family == AF_INET && size == sizeof family + 4)
    return Address::from_bytes(Family::kIpv4, raw + sizeof family);
  if (family == AF_INET6 && size == sizeof family + 16)
    return Address::from_bytes(Family::kIpv6, raw + sizeof family);
  return std::nullopt;
}

Family family_of(std::uint8_t family) {
  return family == AF_INET ? Family::kIpv4 : Family::kIpv6;
}

bool is_ip(std::uint8_t family) {
  return family == AF_INET || family == AF_INET6;
}

// Reads the attribute if it is of the number's size.
template <typename Number>
void read_number(const nlattr* attribute, Number& number) {
  if (mnl_attr_get_payload_len(attribute) == sizeof number)
    std::memcpy(&number, mnl_attr_get_payload(attribute), sizeof number);
}

// The prefix of an address that may be missing, as it is where the length is 0.
std::optional<Prefix> prefix_of(std::uint8_t family, std::uint8_t length,
                                const std::optional<Address>& address) {
  Prefix prefix;
  prefix.address.family = family_of(family);
  if (length > 8 * prefix.address.size() || (length != 0 && !address)) return std::nullopt;
  prefix.length = length;
  if (address) prefix.address = masked(*address, length);
  return prefix;
}

void read_gateway(const nlattr* attribute, std::uint8_t family, RouteTarget& target) {
  if (mnl_attr_get_type(attribute) == RTA_GATEWAY) target.gateway = address_of(family, attribute);
  if (mnl_attr_get_type(attribute) == RTA_VIA) target.gateway = address_of_via(attribute);
}

std::uint32_t read_mtu(const nlattr* metrics) {
  std::uint32_t mtu = 0;
  for_each_attribute(mnl_attr_get_payload(metrics), mnl_attr_get_payload_len(metrics),
                     [&](const nlattr* metric) {
                       if (mnl_attr_get_type(metric) == RTAX_MTU) read_number(metric, mtu);
                     });
  return mtu;
}

// The paths of a route that has several, but those that are dead in a route that is told as new.
std::vector<RouteTarget> read_paths(const nlattr* multipath, std::uint8_t family, bool with_dead) {
  std::vector<RouteTarget> targets;
  const auto* at = static_cast<const char*>(mnl_attr_get_payload(multipath));
  std::size_t left = mnl_attr_get_payload_len(multipath);
  while (left >= sizeof(rtnexthop)) {
    const auto* path = reinterpret_cast<const rtnexthop*>(at);
    if (path->rtnh_len < sizeof(rtnexthop) || path->rtnh_len > left) break;
    RouteTarget target;
    target.interface = static_cast<std::uint32_t>(path->rtnh_ifindex);
    for_each_attribute(RTNH_DATA(path), path->rtnh_len - sizeof(rtnexthop),
                       [&](const nlattr* attribute) { read_gateway(attribute, family, target); });
    if (with_dead || (path->rtnh_flags & RTNH_F_DEAD) == 0) targets.push_back(target);
    const std::size_t step = std::min<std::size_t>(RTNH_ALIGN(path->rtnh_len), left);
    at += step;
    left -= step;
  }
  return targets;
}

std::optional<RouteTarget::Kind> kind_of(std::uint8_t type) {
  using Kind = RouteTarget::Kind;
  switch (type) {
    case RTN_UNICAST:
      return Kind::kLeads;
    case RTN_BLACKHOLE:
    case RTN_UNREACHABLE:
    case RTN_PROHIBIT:
      return Kind::kForbids;
    case RTN_THROW:
      return Kind::kThrows;
    case RTN_LOCAL:
    case RTN_BROADCAST:
    case RTN_ANYCAST:
      return Kind::kHere;
    default:
      return std::nullopt;
  }
}

RouteChange::Kind change_of(const nlmsghdr* message) {
  if (message->nlmsg_type == RTM_DELROUTE) return RouteChange::Kind::kRemoves;
  // A dump's routes have no flag that says where they go, and come in the kernel's order.
  if ((message->nlmsg_flags & NLM_F_MULTI) != 0) return RouteChange::Kind::kAppends;
  if ((message->nlmsg_flags & NLM_F_REPLACE) != 0) return RouteChange::Kind::kReplaces;
  return (message->nlmsg_flags & NLM_F_APPEND) != 0 ? RouteChange::Kind::kAppends
                                                    : RouteChange::Kind::kAdds;
}

}  // namespace

std::optional<RouteChange> read_route(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(rtmsg)) return std::nullopt;
  const auto* header = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  const std::uint8_t family = header->rtm_family;
  if (!is_ip(family) || (header->rtm_flags & RTM_F_CLONED) != 0 || header->rtm_tos != 0)
    return std::nullopt;
  const auto kind = kind_of(header->rtm_type);
  if (!kind) return std::nullopt;
  RouteChange change;
  change.kind = change_of(message);
  Route& route = change.route;
  route.table = header->rtm_table;
  RouteTarget target;
  target.kind = *kind;
  std::optional<Address> destination, source;
  std::uint32_t mtu = 0;
  for_each_attribute(message, sizeof(rtmsg), [&](const nlattr* attribute) {
    const std::uint16_t type = mnl_attr_get_type(attribute);
    read_gateway(attribute, family, target);
    if (type == RTA_DST) destination = address_of(family, attribute);
    if (type == RTA_SRC) source = address_of(family, attribute);
    if (type == RTA_OIF) read_number(attribute, target.interface);
    if (type == RTA_PRIORITY) read_number(attribute, route.metric);
    if (type == RTA_TABLE) read_number(attribute, route.table);
    if (type == RTA_METRICS) mtu = read_mtu(attribute);
    if (type == RTA_MULTIPATH)
      route.targets = read_paths(attribute, family, message->nlmsg_type == RTM_DELROUTE);
  });
  if (*kind != RouteTarget::Kind::kLeads) {
    // Which of its interfaces an address is on is nothing to us, and routes that forbid have none.
    target.interface = 0;
    route.targets = {target};
  } else if (target.interface != 0) {
    route.targets.push_back(target);
  }
  const auto to = prefix_of(family, header->rtm_dst_len, destination);
  const auto from = prefix_of(family, header->rtm_src_len, source);
  if (!to || !from) return std::nullopt;
  route.destination = *to;
  for (RouteTarget& one : route.targets) {
    one.mtu = mtu;
    one.source = *from;
  }
  return change;
}

std::optional<RuleMessage> read_rule(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(fib_rule_hdr)) return std::nullopt;
  const auto* header = static_cast<const fib_rule_hdr*>(mnl_nlmsg_get_payload(message));
  if (!is_ip(header->family)) return std::nullopt;
  RuleMessage read;
  read.family = family_of(header->family);
  Rule& rule = read.rule;
  rule.argument = header->table;
  rule.inverted = (header->flags & FIB_RULE_INVERT) != 0;
  // What the relay's packets are: the host's own, by UDP, without a mark or type of service, and
  // of ports that differ from flow to flow.
  const auto unless = [&](bool holds, const char* name) {
    if (holds) return;
    rule.others_hold = false;
    if (name != nullptr) read.not_honoured = name;
  };
  unless(header->tos == 0, "tos");
  std::optional<Address> source, destination;
  std::uint32_t mark = 0, mask = ~std::uint32_t{0}, suppressed = ~std::uint32_t{0}, go_on = 0;
  for_each_attribute(message, sizeof(fib_rule_hdr), [&](const nlattr* attribute) {
    const void* payload = mnl_attr_get_payload(attribute);
    const std::size_t size = mnl_attr_get_payload_len(attribute);
    switch (mnl_attr_get_type(attribute)) {
      case FRA_SRC:
        source = address_of(header->family, attribute);
        break;
      case FRA_DST:
        destination = address_of(header->family, attribute);
        break;
      case FRA_PRIORITY:
        read_number(attribute, rule.priority);
        break;
      case FRA_TABLE:
        read_number(attribute, rule.argument);
        break;
      case FRA_GOTO:
        read_number(attribute, go_on);
        break;
      case FRA_FWMARK:
        read_number(attribute, mark);
        break;
      case FRA_FWMASK:
        read_number(attribute, mask);
        break;
      case FRA_SUPPRESS_PREFIXLEN:
        read_number(attribute, suppressed);
        break;
      case FRA_SUPPRESS_IFGROUP: {
        std::uint32_t group = ~std::uint32_t{0};
        read_number(attribute, group);
        unless(group == ~std::uint32_t{0}, "suppress_ifgroup");
        break;
      }
      case FRA_L3MDEV: {
        std::uint8_t by_device = 0;
        read_number(attribute, by_device);
        rule.by_device = by_device != 0;
        break;
      }
      // Packets that the host itself sends come in by `lo`, as the kernel sees it.
      case FRA_IIFNAME:
        unless(size == 3 && std::memcmp(payload, "lo", 3) == 0, nullptr);
        break;
      case FRA_OIFNAME:
        unless(false, nullptr);
        break;
      case FRA_TUN_ID:
        unless(false, nullptr);
        break;
      case FRA_UID_RANGE:
        if (size == sizeof(fib_rule_uid_range)) {
          fib_rule_uid_range range{};
          std::memcpy(&range, payload, sizeof range);
          unless(range.start <= geteuid() && geteuid() <= range.end, nullptr);
        }
        break;
      case FRA_IP_PROTO: {
        std::uint8_t protocol = 0;
        read_number(attribute, protocol);
        unless(protocol == IPPROTO_UDP, nullptr);
        break;
      }
      case FRA_SPORT_RANGE:
        unless(false, "sport");
        break;
      case FRA_DPORT_RANGE:
        unless(false, "dport");
        break;
      default:
        break;
    }
  });
  unless((mark & mask) == 0, "fwmark");
  if (suppressed != ~std::uint32_t{0}) rule.suppressed_length = static_cast<int>(suppressed);
  switch (header->action) {
    case FR_ACT_TO_TBL:
      rule.action = Rule::Action::kTable;
      break;
    case FR_ACT_GOTO:
      rule.action = Rule::Action::kGoto;
      rule.argument = go_on;
      break;
    case FR_ACT_BLACKHOLE:
    case FR_ACT_UNREACHABLE:
    case FR_ACT_PROHIBIT:
      rule.action = Rule::Action::kForbids;
      break;
    default:
      rule.action = Rule::Action::kNothing;
      break;
  }
  const auto from = prefix_of(header->family, header->src_len, source);
  const auto to = prefix_of(header->family, header->dst_len, destination);
  if (!from || !to) return std::nullopt;
  rule.source = *from;
  rule.destination = *to;
  return read;
}

std::optional<NeighbourMessage> read_neighbour(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(ndmsg)) return std::nullopt;
  const auto* entry = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
  if ((entry->ndm_flags & NTF_PROXY) != 0) return std::nullopt;
  std::optional<Address> address;
  NeighbourMessage read;
  for_each_attribute(message, sizeof(ndmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == NDA_DST) address = address_of(entry->ndm_family, attribute);
    if (mnl_attr_get_type(attribute) == NDA_LLADDR && mnl_attr_get_payload_len(attribute) == 6) {
      const auto* raw = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
      for (std::size_t i = 0; i < 6; ++i)
        read.mac |= flow::MacWord{raw[i]} << 8 * i;
      read.mac |= flow::kMacResolved;
    }
  });
  if (!address) return std::nullopt;
  constexpr unsigned kUsable =
      NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;
  if (message->nlmsg_type == RTM_DELNEIGH || (entry->ndm_state & kUsable) == 0) read.mac = 0;
  read.interface = static_cast<std::uint32_t>(entry->ndm_ifindex);
  read.address = *address;
  return read;
}

}  // namespace turnpike::kernel

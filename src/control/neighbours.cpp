#include "control/neighbours.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>

namespace turnpike::control {
namespace {

using flow::MacWord;
using flow::NextHop;
using flow::NextHopIndex;

constexpr std::size_t kBuffer = 65536;
constexpr auto kAskAgain = std::chrono::milliseconds(200);  // for a MAC that is missing
constexpr auto kKeepAlive = std::chrono::seconds(5);        // for one that is in use
constexpr int kNoPort = -1;

std::optional<Address> address_of(std::uint8_t family, const nlattr* attribute) {
  const std::size_t size = mnl_attr_get_payload_len(attribute);
  const auto* raw = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  if (family == AF_INET && size == 4) return Address::from_bytes(Family::kIpv4, raw);
  if (family == AF_INET6 && size == 16) return Address::from_bytes(Family::kIpv6, raw);
  return std::nullopt;
}

// Calls `visit(const nlattr*)` for each attribute behind the family header of `header_size` bytes.
template <typename Visitor>
void for_each_attribute(const nlmsghdr* message, std::size_t header_size, Visitor&& visit) {
  const auto* tail = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
  const auto* at = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, header_size));
  while (mnl_attr_ok(at, static_cast<int>(tail - reinterpret_cast<const char*>(at)))) {
    visit(at);
    at = mnl_attr_next(at);
  }
}

Address unspecified(std::uint8_t family) {
  Address address;
  address.family = family == AF_INET ? Family::kIpv4 : Family::kIpv6;
  return address;
}

Address masked(const Address& address, unsigned length) {
  Address result = address;
  for (unsigned bit = length; bit < 8 * address.size(); ++bit) {
    result.bytes[bit / 8] = static_cast<std::uint8_t>(result.bytes[bit / 8] & ~(0x80U >> bit % 8));
  }
  return result;
}

std::optional<Address> address_of(const sockaddr* socket_address) {
  if (socket_address == nullptr) return std::nullopt;
  if (socket_address->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, socket_address, sizeof in);
    return Address::from_bytes(Family::kIpv4, reinterpret_cast<const std::uint8_t*>(&in.sin_addr));
  }
  if (socket_address->sa_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, socket_address, sizeof in);
    return Address::from_bytes(Family::kIpv6, reinterpret_cast<const std::uint8_t*>(&in.sin6_addr));
  }
  return std::nullopt;
}

}  // namespace

struct Neighbours::Impl {
  struct Target {
    std::optional<Address> gateway;  // none: the destination is on the link
    unsigned interface = 0;
    bool forbids = false;  // blackhole, unreachable, prohibit
  };
  // Key: prefix, then metric, so that the best route of a prefix comes first.
  using Routes = std::map<std::pair<Address, std::uint32_t>, Target>;
  struct Known {
    MacWord mac = 0;
  };
  using Clock = std::chrono::steady_clock;

  Impl(std::vector<Port> given, std::uint32_t max)
      : ports(std::move(given)), hops(max), asked(max), kept_alive(max) {
    for (Port& port : ports)
      interfaces.push_back(port.interface.empty() ? 0 : if_nametoindex(port.interface.c_str()));
  }

  int port_of(unsigned interface) const {
    const auto found = std::find(interfaces.begin(), interfaces.end(), interface);
    return interface == 0 || found == interfaces.end()
               ? kNoPort
               : static_cast<int>(found - interfaces.begin());
  }

  NextHopIndex find_or_add(int port, const Address& gateway);
  const Target* route_to(const Address& destination) const;

  void dump(std::uint16_t type);
  void take(const nlmsghdr* message);
  void take_route(const nlmsghdr* message);
  void take_neighbour(const nlmsghdr* message);
  void read_all();
  void ask(unsigned interface, const Address& address);
  void tend_hops();

  std::vector<Port> ports;
  std::vector<unsigned> interfaces;  // by port; 0: none
  mnl_socket* socket = nullptr;
  std::uint32_t sequence = 0;
  bool dumping = false;

  std::mutex mutex;  // guards what follows, up to `hops`; shards resolve while control updates
  std::array<std::array<Routes, 129>, 2> routes;  // by family_index() and prefix length
  std::map<std::pair<unsigned, Address>, Known> neighbours;
  std::map<std::pair<int, Address>, NextHopIndex> index;
  std::uint32_t used = 1;  // 0 is kNoNextHop

  std::vector<NextHop> hops;  // fixed in size
  std::atomic<std::uint32_t> epoch{1};
  std::vector<Clock::time_point> asked;  // control's own
  std::vector<Clock::time_point> kept_alive;
};

const Neighbours::Impl::Target* Neighbours::Impl::route_to(const Address& destination) const {
  const auto& by_length = routes[family_index(destination.family)];
  for (int length = static_cast<int>(8 * destination.size()); length >= 0; --length) {
    const Routes& candidates = by_length[static_cast<std::size_t>(length)];
    if (candidates.empty()) continue;
    const Address prefix = masked(destination, static_cast<unsigned>(length));
    const auto found = candidates.lower_bound({prefix, 0});
    if (found != candidates.end() && found->first.first == prefix) return &found->second;
  }
  return nullptr;
}

NextHopIndex Neighbours::Impl::find_or_add(int port, const Address& gateway) {
  const auto key = std::make_pair(port, gateway);
  if (const auto found = index.find(key); found != index.end()) return found->second;
  if (used == hops.size()) return flow::kNoNextHop;
  const NextHopIndex made{used};
  NextHop& hop = hops[used++];
  hop.port = static_cast<std::uint16_t>(port);
  hop.mtu = ports[static_cast<std::size_t>(port)].mtu;
  hop.gateway = gateway;
  MacWord mac = 0;
  if (const auto& fixed = ports[static_cast<std::size_t>(port)].static_next_hop) {
    for (std::size_t i = 0; i < fixed->size(); ++i)
      mac |= MacWord{(*fixed)[i]} << 8 * i;
    mac |= flow::kMacResolved;
  } else if (const auto known =
                 neighbours.find({interfaces[static_cast<std::size_t>(port)], gateway});
             known != neighbours.end()) {
    mac = known->second.mac;
  }
  hop.mac.store(mac, std::memory_order_relaxed);
  hop.wanted.store(1, std::memory_order_relaxed);
  index.emplace(key, made);
  return made;
}

NextHopIndex Neighbours::resolve(const Address& destination) {
  const std::scoped_lock lock(impl_->mutex);
  if (const Impl::Target* target = impl_->route_to(destination)) {
    const int port = target->forbids ? kNoPort : impl_->port_of(target->interface);
    if (port != kNoPort) {
      const bool fixed = impl_->ports[static_cast<std::size_t>(port)].static_next_hop.has_value();
      return impl_->find_or_add(port, fixed ? Address{} : target->gateway.value_or(destination));
    }
    if (target->forbids) return flow::kNoNextHop;
  }
  // A port that needs no routes: everything goes to one MAC.
  for (std::size_t port = 0; port < impl_->ports.size(); ++port) {
    if (impl_->ports[port].static_next_hop)
      return impl_->find_or_add(static_cast<int>(port), Address{});
  }
  return flow::kNoNextHop;
}

std::uint32_t Neighbours::epoch() const {
  return impl_->epoch.load(std::memory_order_acquire);
}

NextHop* Neighbours::table() {
  return impl_->hops.data();
}

void Neighbours::Impl::take_route(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(rtmsg)) return;
  const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  if ((route->rtm_family != AF_INET && route->rtm_family != AF_INET6) ||
      (route->rtm_flags & RTM_F_CLONED) != 0)
    return;
  Address destination = unspecified(route->rtm_family);
  std::uint32_t metric = 0;
  std::uint32_t table = route->rtm_table;
  Target target;
  for_each_attribute(message, sizeof(rtmsg), [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case RTA_DST:
        destination = address_of(route->rtm_family, attribute).value_or(destination);
        break;
      case RTA_GATEWAY:
        target.gateway = address_of(route->rtm_family, attribute);
        break;
      case RTA_OIF:
        target.interface = mnl_attr_get_u32(attribute);
        break;
      case RTA_PRIORITY:
        metric = mnl_attr_get_u32(attribute);
        break;
      case RTA_TABLE:
        table = mnl_attr_get_u32(attribute);
        break;
      case RTA_MULTIPATH: {
        // The first path: a flow keeps to one anyway.
        const auto* path = static_cast<const rtnexthop*>(mnl_attr_get_payload(attribute));
        if (mnl_attr_get_payload_len(attribute) < sizeof(rtnexthop)) break;
        target.interface = static_cast<unsigned>(path->rtnh_ifindex);
        const auto* inner = reinterpret_cast<const nlattr*>(RTNH_DATA(path));
        const auto left = static_cast<int>(path->rtnh_len) - static_cast<int>(sizeof(rtnexthop));
        if (left >= static_cast<int>(sizeof(nlattr)) && mnl_attr_get_type(inner) == RTA_GATEWAY) {
          target.gateway = address_of(route->rtm_family, inner);
        }
        break;
      }
      default:
        break;
    }
  });
  if (table != RT_TABLE_MAIN || route->rtm_dst_len > 8 * destination.size()) return;
  target.forbids = route->rtm_type == RTN_BLACKHOLE || route->rtm_type == RTN_UNREACHABLE ||
                   route->rtm_type == RTN_PROHIBIT;
  if (!target.forbids && route->rtm_type != RTN_UNICAST) return;
  Routes& same_length = routes[family_index(destination.family)][route->rtm_dst_len];
  const auto key = std::make_pair(masked(destination, route->rtm_dst_len), metric);
  if (message->nlmsg_type == RTM_NEWROUTE) {
    same_length[key] = target;
  } else {
    same_length.erase(key);
  }
  epoch.fetch_add(1, std::memory_order_release);
}

void Neighbours::Impl::take_neighbour(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(ndmsg)) return;
  const auto* entry = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
  std::optional<Address> address;
  MacWord mac = 0;
  for_each_attribute(message, sizeof(ndmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == NDA_DST) address = address_of(entry->ndm_family, attribute);
    if (mnl_attr_get_type(attribute) == NDA_LLADDR && mnl_attr_get_payload_len(attribute) == 6) {
      const auto* raw = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
      for (std::size_t i = 0; i < 6; ++i)
        mac |= MacWord{raw[i]} << 8 * i;
      mac |= flow::kMacResolved;
    }
  });
  if (!address) return;
  constexpr unsigned kUsable =
      NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;
  if (message->nlmsg_type == RTM_DELNEIGH || (entry->ndm_state & kUsable) == 0) mac = 0;
  const auto interface = static_cast<unsigned>(entry->ndm_ifindex);
  const int port = port_of(interface);
  if (port == kNoPort) return;
  if (mac == 0) {
    neighbours.erase({interface, *address});
  } else {
    neighbours[{interface, *address}].mac = mac;
  }
  const auto found = index.find({port, *address});
  if (found == index.end() || ports[static_cast<std::size_t>(port)].static_next_hop) return;
  hops[static_cast<std::uint32_t>(found->second)].mac.store(mac, std::memory_order_relaxed);
}

void Neighbours::Impl::take(const nlmsghdr* message) {
  switch (message->nlmsg_type) {
    case NLMSG_DONE:
    case NLMSG_ERROR:
      dumping = false;
      break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      take_route(message);
      break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      take_neighbour(message);
      break;
    default:
      break;
  }
}

// Everything that waits in the socket.
void Neighbours::Impl::read_all() {
  std::array<char, kBuffer> buffer;
  for (;;) {
    const ssize_t size =
        recv(mnl_socket_get_fd(socket), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == ENOBUFS) {
      // Something was lost: look at all of it again. What has gone meanwhile is found out by asking
      // the neighbour.
      for (const std::uint16_t type : {RTM_GETROUTE, RTM_GETNEIGH})
        dump(type);
      continue;
    }
    if (size <= 0) return;
    const std::scoped_lock lock(mutex);
    auto left = static_cast<int>(size);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
      take(message);
  }
}

// Asks for all routes or neighbours and takes them in; bounded in time.
void Neighbours::Impl::dump(std::uint16_t type) {
  std::array<char, 256> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = ++sequence;
  auto* general = static_cast<rtgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtgenmsg)));
  general->rtgen_family = AF_UNSPEC;
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) return;
  dumping = true;
  const auto deadline = Clock::now() + std::chrono::seconds(2);
  while (dumping && Clock::now() < deadline) {
    read_all();
  }
}

// Makes the kernel resolve, or confirm, a neighbour, as if it had a packet for it.
void Neighbours::Impl::ask(unsigned interface, const Address& address) {
  std::array<char, 256> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = RTM_NEWNEIGH;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
  header->nlmsg_seq = ++sequence;
  auto* entry = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ndmsg)));
  entry->ndm_family = address.family == Family::kIpv4 ? AF_INET : AF_INET6;
  entry->ndm_ifindex = static_cast<int>(interface);
  entry->ndm_state = NUD_NONE;
  entry->ndm_flags = NTF_USE;
  mnl_attr_put(header, NDA_DST, address.size(), address.bytes.data());
  mnl_socket_sendto(socket, header, header->nlmsg_len);
}

void Neighbours::Impl::tend_hops() {
  std::uint32_t count = 0;
  {
    const std::scoped_lock lock(mutex);
    count = used;
  }
  const Clock::time_point now = Clock::now();
  for (std::uint32_t i = 1; i < count; ++i) {
    NextHop& hop = hops[i];
    if (hop.wanted.load(std::memory_order_relaxed) == 0) continue;
    const bool resolved = (hop.mac.load(std::memory_order_relaxed) & flow::kMacResolved) != 0;
    Clock::time_point& last = resolved ? kept_alive[i] : asked[i];
    if (now - last < (resolved ? Clock::duration(kKeepAlive) : Clock::duration(kAskAgain)))
      continue;
    last = now;
    hop.wanted.store(0, std::memory_order_relaxed);
    const unsigned interface = interfaces[hop.port];
    if (interface != 0 && !ports[hop.port].static_next_hop) ask(interface, hop.gateway);
  }
}

Neighbours::Neighbours(std::vector<Port> ports, std::uint32_t max_next_hops)
    : impl_(std::make_unique<Impl>(std::move(ports), max_next_hops)) {
  impl_->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  constexpr unsigned kGroups = RTMGRP_NEIGH | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  if (impl_->socket == nullptr || mnl_socket_bind(impl_->socket, kGroups, MNL_SOCKET_AUTOPID) < 0) {
    const int error = errno;
    if (impl_->socket != nullptr) mnl_socket_close(impl_->socket);
    throw std::runtime_error(std::string("netlink: ") + std::strerror(error));
  }
  impl_->dump(RTM_GETROUTE);
  impl_->dump(RTM_GETNEIGH);
}

Neighbours::~Neighbours() {
  mnl_socket_close(impl_->socket);
}

int Neighbours::fd() const {
  return mnl_socket_get_fd(impl_->socket);
}

void Neighbours::poll() {
  impl_->read_all();
  impl_->tend_hops();
}

std::vector<Address> Neighbours::interface_addresses(const std::string& interface) {
  std::vector<Address> result;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return result;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (interface != one->ifa_name) continue;
    const auto address = address_of(one->ifa_addr);
    const bool link_local = address && address->family == Family::kIpv6 &&
                            address->bytes[0] == 0xFE && (address->bytes[1] & 0xC0) == 0x80;
    if (address && !link_local) result.push_back(*address);
  }
  freeifaddrs(all);
  return result;
}

std::vector<Address> Neighbours::broadcast_addresses() {
  std::set<Address> result;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return {};
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if ((one->ifa_flags & IFF_BROADCAST) == 0) continue;
    if (const auto address = address_of(one->ifa_broadaddr);
        address && address->family == Family::kIpv4) {
      result.insert(*address);
    }
  }
  freeifaddrs(all);
  return {result.begin(), result.end()};
}

std::uint32_t Neighbours::in_use() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->used - 1;
}

std::uint32_t Neighbours::capacity() const {
  return static_cast<std::uint32_t>(impl_->hops.size() - 1);
}

}  // namespace turnpike::control

#include "control/neighbours.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "control/netlink.h"
#include "control/vlan_links.h"

namespace turnpike::control {
namespace {

using flow::MacWord;
using flow::NextHop;
using flow::NextHopIndex;

constexpr std::size_t kBuffer = 65536;
constexpr auto kAskAgain = std::chrono::milliseconds(200);  // for a MAC that is missing
constexpr auto kKeepAlive = std::chrono::seconds(5);        // for one that is in use
constexpr auto kSyncAgain = std::chrono::milliseconds(100);
constexpr int kNoPort = -1;

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

bool is_multicast(const Address& address) {
  return address.family == Family::kIpv4 ? (address.bytes[0] & 0xF0) == 0xE0
                                         : address.bytes[0] == 0xFF;
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

}  // namespace

struct Neighbours::Impl {
  struct Target {
    std::optional<Address> gateway;  // none: the destination is on the link
    unsigned interface = 0;
    bool forbids = false;  // blackhole, unreachable, prohibit

    bool operator==(const Target&) const = default;
  };
  // Key: prefix, then metric, so that the best route of a prefix comes first. Value: never empty;
  // the first is used, the others take over when it goes.
  using Routes = std::map<std::pair<Address, std::uint32_t>, std::vector<Target>>;
  // What the kernel has.
  struct Mirror {
    VlanLinks vlans;
    std::array<std::array<Routes, 129>, 2> routes;  // by family_index() and prefix length
    std::map<std::pair<unsigned, Address>, MacWord> neighbours;
  };
  // One RTM_NEWROUTE or RTM_DELROUTE, read.
  struct Route {
    Address destination;
    std::uint8_t length = 0;
    std::uint32_t metric = 0;
    std::uint32_t table = 0;
    std::vector<Target> targets;  // one for each path
  };
  using Clock = std::chrono::steady_clock;

  Impl(std::vector<Port> given, std::uint32_t max)
      : ports(std::move(given)), hops(max), interface_of(max), asked(max), kept_alive(max) {
    for (Port& port : ports)
      interfaces.push_back(port.interface.empty() ? 0 : if_nametoindex(port.interface.c_str()));
  }

  // How frames leave through an interface: the port's own, or one of VLANs on it.
  struct Way {
    int port = kNoPort;
    unsigned interface = 0;
    std::uint32_t mtu = UINT16_MAX;
    flow::VlanTags tags;
  };

  int port_of(unsigned interface) const {
    const auto found = std::find(interfaces.begin(), interfaces.end(), interface);
    return interface == 0 || found == interfaces.end()
               ? kNoPort
               : static_cast<int>(found - interfaces.begin());
  }

  Way way_through(const Mirror& links, unsigned interface) const;
  NextHopIndex find_or_add(const Way& way, const Address& gateway);
  const Target* route_to(const Address& destination) const;
  MacWord mac_of(std::size_t port, unsigned interface, const Address& gateway) const;

  bool sync();
  bool dump(std::uint16_t type);
  void take(const nlmsghdr* message);
  static void read_gateway(const nlattr* attribute, std::uint8_t family, Target& target);
  static std::vector<Target> read_paths(const nlattr* multipath, std::uint8_t family,
                                        bool with_dead);
  static std::optional<Route> read_route(const nlmsghdr* message);
  void take_route(const nlmsghdr* message);
  void take_neighbour(const nlmsghdr* message);
  void read_all();
  void ask(unsigned interface, const Address& address);
  void tend_hops();

  std::vector<Port> ports;
  std::vector<unsigned> interfaces;  // by port; 0: none
  mnl_socket* socket = nullptr;
  std::uint32_t sequence = 0;
  std::uint32_t dumping = 0;  // its sequence number; 0: no
  bool doubtful = false;      // the mirror may differ from what the kernel has
  Clock::time_point synced;

  std::mutex mutex;  // guards what follows, up to `hops`; shards resolve while control updates
  Mirror mirror;
  std::map<std::tuple<int, unsigned, Address>, NextHopIndex> index;  // by port, interface, gateway
  std::uint32_t used = 1;                                            // 0 is kNoNextHop

  std::vector<NextHop> hops;           // fixed in size
  std::vector<unsigned> interface_of;  // by next hop; set like it
  std::atomic<std::uint32_t> epoch{1};
  std::vector<Clock::time_point> asked;  // control's own
  std::vector<Clock::time_point> kept_alive;
  std::unique_ptr<Mirror> fresh;  // while all is read anew
};

const Neighbours::Impl::Target* Neighbours::Impl::route_to(const Address& destination) const {
  const auto& by_length = mirror.routes[family_index(destination.family)];
  for (int length = static_cast<int>(8 * destination.size()); length >= 0; --length) {
    const Routes& candidates = by_length[static_cast<std::size_t>(length)];
    if (candidates.empty()) continue;
    const Address prefix = masked(destination, static_cast<unsigned>(length));
    const auto found = candidates.lower_bound({prefix, 0});
    if (found != candidates.end() && found->first.first == prefix) return &found->second.front();
  }
  return nullptr;
}

Neighbours::Impl::Way Neighbours::Impl::way_through(const Mirror& links, unsigned interface) const {
  Way way;
  if (interface == 0) return way;
  const auto down = links.vlans.way_down(interface, interfaces);
  if (!down) return way;
  way.port = port_of(down->interface);
  way.interface = interface;
  way.mtu = down->mtu;
  way.tags = down->tags;
  return way;
}

MacWord Neighbours::Impl::mac_of(std::size_t port, unsigned interface,
                                 const Address& gateway) const {
  if (const auto& fixed = ports[port].static_next_hop) {
    MacWord mac = flow::kMacResolved;
    for (std::size_t i = 0; i < fixed->size(); ++i)
      mac |= MacWord{(*fixed)[i]} << 8 * i;
    return mac;
  }
  const auto known = mirror.neighbours.find({interface, gateway});
  return known == mirror.neighbours.end() ? 0 : known->second;
}

NextHopIndex Neighbours::Impl::find_or_add(const Way& way, const Address& gateway) {
  const auto key = std::make_tuple(way.port, way.interface, gateway);
  if (const auto found = index.find(key); found != index.end()) return found->second;
  if (used == hops.size()) return flow::kNoNextHop;
  const NextHopIndex made{used};
  NextHop& hop = hops[used++];
  const auto number = static_cast<std::uint16_t>(way.port);
  hop.port = number;
  hop.mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(ports[number].mtu, way.mtu));
  hop.gateway = gateway;
  hop.tags = way.tags;
  interface_of[static_cast<std::uint32_t>(made)] = way.interface;
  hop.mac.store(mac_of(number, way.interface, gateway), std::memory_order_relaxed);
  hop.wanted.store(1, std::memory_order_relaxed);
  index.emplace(key, made);
  return made;
}

NextHopIndex Neighbours::resolve(const Address& destination) {
  if (is_multicast(destination)) return flow::kNoNextHop;
  const std::scoped_lock lock(impl_->mutex);
  if (const Impl::Target* target = impl_->route_to(destination)) {
    if (target->forbids) return flow::kNoNextHop;
    const Impl::Way way = impl_->way_through(impl_->mirror, target->interface);
    if (way.port != kNoPort) {
      const auto& fixed = impl_->ports[static_cast<std::size_t>(way.port)].static_next_hop;
      return impl_->find_or_add(way, fixed ? Address{} : target->gateway.value_or(destination));
    }
  }
  // A port that needs no routes: everything goes to one MAC.
  for (std::size_t port = 0; port < impl_->ports.size(); ++port) {
    if (!impl_->ports[port].static_next_hop) continue;
    Impl::Way way;
    way.port = static_cast<int>(port);
    return impl_->find_or_add(way, Address{});
  }
  return flow::kNoNextHop;
}

std::uint32_t Neighbours::epoch() const {
  return impl_->epoch.load(std::memory_order_acquire);
}

NextHop* Neighbours::table() {
  return impl_->hops.data();
}

// The paths of a route that has several, but those that are dead in a route that is told as new.
std::vector<Neighbours::Impl::Target> Neighbours::Impl::read_paths(const nlattr* multipath,
                                                                   std::uint8_t family,
                                                                   bool with_dead) {
  std::vector<Target> targets;
  const auto* at = static_cast<const char*>(mnl_attr_get_payload(multipath));
  std::size_t left = mnl_attr_get_payload_len(multipath);
  while (left >= sizeof(rtnexthop)) {
    const auto* path = reinterpret_cast<const rtnexthop*>(at);
    if (path->rtnh_len < sizeof(rtnexthop) || path->rtnh_len > left) break;
    Target target;
    target.interface = static_cast<unsigned>(path->rtnh_ifindex);
    for_each_attribute(RTNH_DATA(path), path->rtnh_len - sizeof(rtnexthop),
                       [&](const nlattr* attribute) { read_gateway(attribute, family, target); });
    if (with_dead || (path->rtnh_flags & RTNH_F_DEAD) == 0) targets.push_back(target);
    const std::size_t step = std::min<std::size_t>(RTNH_ALIGN(path->rtnh_len), left);
    at += step;
    left -= step;
  }
  return targets;
}

void Neighbours::Impl::read_gateway(const nlattr* attribute, std::uint8_t family, Target& target) {
  if (mnl_attr_get_type(attribute) == RTA_GATEWAY) target.gateway = address_of(family, attribute);
  if (mnl_attr_get_type(attribute) == RTA_VIA) target.gateway = address_of_via(attribute);
}

std::optional<Neighbours::Impl::Route> Neighbours::Impl::read_route(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(rtmsg)) return std::nullopt;
  const auto* header = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  const std::uint8_t family = header->rtm_family;
  if ((family != AF_INET && family != AF_INET6) || (header->rtm_flags & RTM_F_CLONED) != 0)
    return std::nullopt;
  Route route;
  route.destination = unspecified(family);
  route.length = header->rtm_dst_len;
  route.table = header->rtm_table;
  Target target;
  for_each_attribute(message, sizeof(rtmsg), [&](const nlattr* attribute) {
    const bool number = mnl_attr_get_payload_len(attribute) == sizeof(std::uint32_t);
    const std::uint16_t type = mnl_attr_get_type(attribute);
    read_gateway(attribute, family, target);
    if (type == RTA_DST)
      route.destination = address_of(family, attribute).value_or(route.destination);
    if (type == RTA_OIF && number) target.interface = mnl_attr_get_u32(attribute);
    if (type == RTA_PRIORITY && number) route.metric = mnl_attr_get_u32(attribute);
    if (type == RTA_TABLE && number) route.table = mnl_attr_get_u32(attribute);
    if (type == RTA_MULTIPATH)
      route.targets = read_paths(attribute, family, message->nlmsg_type == RTM_DELROUTE);
  });
  target.forbids = header->rtm_type == RTN_BLACKHOLE || header->rtm_type == RTN_UNREACHABLE ||
                   header->rtm_type == RTN_PROHIBIT;
  if (target.forbids || target.interface != 0) route.targets.push_back(target);
  const bool leads = target.forbids || header->rtm_type == RTN_UNICAST;
  if (!leads || route.length > 8 * route.destination.size()) return std::nullopt;
  route.destination = masked(route.destination, route.length);
  return route;
}

// Several routes may have one prefix and metric, and a route several paths. Here all of these are
// one list; where that can't say what a replaced route leaves, all is read anew.
void Neighbours::Impl::take_route(const nlmsghdr* message) {
  const std::optional<Route> route = read_route(message);
  if (!route || route->table != RT_TABLE_MAIN) return;
  Mirror& into = fresh ? *fresh : mirror;
  Routes& same_length = into.routes[family_index(route->destination.family)][route->length];
  std::vector<Target>& targets = same_length[{route->destination, route->metric}];
  const bool replaces = (message->nlmsg_flags & NLM_F_REPLACE) != 0;
  if (replaces && targets.size() > 1) doubtful = true;
  if (replaces) targets.clear();
  auto place = fresh || (message->nlmsg_flags & NLM_F_APPEND) != 0 ? targets.size() : 0;
  for (const Target& target : route->targets) {
    const auto known = std::find(targets.begin(), targets.end(), target);
    if (message->nlmsg_type == RTM_DELROUTE) {
      if (known != targets.end()) targets.erase(known);
    } else if (known == targets.end()) {
      targets.insert(targets.begin() + static_cast<std::ptrdiff_t>(place++), target);
    }
  }
  if (targets.empty()) same_length.erase({route->destination, route->metric});
  epoch.fetch_add(1, std::memory_order_release);
}

void Neighbours::Impl::take_neighbour(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(ndmsg)) return;
  const auto* entry = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
  if ((entry->ndm_flags & NTF_PROXY) != 0) return;
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
  Mirror& into = fresh ? *fresh : mirror;
  const int port = way_through(into, interface).port;
  if (port == kNoPort) return;
  if (mac == 0) {
    into.neighbours.erase({interface, *address});
  } else {
    into.neighbours[{interface, *address}] = mac;
  }
  const auto found = index.find({port, interface, *address});
  if (fresh || found == index.end()) return;
  hops[static_cast<std::uint32_t>(found->second)].mac.store(
      mac_of(static_cast<std::size_t>(port), interface, *address), std::memory_order_relaxed);
}

void Neighbours::Impl::take(const nlmsghdr* message) {
  if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) doubtful = true;
  switch (message->nlmsg_type) {
    case NLMSG_DONE:
    case NLMSG_ERROR:
      if (message->nlmsg_seq == dumping) dumping = 0;
      break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      take_route(message);
      break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      take_neighbour(message);
      break;
    case RTM_NEWLINK:
      if (dumping != 0 && message->nlmsg_seq == dumping) {
        if (fresh) fresh->vlans.take(message);
        break;
      }
      [[fallthrough]];
    case RTM_DELLINK:
    case RTM_DELADDR:
      // The kernel takes IPv4 routes of a link that goes down, or of an address that goes, without
      // a word about each.
      doubtful = true;
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
      doubtful = true;  // something was lost
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

// Asks for all routes or neighbours and takes them in; bounded in time. False: not all came.
bool Neighbours::Impl::dump(std::uint16_t type) {
  std::array<char, 256> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = ++sequence;
  auto* general = static_cast<rtgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtgenmsg)));
  general->rtgen_family = AF_UNSPEC;
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) return false;
  dumping = sequence;
  const auto deadline = Clock::now() + std::chrono::seconds(2);
  while (dumping != 0 && Clock::now() < deadline) {
    pollfd wait{mnl_socket_get_fd(socket), POLLIN, 0};
    ::poll(&wait, 1, 100);
    read_all();
  }
  return std::exchange(dumping, 0) == 0;
}

// Reads all of the kernel's tables anew, beside what is there, and then puts it in its place.
// Changes that the kernel tells meanwhile go into the new ones.
bool Neighbours::Impl::sync() {
  doubtful = false;
  fresh = std::make_unique<Mirror>();
  const bool complete = dump(RTM_GETLINK) && dump(RTM_GETROUTE) && dump(RTM_GETNEIGH);
  const std::unique_ptr<Mirror> read = std::move(fresh);
  synced = Clock::now();
  if (!complete) {
    doubtful = true;
    return false;
  }
  const std::scoped_lock lock(mutex);
  std::swap(mirror, *read);
  for (std::uint32_t i = 1; i < used; ++i)
    hops[i].mac.store(mac_of(hops[i].port, interface_of[i], hops[i].gateway),
                      std::memory_order_relaxed);
  epoch.fetch_add(1, std::memory_order_release);
  return true;
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
    const unsigned interface = interface_of[i];
    if (interface != 0 && !ports[hop.port].static_next_hop) ask(interface, hop.gateway);
  }
}

Neighbours::Neighbours(std::vector<Port> ports, std::uint32_t max_next_hops)
    : impl_(std::make_unique<Impl>(std::move(ports), max_next_hops)) {
  impl_->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  constexpr unsigned kGroups = RTMGRP_NEIGH | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_LINK |
                               RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  if (impl_->socket == nullptr || mnl_socket_bind(impl_->socket, kGroups, MNL_SOCKET_AUTOPID) < 0) {
    const int error = errno;
    if (impl_->socket != nullptr) mnl_socket_close(impl_->socket);
    throw std::runtime_error(std::string("netlink: ") + std::strerror(error));
  }
  if (!impl_->sync()) {
    mnl_socket_close(impl_->socket);
    throw std::runtime_error("netlink: the kernel doesn't tell its routes and neighbours");
  }
}

Neighbours::~Neighbours() {
  mnl_socket_close(impl_->socket);
}

int Neighbours::fd() const {
  return mnl_socket_get_fd(impl_->socket);
}

void Neighbours::poll() {
  impl_->read_all();
  if (impl_->doubtful && Impl::Clock::now() - impl_->synced >= kSyncAgain) impl_->sync();
  impl_->tend_hops();
}

bool Neighbours::has_vlans(std::size_t port) const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->mirror.vlans.any_on(impl_->interfaces[port]);
}

std::uint32_t Neighbours::in_use() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->used - 1;
}

std::uint32_t Neighbours::capacity() const {
  return static_cast<std::uint32_t>(impl_->hops.size() - 1);
}

}  // namespace turnpike::control

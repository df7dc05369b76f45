// Netlink only tells that something changed; what there is then is read whole, which is simpler
// than following each message and can't drift away from the kernel.
#include "kernel/host_addresses.h"

#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <stdexcept>

#include "kernel/route_query.h"

namespace turnpike::kernel {
namespace {

using Clock = std::chrono::steady_clock;

// A host that adds a thousand addresses at once is read a few times, not a thousand.
constexpr auto kReadAgain = std::chrono::milliseconds(100);

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

struct Found {
  std::vector<HostAddresses::Entry> addresses;
  std::vector<Address> broadcast;

  bool operator==(const Found&) const = default;
};

// To which the kernel broadcasts even if no address says so.
std::optional<Address> last_of_network(const ifaddrs& one) {
  auto last = address_of(one.ifa_addr);
  const auto mask = address_of(one.ifa_netmask);
  if (!last || !mask || last->family != Family::kIpv4 || mask->bytes[3] >= 0xFE)
    return std::nullopt;
  for (std::size_t i = 0; i < last->size(); ++i)
    last->bytes[i] |= static_cast<std::uint8_t>(~mask->bytes[i]);
  return last;
}

std::optional<Found> read_all() {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return std::nullopt;
  Found found;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (const auto address = address_of(one->ifa_addr))
      found.addresses.push_back({*address, one->ifa_name});
    if ((one->ifa_flags & IFF_BROADCAST) == 0) continue;
    // Where an address has no broadcast one of its own, this is the address itself.
    const auto broadcast = address_of(one->ifa_broadaddr);
    if (broadcast && broadcast->family == Family::kIpv4 && broadcast != address_of(one->ifa_addr)) {
      found.broadcast.push_back(*broadcast);
    }
    if (const auto last = last_of_network(*one)) found.broadcast.push_back(*last);
  }
  freeifaddrs(all);
  std::sort(found.broadcast.begin(), found.broadcast.end());
  found.broadcast.erase(std::unique(found.broadcast.begin(), found.broadcast.end()),
                        found.broadcast.end());
  return found;
}

mnl_socket* open_socket() {
  constexpr unsigned kGroups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket != nullptr && mnl_socket_bind(socket, kGroups, MNL_SOCKET_AUTOPID) == 0) return socket;
  const int error = errno;
  if (socket != nullptr) mnl_socket_close(socket);
  throw std::runtime_error(std::string("netlink: ") + std::strerror(error));
}

struct CloseSocket {
  void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
};
using Socket = std::unique_ptr<mnl_socket, CloseSocket>;

}  // namespace

struct HostAddresses::Impl {
  Socket news{open_socket()};
  RouteQuery routes;
  Found found;
  bool doubtful = false;
  Clock::time_point read;

  bool read_news();
};

// Everything that waits; whether there was any. A lost message is one too.
bool HostAddresses::Impl::read_news() {
  std::array<char, 32768> buffer;
  for (bool any = false;; any = true) {
    const ssize_t size = recv(mnl_socket_get_fd(news.get()), buffer.data(), buffer.size(), 0);
    if (size <= 0 && errno != EINTR && errno != ENOBUFS) return any;
  }
}

HostAddresses::HostAddresses() : impl_(std::make_unique<Impl>()) {
  auto found = read_all();
  if (!found) throw std::runtime_error("the kernel doesn't tell this host's addresses");
  impl_->found = std::move(*found);
}

HostAddresses::~HostAddresses() = default;

int HostAddresses::fd() const {
  return mnl_socket_get_fd(impl_->news.get());
}

bool HostAddresses::poll() {
  impl_->doubtful |= impl_->read_news();
  const Clock::time_point now = Clock::now();
  if (!impl_->doubtful || now - impl_->read < kReadAgain) return false;
  impl_->read = now;
  auto found = read_all();
  if (!found) return false;
  impl_->doubtful = false;
  if (*found == impl_->found) return false;
  impl_->found = std::move(*found);
  return true;
}

const std::vector<HostAddresses::Entry>& HostAddresses::all() const {
  return impl_->found.addresses;
}

const std::vector<Address>& HostAddresses::broadcast() const {
  return impl_->found.broadcast;
}

std::vector<Address> HostAddresses::of(const std::string& interface) const {
  std::vector<Address> addresses;
  for (const Entry& entry : impl_->found.addresses) {
    if (entry.interface == interface && !entry.address.is_ipv6_link_local())
      addresses.push_back(entry.address);
  }
  return addresses;
}

bool HostAddresses::has(const Address& address) const {
  const bool found = std::any_of(impl_->found.addresses.begin(), impl_->found.addresses.end(),
                                 [&](const Entry& entry) { return entry.address == address; });
  if (found) return true;
  const auto route = impl_->routes.ask(address);
  return route && route->local;
}

}  // namespace turnpike::kernel

// A way is found by asking the kernel: for a route, and for the source address that goes with it,
// which a datagram socket has once it is bound to the interface and connected.
#include "natcheck/path.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "natcheck/route.h"

namespace turnpike::natcheck {
namespace {

struct Interface {
  std::string name;
  std::vector<Address> addresses;
  bool loopback = false;
};

std::vector<Interface> interfaces() {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) throw std::system_error(errno, std::generic_category(), "interfaces");
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
  std::vector<Interface> found;
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || (one->ifa_flags & IFF_UP) == 0) continue;
    const int family = one->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, one->ifa_addr,
                family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    auto at = std::find_if(found.begin(), found.end(),
                           [&](const Interface& other) { return other.name == one->ifa_name; });
    if (at == found.end())
      at = found.insert(found.end(), {one->ifa_name, {}, (one->ifa_flags & IFF_LOOPBACK) != 0});
    at->addresses.push_back(endpoint_of(storage).address);
  }
  return found;
}

bool has(const Interface& interface, const Address& address) {
  return std::find(interface.addresses.begin(), interface.addresses.end(), address) !=
         interface.addresses.end();
}

bool bind_to(int fd, const std::string& interface) {
  return interface.empty() || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface.c_str(),
                                         static_cast<socklen_t>(interface.size())) == 0;
}

// The local address by which `server` is reached through `interface` (empty: any); nullopt: by
// none.
std::optional<Address> source_to(const Address& server, const std::string& interface) {
  const int family = server.family == Family::kIpv4 ? AF_INET : AF_INET6;
  const Descriptor probe(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const KernelAddress to({server, 9});  // nothing is sent to it
  if (!bind_to(probe.get(), interface) || connect(probe.get(), to.get(), to.size()) != 0)
    return std::nullopt;
  return local_of(probe).address;
}

}  // namespace

std::vector<Path> find_paths(const std::vector<Address>& servers, const std::string& only,
                             std::vector<std::string>& without_way) {
  const std::vector<Interface> all = interfaces();
  const auto wanted = Address::parse(only);
  std::vector<Path> paths;
  // What is on this host isn't reached through an interface.
  for (const Address& server : servers) {
    const bool own =
        std::any_of(all.begin(), all.end(), [&](const Interface& one) { return has(one, server); });
    if (!own) continue;
    if (const auto source = source_to(server, "")) paths.push_back({"", *source, server});
  }
  if (!paths.empty()) return paths;

  for (const Interface& interface : all) {
    const bool asked = only == interface.name || (wanted && has(interface, *wanted));
    if (only.empty() ? interface.loopback : !asked) continue;
    const std::size_t before = paths.size();
    for (const Address& server : servers) {
      if (wanted && wanted->family != server.family) continue;
      if (!leads_to(interface.name, server)) continue;
      const auto source = source_to(server, interface.name);
      if (source) paths.push_back({interface.name, wanted ? *wanted : *source, server});
    }
    if (paths.size() == before) without_way.push_back(interface.name);
  }
  return paths;
}

std::vector<Address> resolve(const std::string& host) {
  // A resolver that doesn't answer is given up after seconds, not a minute.
  setenv("RES_OPTIONS", "timeout:2 attempts:2", 0);
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* list = nullptr;
  if (const int error = getaddrinfo(host.c_str(), nullptr, &hints, &list); error != 0)
    throw std::runtime_error(host + ": " + gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, freeaddrinfo);
  std::vector<Address> found;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    if (one->ai_family != AF_INET && one->ai_family != AF_INET6) continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, one->ai_addr, one->ai_addrlen);
    const Address address = endpoint_of(storage).address;
    if (std::none_of(found.begin(), found.end(),
                     [&](const Address& other) { return other.family == address.family; }))
      found.push_back(address);
  }
  return found;
}

KernelAddress::KernelAddress(const Endpoint& endpoint) {
  if (endpoint.address.family == Family::kIpv4) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(endpoint.port);
    std::memcpy(&address.sin_addr, endpoint.address.bytes.data(), 4);
    std::memcpy(&storage_, &address, sizeof address);
    size_ = sizeof address;
    return;
  }
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(endpoint.port);
  std::memcpy(&address.sin6_addr, endpoint.address.bytes.data(), 16);
  std::memcpy(&storage_, &address, sizeof address);
  size_ = sizeof address;
}

Endpoint endpoint_of(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    return {Address::from_bytes(Family::kIpv6, v6.sin6_addr.s6_addr), ntohs(v6.sin6_port)};
  }
  sockaddr_in v4{};
  std::memcpy(&v4, &storage, sizeof v4);
  return {Address::from_bytes(Family::kIpv4, reinterpret_cast<const std::uint8_t*>(&v4.sin_addr)),
          ntohs(v4.sin_port)};
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

Descriptor open_socket(const Path& path, int type, std::uint16_t port) {
  const int family = path.local.family == Family::kIpv4 ? AF_INET : AF_INET6;
  Descriptor made(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const KernelAddress at({path.local, port});
  if (made.get() < 0 || !bind_to(made.get(), path.interface) ||
      bind(made.get(), at.get(), at.size()) != 0)
    throw std::system_error(errno, std::generic_category(), path.local.to_string());
  return made;
}

Endpoint local_of(const Descriptor& socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  return endpoint_of(storage);
}

}  // namespace turnpike::natcheck

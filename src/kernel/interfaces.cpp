// Questions to the kernel by ioctl(2) and netlink, each refused with the interface's name.
#include "kernel/interfaces.h"

#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace turnpike::kernel {
namespace {

// Tunnels such as tun, ppp and WireGuard carry bare IP packets: every header would be looked for
// 14 bytes too far.
bool has_ethernet_headers(unsigned short hardware) {
  return hardware == ARPHRD_ETHER || hardware == ARPHRD_LOOPBACK;
}

}  // namespace

std::string interface_problem(const std::string& interface) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";  // what is wrong then is not the interface
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  const bool known = ioctl(fd, SIOCGIFFLAGS, &request) == 0;
  const bool up = (request.ifr_flags & IFF_UP) != 0;
  const bool typed = known && ioctl(fd, SIOCGIFHWADDR, &request) == 0;
  close(fd);
  if (!known) return "there is no interface " + interface + "; ip link lists those there are";
  if (typed && !has_ethernet_headers(request.ifr_hwaddr.sa_family)) {
    return "the interface has no Ethernet headers (a tunnel such as tun, ppp or WireGuard): the "
           "relay can't work on it; name the interface beneath it, or another";
  }
  return up ? "" : "the interface is down; ip link set " + interface + " up";
}

bool interface_is_running(const std::string& interface) {
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool known = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
  if (fd >= 0) close(fd);
  return known && (request.ifr_flags & IFF_UP) != 0 && (request.ifr_flags & IFF_RUNNING) != 0;
}

std::uint16_t interface_mtu(const std::string& interface) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  const bool known = fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0;
  if (fd >= 0) close(fd);
  return known ? static_cast<std::uint16_t>(std::clamp(request.ifr_mtu, 68, 65535)) : 1500;
}

}  // namespace turnpike::kernel

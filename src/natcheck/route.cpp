// By netlink, and not by connect(): a socket bound to an interface takes every address to be on its
// link where no route says anything else.
#include "natcheck/route.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "natcheck/path.h"

namespace turnpike::natcheck {
namespace {

struct Request {
  nlmsghdr header{};
  rtmsg route{};
  std::array<char, 64> attributes{};
};

void add(Request& request, unsigned short type, const void* value, std::size_t size) {
  const std::size_t at = NLMSG_ALIGN(request.header.nlmsg_len);
  rtattr attribute{};
  attribute.rta_type = type;
  attribute.rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
  char* const place = reinterpret_cast<char*>(&request) + at;
  std::memcpy(place, &attribute, sizeof attribute);
  std::memcpy(place + RTA_LENGTH(0), value, size);
  request.header.nlmsg_len = static_cast<unsigned>(at + attribute.rta_len);
}

}  // namespace

bool leads_to(const std::string& interface, const Address& destination) {
  const unsigned index = if_nametoindex(interface.c_str());
  const Descriptor netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  Request request;
  request.header.nlmsg_type = RTM_GETROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof request.route);
  request.route.rtm_family = destination.family == Family::kIpv4 ? AF_INET : AF_INET6;
  request.route.rtm_dst_len = static_cast<unsigned char>(destination.size() * 8);
  request.route.rtm_flags = RTM_F_FIB_MATCH;  // what the tables say, nothing assumed
  add(request, RTA_DST, destination.bytes.data(), destination.size());
  add(request, RTA_OIF, &index, sizeof index);
  // The kernel answers at once, a route or an error.
  alignas(nlmsghdr) std::array<char, 4096> answer{};
  if (send(netlink.get(), &request, request.header.nlmsg_len, 0) < 0 ||
      recv(netlink.get(), answer.data(), answer.size(), 0) < static_cast<ssize_t>(sizeof(nlmsghdr)))
    return true;
  nlmsghdr header;
  std::memcpy(&header, answer.data(), sizeof header);
  return header.nlmsg_type != NLMSG_ERROR;
}

}  // namespace turnpike::natcheck

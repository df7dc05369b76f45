// A socket apart from the dialogue's: an answer can't be mistaken for news.
#include "kernel/route_query.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernel/netlink.h"

namespace turnpike::kernel {

struct RouteQuery::Impl {
  mnl_socket* socket = nullptr;
};

RouteQuery::RouteQuery() : impl_(std::make_unique<Impl>()) {
  impl_->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (impl_->socket != nullptr && mnl_socket_bind(impl_->socket, 0, MNL_SOCKET_AUTOPID) == 0)
    return;
  const int error = errno;
  if (impl_->socket != nullptr) mnl_socket_close(impl_->socket);
  throw std::runtime_error(std::string("netlink: ") + std::strerror(error));
}

RouteQuery::~RouteQuery() {
  mnl_socket_close(impl_->socket);
}

std::optional<RouteQuery::Answer> RouteQuery::ask(const Address& destination,
                                                  unsigned through) const {
  std::array<char, 256> question{};
  nlmsghdr* header = mnl_nlmsg_put_header(question.data());
  header->nlmsg_type = RTM_GETROUTE;
  header->nlmsg_flags = NLM_F_REQUEST;
  auto* wanted = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  wanted->rtm_family = destination.family == Family::kIpv4 ? AF_INET : AF_INET6;
  wanted->rtm_dst_len = static_cast<unsigned char>(8 * destination.size());
  mnl_attr_put(header, RTA_DST, destination.size(), destination.bytes.data());
  if (through != 0) mnl_attr_put_u32(header, RTA_OIF, through);
  if (mnl_socket_sendto(impl_->socket, header, header->nlmsg_len) < 0) return std::nullopt;
  // The kernel has answered when sendto returns.
  std::array<char, 8192> bytes;
  const ssize_t size = mnl_socket_recvfrom(impl_->socket, bytes.data(), bytes.size());
  const auto* message = reinterpret_cast<const nlmsghdr*>(bytes.data());
  if (size <= 0 || !mnl_nlmsg_ok(message, static_cast<int>(size)) ||
      message->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(message) < sizeof(rtmsg))
    return std::nullopt;
  const std::uint8_t type = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message))->rtm_type;
  if (type != RTN_UNICAST && type != RTN_LOCAL) return std::nullopt;
  Answer answer;
  answer.local = type == RTN_LOCAL;
  for_each_attribute(message, sizeof(rtmsg), [&](const nlattr* attribute) {
    const std::uint16_t kind = mnl_attr_get_type(attribute);
    if (kind == RTA_GATEWAY || kind == RTA_VIA) answer.by_gateway = true;
    if (kind == RTA_OIF && mnl_attr_get_payload_len(attribute) == sizeof(std::uint32_t))
      answer.interface = mnl_attr_get_u32(attribute);
  });
  return answer;
}

}  // namespace turnpike::kernel

// Netlink by libmnl, in bounded reads; what the kernel could not keep for us is made good by
// asking anew.
#include "kernel/dialogue.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace turnpike::kernel {
namespace {

constexpr std::size_t kBuffer = 65536;
constexpr std::size_t kLeastCost = 1024;  // of a message, however short
constexpr int kReceiveBuffer = 4 << 20;
constexpr auto kPatience = std::chrono::seconds(2);  // with a kernel that stops telling
// A telling is followed by a pause, ten times as long as it took: no more than a tenth of the time
// goes into it, however often something makes us doubt.
constexpr auto kLeastPause = std::chrono::milliseconds(100);
constexpr auto kMostPause = std::chrono::seconds(5);
constexpr int kPauseFactor = 10;

// In this order: routes name links, and neighbours too.
constexpr std::array<std::uint16_t, 4> kDumps{RTM_GETLINK, RTM_GETRULE, RTM_GETROUTE, RTM_GETNEIGH};
constexpr std::array<int, 8> kGroups{
    RTNLGRP_LINK,       RTNLGRP_NEIGH,      RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,
};

}  // namespace

KernelDialogue::KernelDialogue(Listener& listener) : listener_(listener), buffer_(kBuffer) {
  const auto fail = [this](int error) {
    if (socket_ != nullptr) mnl_socket_close(socket_);
    throw std::runtime_error(std::string("netlink: ") + std::strerror(error));
  };
  socket_ = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket_ == nullptr || mnl_socket_bind(socket_, 0, MNL_SOCKET_AUTOPID) < 0) fail(errno);
  for (int group : kGroups) {
    if (mnl_socket_setsockopt(socket_, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0)
      fail(errno);
  }
  // Beyond the system's limit with the right to; without it, as much as there is.
  if (setsockopt(fd(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) < 0)
    setsockopt(fd(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
}

KernelDialogue::~KernelDialogue() {
  mnl_socket_close(socket_);
}

void KernelDialogue::poll(Clock::time_point now, std::size_t bytes) {
  read(bytes, now);
  if (dumping_ != 0) {
    if (now - heard_ > kPatience) give_up("the kernel stopped telling", now);
    return;
  }
  if (!doubtful_ || (ended_ != Clock::time_point() && now - ended_ < pause_)) return;
  doubtful_ = false;
  began_ = now;
  failure_.clear();
  listener_.begins();
  ask(0, now);
}

void KernelDialogue::read(std::size_t bytes, Clock::time_point now) {
  for (std::size_t cost = 0; cost < bytes;) {
    const ssize_t size = recv(fd(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == ENOBUFS) {
      doubtful_ = true;  // something was lost
      cost += kLeastCost;
      continue;
    }
    if (size <= 0) return;
    cost += std::max(static_cast<std::size_t>(size), kLeastCost);
    auto left = static_cast<int>(size);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer_.data());
    for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
      take(message, now);
  }
}

void KernelDialogue::take(const nlmsghdr* message, Clock::time_point now) {
  const bool row = (message->nlmsg_flags & NLM_F_MULTI) != 0;
  const bool answer = message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR;
  if (!row && !answer) return listener_.changes(message);
  if (dumping_ == 0 || message->nlmsg_seq != dumping_) return;  // of a dump that was given up
  heard_ = now;
  if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) doubtful_ = true;
  if (answer) return take_answer(message, now);
  listener_.tells(message);
}

void KernelDialogue::take_answer(const nlmsghdr* message, Clock::time_point now) {
  int error = 0;  // both kinds begin with it
  if (mnl_nlmsg_get_payload_len(message) >= sizeof error)
    std::memcpy(&error, mnl_nlmsg_get_payload(message), sizeof error);
  // A kernel built without rules has none to tell.
  const bool no_rules = error == -EOPNOTSUPP && kDumps[phase_] == RTM_GETRULE;
  if (error < 0 && !no_rules) return give_up(std::strerror(-error), now);
  if (phase_ + 1 < kDumps.size()) return ask(phase_ + 1, now);
  dumping_ = 0;
  end(now);
  listener_.has_told_all();
}

void KernelDialogue::ask(std::size_t phase, Clock::time_point now) {
  std::array<char, 256> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = kDumps[phase];
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = ++sequence_;
  auto* general = static_cast<rtgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtgenmsg)));
  general->rtgen_family = AF_UNSPEC;
  phase_ = phase;
  dumping_ = sequence_;
  heard_ = now;
  if (mnl_socket_sendto(socket_, header, header->nlmsg_len) < 0) give_up(std::strerror(errno), now);
}

void KernelDialogue::end(Clock::time_point now) {
  ended_ = now;
  pause_ = std::clamp<Clock::duration>(kPauseFactor * (now - began_), kLeastPause, kMostPause);
}

void KernelDialogue::give_up(const std::string& why, Clock::time_point now) {
  dumping_ = 0;
  doubtful_ = true;
  failure_ = why;
  end(now);
}

// Not answered, unless it fails; and then there is nothing to be done.
void KernelDialogue::send_neighbour(std::uint16_t type, std::uint32_t interface,
                                    const Address& address) {
  const bool looks = type == RTM_NEWNEIGH;
  std::array<char, 256> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST;
  if (looks) header->nlmsg_flags |= NLM_F_CREATE | NLM_F_REPLACE;
  header->nlmsg_seq = ++sequence_;
  auto* entry = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ndmsg)));
  entry->ndm_family = address.family == Family::kIpv4 ? AF_INET : AF_INET6;
  entry->ndm_ifindex = static_cast<int>(interface);
  entry->ndm_state = NUD_NONE;
  entry->ndm_flags = looks ? NTF_USE : 0;
  mnl_attr_put(header, NDA_DST, address.size(), address.bytes.data());
  mnl_socket_sendto(socket_, header, header->nlmsg_len);
}

void KernelDialogue::look_for(std::uint32_t interface, const Address& address) {
  send_neighbour(RTM_NEWNEIGH, interface, address);
}

void KernelDialogue::forget(std::uint32_t interface, const Address& address) {
  send_neighbour(RTM_DELNEIGH, interface, address);
}

}  // namespace turnpike::kernel

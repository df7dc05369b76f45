// Attributes of netlink messages, whose sizes the kernel says and nobody believes.
#pragma once

#include <libmnl/libmnl.h>

#include <cstddef>
#include <utility>

namespace turnpike::kernel {

// Calls `visit(const nlattr*)` for each attribute in `size` bytes.
template <typename Visitor>
void for_each_attribute(const void* begin, std::size_t size, Visitor&& visit) {
  const auto* tail = static_cast<const char*>(begin) + size;
  const auto* at = static_cast<const nlattr*>(begin);
  while (mnl_attr_ok(at, static_cast<int>(tail - reinterpret_cast<const char*>(at)))) {
    visit(at);
    at = mnl_attr_next(at);
  }
}

// And for each behind the family header of `header_size` bytes, which are there.
template <typename Visitor>
void for_each_attribute(const nlmsghdr* message, std::size_t header_size, Visitor&& visit) {
  const std::size_t header = MNL_ALIGN(header_size);
  const std::size_t payload = mnl_nlmsg_get_payload_len(message);
  if (payload <= header) return;
  for_each_attribute(mnl_nlmsg_get_payload_offset(message, header_size), payload - header,
                     std::forward<Visitor>(visit));
}

}  // namespace turnpike::kernel

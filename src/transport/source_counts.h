// How many connections each source has: an IPv4 address, or an IPv6 /64.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>

#include "turnpike/address.h"

namespace turnpike::transport {

class SourceCounts {
 public:
  explicit SourceCounts(std::uint32_t most) : most_(most) {}  // 0: no limit

  bool has_room(const Address& client) const {
    const auto counted = counts_.find(source_of(client));
    return most_ == 0 || counted == counts_.end() || counted->second < most_;
  }
  void add(const Address& client) { ++counts_[source_of(client)]; }
  void remove(const Address& client) {
    const auto counted = counts_.find(source_of(client));
    if (--counted->second == 0) counts_.erase(counted);
  }

 private:
  static Address source_of(Address client) {
    if (client.family == Family::kIpv6) std::fill(client.bytes.begin() + 8, client.bytes.end(), 0);
    return client;
  }

  const std::uint32_t most_;
  std::map<Address, std::uint32_t> counts_;
};

}  // namespace turnpike::transport

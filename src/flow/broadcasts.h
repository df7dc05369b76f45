// The broadcast addresses of connected networks, which are of IPv4.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::flow {

class Broadcasts {
 public:
  Broadcasts() = default;
  // Others than of IPv4 are passed over.
  explicit Broadcasts(const std::vector<Address>& addresses) {
    for (const Address& address : addresses) {
      if (address.family == Family::kIpv4) words_.push_back(word_of(address));
    }
  }

  bool has(std::uint32_t on_wire) const {
    return std::find(words_.begin(), words_.end(), on_wire) != words_.end();
  }
  bool has(const Address& address) const {
    return address.family == Family::kIpv4 && has(word_of(address));
  }

 private:
  static std::uint32_t word_of(const Address& address) {
    std::uint32_t word = 0;
    std::memcpy(&word, address.bytes.data(), sizeof word);
    return word;
  }

  std::vector<std::uint32_t> words_;  // as on the wire
};

}  // namespace turnpike::flow

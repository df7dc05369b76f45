// Which of several threads has a client: for all who ask the same one, which no stranger can
// choose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/keyed_hash.h"
#include "turnpike/address.h"

namespace turnpike {

struct ClientSpread {
  HashKey key{};  // random where there are several threads

  // `threads`: at least 1.
  std::size_t thread_of(const Endpoint& client, std::size_t threads) const {
    std::uint64_t low = 0, high = 0;
    std::memcpy(&low, client.address.bytes.data(), sizeof low);
    std::memcpy(&high, client.address.bytes.data() + sizeof low, sizeof high);
    return static_cast<std::size_t>((table_hash(key, low, high, client.port) >> 32) % threads);
  }
};

}  // namespace turnpike

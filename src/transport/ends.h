// The two ends of what a client speaks over, by which it is found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/keyed_hash.h"
#include "turnpike/address.h"
#include "turnpike/listener.h"

namespace turnpike::transport {

struct Ends {
  Endpoint client;
  Endpoint server;
  ListenerIndex listener = 0;

  friend bool operator==(const Ends& one, const Ends& other) {
    return one.client == other.client && one.server == other.server;
  }
};

struct EndsHash {
  HashKey key;  // random

  std::size_t operator()(const Ends& ends) const {
    const auto half = [](const Address& address, int which) {
      std::uint64_t word = 0;
      std::memcpy(&word, address.bytes.data() + 8 * which, sizeof word);
      return word;
    };
    const std::uint64_t client = table_hash(key, half(ends.client.address, 0),
                                            half(ends.client.address, 1), ends.client.port);
    return static_cast<std::size_t>(table_hash(key, client ^ half(ends.server.address, 0),
                                               half(ends.server.address, 1), ends.server.port));
  }
};

}  // namespace turnpike::transport

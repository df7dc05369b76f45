// The other side of a proxy that ends TLS (nginx's stream module) and passes bytes on by TCP:
// connections that it makes to us, each for one of our clients, which the first message names.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "turnpike/address.h"
#include "turnpike/stun.h"

namespace turnpike::streams {

using stun::Bytes;

class FarEnds {
 public:
  // Listens at `endpoint`. Throws std::runtime_error.
  explicit FarEnds(const Endpoint& endpoint);
  ~FarEnds();
  FarEnds(const FarEnds&) = delete;
  FarEnds& operator=(const FarEnds&) = delete;

  // Can be read when serve() has something to do.
  int fd() const { return epoll_; }
  // `first`: the message that names the client.
  using Taker = std::function<void(std::uint32_t client, Bytes payload, bool first)>;
  void serve(const Taker& take);
  // False: there is no such connection, or its socket has not taken all of before.
  bool send(std::uint32_t client, Bytes messages);

 private:
  struct End {
    int fd = -1;
    bool named = false;
    std::uint32_t client = 0;
    std::vector<std::uint8_t> rest, unsent;
  };
  void accept_all();
  bool read(End& end, const Taker& take);
  static bool write_unsent(End& end);

  int listening_, epoll_;
  std::unordered_map<int, End> ends_;          // by descriptor
  std::unordered_map<std::uint32_t, int> of_;  // descriptors, by client
  std::vector<std::uint8_t> room_;
};

}  // namespace turnpike::streams

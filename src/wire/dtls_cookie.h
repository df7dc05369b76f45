// Cookies of DTLS (RFC 6347 §4.2.1) that are checked without having been kept: who shows one has
// received it where he says that he is, a short while ago.
#pragma once

#include <array>
#include <cstdint>

#include "turnpike/address.h"
#include "turnpike/stun.h"
#include "turnpike/time.h"

namespace turnpike::wire {

class DtlsCookies {
 public:
  using Key = std::array<std::uint64_t, 2>;
  static constexpr std::size_t kSize = 12;
  static constexpr std::uint32_t kLifetimeS = 60;  // more than a handshake is waited for
  using Cookie = std::array<std::uint8_t, kSize>;

  explicit DtlsCookies(const Key& key) : key_(key) {}  // secret

  // For who says hello with `random` (32 bytes), which is the same in the hello that shows it.
  Cookie mint(Instant now, const Endpoint& client, const Endpoint& server,
              stun::Bytes random) const;
  bool holds(Instant now, const Endpoint& client, const Endpoint& server, stun::Bytes random,
             stun::Bytes cookie) const;

 private:
  Cookie make(std::uint32_t born_s, const Endpoint& client, const Endpoint& server,
              stun::Bytes random) const;

  const Key key_;
};

}  // namespace turnpike::wire

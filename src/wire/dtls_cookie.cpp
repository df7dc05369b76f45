// Birth (4 bytes) and MAC (8), as a nonce has them: what nonce.cpp says of their sizes holds here.
// One that was collected is of no use a minute later, nor for another hello, which is what a key
// that changes would be for.
#include "wire/dtls_cookie.h"

#include <algorithm>

#include "base/keyed_hash.h"
#include "turnpike/integrity.h"
#include "wire/dtls_records.h"
#include "wire/headers.h"

namespace turnpike::wire {
namespace {

constexpr std::size_t kEndpointSize = 16 + 1 + 2;
// Workers' clocks are read once a burst, so one may check what another has minted a moment later.
constexpr std::uint32_t kClockSkewSeconds = 2;

std::uint8_t* append(std::uint8_t* at, const Endpoint& endpoint) {
  at = std::copy(endpoint.address.bytes.begin(), endpoint.address.bytes.end(), at);
  *at = static_cast<std::uint8_t>(endpoint.address.family);
  store_be16(at + 1, endpoint.port);
  return at + 3;
}

}  // namespace

DtlsCookies::Cookie DtlsCookies::make(std::uint32_t born_s, const Endpoint& client,
                                      const Endpoint& server, stun::Bytes random) const {
  std::array<std::uint8_t, 4 + 2 * kEndpointSize + dtls::kRandomSize> input{};
  store_be32(input.data(), born_s);
  std::uint8_t* const at = append(append(input.data() + 4, client), server);
  std::copy_n(random.begin(), std::min(random.size(), dtls::kRandomSize), at);
  Cookie cookie;
  store_be32(cookie.data(), born_s);
  store_be64(cookie.data() + 4, siphash24(key_[0], key_[1], input));
  return cookie;
}

DtlsCookies::Cookie DtlsCookies::mint(Instant now, const Endpoint& client, const Endpoint& server,
                                      stun::Bytes random) const {
  return make(now_s(now), client, server, random);
}

bool DtlsCookies::holds(Instant now, const Endpoint& client, const Endpoint& server,
                        stun::Bytes random, stun::Bytes cookie) const {
  if (cookie.size() != kSize) return false;
  const std::uint32_t born_s = load_be32(cookie.data());
  if (!stun::equal_constant_time(cookie, make(born_s, client, server, random))) return false;
  const std::uint32_t seconds = now_s(now);
  const bool from_future = born_s > seconds && born_s - seconds > kClockSkewSeconds;
  return !from_future && (seconds < born_s || seconds - born_s < kLifetimeS);
}

}  // namespace turnpike::wire

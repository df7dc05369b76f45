// A client, a server, a realm, a time and the nonces that go with them.
#pragma once

#include <array>
#include <string>

#include "turnpike/nonce.h"

namespace turnpike::test {

inline constexpr Instant kStart{1'000'000};
inline Endpoint endpoint(const char* text) {
  return Endpoint::parse(text).value();
}
inline const Endpoint kClient = endpoint("198.51.100.7:40000");
inline const Endpoint kServer = endpoint("203.0.113.1:3478");

inline const Realm kRealm{.name = "example.org"};

inline NonceKeeper::Config nonce_config() {
  NonceKeeper::Config config;
  config.key = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  return config;
}

inline std::string mint(const NonceKeeper& keeper, Instant now = kStart,
                        const Realm& realm = kRealm) {
  std::array<char, NonceKeeper::kMaxSize> out;
  return {out.data(), keeper.mint(now, realm, kClient, kServer, out)};
}

inline Instant after(std::uint32_t seconds) {
  return kStart + std::uint64_t{seconds} * 1000;
}

}  // namespace turnpike::test

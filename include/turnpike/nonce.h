// Stateless nonces (RFC 8489 §9.2; docs/protocol.md 6, 7, 9): a nonce carries its own birth and a
// MAC over that, the client's and the server's transport address, the realm and the security bits,
// so that checking one needs no memory and a stolen one is worth nothing from another address.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "turnpike/address.h"
#include "turnpike/realm.h"
#include "turnpike/time.h"

namespace turnpike {

enum class NonceState : std::uint8_t {
  kValid,
  kStale,    // ours, for this client, but too old
  kInvalid,  // forged, of another address, key or realm, or of another algorithm list
};

class NonceKeeper {
 public:
  static constexpr std::size_t kMaxSize = 64;  // docs/protocol.md 6
  static constexpr std::size_t kSize = 29;     // of every nonce

  struct Config {
    std::uint32_t lifetime_s = 3600;
    std::array<std::uint8_t, 16> key{};  // secret
  };

  explicit NonceKeeper(const Config& config);

  // From now on nonces are minted with `key`; those of the key before stay valid, older ones don't.
  // By one thread, and not twice within the time that a mint or a check may take.
  void rotate(const std::array<std::uint8_t, 16>& key);

  // Writes a nonce of at most kMaxSize printable bytes to `out` and returns its size. It is of no
  // worth in another realm, nor in this one once its clients are told something else.
  std::size_t mint(Instant now, const Realm& realm, const Endpoint& client, const Endpoint& server,
                   std::array<char, kMaxSize>& out) const;
  NonceState check(Instant now, const Realm& realm, const Endpoint& client, const Endpoint& server,
                   std::string_view nonce) const {
    return check(now, realm, client, server, nonce, config_.lifetime_s);
  }
  // The same, but it must not be as old as `lifetime_s`.
  NonceState check(Instant now, const Realm& realm, const Endpoint& client, const Endpoint& server,
                   std::string_view nonce, std::uint32_t lifetime_s) const;

  // All const members are safe from any thread.
  const Config& config() const { return config_; }

 private:
  using Key = std::array<std::uint8_t, 16>;
  using Mac = std::array<std::uint8_t, 8>;
  // A key as it is used: its two halves.
  struct Prepared {
    std::uint64_t k0 = 0, k1 = 0;
  };
  static Prepared prepare(const Key& key);
  static Mac mac(const Prepared& key, std::uint32_t born_s, const Realm& realm,
                 const Endpoint& client, const Endpoint& server);

  const Config config_;
  // Key n is in slot n % 4: while the slot of the next one is written, nobody reads there.
  std::array<Prepared, 4> keys_;
  std::atomic<std::uint32_t> current_{0};  // control: wo, workers and engines: ro
};

}  // namespace turnpike

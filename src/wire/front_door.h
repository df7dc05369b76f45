// What is answered without any state: Binding, and every request that has not shown yet that it
// comes from where it says (400, 401, 420 for Binding, 438). Runs on the workers, so that a flood
// of strangers reaches no ring, key or quota (PROTOCOL.md 1, 9).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "turnpike/address.h"
#include "turnpike/stun.h"
#include "turnpike/time.h"
#include "wire/nonce.h"

namespace turnpike {

enum class Door : std::uint8_t {
  kAnswered,          // the answer is in `out`
  kAdmit,             // for the engine: credentials are there and the nonce is ours and fresh
  kIgnoreMalformed,   // dropped silently: unknown method, or a class that no server takes
  kIgnoreIndication,  // Binding indication: accepted in silence
};

// Which answer it was, for the counters.
enum class DoorAnswer : std::uint8_t { kNone, kBindingSuccess, k400, k401, k420, k438 };

struct DoorResult {
  Door door = Door::kIgnoreMalformed;
  DoorAnswer answer = DoorAnswer::kNone;
  std::size_t size = 0;  // of the answer in `out`
};

class FrontDoor {
 public:
  struct Config {
    std::string realm;
    std::string software;        // empty: none
    bool sha256_offered = true;  // PASSWORD-ALGORITHMS: SHA-256, MD5 (else attribute left out)
    bool md5_offered = true;
    bool stun_only = false;  // TURN methods are ignored as unknown
    bool turn_only = false;  // Binding likewise
  };
  FrontDoor(const Config& config, const NonceKeeper& nonces) : config_(config), nonces_(nonces) {}

  // `request` is a parsed message of class request or indication other than Send. `known` says that
  // the five-tuple has an allocation: then a nonce that is ours and only stale is admitted, because
  // the engine must first recognise a retransmission (it answers 438 itself). `out` doesn't overlap
  // the request and has at least 512 bytes. Any thread; no allocation, no lock.
  DoorResult answer(Instant now, const stun::MessageView& request, const Endpoint& client,
                    const Endpoint& server, bool known, std::span<std::uint8_t> out) const;

 private:
  Config config_;
  const NonceKeeper& nonces_;
};

}  // namespace turnpike

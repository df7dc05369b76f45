// What is answered without any state: Binding, and every request that has not shown yet that it
// comes from where it says (400, 401, 420 for Binding, 438). Runs on the workers, so that a flood
// of strangers reaches no ring, key or quota (docs/protocol.md 1, 9).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "turnpike/address.h"
#include "turnpike/classic_stun.h"
#include "turnpike/listener.h"
#include "turnpike/nat_discovery.h"
#include "turnpike/nonce.h"
#include "turnpike/stun.h"
#include "turnpike/time.h"

namespace turnpike {

enum class StatelessVerdict : std::uint8_t {
  kAnswered,          // the answer is in `out`
  kAdmit,             // for the engine: credentials are there and the nonce is ours and fresh
  kIgnoreMalformed,   // dropped silently: unknown method, or a class that no server takes
  kIgnoreIndication,  // Binding indication: accepted in silence
  kTooLong,           // the answer would be longer than kAnswerMax: none is given
};

// How much an answer may weigh (RFC 8489 §6.1: IP packets of 576 bytes where the path MTU isn't
// known).
inline constexpr std::size_t kAnswerMax = 576 - 20 - 8;

// PADDING of an answer (RFC 5780 §6.1): with it, no Ethernet takes the answer whole. Less where the
// request is so short that its answer would be more than three times as long.
inline constexpr std::size_t kPaddingMost = 1500;
// Likewise of an answer with PADDING, which is to come in fragments.
inline constexpr std::size_t kPaddedAnswerMax = 20 + 4 * 24 + 4 + kPaddingMost + 8;

// Which answer it was, for the counters.
enum class StatelessAnswer : std::uint8_t { kNone, kBindingSuccess, k400, k401, k420, k438 };

struct StatelessResult {
  StatelessVerdict verdict = StatelessVerdict::kIgnoreMalformed;
  StatelessAnswer answer = StatelessAnswer::kNone;
  std::size_t size = 0;  // of the answer in `out`
  // The request hasn't shown that its sender is where it says, and the answer costs more than it:
  // limited by source (docs/protocol.md 9).
  bool to_stranger = false;
  // Of a Binding to a listener with discovery: how its success goes; whether it asks for what is
  // rationed besides (RESPONSE-PORT, PADDING); whether it has PADDING; and whether, where there is
  // no token left for all that such a listener tells, answer_briefly() is answer enough.
  AnswerWay way{};
  bool rationed = false;
  bool padded = false;
  bool may_be_brief = false;
};

class StatelessAnswers {
 public:
  struct Config {
    std::vector<Realm> realms;  // by RealmIndex
    bool classic = true;        // Binding without magic cookie is answered (RFC 3489)
  };
  StatelessAnswers(const Config& config, const NonceKeeper& nonces)
      : config_(config), nonces_(nonces) {}

  // `request` is a parsed message of class request or indication other than Send, which came to
  // `listener`, whose realm is one of these. `known` says that the five-tuple has an allocation:
  // then a nonce that is ours and only stale is admitted, because the engine must first recognise a
  // retransmission (it answers 438 itself). `out` doesn't overlap the request and has at least
  // kAnswerMax bytes; with fewer than kPaddedAnswerMax there is less PADDING. Any thread; no
  // allocation, no lock.
  StatelessResult answer(Instant now, const stun::MessageView& request, const Endpoint& client,
                         const Listener& listener, bool known, std::span<std::uint8_t> out) const;

  // The least that a Binding request without unknown attributes can get: its sender's address.
  // Returns the answer's size; `out` as above.
  static std::size_t answer_briefly(const stun::MessageView& request, const Endpoint& client,
                                    std::span<std::uint8_t> out);

  // Binding without magic cookie, where it is answered at all.
  stun::ClassicResult answer_classic(stun::Bytes bytes, const Endpoint& client,
                                     const Listener& listener, std::span<std::uint8_t> out) const {
    if (!config_.classic || listener.turn_only) return {};
    return stun::answer_classic(bytes, client, listener, out);
  }

  // The size of a challenge to a request with FINGERPRINT, reason phrase left out, for a realm of
  // so many bytes. What a bare request of 20 bytes gets has 8 less.
  static std::size_t challenge_size(std::size_t realm_size);
  // The longest realm with which a challenge to the smallest request, over IPv4, is at most three
  // times as long.
  static constexpr std::size_t kRealmSmall = 32;

 private:
  Config config_;
  const NonceKeeper& nonces_;
};

}  // namespace turnpike

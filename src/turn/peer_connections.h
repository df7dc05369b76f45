// What an allocation of TCP's has (RFC 6062): where peers connect to, its connections with them,
// and what of its client's requests waits for either.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/keyed_hash.h"
#include "turnpike/integrity.h"
#include "turnpike/peer_streams.h"
#include "turnpike/quota.h"
#include "turnpike/server.h"
#include "turnpike/stun.h"

namespace turnpike {

// How the answer is to be signed: what authentication found out.
struct SigningKey {
  stun::Key key;
  bool sha256 = false;  // MESSAGE-INTEGRITY-SHA256, else MESSAGE-INTEGRITY
};

// All that an answer needs of its request.
struct Question {
  stun::Method method{};
  stun::TransactionId transaction{};
  bool fingerprint = false;
  SigningKey signing_key;
};

struct PeerConnection {
  enum class State : std::uint8_t {
    kConnecting,  // a Connect waits for it
    kUnbound,     // it waits for a ConnectionBind
    kBound,       // there is a client data connection
  };
  PeerStream stream{};
  AllocationSlot allocation{};
  PeerEndpoint peer;  // the public address, where the peer is one of this node's relayed addresses
  State state = State::kConnecting;
  std::uint32_t due_s = 0;        // until it is bound: when it ends
  std::optional<Question> asked;  // the Connect
};

// Of an allocation, beside what it has as any other.
struct StreamAllocation {
  std::array<std::optional<StreamRelay>, 2> relays;   // by family_index()
  unsigned opening = 0;                               // of them, those that aren't open yet
  std::optional<Question> asked;                      // the Allocate, until they are
  std::map<PeerEndpoint, std::uint32_t> connections;  // ids, by peer
  std::uint32_t connecting = 0;                       // of them
};

// How fast a user may ask for connections: who may ask as often as he likes finds out which ports
// of a network are open. It outlives what he has, so that nobody has his burst anew by coming
// again. A table of fixed size, under a key: two users who share a place share what may be had
// there, and nobody finds out with whom he does.
class ConnectRates {
 public:
  explicit ConnectRates(const HashKey& key) : key_(key), full_at_ms_(kPlaces) {}

  // `burst` at once, then `per_second`; 0: no limit. False: not now.
  bool take(Instant now, const QuotaUser& user, std::uint32_t per_second, std::uint32_t burst);

 private:
  static constexpr std::size_t kPlaces = 4096;

  const HashKey key_;
  std::vector<std::uint64_t> full_at_ms_;
};

}  // namespace turnpike

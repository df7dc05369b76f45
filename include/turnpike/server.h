// A TURN server without sockets (RFC 8656, and docs/protocol.md where it is silent): feed it
// requests and the time, and it answers and says which flows to open and close. It never reads a
// clock, draws a random number or touches a thread by itself: everything it wants of the world is a
// ServerHost.
//
// One Server is one shard: it owns the allocations whose five-tuples were sent to it, with their
// permissions, channels, timers and relay ports. One thread calls it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "turnpike/address.h"
#include "turnpike/flow_sink.h"
#include "turnpike/integrity.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/realm.h"
#include "turnpike/request.h"
#include "turnpike/reservation_token.h"
#include "turnpike/stun.h"
#include "turnpike/time.h"

namespace turnpike {

// Why a request was given up without an answer.
enum class Discard : std::uint8_t {
  kMalformed = 0,    // not a request this server handles
  kKeyTimeout,       // the key never came
  kParkingFull,      // too many requests wait for keys
  kDuplicateParked,  // a retransmission of a request that waits for its key
  kCount,
};

// What is known of a user. Several candidates where several secrets are valid at once (REST).
struct UserKeys {
  std::string username;  // whole, as the client gives it; USERHASH of the same user resolves to it
  std::string quota_name;  // what quotas count in the realm: without REST's timestamp
  std::vector<stun::Key> md5;
  std::vector<stun::Key> sha256;     // empty: this user can't use SHA-256
  std::uint64_t expires_unix_s = 0;  // when the credential ends; 0: never
};

// How the client named itself: by exactly one of the two.
struct UserName {
  std::string_view username;  // empty when a hash was given
  std::optional<std::array<std::uint8_t, 32>> userhash;
};

enum class KeyPurpose : std::uint8_t { kAllocate, kRefresh, kOther };
enum class KeyState : std::uint8_t {
  kFound,
  kUnknown,
  kExpired,      // a credential whose time is over
  kNoTimestamp,  // users' names have a time in front here, and this one has none
  kPending,
};

// Why a request with credentials got 401. All the same to its client (RFC 8489 §9.2.4), not to the
// operator.
enum class Unauthorized : std::uint8_t {
  kUnknownUser = 0,
  kWrongKey,
  kExpired,
  kNoTimestamp,
  kWrongRealm,
  kCount,
};

// Whether a peer may be reached, by address.
enum class PeerVerdict : std::uint8_t {
  kAllowed,
  kForbidden,
  kOwnHost,  // the rules allow it, but it is on the relay's own host, which is not to be reached
  kCount,
};

// What an Allocate says of who asks; empty: it doesn't say. The client proved the first two, and
// chose the others as it liked.
struct IdentityAttributes {
  std::string_view username;  // whole, as its keys were found for it; a USERHASH stands for it too
  std::string_view realm;
  std::string_view origin;    // ORIGIN
  std::string_view software;  // SOFTWARE
};

struct IdentityVerdict {
  bool refused = false;
  // What the user may have from now on, where it isn't what all may.
  std::optional<UserLimits> limits;
};

class ServerHost {
 public:
  virtual ~ServerHost() = default;

  // `message` is valid during the call.
  virtual void reply(RequestToken token, stun::Bytes message) = 0;
  virtual void discard(RequestToken token, Discard reason) = 0;

  // Asks for the keys of a realm's user. kFound: `out` is set. kPending: Server::keys_arrived()
  // will be called with the same user and realm; `out` is untouched. A credential that has expired
  // is kExpired where `purpose` is kAllocate (and kRefresh, if the realm is strict): then `out` has
  // its expires_unix_s alone.
  virtual KeyState find_keys(const UserName& user, RealmIndex realm, KeyPurpose purpose,
                             UserKeys& out) = 0;

  // Told for each 401 that credentials got, before its reply().
  virtual void unauthorized(const ClientEndpoint& client, Unauthorized reason) = 0;

  // Whether a user of `realm` may reach it. Packets to it will come from `relayed`, an address as
  // the wire of this node has it.
  virtual PeerVerdict check_peer(RealmIndex realm, const Address& relayed, const Address& peer) = 0;

  // Whether it is on a link of this node's, where each address costs a next hop of its own. Asked
  // of each permission that would be new, where they are limited.
  virtual bool is_on_link(const Address& /*relayed*/, const Address& /*peer*/) { return false; }

  // Asked once of each Allocate that is right by itself and would make something new. A host
  // without rules lets everybody in.
  virtual IdentityVerdict judge_identity(const IdentityAttributes& /*attributes*/) { return {}; }

  // Uniform in [0, bound), from a cryptographic source (RFC 6056).
  virtual std::uint32_t random_below(std::uint32_t bound) = 0;

  virtual FlowSink& flows() = 0;
};

// An address this node relays from, and how the world sees it.
struct RelayedAddress {
  Address internal;                 // on the wire of this node
  std::optional<Address> external;  // behind a 1:1 NAT: what clients and peers see
  const Address& public_address() const { return external ? *external : internal; }

  friend bool operator==(const RelayedAddress&, const RelayedAddress&) = default;
};

// What may change while a server runs: Server::use(). What stands already keeps the time that it
// was given.
struct ServerPolicy {
  std::vector<Realm> realms;  // by RealmIndex: each keeps its place and its name
  std::string software;       // SOFTWARE in answers; empty: none

  std::uint32_t lifetime_min_s = 600;  // and what who asks for none gets (docs/protocol.md 13)
  std::uint32_t lifetime_max_s = 3600;
  std::uint32_t permission_lifetime_s = 300;
  std::uint32_t channel_lifetime_s = 600;

  std::uint16_t channel_max = 0x4FFF;  // 0x7FFF for RFC 5766 clients
  bool mobility = true;                // RFC 8016; else 405 to who asks for it

  // Where every valid Allocate is sent instead, by the listening address it came to (RFC 8489 §10,
  // RFC 8155 §6).
  struct Redirect {
    Endpoint server;
    std::vector<Endpoint> alternates;
    Transport transport = Transport::kUdp;  // of `server` and of the alternates
  };
  std::vector<Redirect> redirects;
};

// The rest is fixed for the server's life.
struct ServerConfig : ServerPolicy {
  std::vector<RelayedAddress> relayed;  // several per family are drawn from at random
  std::uint16_t port_min = 49152;       // even
  std::uint16_t port_max = 65535;       // odd
  // Families given where the client doesn't say: IPv4 if there is an IPv4 relayed address, as
  // RFC 8656 §7.2 wants.

  std::uint32_t port_rest_s = 30;
  std::uint32_t reservation_lifetime_s = 30;
  std::uint32_t tombstone_s = 40;
  std::uint32_t old_ticket_s = 30;  // RFC 8016 §3.2.2: at least 30

  std::uint32_t max_allocations = 1024;  // of this shard
  std::uint32_t max_permissions_per_allocation = 256;
  std::uint32_t max_channels_per_allocation = 256;
  std::uint32_t max_on_link_peers_per_allocation = 64;  // permissions; 0: no limit
  std::uint32_t max_parked = 256;
  std::uint32_t parked_timeout_ms = 2000;

  std::uint8_t shard = 0;
  std::uint8_t shard_count =
      1;  // relay ports are shared out in blocks of 64, block i to shard i mod n
};

// Counts since the start; single writer, any reader (each field is written with relaxed stores by
// the shard's thread). Indexed as the comments say.
struct ServerCounters;  // turnpike/counters.h

class Server {
 public:
  // Keeps references to all four; they outlive it. `nonces`, `tokens` and `quotas` are shared with
  // other shards and are thread-safe as their headers say.
  Server(const ServerConfig& config, ServerHost& host, const NonceKeeper& nonces,
         const TokenSealer& tokens, QuotaLedger& quotas);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // From now on it goes by `policy`, instead of its configuration's; keeps a reference until the
  // next use(), or its end.
  void use(const ServerPolicy& policy);

  // One STUN request from `five_tuple`, whose listener has this realm. Exactly one reply() or
  // discard() for `token` follows, during this call or, if a key has to be fetched, during a later
  // call of any method.
  void handle(Instant now, const FiveTuple& five_tuple, stun::Bytes request, RequestToken token,
              RealmIndex realm = 0);

  // Answer to a kPending find_keys(); nullptr: no such user. Unasked answers are ignored.
  void keys_arrived(Instant now, const UserName& user, RealmIndex realm, const UserKeys* keys);

  // Ends the allocation, with all that hangs on it, as if its lifetime were over: its client gets
  // 437 to what it asks next. False: the slot has none (any more). Slots are given out again:
  // whoever was told of one some time ago first asks whether it is still the same allocation's.
  bool end(Instant now, AllocationSlot slot);

  // Data of its client's have come by the five-tuple of this move (MoveFlow): it is the
  // allocation's now. Nothing, if another move, or none, is under way.
  void data_came(Instant now, AllocationSlot slot, std::uint16_t move);

  // The stream has ended by which the client had the allocation, or, not 0, that of the move. Ends
  // the allocation, as end() does; one that its client may move goes on by its other five-tuple, if
  // it has one, or waits for its client until its lifetime is over.
  void stream_ended(Instant now, AllocationSlot slot, std::uint16_t move);

  // Does what is due at `now`, but no more at a time than requests can wait for; true: there may be
  // more, call again soon. Call at least once a second.
  bool tick(Instant now);

  // Any thread.
  const ServerCounters& counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace turnpike

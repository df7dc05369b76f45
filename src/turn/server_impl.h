// The TURN server's state and the parts its files share: one allocation with what hangs on it, one
// request in hand, and the answer to it.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/keyed_hash.h"
#include "turn/counters.h"
#include "turn/port_pool.h"
#include "turn/quota.h"
#include "turnpike/server.h"
#include "wire/challenge.h"
#include "wire/nonce.h"
#include "wire/reservation_token.h"

namespace turnpike {

struct Permission {
  PermissionSlot slot{};
  std::uint32_t expires_s = 0;
};

struct Channel {
  ChannelSlot slot{};
  ChannelNumber number = 0;
  PeerEndpoint peer;
  std::uint32_t expires_s = 0;
};

inline constexpr std::uint32_t kNeverDue = 0xFFFF'FFFF;

struct Allocation {
  FiveTuple five_tuple;
  AllocationSlot slot{};
  stun::TransactionId created_by{};
  UserKeys keys;  // one of each kind at most: those that made it
  std::array<std::optional<RelayEndpoint>, 2> relayed;  // by family_index()
  std::array<std::uint32_t, 2> expires_s{};
  std::map<Address, Permission> permissions;
  std::vector<Channel> channels;
  std::uint32_t due_s = kNeverDue;  // when its entry in Impl::due_ comes up
  // What the success said, for its retransmissions.
  std::uint32_t lifetime_s = 0;
  std::optional<TokenSealer::Token> token;
  std::optional<std::pair<Family, std::uint16_t>> address_error;
};

// A deleted allocation is remembered for a while (PROTOCOL.md 14).
struct Tombstone {
  stun::TransactionId created_by{};
  std::uint32_t until_s = 0;
};

struct Reservation {
  RelayEndpoint relayed;
  std::uint32_t expires_s = 0;
};

// How the answer is to be signed: what authentication found out.
struct Credentials {
  stun::Key key;
  bool sha256 = false;  // MESSAGE-INTEGRITY-SHA256, else MESSAGE-INTEGRITY
};

struct Request {
  Instant now;
  FiveTuple five_tuple;
  RequestToken token{};
  stun::MessageView message;
  Credentials credentials;
  UserKeys user;  // the keys that matched
};

class FiveTupleHash {
 public:
  explicit FiveTupleHash(const HashKey& key) : key_(key) {}
  std::size_t operator()(const FiveTuple& five_tuple) const;

 private:
  HashKey key_;
};

class Server::Impl {
 public:
  Impl(const ServerConfig& config, ServerHost& host, const NonceKeeper& nonces,
       const TokenSealer& tokens, QuotaLedger& quotas);
  ~Impl();

  void handle(Instant now, const FiveTuple& five_tuple, stun::Bytes bytes, RequestToken token);
  void keys_arrived(Instant now, const UserName& user, std::string_view realm,
                    const UserKeys* keys);
  void tick(Instant now);

  ServerCounters counters;

 private:
  using Allocations = std::unordered_map<FiveTuple, Allocation, FiveTupleHash>;

  // server.cpp: who asks, and the answers' frame.
  struct Parked {
    FiveTuple five_tuple;
    std::vector<std::uint8_t> bytes;
    RequestToken token{};
    std::uint64_t deadline_ms = 0;
  };
  void authenticate(Request& request, Allocation* allocation);
  void judge(Request& request, Allocation* allocation, KeyState state, const UserKeys& keys);
  void dispatch(Request& request, Allocation* allocation);
  bool matches(const Request& request, const stun::Key& key) const;
  void park(const Request& request);
  bool same_user(const stun::MessageView& message, const Allocation& allocation) const;
  void challenge(const Request& request, std::uint16_t code);
  void refuse(const Request& request, std::uint16_t code);
  void refuse_unknown(const Request& request, std::span<const std::uint16_t> unknown);
  stun::MessageWriter begin(const Request& request, stun::Class message_class);
  void send(const Request& request, stun::MessageWriter& writer, std::uint16_t result, bool sign);
  void count(const Request& request, std::uint16_t result);

  // allocate.cpp
  void allocate(Request& request, Allocation* existing);
  std::uint16_t choose_families(const Request& request, std::array<bool, 2>& wanted) const;
  std::uint16_t claim_reserved(const Request& request, Allocation& made);
  std::uint16_t claim_ports(const Request& request, const std::array<bool, 2>& wanted,
                            Allocation& made);
  std::optional<RelayEndpoint> draw(Family family, bool even, bool pair);
  void give_back(const RelayEndpoint& relayed, std::uint32_t seconds);
  PortPool& pool_of(const Address& relayed);
  bool relays(Family family) const;
  void answer_allocate(const Request& request, const Allocation& allocation);
  std::uint32_t lifetime(const stun::MessageView& message) const;
  Address face_of(const Address& relayed) const;

  // refresh.cpp: how allocations go on and end.
  void refresh(Request& request, Allocation& allocation);
  void end_family(Allocation& allocation, Family family, std::uint32_t seconds);
  void remove(const FiveTuple& five_tuple, std::uint32_t seconds);
  void expire(Allocation& allocation, std::uint32_t seconds);
  void schedule(Allocation& allocation);
  void update_gauges();

  // permission.cpp
  void create_permission(Request& request, Allocation& allocation);
  void channel_bind(Request& request, Allocation& allocation);
  std::uint16_t judge_peer(const Allocation& allocation, const Address& peer) const;
  std::uint16_t install(Allocation& allocation, const Address& peer, std::uint32_t expires_s);
  bool has_channel_to(const Allocation& allocation, const Address& peer) const;

  const ServerConfig config_;
  ServerHost& host_;
  const NonceKeeper& nonces_;
  const TokenSealer& tokens_;
  QuotaLedger& quotas_;
  const stun::AlgorithmList algorithms_;

  Allocations allocations_;
  std::vector<PortPool> pools_;  // by relayed address, as config_.relayed
  std::unordered_map<FiveTuple, Tombstone, FiveTupleHash> tombstones_;
  std::deque<std::pair<std::uint32_t, FiveTuple>> tombstone_order_;
  std::map<std::uint32_t, Reservation> reservations_;  // by the token's id
  std::vector<Parked> parked_;

  // When to look at an allocation again; an entry that is no longer true is found out when it is
  // due.
  using Due = std::pair<std::uint32_t, FiveTuple>;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;

  std::array<std::uint8_t, 1400> answer_{};
};

}  // namespace turnpike

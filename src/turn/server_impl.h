// The TURN server's state and the parts its files share: one allocation with what hangs on it, one
// request in hand, and the answer to it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/keyed_hash.h"
#include "turn/port_pool.h"
#include "turnpike/counters.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"
#include "wire/challenge.h"

namespace turnpike {

struct Permission {
  PermissionSlot slot{};
  std::uint32_t expires_s = 0;
  // Channels to its address. While there are any, it stays, closed by its expiry: they name its
  // slot, and a new permission for the address must open what comes back to them.
  std::uint32_t channels = 0;
};

struct Channel {
  ChannelSlot slot{};
  ChannelNumber number = 0;
  PeerEndpoint peer;
  std::uint32_t expires_s = 0;
};

inline constexpr std::uint32_t kNeverDue = 0xFFFF'FFFF;

// A user who has proved to be one, and the keys that did it: one of each kind at most.
struct Identity {
  std::string username;
  std::string quota_name;
  stun::Key md5;
  stun::Key sha256;
};

struct Allocation {
  const FiveTuple* five_tuple = nullptr;  // the key it is kept under
  AllocationSlot slot{};
  stun::TransactionId created_by{};
  Identity owner;
  std::array<std::optional<RelayEndpoint>, 2> relayed;  // by family_index()
  std::array<std::uint32_t, 2> expires_s{};
  std::map<Address, Permission> permissions;
  std::vector<Channel> channels;
  std::uint32_t due_s = kNeverDue;  // when the first of its things ends
  // What the success said, for its retransmissions.
  std::uint32_t lifetime_s = 0;
  std::optional<TokenSealer::Token> token;
  std::optional<std::pair<Family, std::uint16_t>> address_error;
};

// A deleted allocation is remembered for a while, so that a late duplicate of its Allocate makes no
// ghost and a repeated Refresh gets a signed answer.
struct Tombstone {
  stun::TransactionId created_by{};
  Identity owner;
  std::uint32_t until_s = 0;
};

struct Reservation {
  RelayEndpoint relayed;
  std::string quota_name;  // of the user who made it, and alone may take it up
  std::uint32_t expires_s = 0;
};

// How the answer is to be signed: what authentication found out.
struct SigningKey {
  stun::Key key;
  bool sha256 = false;  // MESSAGE-INTEGRITY-SHA256, else MESSAGE-INTEGRITY
};

// Why not: the code, and the cause in the words that stand in place of the code's own phrase
// (RFC 8489 §14.8 leaves them free). A code of 0 is no refusal.
struct Refusal {
  std::uint16_t code = 0;
  std::string_view cause = {};

  explicit operator bool() const { return code != 0; }
};

struct Request {
  Instant now;
  FiveTuple five_tuple;
  RequestToken token{};
  stun::MessageView message;
  SigningKey signing_key;
  Identity user;
};

class FiveTupleHash {
 public:
  explicit FiveTupleHash(const HashKey& key) : key_(key) {}
  std::size_t operator()(const FiveTuple& five_tuple) const;

 private:
  HashKey key_;
};

// Which five-tuple is due when: one entry each, moved whenever its time changes, so that it can't
// grow beyond what it keeps time for. Refers to the keys of the map that it keeps time for, and so
// leaves an entry before the map does.
class Schedule {
 public:
  void move(const FiveTuple& key, std::uint32_t from_s, std::uint32_t to_s) {
    entries_.erase({from_s, &key});
    if (to_s != kNeverDue) entries_.insert({to_s, &key});
  }
  // The first, if it is due at `now_s`.
  const FiveTuple* due(std::uint32_t now_s) const {
    return entries_.empty() || entries_.begin()->at_s > now_s ? nullptr : &first();
  }
  const FiveTuple& first() const { return *entries_.begin()->key; }

 private:
  struct Entry {
    std::uint32_t at_s;
    const FiveTuple* key;

    // By what the key says, not by where it lies: the order is the same in every run.
    bool operator<(const Entry& other) const {
      return at_s != other.at_s ? at_s < other.at_s : *key < *other.key;
    }
  };
  std::set<Entry> entries_;
};

class Server::Impl {
 public:
  Impl(const ServerConfig& config, ServerHost& host, const NonceKeeper& nonces,
       const TokenSealer& tokens, QuotaLedger& quotas);
  ~Impl();

  void use(const ServerPolicy& policy) { policy_ = &policy; }
  void handle(Instant now, const FiveTuple& five_tuple, stun::Bytes bytes, RequestToken token);
  void keys_arrived(Instant now, const UserName& user, std::string_view realm,
                    const UserKeys* keys);
  bool tick(Instant now);

  ServerCounters counters;

 private:
  // server.cpp: what is asked, and the answers' frame.
  Allocation* find(const FiveTuple& five_tuple, Instant now);
  void dispatch(Request& request, Allocation* allocation);
  void challenge(const Request& request, std::uint16_t code);
  void refuse(const Request& request, const Refusal& refusal);
  void refuse_unsigned(const Request& request, const Refusal& refusal);
  void refuse_unknown(const Request& request, std::span<const std::uint16_t> unknown);
  void send_refusal(const Request& request, const Refusal& refusal, bool sign);
  stun::MessageWriter begin(const Request& request, stun::Class message_class);
  void send(const Request& request, stun::MessageWriter& writer, std::uint16_t result, bool sign);
  void count(const Request& request, std::uint16_t result);
  void discard(RequestToken token, Discard reason);

  // authenticate.cpp: who asks.
  struct Parked {
    FiveTuple five_tuple;
    std::vector<std::uint8_t> bytes;
    RequestToken token{};
    std::uint64_t deadline_ms = 0;
  };
  void authenticate(Request& request, Allocation* allocation);
  const Identity* remembered_owner(const Request& request, const Allocation* allocation) const;
  bool names(const stun::MessageView& message, const std::string& username) const;
  void deny(const Request& request, Unauthorized reason);
  bool prove(Request& request, const UserKeys& keys) const;
  bool prove(Request& request, const Identity& owner) const;
  std::optional<std::size_t> find_signer(Request& request, std::span<const stun::Key> md5,
                                         std::span<const stun::Key> sha256) const;
  void park(const Request& request);
  void give_up_parked(Instant now);

  // allocate.cpp
  struct Claim;
  void allocate(Request& request, Allocation* existing);
  bool redirect(const Request& request);
  Refusal choose_families(const Request& request, std::array<bool, 2>& wanted) const;
  Refusal claim(const Request& request, Claim& claimed);
  Refusal claim_reserved(const Request& request, Claim& claimed) const;
  Refusal claim_ports(const Request& request, const std::array<bool, 2>& wanted, Claim& claimed);
  void reserve_next(const Request& request, Claim& claimed);
  void abandon(const Request& request, const Claim& claimed);
  Refusal establish(const Request& request, const Claim& claimed);
  std::optional<RelayEndpoint> draw(Family family, bool even, bool pair);
  PortPool& pool_of(const Address& relayed);
  bool relays(Family family) const { return !relayed_of_[family_index(family)].empty(); }
  void answer_allocate(const Request& request, const Allocation& allocation);
  std::uint32_t lifetime(const stun::MessageView& message) const;
  Address face_of(const Address& relayed) const;

  // refresh.cpp
  void refresh(Request& request, Allocation& allocation);

  // expiry.cpp: how allocations, and what hangs on them, end.
  void end_family(Allocation& allocation, Family family, std::uint32_t seconds);
  void end_channel(Allocation& allocation, const Channel& channel);
  void remove(Allocation& allocation, std::uint32_t seconds);
  std::size_t expire(Allocation& allocation, std::uint32_t seconds);
  void schedule(Allocation& allocation);
  std::size_t end_allocations(std::uint32_t seconds, std::size_t most);
  std::size_t forget_tombstones(std::uint32_t seconds, std::size_t most);
  void forget_tombstone(const FiveTuple& five_tuple);
  std::size_t end_reservations(std::uint32_t seconds, std::size_t most);
  void forget_reservation(std::map<std::uint32_t, Reservation>::iterator reservation);
  void update_gauges();

  // permission.cpp
  void create_permission(Request& request, Allocation& allocation);
  Refusal judge_peer(const Allocation& allocation, const Address& peer);
  bool take_room(const Allocation& allocation, std::size_t permissions);
  void give_room(const Allocation& allocation, std::size_t permissions);
  Permission* open(Allocation& allocation, const Address& peer, std::uint32_t expires_s);
  Permission* open_one(Allocation& allocation, const Address& peer, std::uint32_t expires_s);
  void extend(Permission& permission, std::uint32_t expires_s);
  void close(Allocation& allocation, const Address& peer);
  void withdraw(const Allocation& allocation, const Permission& permission);

  // channel.cpp
  void channel_bind(Request& request, Allocation& allocation);
  Refusal bind(Allocation& allocation, ChannelNumber number, const PeerEndpoint& peer, Instant now);
  Refusal bind_new(Allocation& allocation, ChannelNumber number, const PeerEndpoint& peer,
                   Instant now);

  const ServerConfig config_;
  const ServerPolicy* policy_ = &config_;
  ServerHost& host_;
  const NonceKeeper& nonces_;
  const TokenSealer& tokens_;
  QuotaLedger& quotas_;

  std::unordered_map<FiveTuple, Allocation, FiveTupleHash> allocations_;
  Schedule allocations_due_;
  std::vector<PortPool> pools_;                         // by relayed address, as config_.relayed
  std::array<std::vector<std::size_t>, 2> relayed_of_;  // by family: places in config_.relayed
  std::unordered_map<FiveTuple, Tombstone, FiveTupleHash> tombstones_;
  Schedule tombstones_due_;
  std::map<std::uint32_t, Reservation> reservations_;                   // by the token's id
  std::set<std::pair<std::uint32_t, std::uint32_t>> reservations_due_;  // {when, id}
  std::size_t reservations_max_ = 1;
  std::vector<Parked> parked_;

  // More than the longest realm, software and list of alternates together.
  std::array<std::uint8_t, 4096> answer_{};
};

}  // namespace turnpike

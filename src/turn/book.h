// The book of a shard: its allocations, each by its slot, with the permissions and channels that
// hang on it, reservations and relay ports, and what is remembered of those that have ended; what
// is due when, and how each of it ends. Requests (server_impl.h) read and write it; so does
// whatever ends an allocation without one. What is in the book is published as well, and counted
// against its user, from the same call.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/keyed_hash.h"
#include "turn/peer_connections.h"
#include "turn/port_pool.h"
#include "turnpike/counters.h"
#include "turnpike/limit.h"
#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"

namespace turnpike {

struct Permission {
  std::optional<PermissionSlot> slot;  // none: an allocation of TCP's
  std::uint32_t expires_s = 0;
  // Channels to its address. While there are any, it stays, closed by its expiry: they name its
  // slot, and a new permission for the address must open what comes back to them.
  std::uint32_t channels = 0;
  bool on_link = false;  // its peer is on a link of the node's
};

struct NewPermission {
  Address peer;
  bool on_link = false;
};

struct Channel {
  ChannelSlot slot{};
  ChannelNumber number = 0;
  PeerEndpoint peer;
  std::uint32_t expires_s = 0;
};

inline constexpr std::uint32_t kNeverDue = 0xFFFF'FFFF;

// A user of a realm who has proved to be one, and the keys that did it: one of each kind at most.
struct Identity {
  std::string username;
  QuotaUser account;  // what he has is counted for it
  stun::Key md5;
  stun::Key sha256;
};

// Of an allocation that its client may move (RFC 8016).
struct Mobility {
  std::uint64_t number = 0;            // random: tells it, in tickets, from the slot's other owners
  std::uint16_t serial = 1;            // of its ticket
  std::uint16_t old_serial = 0;        // of the one before, which is honoured
  std::uint32_t old_until_s = 0;       // so long
  bool unconfirmed = false;            // nothing has shown that the client has the new one
  std::uint16_t move = 0;              // the last one's number
  std::optional<FiveTuple> to;         // where to it moves; no data have come from there yet
  std::optional<FiveTuple> given_up;   // where to it was about to move before
  stun::TransactionId refreshed_by{};  // what began the last move,
  std::uint32_t granted_s = 0;         // and what was its answer's LIFETIME
};

struct Allocation {
  AllocationSlot slot{};
  FiveTuple five_tuple;
  stun::TransactionId created_by{};
  Identity owner;
  std::array<std::optional<RelayEndpoint>, 2> relayed;  // by family_index()
  std::array<std::uint32_t, 2> expires_s{};
  std::map<Address, Permission> permissions;
  std::uint32_t on_link = 0;  // of them
  std::vector<Channel> channels;
  std::uint32_t due_s = kNeverDue;  // when the first of its things ends
  // What the success said, for its retransmissions.
  std::uint32_t lifetime_s = 0;
  std::optional<TokenSealer::Token> token;
  std::optional<std::pair<Family, std::uint16_t>> address_error;
  std::optional<Mobility> mobility;
  std::optional<StreamAllocation> streams;  // of TCP's: workers know nothing of what hangs on it

  bool is_over() const { return !relayed[0] && !relayed[1]; }
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
  QuotaUser account;  // of the user who made it, and alone may take it up
  Address client;     // from where
  std::uint32_t expires_s = 0;
};

HashKey random_key(ServerHost& host);

class FiveTupleHash {
 public:
  explicit FiveTupleHash(const HashKey& key) : key_(key) {}
  std::size_t operator()(const FiveTuple& five_tuple) const;

 private:
  HashKey key_;
};

// What is due when: one entry for each key, moved whenever its time changes, so that it can't grow
// beyond what it keeps time for.
template <typename Key>
class Schedule {
 public:
  void move(Key key, std::uint32_t from_s, std::uint32_t to_s) {
    entries_.erase({from_s, key});
    if (to_s != kNeverDue) entries_.insert({to_s, key});
  }
  // The first, if it is due at `now_s`.
  std::optional<Key> due(std::uint32_t now_s) const {
    if (entries_.empty() || entries_.begin()->at_s > now_s) return std::nullopt;
    return first();
  }
  Key first() const { return entries_.begin()->key; }
  // Calls `end` for what is due, until it has done `most`; returns how much that was. `end` moves
  // the key's entry and says how much it did.
  template <typename End>
  std::size_t end_due(std::uint32_t now_s, std::size_t most, End&& end) const {
    std::size_t n = 0;
    for (auto key = due(now_s); n < most && key; key = due(now_s))
      n += end(*key);
    return n;
  }

 private:
  struct Entry {
    std::uint32_t at_s;
    Key key;

    bool operator<(const Entry& other) const {
      return at_s != other.at_s ? at_s < other.at_s : comes_before(key, other.key);
    }
  };
  static bool comes_before(AllocationSlot one, AllocationSlot other) { return one < other; }
  static bool comes_before(std::uint32_t one, std::uint32_t other) { return one < other; }
  // By what the key says, not by where it lies: the order is the same in every run.
  static bool comes_before(const FiveTuple* one, const FiveTuple* other) { return *one < *other; }

  std::set<Entry> entries_;
};

class Book {
 public:
  // Keeps references.
  Book(const ServerConfig& config, ServerHost& host, QuotaLedger& quotas, ServerCounters& counters);

  // Allocations. A pointer is good until the next call that ends or adds one.
  // One that lives: nothing that has ended is left on it.
  Allocation* find(const FiveTuple& five_tuple, std::uint32_t now_s);
  Allocation* find(AllocationSlot slot, std::uint32_t now_s);
  Allocation* at(AllocationSlot slot);
  // What is left of the five-tuple's last one.
  const Tombstone* tombstone(const FiveTuple& five_tuple) const;
  bool is_full() const { return allocations_.size() >= config_.max_allocations; }
  // Publishes it. nullptr where the tables have no room: nothing has changed. Its quota and ports
  // have been taken.
  Allocation* add(Allocation&& allocation);
  // When the expiry of anything on it has changed.
  void schedule(Allocation& allocation);
  // One relayed address ends, with the channels and permissions of its family; the allocation may
  // have another.
  void end_family(Allocation& allocation, Family family, std::uint32_t now_s);
  // Schedules what is left of the allocation, or ends it where nothing is.
  void settle(Allocation& allocation, std::uint32_t now_s);

  // Moves of allocations that have mobility. Unless kReserved, nothing has changed, but that there
  // is no other move under way any more where `no_room` is set: the tables had none.
  QuotaLedger::Verdict begin_move(Allocation& allocation, const FiveTuple& to, bool& no_room);
  // One is under way.
  void complete_move(Allocation& allocation, std::uint32_t now_s);
  void cancel_move(Allocation& allocation);

  // Permissions. Room for these, of the allocation's and of its user's. kNone: it has been taken;
  // else none of it, and that limit is why.
  Limit take_room(const Allocation& allocation, std::span<const NewPermission> permissions);
  void give_room(const Allocation& allocation, std::size_t permissions);
  // Room for it has been taken. nullptr where the tables have none: why_not_opened().
  Permission* open(Allocation& allocation, const NewPermission& made, std::uint32_t expires_s);
  Limit why_not_opened() const;
  void extend(Permission& permission, std::uint32_t expires_s);
  void close(Allocation& allocation, const Address& peer);

  // Channels. Room among the user's own; false: there is none.
  bool take_channel(const Allocation& allocation);
  void give_channel(const Allocation& allocation);
  // The peer's address has a permission, and room has been taken. False where the tables have none.
  bool bind(Allocation& allocation, ChannelNumber number, const PeerEndpoint& peer,
            std::uint32_t expires_s);
  void extend(Channel& channel, std::uint32_t expires_s);

  // Relay ports, from one of the family's addresses at random, or any other that has one left.
  bool relays(Family family) const { return !relayed_of_[family_index(family)].empty(); }
  std::optional<RelayEndpoint> draw(Family family, bool even, bool pair);
  // One that was drawn and never shown.
  void put_back(const RelayEndpoint& relayed);

  // Reservations, by the id in their token; each counts as an allocation of its user's and of its
  // source's, which has been taken.
  bool has_room_for_reservation() const { return reservations_.size() < reservations_max_; }
  std::uint32_t reserve(const RelayEndpoint& relayed, const QuotaUser& user, const Address& client,
                        std::uint32_t expires_s);
  // nullptr: none that lives.
  const Reservation* reservation(std::uint32_t id, std::uint32_t now_s) const;
  // The five-tuple's allocation has its port and its place now.
  void take_up(std::uint32_t id, const FiveTuple& five_tuple);
  // It was never shown.
  void cancel(std::uint32_t id);

  // What hangs on allocations of TCP's (RFC 6062). Its relayed addresses begin to listen; false:
  // nothing has changed. There is one host for them.
  bool open_relays(Allocation& allocation);
  // nullptr: none (any more).
  Allocation* at(StreamRelay relay);
  PeerConnection* connection(std::uint32_t id);
  std::optional<std::uint32_t> id_of(PeerStream stream) const;
  PeerStream new_stream() { return PeerStream{new_number()}; }
  // Room for one more, of the allocation's and of its user's. kNone: it has been taken.
  Limit take_connection(const Allocation& allocation);
  void give_connection(const Allocation& allocation);
  // Room for it has been taken, and its peer has no other. Returns its id.
  std::uint32_t add(Allocation& allocation, PeerConnection&& connection);
  void enter(std::uint32_t id, PeerConnection::State state, std::uint32_t due_s);
  // `said`: its stream is over already, and who has it knows.
  void end_connection(std::uint32_t id, bool said = false);
  // The first whose time is up.
  std::optional<std::uint32_t> connection_due(std::uint32_t now_s) const {
    return connections_due_.due(now_s);
  }

  // Ends what is due, but no more than `most`; returns how much that was. Nothing hangs on
  // promptness: workers read expiries, and who asks for an allocation finds only what lives.
  std::size_t tick(std::uint32_t now_s, std::size_t most);
  void count_client(const Allocation& allocation, std::uint64_t more);
  void update_gauges();

 private:
  using Allocations = std::unordered_map<AllocationSlot, Allocation>;
  // Slots by the five-tuples of their allocations.
  struct OfSlot {
    using is_transparent = void;
    const Allocations* allocations;
    FiveTupleHash hash;

    const FiveTuple& operator[](AllocationSlot slot) const {
      return allocations->at(slot).five_tuple;
    }
    std::size_t operator()(const FiveTuple& five_tuple) const { return hash(five_tuple); }
    std::size_t operator()(AllocationSlot slot) const { return hash((*this)[slot]); }
    bool operator()(AllocationSlot one, AllocationSlot other) const { return one == other; }
    bool operator()(const FiveTuple& one, AllocationSlot other) const {
      return one == (*this)[other];
    }
    bool operator()(AllocationSlot one, const FiveTuple& other) const {
      return (*this)[one] == other;
    }
  };
  using Tombstones = std::unordered_map<FiveTuple, Tombstone, FiveTupleHash>;

  void end_channel(Allocation& allocation, const Channel& channel);
  void withdraw(Allocation& allocation, const Permission& permission);
  std::size_t expire(Allocation& allocation, std::uint32_t now_s);
  void remove(Allocation& allocation, std::uint32_t now_s);
  void bury(const FiveTuple& five_tuple, Tombstone&& tombstone);
  void forget(Tombstones::iterator tombstone);
  void release(const RelayEndpoint& relayed, std::uint32_t now_s);
  PortPool& pool_of(const Address& relayed);
  void end_reservation(std::uint32_t id, std::uint32_t now_s);
  void forget_reservation(std::uint32_t id);
  std::uint64_t new_number();
  void end_relay(Allocation& allocation, Family family);
  void count_connections();

  const ServerConfig& config_;
  ServerHost& host_;
  QuotaLedger& quotas_;
  ServerCounters& counters_;

  Allocations allocations_;
  std::unordered_set<AllocationSlot, OfSlot, OfSlot> by_five_tuple_;
  std::unordered_map<FiveTuple, AllocationSlot, FiveTupleHash> moving_;  // by where to
  Schedule<AllocationSlot> allocations_due_;
  Tombstones tombstones_;
  Schedule<const FiveTuple*> tombstones_due_;  // keys of tombstones_
  std::map<std::uint32_t, Reservation> reservations_;
  Schedule<std::uint32_t> reservations_due_;
  std::size_t reservations_max_ = 1;
  std::unordered_map<StreamRelay, AllocationSlot> relays_;
  std::map<std::uint32_t, PeerConnection> connections_;  // by id
  std::unordered_map<PeerStream, std::uint32_t> ids_;    // of connections
  Schedule<std::uint32_t> connections_due_;              // those that aren't bound
  std::uint64_t last_number_ = 0;
  std::vector<PortPool> pools_;                         // by relayed address, as config_.relayed
  std::array<std::vector<std::size_t>, 2> relayed_of_;  // by family: places in config_.relayed
};

}  // namespace turnpike

// The world in which the simulation and the engine's fuzzer let clients talk to shards: the shards,
// what they publish, the ledger and the tokens they share, and the requests that have no answer
// yet. Every answer is held against its question, what is due and what has been promised. What
// clients say, and when, is a program's own.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model.h"
#include "promises.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"

namespace turnpike::simulation {

inline constexpr const char* kRealm = "example.org";
inline constexpr std::uint64_t kStartMs = 1'000'000;
inline const Address kInternal4 = Address::v4(192, 0, 2, 2);
inline const Address kExternal4 = Address::v4(198, 51, 100, 2);
inline const Address kInternal6 = *Address::parse("2001:db8::2");
// A client behind a tunnel.
inline const Address kTunnelled = *Address::parse("2001::1");

struct User {
  UserKeys keys;
  std::array<std::uint8_t, 32> hash{};
};
User make_user(const std::string& name, const std::string& password);
// By whichever name; nullptr: nobody.
const User* find_user(const std::vector<User>& users, const UserName& name);

struct Sent {
  FiveTuple five_tuple;
  std::vector<std::uint8_t> bytes;
  bool forged = false;  // by its making nothing that may succeed
};

// What the clients' program decides.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual std::uint32_t random_below(std::uint32_t bound) = 0;
  virtual bool sink_is_full() = 0;
  virtual KeyState find_keys(std::size_t shard, const UserName& name, KeyPurpose purpose,
                             UserKeys& out) = 0;
  // No new allocation is for this user any more.
  virtual bool is_gone(const User& user) const = 0;
  // What a user may have from his next allocation on; none: what all may.
  virtual std::optional<UserLimits> limits_of(const User& /*user*/) { return std::nullopt; }
  // Before the answer is judged.
  virtual void told(const Sent& sent, const stun::MessageView& answer) = 0;
};

class Cluster {
 public:
  struct Quotas {
    UserLimits user{3};
    std::uint32_t node = 0;  // allocations; as the next: 0 for no limit
    std::uint32_t source = 0;
  };
  struct Setup {
    ServerConfig config;  // of each shard, but for its number
    unsigned shards = 1;
    std::vector<User> users;
    std::vector<FlowSink*> sinks;  // by shard, where all is published as well; empty: nowhere
    Quotas quotas;
    std::uint32_t nonce_lifetime_s = 0;
    bool remembers_ghosts = false;  // there is room for all tombstones that there will be
    bool ports_are_few = false;     // so that a refusal may be for want of one
  };
  Cluster(Setup setup, Surroundings& surroundings);
  ~Cluster();

  // To the shard that workers would choose: the one that has the five-tuple, or sealed the token,
  // or else `home`. True once it has been answered or given up.
  bool hand(const Sent& sent, std::size_t home);
  // By what stands before the shards.
  void answered_by_door(const Sent& sent, stun::Bytes answer);
  void keys_arrived(std::size_t shard, const UserName& name, RealmIndex realm,
                    const UserKeys* keys);
  void tick(std::size_t shard);
  // The slot's allocation, which can't move, by a notice that is about this one: as a rule's, or
  // since its connection has closed. False: the shard has none there.
  bool end(std::size_t shard, AllocationSlot slot, bool closed = false);
  // Where clients are moving to; and data of theirs from there. Something that was told of such
  // data before is told again, and means nothing any more.
  std::vector<FiveTuple> moving() const;
  void data_come(const FiveTuple& from);

  // cluster_streams.cpp: connections. A worker learns that one has ended, looks whose it was, and
  // has something to tell to the shard, or nothing.
  void stream_closed(const FiveTuple& five_tuple);
  // A shard hears of one of them, whichever: the workers' rings have no order among them. None is
  // left: nothing.
  enum class Heard : std::uint8_t { kNothing, kTooLate, kMistakable, kEnd, kStays, kMoves };
  Heard hear_of_stream();
  bool has_to_hear() const { return !of_streams_.empty(); }
  // What leads to an allocation of a stream's without a ticket, or to a move, and of whose end no
  // shard is to hear: each is a connection that there is.
  std::vector<FiveTuple> needed_streams() const;

  // After each of which Promises says what may become of a packet.
  Promises check();
  // Everything ends, and nothing is left.
  void end();

  // Whose the five-tuple is: what workers read from the client table.
  std::optional<std::size_t> owner_of(const FiveTuple& five_tuple) const;
  std::size_t size() const { return shards_.size(); }
  const ServerCounters& counters(std::size_t shard) const;
  const ServerConfig& config() const { return setup_.config; }
  const Model& model() const { return model_; }
  const std::set<RelayEndpoint>& ports() const { return ports_; }
  const NonceKeeper& nonces() const { return nonces_; }

  Instant now{kStartMs};

 private:
  class Shard;
  using Rooms = std::array<Model::Room, 3>;  // by QuotaLedger::Thing; here of the limits alone

  void answered(const Shard* by, RequestToken token, stun::Bytes bytes);
  void succeeded(const Shard& by, const Sent& sent, const stun::MessageView& request,
                 const stun::MessageView& answer);
  void refused(const Shard* by, const Sent& sent, const stun::MessageView& request,
               const stun::MessageView& answer);
  void judge(const Shard& by, const Sent& sent, const User& user, const stun::MessageView& request,
             std::uint16_t result);
  Sent take(RequestToken token);
  const User* named_in(const stun::MessageView& request) const;
  Rooms rooms_of(const User& user) const;
  void note_limits(const User& user, bool made);
  UserLimits limits_for(const User& user) const;
  std::uint32_t published() const;  // allocations
  void repeat_notice();
  void check_quotas() const;
  void check_end() const;

  const Setup setup_;
  Surroundings& surroundings_;
  const NonceKeeper nonces_;
  TokenSealer tokens_{{8}};
  QuotaLedger quotas_;
  Model model_;
  std::set<RelayEndpoint> ports_;  // in use, of all shards
  std::uint64_t free_ports_ = 0;   // at the start
  std::vector<std::unique_ptr<Shard>> shards_;
  std::map<FiveTuple, const User*> owners_;
  std::map<const User*, Rooms> limits_;  // by the last Allocate that may have changed them
  std::set<Address> sources_;            // of all that has been asked
  std::map<RequestToken, Sent> open_;
  struct Notice {
    Shard* shard;
    std::uint32_t slot;
    std::uint16_t number;
  };
  std::vector<Notice> notices_;
  struct StreamNotice {
    Shard* shard;
    std::uint32_t slot;
    std::uint64_t owner;  // of the slot, then
    std::uint16_t move;   // as MoveFlow's number; 0: of none
    FiveTuple five_tuple;
    std::optional<Model::OfStream> promised;
  };
  std::vector<StreamNotice> of_streams_;
  std::uint64_t tokens_made_ = 0;
};

}  // namespace turnpike::simulation

// What the server has promised, so small that it is plainly right: every success is a promise, each
// ends at its time, and whatever the server does beyond its promises, or short of them, is a fault.
// So is a refusal, or a success, that isn't due.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"

namespace turnpike::simulation {

struct Failure {
  std::string what;
};
inline void require(bool condition, const char* what) {
  if (!condition) throw Failure{what};
}

// A peer that is never to be reached.
inline const Address kForbidden = Address::v4(10, 0, 0, 1);

// How the world sees an address that may be one of the node's own.
inline Address public_of(const ServerConfig& config, const Address& address) {
  for (const RelayedAddress& relayed : config.relayed) {
    if (relayed.internal == address) return relayed.public_address();
  }
  return address;
}

class Model {
 public:
  struct Allocation {
    std::string user;
    stun::TransactionId created_by{};
    // By family_index(); the public addresses.
    std::array<std::optional<Endpoint>, 2> relayed;
    std::array<std::uint32_t, 2> until_s{};
    std::map<Address, std::uint32_t> permissions;  // until when
    struct Channel {
      Endpoint peer;
      std::uint32_t until_s = 0;
    };
    std::map<ChannelNumber, Channel> channels;
    std::uint64_t birth = 0;

    // Of one that may move (RFC 8016): its ticket, and the one before it, with until when that is
    // good and what used it.
    using Ticket = std::vector<std::uint8_t>;
    Ticket ticket, old_ticket;  // empty: none
    std::uint64_t number = 0;
    std::uint32_t old_until_s = 0;
    stun::TransactionId refreshed_by{};
    bool unconfirmed = false;               // no data have come since the ticket was given
    std::optional<FiveTuple> to, given_up;  // where to it moves, and was about to before
    std::uint64_t moves = 0;                // that have begun
  };

  using Allocations = std::map<FiveTuple, Allocation>;
  using Ticket = Allocation::Ticket;

  // `remembers_ghosts`: the server has room for all tombstones that there will be.
  Model(const ServerConfig& config, bool remembers_ghosts)
      : config_(config), remembers_ghosts_(remembers_ghosts) {}

  // `user` has been told by the server that `request`, from `five_tuple`, succeeded.
  void success(Instant now, const FiveTuple& five_tuple, const std::string& user,
               const stun::MessageView& request, const stun::MessageView& answer);
  // How much of something there is: what the ledger counts, in which what has ended may still be,
  // and the limit of it. Where a refusal may have changed the limit, both that it may be.
  struct Room {
    std::uint32_t held = 0;
    std::uint32_t least = kNoLimit, most = kNoLimit;
  };
  static constexpr std::uint32_t kNoLimit = 0xFFFF'FFFF;
  // What the model can't know of an answer's moment.
  struct Circumstances {
    bool tables_may_be_full = false;
    bool ports_may_be_short = false;  // or allocations
    bool one_shard = true;            // so each token comes to who made it
    bool tunnelled = false;           // the client is
    Room node;                        // of allocations
    Room source;                      // of allocations and reservations, of the client's address
    std::array<Room, 3> user;         // by QuotaLedger::Thing

    const Room& of_user(QuotaLedger::Thing thing) const {
      return user[static_cast<std::size_t>(thing)];
    }
    bool may_be_short() const { return tables_may_be_full || ports_may_be_short; }
  };
  using Codes = std::set<std::uint16_t>;
  // A server that knows who asks ends the request with `result`, 0 for a success: that must be due.
  // Before success().
  void judge(Instant now, const FiveTuple& five_tuple, const std::string& user,
             const stun::MessageView& request, std::uint16_t result,
             const Circumstances& circumstances);
  // It is ended without its client's asking.
  void end(Instant now, const FiveTuple& five_tuple);
  // What has ended is no more.
  void forget(Instant now);
  // Data have come from where the allocation moves to.
  void data_came(Instant now, const FiveTuple& from);
  // The tables had none for what `request` asked for: a move that was to be another one's successor
  // has ended that one.
  void had_no_room(const stun::MessageView& request);
  // What a stream was good for when it ended: an allocation, or a move of one.
  struct OfStream {
    std::uint64_t birth = 0;
    std::uint64_t move = 0;  // 0: by it the client had the allocation
  };
  // nullopt: nothing.
  std::optional<OfStream> of_stream(const FiveTuple& five_tuple) const;
  // Its end has been told to whose it was.
  void stream_ended(Instant now, const OfStream& ended);
  // Whether the client has an allocation by it.
  bool knows(const FiveTuple& five_tuple) const { return find(five_tuple) != allocations_.end(); }

  // What becomes of a packet.
  std::optional<Endpoint> by_channel(const FiveTuple& five_tuple, ChannelNumber number) const;
  bool by_send(const FiveTuple& five_tuple, const Address& peer) const;
  struct Delivery {
    FiveTuple five_tuple;
    std::optional<ChannelNumber> channel;

    friend bool operator==(const Delivery&, const Delivery&) = default;
  };
  std::optional<Delivery> from_peer(const Endpoint& public_relayed, const Endpoint& peer) const;

  const Allocations& allocations() const { return allocations_; }

 private:
  struct Reservation {
    Endpoint relayed;
    std::string user;
    Address client;
    std::uint32_t until_s = 0;
  };
  using Reservations = std::map<TokenSealer::Token, Reservation>;
  Allocations::const_iterator find(const FiveTuple& five_tuple) const;
  Allocations::iterator find(const FiveTuple& five_tuple);
  // moves.cpp
  // Whether it holds a place of that address, where it isn't yet.
  static bool moves_to(const FiveTuple& at, const Allocation& allocation, const Address& client) {
    return allocation.to && allocation.to->client.address == client && at.client.address != client;
  }
  static std::optional<Ticket> ticket_in(const stun::MessageView& message);
  Allocations::const_iterator with_ticket(const Ticket& ticket) const;
  void complete(Instant now, Allocations::iterator found);
  static bool is_repeated(std::uint32_t seconds, const FiveTuple& from, const FiveTuple& at,
                          const Allocation& allocation, const stun::MessageView& request);
  Codes due_of_move(std::uint32_t seconds, const FiveTuple& from, const std::string& user,
                    const stun::MessageView& request, const Circumstances& circumstances) const;
  void move(Instant now, const FiveTuple& from, const stun::MessageView& request,
            const stun::MessageView& answer);
  // due.cpp
  Codes due(std::uint32_t seconds, const FiveTuple& five_tuple, const std::string& user,
            const stun::MessageView& request, const Circumstances& circumstances) const;
  Codes due_of_allocate(const FiveTuple& five_tuple, const std::string& user,
                        const stun::MessageView& request, const Circumstances& circumstances) const;
  Codes due_of_new(const FiveTuple& five_tuple, const std::string& user,
                   const stun::MessageView& request, const Circumstances& circumstances) const;
  static Codes due_of_refresh(const Allocation& allocation, const stun::MessageView& request);
  Codes due_of_reserved(const FiveTuple& five_tuple, const std::string& user,
                        const stun::MessageView& request, const Circumstances& circumstances) const;
  Codes due_of_permit(const Allocation& allocation, const stun::MessageView& request,
                      const Circumstances& circumstances) const;
  Codes due_of_bind(const Allocation& allocation, const stun::MessageView& request,
                    const Circumstances& circumstances) const;
  // Of `wanted` more where the model itself knows of `known`: whether `refusal` is due, or may be.
  static void count(const Room& room, std::uint32_t known, std::uint32_t wanted,
                    std::uint16_t refusal, Codes& codes);
  static std::uint16_t objection(const Allocation& allocation, const Address& peer);
  static std::set<Address> occupied(const Allocation& allocation);
  std::uint32_t held_by(const std::string& user) const;
  std::uint32_t held_from(const Address& client) const;
  std::uint32_t permissions_of(const std::string& user) const;
  std::uint32_t channels_of(const std::string& user) const;

  void allocate(Instant now, const FiveTuple& five_tuple, const std::string& user,
                const stun::MessageView& request, const stun::MessageView& answer);
  void check_families(const Allocation& made, const stun::MessageView& request,
                      const stun::MessageView& answer) const;
  void check_ports(const Allocation& made, const stun::MessageView& request);
  void refresh(Instant now, Allocations::iterator found, const stun::MessageView& request,
               const stun::MessageView& answer);
  void permit(Instant now, Allocation& allocation, const stun::MessageView& request);
  void bind(Instant now, Allocation& allocation, const stun::MessageView& request);
  void check_peer(const Allocation& allocation, const Address& peer) const;
  std::uint32_t clamp(const stun::MessageView& request) const;
  void end_family(Allocation& allocation, std::size_t family) const;
  void remember(const FiveTuple& five_tuple, const Allocation& ended, std::uint32_t at_s);
  Reservations::const_iterator reservation_of(const stun::MessageView& request) const;

  const ServerConfig config_;
  const bool remembers_ghosts_;
  Allocations allocations_;
  Reservations reservations_;
  std::map<std::pair<FiveTuple, stun::TransactionId>, std::uint32_t> ghosts_;  // until when
  std::set<std::pair<FiveTuple, stun::TransactionId>> ended_;                  // ever
  std::map<Ticket, std::uint64_t> tickets_;  // ever given, by whose: allocations have numbers
  std::uint64_t numbers_ = 0;
  std::uint64_t births_ = 0;
};

}  // namespace turnpike::simulation

// What the server has promised, so small that it is plainly right: every success is a promise, each
// ends at its time, and whatever the server does beyond its promises, or short of them, is a fault.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "turnpike/server.h"
#include "wire/reservation_token.h"

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
inline Address face_of(const ServerConfig& config, const Address& address) {
  for (const RelayedAddress& relayed : config.relayed) {
    if (relayed.internal == address) return relayed.face();
  }
  return address;
}

class Model {
 public:
  struct Allocation {
    std::string user;
    stun::TransactionId created_by{};
    // By family_index(); the public faces.
    std::array<std::optional<Endpoint>, 2> relayed;
    std::array<std::uint32_t, 2> until_s{};
    std::map<Address, std::uint32_t> permissions;  // until when
    struct Channel {
      Endpoint peer;
      std::uint32_t until_s = 0;
    };
    std::map<ChannelNumber, Channel> channels;
  };

  // `remembers_ghosts`: the server has room for all tombstones that there will be.
  Model(const ServerConfig& config, bool remembers_ghosts)
      : config_(config), remembers_ghosts_(remembers_ghosts) {}

  // `user` has been told by the server that `request`, from `five_tuple`, succeeded.
  void success(Instant now, const FiveTuple& five_tuple, const std::string& user,
               const stun::MessageView& request, const stun::MessageView& answer);
  // What has ended is no more.
  void forget(Instant now);

  // What becomes of a packet.
  std::optional<Endpoint> by_channel(const FiveTuple& five_tuple, ChannelNumber number) const;
  bool by_send(const FiveTuple& five_tuple, const Address& peer) const;
  struct Delivery {
    FiveTuple five_tuple;
    std::optional<ChannelNumber> channel;

    friend bool operator==(const Delivery&, const Delivery&) = default;
  };
  std::optional<Delivery> from_peer(const Endpoint& relayed_face, const Endpoint& peer) const;

  const std::map<FiveTuple, Allocation>& allocations() const { return allocations_; }

 private:
  struct Reservation {
    Endpoint relayed;
    std::uint32_t until_s = 0;
  };
  void allocate(Instant now, const FiveTuple& five_tuple, const std::string& user,
                const stun::MessageView& request, const stun::MessageView& answer);
  void check_families(const Allocation& made, const stun::MessageView& request,
                      const stun::MessageView& answer) const;
  void check_ports(const Allocation& made, const stun::MessageView& request);
  void refresh(Instant now, const FiveTuple& five_tuple, const stun::MessageView& request,
               const stun::MessageView& answer);
  void permit(Instant now, Allocation& allocation, const stun::MessageView& request);
  void bind(Instant now, Allocation& allocation, const stun::MessageView& request);
  void check_peer(const Allocation& allocation, const Address& peer) const;
  std::uint32_t clamp(const stun::MessageView& request) const;
  void end_family(Allocation& allocation, std::size_t family) const;

  const ServerConfig config_;
  const bool remembers_ghosts_;
  std::map<FiveTuple, Allocation> allocations_;
  std::map<TokenSealer::Token, Reservation> reservations_;
  std::map<std::pair<FiveTuple, stun::TransactionId>, std::uint32_t> ghosts_;
};

}  // namespace turnpike::simulation

// What clients bring back to us from another five-tuple, and what therefore names its shard;
// sealed, so that nobody but this node makes any.
//
// RESERVATION-TOKEN (RFC 8656 §18.8, docs/protocol.md 16): eight bytes with a MAC.
// MOBILITY-TICKET (RFC 8016, docs/protocol.md 35): encrypted as well; 32 letters and digits, since
// some clients keep it as text, which a zero would end.
// CONNECTION-ID (RFC 6062 §6.2.1): four bytes, too few for a MAC: encrypted alone. Whoever guesses
// finds none of the few that wait, and has to be the same user besides.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace turnpike {

class TokenSealer {
 public:
  using Token = std::array<std::uint8_t, 8>;
  struct Content {
    std::uint8_t shard = 0;
    std::uint32_t id = 0;  // 24 bits
  };

  // Names an allocation, and which of its tickets it is.
  using Ticket = std::array<std::uint8_t, 32>;
  struct TicketContent {
    std::uint8_t shard = 0;
    std::uint16_t serial = 0;
    std::uint32_t slot = 0;        // of the allocation
    std::uint64_t allocation = 0;  // a random number of its own, of 40 bits

    friend bool operator==(const TicketContent&, const TicketContent&) = default;
  };

  explicit TokenSealer(const std::array<std::uint8_t, 16>& key) : key_(key) {}
  Token seal(const Content& content) const;
  // nullopt for what this node did not seal, or a wrong size.
  std::optional<Content> open(std::span<const std::uint8_t> token) const;
  // Two that differ in anything look as if they had nothing in common.
  Ticket seal_ticket(const TicketContent& content) const;
  std::optional<TicketContent> open_ticket(std::span<const std::uint8_t> ticket) const;

  // Every value is some id's, in a random order that the key gives.
  using ConnectionId = std::array<std::uint8_t, 4>;
  ConnectionId seal_connection(const Content& content) const;
  // nullopt: a wrong size. That this node has given it out is for its shard to know.
  std::optional<Content> open_connection(std::span<const std::uint8_t> id) const;

 private:
  std::array<std::uint8_t, 16> key_;
};

}  // namespace turnpike

// RESERVATION-TOKEN (RFC 8656 §18.8): eight bytes that name their shard, because the Allocate that
// brings one comes from another five-tuple (docs/protocol.md 16). Sealed with a MAC; nobody but
// this node makes one.
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

  explicit TokenSealer(const std::array<std::uint8_t, 16>& key) : key_(key) {}
  Token seal(const Content& content) const;
  // nullopt for what this node did not seal, or a wrong size.
  std::optional<Content> open(std::span<const std::uint8_t> token) const;

 private:
  std::array<std::uint8_t, 16> key_;
};

}  // namespace turnpike

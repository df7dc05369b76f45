// The relay ports of one relayed address that belong to one shard: drawn at random (RFC 6056),
// resting for a while before the next owner, because packets in flight outlast an allocation
// (PROTOCOL.md 17).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "turnpike/server.h"

namespace turnpike {

class PortPool {
 public:
  // Blocks of 64 ports; block i of the range belongs to shard i mod shard_count.
  PortPool(std::uint16_t port_min, std::uint16_t port_max, std::uint8_t shard,
           std::uint8_t shard_count);

  std::optional<std::uint16_t> take(ServerHost& random);
  // An even port; with `pair`, the next one is free and taken as well.
  std::optional<std::uint16_t> take_even(ServerHost& random, bool pair);
  // One that was taken and never shown: free at once.
  void put(std::uint16_t port);
  // The port may have a new owner at `rested_s`, which never goes back.
  void release(std::uint16_t port, std::uint32_t rested_s);
  // Ports that have rested become free.
  void tick(std::uint32_t now_s);

  std::size_t free() const { return free_.size(); }

 private:
  std::optional<std::uint16_t> find_even(ServerHost& random, bool pair) const;
  bool fits(std::uint16_t port, bool pair) const;
  void remove(std::uint16_t port);
  void wake_one();

  static constexpr std::uint32_t kNowhere = 0xFFFF'FFFF;
  std::vector<std::uint16_t> free_;
  std::vector<std::uint32_t> place_;  // by port: where it stands in free_
  std::deque<std::pair<std::uint32_t, std::uint16_t>> resting_;
};

}  // namespace turnpike

// The relay ports of one relayed address that belong to one shard: drawn at random (RFC 6056),
// resting for a while before the next owner, because packets in flight outlast an allocation
// (docs/protocol.md 17).
#pragma once

#include <array>
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
  // Ports that have rested become free, `most` of them at a time; returns how many.
  std::size_t tick(std::uint32_t now_s, std::size_t most);

  std::size_t free() const;

 private:
  // Ports stand in twos, an even one and the next. A two is in the list that says what of it is
  // free, without order, and knows its place there: every draw is one step.
  using Two = std::uint16_t;  // half the even port
  enum State : std::uint8_t { kNone = 0, kEven = 1, kOdd = 2, kBoth = 3 };
  std::vector<Two>& list(State state) { return lists_[state - 1U]; }
  std::size_t count(State state) const { return lists_[state - 1U].size(); }

  void change(Two two, State bits);
  std::uint16_t take_at(Two two, State which);
  bool wake_one();

  std::array<std::vector<Two>, 3> lists_;  // by state, but kNone
  std::vector<State> state_;               // by two
  std::vector<Two> place_;                 // by two: where it stands in its list
  std::deque<std::pair<std::uint32_t, std::uint16_t>> resting_;
};

}  // namespace turnpike

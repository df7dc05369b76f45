// A draw is a number among the free ports, found by counting: each is equally likely.
#include "turn/port_pool.h"

namespace turnpike {

PortPool::PortPool(std::uint16_t port_min, std::uint16_t port_max, std::uint8_t shard,
                   std::uint8_t shard_count)
    : state_(32768, kNone), place_(32768) {
  for (std::uint32_t port = port_min; port <= port_max; ++port) {
    if (port / 64 % shard_count == shard) put(static_cast<std::uint16_t>(port));
  }
}

std::size_t PortPool::free() const {
  return count(kEven) + count(kOdd) + 2 * count(kBoth);
}

// What `bits` names becomes free if it wasn't, and the other way round. In the list that it leaves,
// the last one takes its place.
void PortPool::change(Two two, State bits) {
  if (const State from = state_[two]; from != kNone) {
    const Two last = list(from).back();
    list(from)[place_[two]] = last;
    place_[last] = place_[two];
    list(from).pop_back();
  }
  const auto to = static_cast<State>(state_[two] ^ bits);
  state_[two] = to;
  if (to == kNone) return;
  place_[two] = static_cast<Two>(list(to).size());
  list(to).push_back(two);
}

void PortPool::put(std::uint16_t port) {
  change(port / 2, port % 2 == 0 ? kEven : kOdd);
}

std::uint16_t PortPool::take_at(Two two, State which) {
  change(two, which);
  return static_cast<std::uint16_t>(2 * two + (which == kOdd ? 1 : 0));
}

// Under pressure a port rests less: better than refusing a call.
bool PortPool::wake_one() {
  if (resting_.empty()) return false;
  put(resting_.front().second);
  resting_.pop_front();
  return true;
}

// Any free port is as likely as any other.
std::optional<std::uint16_t> PortPool::take(ServerHost& random) {
  if (free() == 0 && !wake_one()) return std::nullopt;
  std::size_t drawn = random.random_below(static_cast<std::uint32_t>(free()));
  for (const State alone : {kEven, kOdd}) {
    if (drawn < count(alone)) return take_at(list(alone)[drawn], alone);
    drawn -= count(alone);
  }
  return take_at(list(kBoth)[drawn / 2], drawn % 2 == 0 ? kEven : kOdd);
}

std::optional<std::uint16_t> PortPool::take_even(ServerHost& random, bool pair) {
  const auto fitting = [&] { return count(kBoth) + (pair ? 0 : count(kEven)); };
  while (fitting() == 0) {
    if (!wake_one()) return std::nullopt;
  }
  const std::size_t drawn = random.random_below(static_cast<std::uint32_t>(fitting()));
  const Two two = drawn < count(kBoth) ? list(kBoth)[drawn] : list(kEven)[drawn - count(kBoth)];
  if (pair) change(two, kOdd);
  return take_at(two, kEven);
}

void PortPool::release(std::uint16_t port, std::uint32_t rested_s) {
  resting_.emplace_back(rested_s, port);
}

std::size_t PortPool::tick(std::uint32_t now_s, std::size_t most) {
  std::size_t woken = 0;
  for (; woken < most && !resting_.empty() && resting_.front().first <= now_s; ++woken)
    wake_one();
  return woken;
}

}  // namespace turnpike

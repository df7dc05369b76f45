// The free ports stand in a list without order, each port knows its place: drawing, taking a given
// one and giving back are all one step.
#include "turn/port_pool.h"

namespace turnpike {
namespace {

constexpr int kDraws = 32;

}  // namespace

PortPool::PortPool(std::uint16_t port_min, std::uint16_t port_max, std::uint8_t shard,
                   std::uint8_t shard_count)
    : place_(65536, kNowhere) {
  for (std::uint32_t port = port_min; port <= port_max; ++port) {
    if (port / 64 % shard_count == shard) put(static_cast<std::uint16_t>(port));
  }
}

void PortPool::put(std::uint16_t port) {
  place_[port] = static_cast<std::uint32_t>(free_.size());
  free_.push_back(port);
}

// The last one takes its place.
void PortPool::remove(std::uint16_t port) {
  const std::uint32_t at = place_[port];
  const std::uint16_t last = free_.back();
  free_[at] = last;
  place_[last] = at;
  free_.pop_back();
  place_[port] = kNowhere;
}

// Under pressure a port rests less: better than refusing a call.
void PortPool::wake_one() {
  if (resting_.empty()) return;
  put(resting_.front().second);
  resting_.pop_front();
}

std::optional<std::uint16_t> PortPool::take(ServerHost& random) {
  if (free_.empty()) wake_one();
  if (free_.empty()) return std::nullopt;
  const std::uint16_t port = free_[random.random_below(static_cast<std::uint32_t>(free_.size()))];
  remove(port);
  return port;
}

bool PortPool::fits(std::uint16_t port, bool pair) const {
  return port % 2 == 0 && place_[port] != kNowhere && (!pair || place_[port + 1U] != kNowhere);
}

std::optional<std::uint16_t> PortPool::find_even(ServerHost& random, bool pair) const {
  if (free_.empty()) return std::nullopt;
  const auto count = static_cast<std::uint32_t>(free_.size());
  // Uniform as long as a fair part of the ports will do; then whatever there is.
  for (int i = 0; i < kDraws; ++i) {
    const std::uint16_t port = free_[random.random_below(count)];
    if (fits(port, pair)) return port;
  }
  for (const std::uint16_t port : free_) {
    if (fits(port, pair)) return port;
  }
  return std::nullopt;
}

std::optional<std::uint16_t> PortPool::take_even(ServerHost& random, bool pair) {
  auto port = find_even(random, pair);
  if (!port && !resting_.empty()) {
    while (!resting_.empty())
      wake_one();
    port = find_even(random, pair);
  }
  if (!port) return std::nullopt;
  remove(*port);
  if (pair) remove(static_cast<std::uint16_t>(*port + 1));
  return port;
}

void PortPool::release(std::uint16_t port, std::uint32_t rested_s) {
  resting_.emplace_back(rested_s, port);
}

void PortPool::tick(std::uint32_t now_s) {
  while (!resting_.empty() && resting_.front().first <= now_s)
    wake_one();
}

}  // namespace turnpike

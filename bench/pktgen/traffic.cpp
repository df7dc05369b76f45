// Sums of what several runs counted, and what follows from them.
#include "traffic.h"

#include <algorithm>

#include "clock.h"

namespace turnpike::pktgen {

void DirectionTally::add(const DirectionTally& other) {
  sent += other.sent;
  delivered += other.delivered;
  duplicated += other.duplicated;
  reordered += other.reordered;
  corrupted += other.corrupted;
  misdelivered += other.misdelivered;
  latency_ns.add(other.latency_ns);
}

void Tally::add(const Tally& other) {
  seconds += other.seconds;
  for (std::size_t i = 0; i < directions.size(); ++i)
    directions[i].add(other.directions[i]);
  using Count = std::uint64_t Tally::*;
  for (const Count count :
       {&Tally::refused, &Tally::skipped, &Tally::received_in_time, &Tally::foreign,
        &Tally::attack_sent, &Tally::attack_refused, &Tally::attack_answers, &Tally::checked,
        &Tally::rounds, &Tally::idle_rounds, &Tally::polls, &Tally::idle_polls, &Tally::transmits,
        &Tally::refused_transmits, &Tally::cycles, &Tally::idle_cycles}) {
    this->*count += other.*count;
  }
}

std::uint64_t Tally::lost() const {
  if (by_direction) return directions[0].lost() + directions[1].lost();
  return sent() > delivered() ? sent() - delivered() : 0;
}

double Tally::loss() const {
  const std::uint64_t due = sent() + refused;
  if (due == 0) return 0;
  const std::uint64_t good = std::min(delivered(), sent());
  return static_cast<double>(due - good) / static_cast<double>(due);
}

Pace::Pace(double rate_pps, std::uint64_t now)
    : per_cycle_(rate_pps / static_cast<double>(rte_get_tsc_hz())), began_(now) {}

std::uint16_t Pace::take(std::uint64_t now, std::uint16_t most) {
  constexpr std::uint64_t kMostBehind = 16 * kBurst;
  const auto due = static_cast<std::uint64_t>(static_cast<double>(now - began_) * per_cycle_);
  std::uint64_t open = due - std::min(due, given_);
  if (open > kMostBehind) {
    skipped_ += open - kMostBehind;
    given_ += open - kMostBehind;
    open = kMostBehind;
  }
  const auto taken = static_cast<std::uint16_t>(std::min<std::uint64_t>(open, most));
  given_ += taken;
  return taken;
}

}  // namespace turnpike::pktgen

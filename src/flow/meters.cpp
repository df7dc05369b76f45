// What is seldom: a slot has another owner, or a credit is used up.
#include "flow/meters.h"

#include <algorithm>

namespace turnpike::flow {
namespace {

constexpr Drop kDrops[kMeterLevels][kMeterKinds] = {
    {Drop::kAllocationBandwidth, Drop::kAllocationPacketRate},
    {Drop::kUserBandwidth, Drop::kUserPacketRate},
    {Drop::kRealmBandwidth, Drop::kRealmPacketRate},
    {Drop::kNodeBandwidth, Drop::kNodePacketRate}};

}  // namespace

Meters::Meters(const Tables& tables, SharedMeters* shared)
    : tables_(tables),
      shared_(shared),
      states_(shared == nullptr ? 1 : shared->allocations()),
      users_(shared == nullptr ? 1 : shared->users()) {}

void Meters::change(const MeterRates& rates) {
  rates_ = rates;
  limit_count_ = 0;
  if (shared_ == nullptr) return;
  for (std::uint8_t level = 0; level < kMeterLevels; ++level) {
    for (std::uint8_t kind = 0; kind < kMeterKinds; ++kind) {
      if (!rates.rates[level][kind].unlimited()) limits_[limit_count_++] = {level, kind};
    }
  }
}

// The slot's buckets are made full for a new owner by whichever worker meets him first; another
// that draws at the same moment may be given a quantum twice.
void Meters::adopt(State& state, AllocationSlot slot, std::uint16_t generation) {
  state = {};
  state.generation = generation;
  state.realm = tables_.realm(slot);
  state.user =
      std::min<std::uint32_t>(tables_.user(slot), static_cast<std::uint32_t>(users_.size() - 1));
  SharedMeters::Buckets& buckets = shared_->allocation(slot);
  std::uint32_t owner = buckets.generation.load(std::memory_order_relaxed);
  if (owner == generation ||
      !buckets.generation.compare_exchange_strong(owner, generation, std::memory_order_relaxed))
    return;
  for (auto& kind : buckets.meters) {
    for (SharedMeter& meter : kind)
      meter.reset();
  }
}

// What is there, or drawn now, for every limit is taken off; else nothing is.
Drop Meters::draw(Instant now, AllocationSlot slot, State& state, bool to_client,
                  std::uint32_t bytes) {
  const std::array<SharedMeters::Buckets*, kMeterLevels> buckets{
      &shared_->allocation(slot), &shared_->user(state.user), &shared_->realm(state.realm),
      &shared_->node()};
  const std::array<Credits*, kMeterLevels> credits = credits_of(state);
  for (std::size_t i = 0; i < limit_count_; ++i) {
    const auto [level, kind] = limits_[i];
    if (!credit(credits, limits_[i], to_client)
             .has(now.ms, rates_.rates[level][kind], buckets[level]->meters[kind][to_client],
                  cost(kind, bytes)))
      return kDrops[level][kind];
  }
  for (std::size_t i = 0; i < limit_count_; ++i)
    credit(credits, limits_[i], to_client).take(cost(limits_[i].kind, bytes));
  return Drop::kNone;
}

}  // namespace turnpike::flow

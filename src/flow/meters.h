// How much an allocation, a user, a realm and the node may relay: bytes and packets in a second,
// each direction for itself. Bytes are of IP, on the peers' side: what the relay pays for, whatever
// the framing to the client; an ICMP error that a client is told of is a packet to him. What is
// above a limit is dropped under its name, never queued.
//
// What may pass counts, before it is known whether it can: a packet that is then dropped for its
// TTL, its length or want of a route has used up its share. Its sender can do no more by such
// packets than by those that arrive.
//
// Buckets are shared by all workers (base/meter.h); a worker has credits of each, among them its
// own state of each allocation, by slot, which knows by the generation whose it is.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/meter.h"
#include "flow/drop.h"
#include "tables/large_array.h"
#include "tables/tables.h"
#include "turnpike/flow_sink.h"
#include "turnpike/realm.h"
#include "turnpike/time.h"

namespace turnpike::flow {

enum class MeterLevel : std::uint8_t { kAllocation, kUser, kRealm, kNode };
inline constexpr std::size_t kMeterLevels = 4;
enum class MeterKind : std::uint8_t { kBytes, kPackets };
inline constexpr std::size_t kMeterKinds = 2;

// What a policy allows, by level and kind; alike for all of a level.
struct MeterRates {
  std::array<std::array<MeterRate, kMeterKinds>, kMeterLevels> rates{};

  const MeterRate& of(MeterLevel level, MeterKind kind) const {
    return rates[static_cast<std::size_t>(level)][static_cast<std::size_t>(kind)];
  }
  MeterRate& of(MeterLevel level, MeterKind kind) {
    return rates[static_cast<std::size_t>(level)][static_cast<std::size_t>(kind)];
  }
  friend bool operator==(const MeterRates&, const MeterRates&) = default;
};

// The node's buckets. Touched where credit is drawn.
class SharedMeters {
 public:
  // Of one allocation, user or realm, or of the node; by kind and direction (to the client: 1).
  struct alignas(64) Buckets {
    std::array<std::array<SharedMeter, 2>, kMeterKinds> meters;
    std::atomic<std::uint32_t> generation{0};  // an allocation's: whose they are
  };

  // So many allocations' slots, and users' numbers.
  SharedMeters(std::size_t allocations, std::size_t users)
      : allocations_(allocations), users_(users) {}

  Buckets& allocation(AllocationSlot slot) {
    return allocations_[static_cast<std::uint32_t>(slot)];
  }
  Buckets& user(std::uint32_t number) { return users_[number]; }
  Buckets& realm(RealmIndex realm) { return realms_[realm]; }
  Buckets& node() { return node_; }
  std::size_t allocations() const { return allocations_.size(); }
  std::size_t users() const { return users_.size(); }

 private:
  LargeArray<Buckets> allocations_, users_;
  std::array<Buckets, kMostRealms> realms_;
  Buckets node_;
};

// One worker's.
class Meters {
 public:
  // `shared`: none, if nothing is ever metered.
  Meters(const Tables& tables, SharedMeters* shared);

  // Once a round: what is as it was costs a compare.
  void use(const MeterRates& rates) {
    if (rates != rates_) change(rates);
  }
  bool watch() const { return limit_count_ != 0; }

  // Of a slot that take() is about to be asked of.
  void prefetch(std::uint32_t slot) const { __builtin_prefetch(&states_[slot], 1); }

  // A packet of `bytes` of IP, of the slot's `generation`th allocation. Drop::kNone: it passes, and
  // is taken off.
  Drop take(Instant now, AllocationSlot slot, std::uint16_t generation, bool to_client,
            std::uint32_t bytes) {
    State& state = states_[static_cast<std::uint32_t>(slot)];
    if (state.generation != generation) [[unlikely]]
      adopt(state, slot, generation);
    const std::array<Credits*, kMeterLevels> credits = credits_of(state);
    // Nearly always all have enough: so each is taken off before the last is known to.
    bool enough = true;
    for (std::size_t i = 0; i < limit_count_; ++i)
      enough &= credit(credits, limits_[i], to_client).take(cost(limits_[i].kind, bytes));
    if (enough) [[likely]]
      return Drop::kNone;
    for (std::size_t i = 0; i < limit_count_; ++i)
      credit(credits, limits_[i], to_client).put_back(cost(limits_[i].kind, bytes));
    return draw(now, slot, state, to_client, bytes);
  }

 private:
  // By kind and direction.
  struct Credits {
    std::array<std::array<Credit, 2>, kMeterKinds> left;
  };
  struct State {
    Credits credits;
    std::uint32_t user = 0;
    std::uint16_t generation = 0;  // 0: nobody's yet
    RealmIndex realm = 0;
  };
  static_assert(sizeof(State) <= 32);

  // One that there is, of those a policy can set.
  struct Limit {
    std::uint8_t level, kind;
  };

  static std::uint32_t cost(std::uint8_t kind, std::uint32_t bytes) {
    return kind == static_cast<std::uint8_t>(MeterKind::kBytes) ? bytes : 1;
  }
  // By level.
  std::array<Credits*, kMeterLevels> credits_of(State& state) {
    return {&state.credits, &users_[state.user], &realms_[state.realm], &node_};
  }
  static Credit& credit(const std::array<Credits*, kMeterLevels>& credits, Limit limit,
                        bool to_client) {
    return credits[limit.level]->left[limit.kind][to_client];
  }
  void change(const MeterRates& rates);
  void adopt(State& state, AllocationSlot slot, std::uint16_t generation);
  Drop draw(Instant now, AllocationSlot slot, State& state, bool to_client, std::uint32_t bytes);

  const Tables& tables_;
  SharedMeters* shared_;
  MeterRates rates_;
  std::array<Limit, kMeterLevels * kMeterKinds> limits_{};
  std::size_t limit_count_ = 0;
  LargeArray<State> states_;
  LargeArray<Credits> users_;
  std::array<Credits, kMostRealms> realms_;
  Credits node_;
};

}  // namespace turnpike::flow

// How many requests a worker hands to the engine: so many for each allocation, and for each source
// of those that have none. A request with a right nonce can be repeated as fast as a wire carries
// it, and any of them costs the engine more than the worker: whoever asks more than a client has
// reason to asks in vain, and all others are heard.
#pragma once

#include <cstddef>
#include <cstdint>

#include "flow/drop.h"
#include "flow/setup.h"
#include "flow/source_buckets.h"
#include "flow/token_bucket.h"
#include "tables/large_array.h"
#include "tables/tables.h"
#include "turnpike/time.h"

namespace turnpike::flow {

// Each worker counts for itself.
struct RequestRates {
  // Full ICE asks for a score of permissions and channels at once, each some times again.
  TokenRate per_allocation{20, 64};
  // A thousand clients behind one address may come back at the same moment.
  TokenRate per_source{500, 2000};
};

class RequestLimits {
 public:
  RequestLimits(const SourceTable& strangers, std::size_t allocations)
      : strangers_(strangers.sources, strangers.key), states_(allocations) {}

  // Takes what the request costs. kNone: it may go to the engine; else why not.
  Drop stranger(Instant now, const Address& source, const RequestRates& rates) {
    return strangers_.take(now, source, rates.per_source) ? Drop::kNone : Drop::kRequestSourceLimit;
  }
  Drop known(Instant now, AllocationSlot slot, std::uint16_t generation,
             const RequestRates& rates) {
    if (rates.per_allocation.unlimited()) return Drop::kNone;
    State& state = states_[static_cast<std::uint32_t>(slot)];
    if (state.generation != generation) state = {0, generation};
    return rates.per_allocation.take(now, state.requests_full_at_ns) ? Drop::kNone
                                                                     : Drop::kRequestLimit;
  }

 private:
  // What this worker keeps of an allocation, by its slot; another generation of the slot's is
  // another allocation, and starts anew.
  struct State {
    std::uint64_t requests_full_at_ns = 0;
    std::uint16_t generation = 0;
  };
  static_assert(sizeof(State) == 16);

  SourceBuckets strangers_;
  LargeArray<State> states_;
};

}  // namespace turnpike::flow

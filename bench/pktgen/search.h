// The highest rate that a relay carries with no loss, and with little (RFC 2544 §26.1, by
// bisection): each trial after a warm-up that isn't counted, and the rate found confirmed by a
// longer run.
#pragma once

#include "traffic.h"

namespace turnpike::pktgen {

struct Found {
  double rate_pps = 0;  // 0: none without more loss than allowed
  Tally confirmation;
};

// `most_pps`: what the relay delivers when it gets all that the port takes.
double most_delivered(Traffic& traffic, const Options& options);
// Not below `known`, whose rate has been found with less loss allowed.
Found search(Traffic& traffic, const Options& options, double most_pps, double loss_allowed,
             const Found& known);

}  // namespace turnpike::pktgen

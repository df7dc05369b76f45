// What the generator says: lines for people on stderr, one JSON object on each line of stdout.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "json.h"
#include "session.h"
#include "traffic.h"

namespace turnpike::pktgen {

// `last`: of a whole run, so that what has not arrived is lost; of one second it may be on its way.
// `ceiling_pps`: what the generator does looped to itself; a rate within 10 % of it is its own.
Json tally_json(const Tally& tally, bool last, std::optional<double> ceiling_pps);
Json session_json(const SessionCounts& counts, double seconds);

std::string tally_text(const Tally& tally, bool last);
bool is_generators(double pps, std::optional<double> ceiling_pps);

}  // namespace turnpike::pktgen

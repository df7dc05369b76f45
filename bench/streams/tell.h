// What the stream generator says of each mode: a line for people, and the same as JSON.
#pragma once

#include <string>

#include "json.h"
#include "loop.h"
#include "media.h"
#include "visits.h"

namespace turnpike::streams {

pktgen::Json counts_json(const Counts& counts, double seconds);
pktgen::Json tally_json(const Tally& tally);
pktgen::Json return_json(const Return& back);

std::string counts_text(const Counts& counts, double seconds);
std::string tally_text(const Tally& tally);
std::string return_text(const Return& back);

}  // namespace turnpike::streams

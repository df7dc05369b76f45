// What the generator says: lines for people on stderr, one JSON object on each line of stdout.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "session.h"
#include "traffic.h"

namespace turnpike::pktgen {

// One JSON object, written in the order of the calls.
class Json {
 public:
  Json& add(std::string_view key, std::uint64_t value);
  Json& add(std::string_view key, double value);
  Json& add(std::string_view key, bool value);
  Json& add(std::string_view key, std::string_view value);
  Json& add(std::string_view key, const Json& value);
  std::string text() const { return "{" + members_ + "}"; }

 private:
  Json& member(std::string_view key, const std::string& value);

  std::string members_;
};

Json latency_json(const Histogram& latency_ns);
// `last`: of a whole run, so that what has not arrived is lost; of one second it may be on its way.
// `ceiling_pps`: what the generator does looped to itself; a rate within 10 % of it is its own.
Json tally_json(const Tally& tally, bool last, std::optional<double> ceiling_pps);
Json session_json(const SessionCounts& counts, double seconds);

// "10.0 kpps" and the like.
std::string rate_text(double pps);
std::string tally_text(const Tally& tally, bool last);
bool is_generators(double pps, std::optional<double> ceiling_pps);

// To stderr, and to stdout.
void say(const std::string& line);
void print_json(const Json& json);

}  // namespace turnpike::pktgen

// How the generators tell what they have measured: lines for people on stderr, one JSON object on
// each line of stdout.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "histogram.h"

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
// "10.0 kpps" and the like.
std::string rate_text(double pps);

// To stderr, and to stdout.
void say(const std::string& line);
void print_json(const Json& json);

}  // namespace turnpike::pktgen

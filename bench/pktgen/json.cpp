// Objects are put together as text: nothing here reads one.
#include "json.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace turnpike::pktgen {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> escaped{};
      (void)std::snprintf(escaped.data(), escaped.size(), "\\u%04x", static_cast<unsigned>(c));
      out += escaped.data();
    } else {
      out += c;
    }
  }
  return out + '"';
}

template <typename... Values>
std::string format(const char* how, Values... values) {
  std::array<char, 512> text{};
  (void)std::snprintf(text.data(), text.size(), how, values...);
  return text.data();
}

double micro(std::uint64_t ns) {
  return static_cast<double>(ns) / 1000;
}

}  // namespace

Json& Json::member(std::string_view key, const std::string& value) {
  if (!members_.empty()) members_ += ", ";
  members_ += quoted(key) + ": " + value;
  return *this;
}

Json& Json::add(std::string_view key, std::uint64_t value) {
  return member(key, std::to_string(value));
}
Json& Json::add(std::string_view key, double value) {
  return member(key, std::isfinite(value) ? format("%.6g", value) : "null");
}
Json& Json::add(std::string_view key, bool value) {
  return member(key, value ? "true" : "false");
}
Json& Json::add(std::string_view key, std::string_view value) {
  return member(key, quoted(value));
}
Json& Json::add(std::string_view key, const Json& value) {
  return member(key, value.text());
}

Json latency_json(const Histogram& latency) {
  Json json;
  json.add("count", latency.count())
      .add("mean", latency.mean() / 1000)
      .add("p50", micro(latency.percentile(50)))
      .add("p90", micro(latency.percentile(90)))
      .add("p99", micro(latency.percentile(99)))
      .add("p99.9", micro(latency.percentile(99.9)))
      .add("max", micro(latency.max()));
  return json;
}

std::string rate_text(double pps) {
  if (pps >= 1e6) return format("%.2f Mpps", pps / 1e6);
  if (pps >= 1e3) return format("%.1f kpps", pps / 1e3);
  return format("%.0f pps", pps);
}

void say(const std::string& line) {
  (void)std::fprintf(stderr, "%s\n", line.c_str());
}

void print_json(const Json& json) {
  (void)std::printf("%s\n", json.text().c_str());
  (void)std::fflush(stdout);
}

}  // namespace turnpike::pktgen

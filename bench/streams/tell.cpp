// Names are those of turnpike-pktgen where both measure the same.
#include "tell.h"

#include <array>
#include <cstdio>

namespace turnpike::streams {
namespace {

template <typename... Values>
std::string format(const char* how, Values... values) {
  std::array<char, 512> text{};
  (void)std::snprintf(text.data(), text.size(), how, values...);
  return text.data();
}

double per_second(std::uint64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

std::string percentiles(const pktgen::Histogram& took) {
  return format("p50 %.2f p99 %.2f max %.2f ms", static_cast<double>(took.percentile(50)) / 1e6,
                static_cast<double>(took.percentile(99)) / 1e6,
                static_cast<double>(took.max()) / 1e6);
}

pktgen::Json direction_json(const DirectionTally& tally, double seconds) {
  pktgen::Json json;
  json.add("mpps", per_second(tally.in_time, seconds) / 1e6)
      .add("sent", tally.sent)
      .add("delivered", tally.delivered)
      .add("lost", tally.lost())
      .add("reordered", tally.reordered)
      .add("corrupted", tally.corrupted)
      .add("wrong_receiver", tally.wrong_receiver)
      .add("latency_us", pktgen::latency_json(tally.latency_ns));
  return json;
}

std::string direction_text(const char* name, const DirectionTally& tally, double seconds) {
  if (tally.sent == 0) return "";
  std::string text = format("  %s: %s, lost %llu of %llu, ", name,
                            pktgen::rate_text(per_second(tally.in_time, seconds)).c_str(),
                            static_cast<unsigned long long>(tally.lost()),
                            static_cast<unsigned long long>(tally.sent)) +
                     percentiles(tally.latency_ns);
  if (tally.reordered > 0)
    text += format(", reordered %llu", static_cast<unsigned long long>(tally.reordered));
  if (tally.corrupted > 0)
    text += format(", CORRUPTED %llu", static_cast<unsigned long long>(tally.corrupted));
  if (tally.wrong_receiver > 0)
    text +=
        format(", TO A WRONG RECEIVER %llu", static_cast<unsigned long long>(tally.wrong_receiver));
  return text;
}

}  // namespace

pktgen::Json counts_json(const Counts& counts, double seconds) {
  pktgen::Json errors;
  for (const auto& [code, count] : counts.errors)
    errors.add(std::to_string(code), count);
  pktgen::Json json;
  json.add("seconds", seconds)
      .add("begun", counts.begun)
      .add("handshakes", counts.handshakes)
      .add("resumed", counts.resumed)
      .add("served", counts.served)
      .add("served_per_s", per_second(counts.served, seconds))
      .add("failed", counts.failed)
      .add("cut", counts.cut)
      .add("errors", errors)
      .add("handshake_us", pktgen::latency_json(counts.handshake_ns))
      .add("served_us", pktgen::latency_json(counts.served_ns));
  return json;
}

pktgen::Json tally_json(const Tally& tally) {
  const std::uint64_t sent = tally.up.sent + tally.down.sent;
  const std::uint64_t lost = tally.up.lost() + tally.down.lost();
  pktgen::Json json;
  json.add("seconds", tally.seconds)
      .add("mpps", per_second(tally.up.in_time + tally.down.in_time, tally.seconds) / 1e6)
      .add("sent", sent)
      .add("delivered", tally.up.delivered + tally.down.delivered)
      .add("lost", lost)
      .add("refused", tally.refused)
      .add("skipped", tally.skipped)
      .add("loss", sent > 0 ? static_cast<double>(lost) / static_cast<double>(sent) : 0)
      .add("up", direction_json(tally.up, tally.seconds))
      .add("down", direction_json(tally.down, tally.seconds))
      .add("generator_idle", tally.idle);
  return json;
}

pktgen::Json return_json(const Return& back) {
  pktgen::Json json;
  json.add("cut", back.cut)
      .add("back", back.back)
      .add("seconds", back.seconds)
      .add("failed_tries", back.failed_tries)
      .add("away_us", pktgen::latency_json(back.away_ns));
  return json;
}

std::string counts_text(const Counts& counts, double seconds) {
  std::string text = format(
      "%llu served in %.2f s, %.0f a second; %llu handshakes, %llu resumed, %llu failed; since "
      "connecting: handshake ",
      static_cast<unsigned long long>(counts.served), seconds, per_second(counts.served, seconds),
      static_cast<unsigned long long>(counts.handshakes),
      static_cast<unsigned long long>(counts.resumed),
      static_cast<unsigned long long>(counts.failed));
  text += percentiles(counts.handshake_ns) + ", served " + percentiles(counts.served_ns);
  for (const auto& [code, count] : counts.errors)
    text += format("; %llu times %u", static_cast<unsigned long long>(count), unsigned{code});
  return text;
}

std::string tally_text(const Tally& tally) {
  return pktgen::rate_text(per_second(tally.up.in_time + tally.down.in_time, tally.seconds)) +
         direction_text("up", tally.up, tally.seconds) +
         direction_text("down", tally.down, tally.seconds) +
         format("; refused %llu, generator idle %.0f %%",
                static_cast<unsigned long long>(tally.refused), 100 * tally.idle);
}

std::string return_text(const Return& back) {
  return format("%llu were cut, %llu are back after %.2f s; away: ",
                static_cast<unsigned long long>(back.cut),
                static_cast<unsigned long long>(back.back), back.seconds) +
         percentiles(back.away_ns) +
         format("; tries that failed: %llu", static_cast<unsigned long long>(back.failed_tries));
}

}  // namespace turnpike::streams

// One place for all lines of the generator, so that people and programs are told the same
// figures.
#include "report.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace turnpike::pktgen {
namespace {

template <typename... Values>
std::string format(const char* how, Values... values) {
  std::array<char, 512> text{};
  (void)std::snprintf(text.data(), text.size(), how, values...);
  return text.data();
}

double micro(std::uint64_t ns) {
  return static_cast<double>(ns) / 1000;
}

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

const char* missing_name(bool last) {
  return last ? "lost" : "on_the_way";
}

Json direction_json(const DirectionTally& tally, bool last) {
  Json json;
  json.add("sent", tally.sent)
      .add("delivered", tally.delivered)
      .add(missing_name(last), tally.lost())
      .add("duplicated", tally.duplicated)
      .add("reordered", tally.reordered)
      .add("corrupted", tally.corrupted)
      .add("wrong_receiver", tally.misdelivered)
      .add("latency_us", latency_json(tally.latency_ns));
  return json;
}

// Which way a light run's packets went is known of those that were checked.
Json sampled_json(const DirectionTally& tally) {
  Json json;
  json.add("sent", tally.sent)
      .add("corrupted", tally.corrupted)
      .add("wrong_receiver", tally.misdelivered)
      .add("latency_us", latency_json(tally.latency_ns));
  return json;
}

std::string direction_text(const char* name, const DirectionTally& tally, double seconds,
                           bool last) {
  if (tally.sent == 0 && tally.delivered == 0) return "";
  const Histogram& latency = tally.latency_ns;
  std::string text =
      format("  %s: %s, %s %llu, p50 %.1f p99 %.1f p99.9 %.1f max %.1f us", name,
             rate_text(static_cast<double>(tally.delivered) / seconds).c_str(),
             last ? "lost" : "on the way", static_cast<unsigned long long>(tally.lost()),
             micro(latency.percentile(50)), micro(latency.percentile(99)),
             micro(latency.percentile(99.9)), micro(latency.max()));
  const std::array<std::pair<const char*, std::uint64_t>, 4> rare = {{
      {"duplicated", tally.duplicated},
      {"reordered", tally.reordered},
      {"CORRUPTED", tally.corrupted},
      {"TO A WRONG RECEIVER", tally.misdelivered},
  }};
  for (const auto& [what, count] : rare) {
    if (count > 0) text += format(", %s %llu", what, static_cast<unsigned long long>(count));
  }
  return text;
}

}  // namespace

Json tally_json(const Tally& tally, bool last, std::optional<double> ceiling_pps) {
  Json json;
  json.add("seconds", tally.seconds)
      .add("mpps", tally.received_pps() / 1e6)
      .add("sent", tally.sent())
      .add("delivered", tally.delivered())
      .add(missing_name(last), tally.lost())
      .add("refused", tally.refused)
      .add("skipped", tally.skipped)
      .add("loss", tally.loss())
      .add("foreign", tally.foreign);
  if (tally.by_direction) {
    json.add("up", direction_json(tally.directions[0], last))
        .add("down", direction_json(tally.directions[1], last));
  } else {
    json.add("checked", tally.checked)
        .add("corrupted", tally.directions[0].corrupted + tally.directions[1].corrupted)
        .add("wrong_receiver", tally.directions[0].misdelivered + tally.directions[1].misdelivered)
        .add("up", sampled_json(tally.directions[0]))
        .add("down", sampled_json(tally.directions[1]));
  }
  if (tally.attack_sent > 0)
    json.add("attack_sent", tally.attack_sent)
        .add("attack_refused", tally.attack_refused)
        .add("attack_answers", tally.attack_answers);
  json.add("generator_idle", share(tally.idle_cycles, tally.cycles))
      .add("idle_polls", share(tally.idle_polls, tally.polls))
      .add("refused_transmits", share(tally.refused_transmits, tally.transmits));
  if (ceiling_pps) {
    json.add("ceiling_mpps", *ceiling_pps / 1e6)
        .add("limited_by_generator", is_generators(tally.received_pps(), ceiling_pps));
  }
  return json;
}

Json session_json(const SessionCounts& counts, double seconds) {
  Json errors;
  for (const auto& [code, count] : counts.errors)
    errors.add(std::to_string(code), count);
  Json json;
  json.add("allocated", counts.allocated)
      .add("failed", counts.failed)
      .add("seconds", seconds)
      .add("allocations_per_s", seconds > 0 ? static_cast<double>(counts.allocated) / seconds : 0)
      .add("requests", counts.requests)
      .add("retransmissions", counts.retransmissions)
      .add("timeouts", counts.timeouts)
      .add("errors", errors)
      .add("latency_us", latency_json(counts.latency_ns));
  return json;
}

std::string tally_text(const Tally& tally, bool last) {
  if (!tally.by_direction) {
    const auto both = [&tally](std::uint64_t DirectionTally::*count) {
      return std::to_string(tally.directions[0].*count + tally.directions[1].*count);
    };
    return rate_text(tally.received_pps()) + ", lost " + std::to_string(tally.lost()) + " of " +
           std::to_string(tally.sent()) + ", refused " + std::to_string(tally.refused) +
           ", checked " + std::to_string(tally.checked) + ", corrupted " +
           both(&DirectionTally::corrupted) + ", to a wrong receiver " +
           both(&DirectionTally::misdelivered) +
           format("; generator idle %.0f %%", 100 * share(tally.idle_cycles, tally.cycles));
  }
  const double seconds = tally.seconds > 0 ? tally.seconds : 1;
  std::string text = direction_text("up", tally.directions[0], seconds, last) +
                     direction_text("down", tally.directions[1], seconds, last);
  if (tally.refused > 0)
    text += format("  refused %llu", static_cast<unsigned long long>(tally.refused));
  if (tally.foreign > 0)
    text += format("  foreign %llu", static_cast<unsigned long long>(tally.foreign));
  if (tally.attack_sent > 0) {
    text +=
        format("  attack %llu, answered %llu", static_cast<unsigned long long>(tally.attack_sent),
               static_cast<unsigned long long>(tally.attack_answers));
  }
  return text;
}

bool is_generators(double pps, std::optional<double> ceiling_pps) {
  return ceiling_pps && pps > 0.9 * *ceiling_pps;
}

}  // namespace turnpike::pktgen

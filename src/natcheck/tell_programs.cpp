// The report as JSON; docs/man/turnpike-natcheck.1 says what each member is.
#include "natcheck/json.h"
#include "natcheck/report.h"

namespace turnpike::natcheck {
namespace {

Json text_or_null(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

Json time_or_null(double milliseconds) {
  return milliseconds > 0 ? Json(milliseconds) : Json();
}

Json known(std::string_view text) {
  return text == "unknown" ? Json() : Json(text);
}

Json udp_of(const Discovery& udp) {
  return JsonObject()
      .add("outcome", text_of(udp.seen.reached))
      .add("round_trip_ms", time_or_null(udp.round_trip_ms))
      .add("mapped", udp.seen.mapped)
      .add("other_address", udp.seen.other)
      .add("software", text_or_null(udp.software));
}

Json lifetime_of(const Lifetime& lifetime) {
  using Result = Lifetime::Result;
  if (lifetime.result == Result::kNotAsked || lifetime.result == Result::kCannotTell) return {};
  const bool found = lifetime.result == Result::kFound;
  return JsonObject()
      .add("seconds", found ? Json(lifetime.estimate_s()) : Json())
      .add("at_least", lifetime.result == Result::kShorter ? Json() : Json(lifetime.alive_s))
      .add("less_than", lifetime.result == Result::kLonger ? Json() : Json(lifetime.dead_s))
      .add("consistent", lifetime.consistent);
}

Json nat_of(const PathReport& path) {
  const Findings& found = path.found;
  const Observations& seen = path.udp.seen;
  return JsonObject()
      .add("name", known(text_of(found.name)))
      .add("translated", found.translated)
      .add("mapping", known(text_of(found.mapping)))
      .add("filtering", known(text_of(found.filtering)))
      .add("hairpinning", found.hairpins)
      .add("hairpins_with_public_source",
           found.hairpins == true ? Json(seen.hairpin_from_mapped) : Json())
      .add("port_preservation", found.keeps_ports)
      .add("port_contiguity", found.contiguous_ports)
      .add("one_public_address", found.one_public_address)
      .add("payload_rewritten", found.translated ? Json(seen.altered) : Json())
      .add("fragments_out", found.fragments_out)
      .add("fragments_in", found.fragments_in)
      .add("lifetime", lifetime_of(path.lifetime));
}

JsonObject stream_of(const StreamReport& stream) {
  return JsonObject()
      .add("connected", stream.connected)
      .add("answered", stream.answered)
      .add("error", text_or_null(stream.error))
      .add("connect_ms", time_or_null(stream.connect_ms))
      .add("round_trip_ms", time_or_null(stream.round_trip_ms))
      .add("mapped", stream.mapped);
}

Json tls_of(const StreamReport& stream) {
  return stream_of(stream)
      .add("version", text_or_null(stream.tls.version))
      .add("certificate", text_or_null(stream.tls.certificate))
      .add("trusted", stream.connected ? Json(stream.tls.distrust.empty()) : Json())
      .add("distrust", text_or_null(stream.tls.distrust));
}

Json turn_of(Way way, const TurnReport& turn) {
  return JsonObject()
      .add("transport", text_of(way))
      .add("works", turn.works())
      .add("connected", turn.connected)
      .add("allocated", turn.allocated)
      .add("permission", turn.permitted)
      .add("echo", turn.echoed)
      .add("channel", turn.bound)
      .add("channel_echo", turn.channel_echoed)
      .add("relayed", turn.relayed)
      .add("round_trip_ms", time_or_null(turn.request_ms))
      .add("echo_ms", time_or_null(turn.echo_ms))
      .add("error", text_or_null(turn.error))
      .add("advice", text_or_null(turn.advice));
}

Json path_of(const PathReport& path, bool lifetime_asked) {
  std::vector<Json> turn, unknown;
  for (const auto& [way, report] : path.turn)
    turn.push_back(turn_of(way, report));
  for (const std::string& doubt : doubts(path, lifetime_asked))
    unknown.push_back(doubt);
  return JsonObject()
      .add("interface", text_or_null(path.path.interface))
      .add("local", path.path.local.to_string())
      .add("server", path.path.server.to_string())
      .add("udp", udp_of(path.udp))
      .add("nat", nat_of(path))
      .add("relay", known(text_of(path.found.relay)))
      .add("tcp", stream_of(path.tcp))
      .add("tls", tls_of(path.tls))
      .add("turn", json_array(turn))
      .add("unknown", json_array(unknown));
}

}  // namespace

std::string tell_programs(const Report& report) {
  std::vector<Json> paths, without;
  for (const PathReport& path : report.paths)
    paths.push_back(path_of(path, report.lifetime_asked));
  for (const std::string& name : report.without_way)
    without.push_back(name);
  const Json all = JsonObject()
                       .add("server", report.host)
                       .add("port", int{report.port})
                       .add("tls_port", int{report.tls_port})
                       .add("exit_status", exit_status(report))
                       .add("seconds", report.seconds)
                       .add("paths", json_array(paths))
                       .add("without_way", json_array(without));
  return all.text + "\n";
}

}  // namespace turnpike::natcheck

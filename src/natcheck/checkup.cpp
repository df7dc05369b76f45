// What each part finds is put together here.
#include "natcheck/checkup.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <system_error>

namespace turnpike::natcheck {
namespace {

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

StreamReport check_stream(Way way, const Path& path, std::uint16_t port, const TlsSettings& tls,
                          Clock::duration patience) {
  StreamReport report;
  const auto start = Clock::now();
  const auto carrier = Carrier::open(way, path, port, tls, patience, report.error);
  if (!carrier) return report;
  report.connected = true;
  report.connect_ms = milliseconds_since(start);
  report.tls = carrier->tls();
  const auto asked = Clock::now();
  const stun::TransactionId id = fresh_id();
  carrier->send(binding_request(id), asked + patience);
  while (const auto message = carrier->receive(asked + patience)) {
    const auto answer = read_answer(*message, id);
    if (!answer) continue;
    report.answered = answer->error == 0;
    if (!report.answered) report.error = "the answer is error " + std::to_string(answer->error);
    report.mapped = answer->mapped;
    report.round_trip_ms = milliseconds_since(asked);
    return report;
  }
  report.error =
      carrier->is_over() ? "the server hangs up when it is asked" : "nothing is answered";
  return report;
}

std::int64_t unix_now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

PathReport check_path(const Path& path, const Options& options,
                      const std::function<void(const std::string&)>& say) {
  PathReport report;
  report.path = path;
  const auto patience = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(options.patience_s));
  const std::string where = path.local.to_string() + ": ";
  say(where + "UDP and the NAT");
  try {
    report.udp = discover(path, options.port, patience);
  } catch (const std::system_error&) {
    report.udp.seen.reached = Outcome::kUnreachable;
  }
  say(where + "TCP and TLS");
  report.tcp = check_stream(Way::kTcp, path, options.port, options.tls, patience);
  report.tls = check_stream(Way::kTls, path, options.tls_port, options.tls, patience);
  report.found = conclude(report.udp.seen, report.tcp.answered || report.tls.answered);
  for (const Way way : options.turn_ways) {
    say(where + "TURN by " + std::string(text_of(way)));
    report.turn.emplace_back(
        way, check_turn(way, path, way == Way::kTls ? options.tls_port : options.port, options.tls,
                        options.credentials, unix_now_s(), patience));
  }
  const bool something_ends =
      report.udp.seen.reached == Outcome::kAnswered && report.found.name != Name::kOpen;
  if (options.lifetime_s > 0) report.lifetime.result = Lifetime::Result::kCannotTell;
  if (options.lifetime_s > 0 && something_ends) {
    say(where + "how long mappings last, at most " +
        std::to_string(static_cast<int>(options.lifetime_s)) + " s");
    report.lifetime = find_lifetime(path, options.port, patience, options.lifetime_s);
  }
  return report;
}

}  // namespace

Report check_up(const Options& options, const std::function<void(const std::string&)>& say) {
  const auto start = Clock::now();
  Report report;
  report.host = options.host;
  report.port = options.port;
  report.tls_port = options.tls_port;
  report.turn_asked = !options.turn_ways.empty();
  report.lifetime_asked = options.lifetime_s > 0;
  std::vector<Address> servers = resolve(options.host);
  std::erase_if(servers, [&](const Address& server) {
    return server.family == Family::kIpv4 ? !options.ipv4 : !options.ipv6;
  });
  if (servers.empty())
    throw std::runtime_error(options.host + ": has no address of the family asked for");
  for (const Path& path : find_paths(servers, options.interface, report.without_way))
    report.paths.push_back(check_path(path, options, say));
  report.seconds = milliseconds_since(start) / 1000;
  return report;
}

}  // namespace turnpike::natcheck

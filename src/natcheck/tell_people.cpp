// The report in words: a line for each thing, what it means, and what to do where there is
// something.
#include <cmath>
#include <cstdio>
#include <string_view>

#include "natcheck/report.h"

namespace turnpike::natcheck {
namespace {

constexpr std::size_t kIndent = 16, kWidth = 78;
constexpr double kIceKeepalive_s = 15;  // RFC 8445 §11

enum class Mood : std::uint8_t { kPlain, kGood, kSoSo, kBad };

std::string milliseconds(double time) {
  char room[32];
  std::snprintf(room, sizeof room, time < 10 ? "%.1f ms" : "%.0f ms", time);
  return room;
}

std::string seconds(double time) {
  char room[32];
  std::snprintf(room, sizeof room, time < 10 ? "%.1f s" : "%.0f s", time);
  return room;
}

std::string_view meaning_of(const Findings& found) {
  switch (found.name) {
    case Name::kUnknown:
      break;
    case Name::kOpen:
      return "No NAT, and everybody may send to this host: it can be called directly.";
    case Name::kFirewall:
      return "A public address behind a firewall that lets in only answers: it must send first, "
             "as ICE does.";
    case Name::kFullCone:
      return "One public port for all destinations, open to everybody: the easiest NAT there is.";
    case Name::kAddressRestricted:
      return "One public port for all destinations, open to addresses that were sent to: it gets "
             "along with every NAT.";
    case Name::kPortRestricted:
      return "One public port for all destinations, open to addresses and ports that were sent "
             "to: it meets all but symmetric NATs.";
    case Name::kSymmetric:
      return "Another public port for each destination: nobody can know where to send to before "
             "this host has sent.";
    case Name::kUdpBlocked:
      return "The server answers by TCP or TLS and not by UDP: the network lets no UDP through "
             "(or the server serves none here).";
  }
  return "What is missing for a name stands below.";
}

std::string_view advice_of(RelayNeed need) {
  switch (need) {
    case RelayNeed::kUnknown:
      break;
    case RelayNeed::kSeldom:
      return "Only who can't send UDP at all needs a relay to meet this host.";
    case RelayNeed::kSometimes:
      return "Where the other end is behind a symmetric NAT or can't send UDP, calls need a TURN "
             "server: name one in iceServers.";
    case RelayNeed::kMostly:
      return "Calls to symmetric and port-restricted NATs, so to most homes and phones, need a "
             "TURN server: name one in iceServers.";
    case RelayNeed::kAlways:
      return "Every call needs a TURN server that is reached by TCP or TLS: name one in "
             "iceServers as turn:HOST?transport=tcp or turns:HOST, best at port 443.";
  }
  return "It isn't known whether calls need a TURN server: name one in iceServers to be sure.";
}

Mood mood_of(RelayNeed need) {
  if (need == RelayNeed::kSeldom || need == RelayNeed::kSometimes) return Mood::kGood;
  return need == RelayNeed::kMostly ? Mood::kSoSo
                                    : (need == RelayNeed::kAlways ? Mood::kBad : Mood::kPlain);
}

class Teller {
 public:
  explicit Teller(bool colours) : colours_(colours) {}

  std::string tell(const Report& report) {
    text_ = "Asking " + report.host + ", port " + std::to_string(report.port) + ", and " +
            std::to_string(report.tls_port) + " by TLS\n";
    for (const PathReport& path : report.paths)
      tell_path(path, report);
    for (const std::string& name : report.without_way)
      text_ += "\n" + name + ": no way to the server from this interface\n";
    if (report.paths.empty() && report.without_way.empty())
      text_ += "\nno interface is up that leads to the server\n";
    text_ += "\ntook " + seconds(report.seconds) + "\n";
    return std::move(text_);
  }

 private:
  std::string painted(std::string_view text, Mood mood) const {
    if (!colours_ || mood == Mood::kPlain) return std::string(text);
    const char* colour = mood == Mood::kGood ? "32" : (mood == Mood::kSoSo ? "33" : "31");
    return std::string("\033[") + colour + "m" + std::string(text) + "\033[0m";
  }

  std::string bold(const std::string& text) const {
    return colours_ ? "\033[1m" + text + "\033[0m" : text;
  }

  void line(std::string_view title, std::string_view value, Mood mood = Mood::kPlain) {
    text_ += titled(title) + painted(value, mood) + "\n";
  }

  static std::string titled(std::string_view title) {
    std::string padded = "  " + std::string(title);
    padded.resize(kIndent, ' ');
    return padded;
  }

  // Under the value that it explains.
  void note(std::string_view sentence) { fold(std::string(kIndent, ' '), sentence); }

  // Behind what the first line begins with, folded at the width of a terminal.
  void fold(std::string row, std::string_view sentence) {
    while (!sentence.empty()) {
      const std::size_t end = std::min(sentence.find(' '), sentence.size());
      if (row.size() > kIndent && row.size() + 1 + end > kWidth) {
        text_ += row + "\n";
        row.assign(kIndent, ' ');
      }
      if (row.size() > kIndent) row += ' ';
      row += sentence.substr(0, end);
      sentence.remove_prefix(std::min(end + 1, sentence.size()));
    }
    text_ += row + "\n";
  }

  void tell_path(const PathReport& path, const Report& report) {
    const std::string from = path.path.interface.empty() ? "this host" : path.path.interface;
    text_ +=
        "\n" +
        bold(from + ", " + path.path.local.to_string() + " to " + path.path.server.to_string()) +
        "\n";
    tell_udp(path.udp);
    tell_nat(path);
    tell_stream("TCP", path.tcp);
    tell_stream("TLS", path.tls);
    for (const auto& [way, turn] : path.turn)
      tell_turn(way, turn);
    line("Relay needed", text_of(path.found.relay), mood_of(path.found.relay));
    note(advice_of(path.found.relay));
    for (const std::string& doubt : doubts(path, report.lifetime_asked))
      fold(titled("Can't tell"), doubt);
  }

  void tell_udp(const Discovery& udp) {
    const Observations& seen = udp.seen;
    if (seen.reached != Outcome::kAnswered) {
      line("UDP",
           seen.reached == Outcome::kUnreachable ? "nobody listens at the server's port"
                                                 : text_of(seen.reached),
           Mood::kBad);
      return;
    }
    line("UDP",
         "works, " + milliseconds(udp.round_trip_ms) +
             (udp.software.empty() ? "" : "; the server is " + udp.software),
         Mood::kGood);
    if (seen.mapped)
      line("Seen as", seen.mapped->to_string() + " (here " + seen.local.to_string() + ")");
  }

  void tell_nat(const PathReport& path) {
    const Findings& found = path.found;
    if (path.udp.seen.reached != Outcome::kAnswered && found.name == Name::kUnknown) return;
    line("NAT",
         found.translated == false && found.name == Name::kUnknown ? "none" : text_of(found.name),
         mood_of(found.relay));
    note(meaning_of(found));
    if (path.udp.seen.reached != Outcome::kAnswered) return;
    line("Mapping", text_of(found.mapping));
    line("Filtering", text_of(found.filtering));
    if (found.keeps_ports) {
      line("Ports", *found.keeps_ports        ? "kept as they are"
                    : *found.contiguous_ports ? "others, contiguous"
                                              : "others, in no order");
      if (found.one_public_address == false) note("and at several public addresses");
    }
    if (found.hairpins) tell_hairpin(path);
    if (found.fragments_out) {
      line("Fragments", found.fragments_in ? "pass both ways" : "pass outwards");
    } else if (path.udp.seen.fragments == Outcome::kSilent) {
      line("Fragments", "none came through", Mood::kSoSo);
    }
    if (path.udp.seen.altered) {
      line("Payload", "rewritten", Mood::kSoSo);
      note("Something on the way rewrites addresses in packets (a generic ALG): switch it off.");
    }
    tell_lifetime(path.lifetime);
  }

  void tell_hairpin(const PathReport& path) {
    line("Hairpinning", *path.found.hairpins ? "yes" : "no");
    if (!*path.found.hairpins) {
      note("Two hosts behind this NAT meet by their local addresses, or not without a relay.");
    } else if (!path.udp.seen.hairpin_from_mapped) {
      note("but from a local address (RFC 4787 REQ-9 has the public one)");
    }
  }

  void tell_lifetime(const Lifetime& lifetime) {
    using Result = Lifetime::Result;
    if (lifetime.result == Result::kFound) {
      line("Lifetime", seconds(lifetime.estimate_s()) + " without traffic (between " +
                           seconds(lifetime.alive_s) + " and " + seconds(lifetime.dead_s) + ")");
    } else if (lifetime.result == Result::kLonger) {
      line("Lifetime", "longer than " + seconds(lifetime.alive_s));
    } else if (lifetime.result == Result::kShorter) {
      line("Lifetime", "shorter than " + seconds(lifetime.dead_s), Mood::kBad);
    } else {
      return;
    }
    const double least = lifetime.result == Result::kShorter ? 0 : lifetime.alive_s;
    if (least >= kIceKeepalive_s) {
      note("Something must be sent more often than that; ICE does, every 15 s.");
    } else {
      note(
          "That is less than the 15 s after which ICE keeps a way open: calls that are silent end. "
          "Send something at least every " +
          seconds(std::max(1.0, std::floor(least / 2))) + ", or change the NAT's settings.");
    }
    if (!lifetime.consistent)
      note("Some shorter times were too long: packets were lost, or the NAT does as it likes.");
  }

  void tell_stream(std::string_view title, const StreamReport& stream) {
    if (!stream.answered) {
      line(title, stream.connected ? "connects, but " + stream.error : stream.error, Mood::kSoSo);
    } else {
      line(title,
           "works, " + milliseconds(stream.round_trip_ms) +
               (stream.tls.version.empty() ? "" : ", " + stream.tls.version),
           Mood::kGood);
    }
    if (stream.connected && !stream.tls.distrust.empty())
      note("The certificate isn't trusted: " + stream.tls.distrust + " (" + stream.tls.certificate +
           "). Browsers refuse it.");
  }

  void tell_turn(Way way, const TurnReport& turn) {
    const std::string title = "TURN by " + std::string(text_of(way));
    if (turn.works()) {
      line(title,
           "works, " + milliseconds(turn.request_ms) + "; through the relay and back " +
               milliseconds(turn.echo_ms),
           Mood::kGood);
    } else {
      line(title, turn.error, Mood::kBad);
      if (!turn.advice.empty()) note(turn.advice);
    }
    if (!turn.relayed) return;
    note("relayed address " + turn.relayed->to_string() + "; permission " +
         (turn.permitted ? "yes" : "no") + ", data " + (turn.echoed ? "yes" : "no") + ", channel " +
         (turn.channel_echoed ? "yes" : "no"));
  }

  bool colours_;
  std::string text_;
};

}  // namespace

std::string tell_people(const Report& report, bool colours) {
  return Teller(colours).tell(report);
}

}  // namespace turnpike::natcheck

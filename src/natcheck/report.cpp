// What is judged of a whole report: the exit status, and what stays in doubt.
#include "natcheck/report.h"

#include <algorithm>
#include <array>

namespace turnpike::natcheck {
namespace {

constexpr int kFine = 0, kRelayNeeded = 1, kNotReached = 3, kCannotTell = 4, kTurnFails = 5;

int status_of(const PathReport& path) {
  switch (path.found.relay) {
    case RelayNeed::kSeldom:
    case RelayNeed::kSometimes:
      return kFine;
    case RelayNeed::kMostly:
    case RelayNeed::kAlways:
      return kRelayNeeded;
    case RelayNeed::kUnknown:
      break;
  }
  const bool reached =
      path.udp.seen.reached == Outcome::kAnswered || path.tcp.answered || path.tls.answered;
  return reached ? kCannotTell : kNotReached;
}

bool turn_works(const PathReport& path) {
  return std::any_of(path.turn.begin(), path.turn.end(),
                     [](const auto& one) { return one.second.works(); });
}

std::string other_address_doubt(const Observations& seen) {
  if (!seen.other)
    return "mapping and filtering: the server has no second address (no OTHER-ADDRESS, RFC 5780); "
           "ask one that has";
  if (!seen.mapped_by_a2p1 || !seen.mapped_by_a2p2)
    return "mapping and filtering: the server's other address, " + seen.other->to_string() +
           ", doesn't answer, or isn't another";
  return "";
}

std::string filtering_doubt(const Observations& seen) {
  for (const Outcome outcome : {seen.change_both, seen.change_port}) {
    if (outcome == Outcome::kRefused)
      return "filtering: the server refuses to answer from another address (CHANGE-REQUEST)";
    if (outcome == Outcome::kIgnored)
      return "filtering: the server doesn't change the address it answers from, though asked to";
  }
  return "filtering: the server's other port doesn't answer";
}

}  // namespace

int exit_status(const Report& report) {
  constexpr std::array kBestFirst{kFine, kRelayNeeded, kCannotTell, kNotReached};
  if (report.turn_asked && std::none_of(report.paths.begin(), report.paths.end(), turn_works))
    return kTurnFails;
  for (const int status : kBestFirst) {
    if (std::any_of(report.paths.begin(), report.paths.end(),
                    [&](const PathReport& path) { return status_of(path) == status; }))
      return status;
  }
  return kNotReached;
}

std::vector<std::string> doubts(const PathReport& path, bool lifetime_asked) {
  std::vector<std::string> told;
  const Observations& seen = path.udp.seen;
  const Findings& found = path.found;
  if (seen.reached != Outcome::kAnswered) {
    if (found.name != Name::kUdpBlocked)
      told.push_back(
          "the NAT: UDP brings no answer, and whether the network or the server is the "
          "reason can't be seen from here");
    return told;
  }
  const bool known = found.mapping != Behaviour::kUnknown && found.filtering != Behaviour::kUnknown;
  if (!known) {
    const std::string other = other_address_doubt(seen);
    told.push_back(other.empty() ? filtering_doubt(seen) : other);
  }
  if (!found.fragments_out) {
    if (seen.fragments == Outcome::kSilent)
      told.push_back("fragments: none came through, or the server doesn't take them");
    if (seen.fragments == Outcome::kNotAsked)
      told.push_back("fragments: the way's packets are too large to need any");
  } else if (!found.fragments_in) {
    told.push_back("fragments from outside: the server sends none (PADDING, RFC 5780)");
  }
  if (lifetime_asked && path.lifetime.result == Lifetime::Result::kCannotTell)
    told.push_back(found.name == Name::kOpen
                       ? "lifetime: there is nothing that could end"
                       : "lifetime: the server doesn't answer to another port (RESPONSE-PORT, "
                         "RFC 5780), or its answers were lost");
  return told;
}

}  // namespace turnpike::natcheck

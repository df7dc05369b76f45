// From what was seen to what it is called: each row of RFC 5780 §4 and RFC 3489 §10.1, and what
// must not be called anything.
#include "natcheck/findings.h"

#include <gtest/gtest.h>

#include "natcheck/report.h"

namespace turnpike::natcheck {
namespace {

const Endpoint kLocal{Address::v4(192, 168, 1, 2), 40000};
const Endpoint kPublic{Address::v4(203, 0, 113, 11), 40000};
const Endpoint kSecond{Address::v4(203, 0, 113, 11), 50001};
const Endpoint kThird{Address::v4(203, 0, 113, 11), 50002};

// All ends of the server answer who asks them.
Observations seen_as(const Endpoint& mapped, const Endpoint& by_a2p1, const Endpoint& by_a2p2) {
  Observations seen;
  seen.local = kLocal;
  seen.reached = Outcome::kAnswered;
  seen.mapped = mapped;
  seen.other = Endpoint{Address::v4(203, 0, 113, 2), 3479};
  seen.mapped_by_a2p1 = by_a2p1;
  seen.mapped_by_a2p2 = by_a2p2;
  seen.a1p2 = Outcome::kAnswered;
  return seen;
}

Observations cone(Outcome both, Outcome port) {
  Observations seen = seen_as(kPublic, kPublic, kPublic);
  seen.change_both = both;
  seen.change_port = port;
  return seen;
}

Observations bare(Outcome both, Outcome port) {
  Observations seen = seen_as(kLocal, kLocal, kLocal);
  seen.change_both = both;
  seen.change_port = port;
  return seen;
}

constexpr auto kAnswered = Outcome::kAnswered, kSilent = Outcome::kSilent;

TEST(Mapping, IsNamedByWhatTheServersOtherEndsSee) {
  EXPECT_EQ(conclude(seen_as(kPublic, kPublic, kPublic), false).mapping,
            Behaviour::kEndpointIndependent);
  EXPECT_EQ(conclude(seen_as(kPublic, kSecond, kSecond), false).mapping,
            Behaviour::kAddressDependent);
  EXPECT_EQ(conclude(seen_as(kPublic, kSecond, kThird), false).mapping,
            Behaviour::kAddressAndPortDependent);
}

TEST(Mapping, IsUnknownWhereAnEndOfTheServerIsSilent) {
  Observations seen = seen_as(kPublic, kSecond, kThird);
  seen.mapped_by_a2p2.reset();
  EXPECT_EQ(conclude(seen, false).mapping, Behaviour::kUnknown);
  seen.mapped_by_a2p1.reset();
  EXPECT_EQ(conclude(seen, false).mapping, Behaviour::kUnknown);
  EXPECT_EQ(conclude(seen, false).name, Name::kUnknown);
  EXPECT_EQ(conclude(seen, false).relay, RelayNeed::kUnknown);
}

TEST(Filtering, IsNamedByWhoMayAnswer) {
  EXPECT_EQ(conclude(cone(kAnswered, kAnswered), false).filtering, Behaviour::kEndpointIndependent);
  EXPECT_EQ(conclude(cone(kSilent, kAnswered), false).filtering, Behaviour::kAddressDependent);
  EXPECT_EQ(conclude(cone(kSilent, kSilent), false).filtering, Behaviour::kAddressAndPortDependent);
}

TEST(Filtering, IsUnknownWhereTheServerRefusesOrIgnoresWhatIsAsked) {
  for (const Outcome outcome :
       {Outcome::kRefused, Outcome::kIgnored, Outcome::kUnreachable, Outcome::kNotAsked}) {
    EXPECT_EQ(conclude(cone(outcome, kSilent), false).filtering, Behaviour::kUnknown);
    EXPECT_EQ(conclude(cone(kSilent, outcome), false).filtering, Behaviour::kUnknown);
  }
}

TEST(Filtering, IsUnknownWhereWhoIsSilentWasNeverHeard) {
  Observations seen = cone(kSilent, kSilent);
  seen.a1p2 = kSilent;
  EXPECT_EQ(conclude(seen, false).filtering, Behaviour::kUnknown);
  seen = cone(kSilent, kAnswered);
  seen.mapped_by_a2p2.reset();
  EXPECT_EQ(conclude(seen, false).filtering, Behaviour::kUnknown);
}

TEST(NatName, IsTheOldOneOfMappingAndFiltering) {
  EXPECT_EQ(conclude(cone(kAnswered, kAnswered), false).name, Name::kFullCone);
  EXPECT_EQ(conclude(cone(kSilent, kAnswered), false).name, Name::kAddressRestricted);
  EXPECT_EQ(conclude(cone(kSilent, kSilent), false).name, Name::kPortRestricted);
  EXPECT_EQ(conclude(seen_as(kPublic, kSecond, kThird), false).name, Name::kSymmetric);
  EXPECT_EQ(conclude(seen_as(kPublic, kSecond, kSecond), false).name, Name::kSymmetric);
}

TEST(NatName, OfAPublicAddressIsOpenOrAFirewall) {
  EXPECT_EQ(conclude(bare(kAnswered, kAnswered), false).name, Name::kOpen);
  EXPECT_EQ(conclude(bare(kSilent, kSilent), false).name, Name::kFirewall);
  EXPECT_EQ(conclude(bare(kSilent, kAnswered), false).name, Name::kFirewall);
  const Findings found = conclude(bare(kSilent, kSilent), false);
  EXPECT_EQ(found.translated, false);
  EXPECT_FALSE(found.hairpins.has_value());
}

TEST(NatName, IsUnknownOfAServerWithOneAddress) {
  Observations seen = cone(Outcome::kNotAsked, Outcome::kNotAsked);
  seen.other.reset();
  seen.mapped_by_a2p1.reset();
  seen.mapped_by_a2p2.reset();
  const Findings found = conclude(seen, true);
  EXPECT_EQ(found.name, Name::kUnknown);
  EXPECT_EQ(found.translated, true);
  EXPECT_EQ(found.relay, RelayNeed::kUnknown);
}

TEST(UdpBlocked, IsSaidOnlyWhereTheServerAnswersByAStream) {
  Observations seen;
  seen.reached = kSilent;
  EXPECT_EQ(conclude(seen, true).name, Name::kUdpBlocked);
  EXPECT_EQ(conclude(seen, true).relay, RelayNeed::kAlways);
  EXPECT_EQ(conclude(seen, false).name, Name::kUnknown);
  // A port where nobody listens is none that is blocked.
  seen.reached = Outcome::kUnreachable;
  EXPECT_EQ(conclude(seen, true).name, Name::kUnknown);
}

TEST(Relay, IsNeededTheMoreTheStricterTheNatIs) {
  EXPECT_EQ(conclude(bare(kAnswered, kAnswered), false).relay, RelayNeed::kSeldom);
  EXPECT_EQ(conclude(cone(kAnswered, kAnswered), false).relay, RelayNeed::kSeldom);
  EXPECT_EQ(conclude(cone(kSilent, kAnswered), false).relay, RelayNeed::kSometimes);
  EXPECT_EQ(conclude(cone(kSilent, kSilent), false).relay, RelayNeed::kSometimes);
  EXPECT_EQ(conclude(bare(kSilent, kSilent), false).relay, RelayNeed::kSometimes);
  // One mapping for all, behind whatever filter.
  EXPECT_EQ(conclude(cone(Outcome::kRefused, kSilent), false).relay, RelayNeed::kSometimes);
  EXPECT_EQ(conclude(seen_as(kPublic, kSecond, kThird), false).relay, RelayNeed::kMostly);
}

Observations with_ports(std::initializer_list<std::pair<int, int>> ports) {
  Observations seen = cone(kSilent, kSilent);
  for (const auto& [local, mapped] : ports) {
    seen.samples.push_back(
        {static_cast<std::uint16_t>(local), {kPublic.address, static_cast<std::uint16_t>(mapped)}});
  }
  return seen;
}

TEST(Ports, AreKeptOrContiguousOrNeither) {
  Findings found = conclude(with_ports({{5000, 5000}, {5001, 5001}, {5002, 5002}}), false);
  EXPECT_EQ(found.keeps_ports, true);
  EXPECT_EQ(found.contiguous_ports, true);
  found = conclude(with_ports({{5000, 6000}, {5001, 6001}, {5002, 6002}}), false);
  EXPECT_EQ(found.keeps_ports, false);
  EXPECT_EQ(found.contiguous_ports, true);
  found = conclude(with_ports({{5000, 6000}, {5001, 6002}, {5002, 6001}}), false);
  EXPECT_EQ(found.contiguous_ports, false);
  EXPECT_EQ(found.one_public_address, true);
  EXPECT_FALSE(conclude(with_ports({{5000, 5000}}), false).keeps_ports.has_value());
}

TEST(Ports, OfSeveralPublicAddressesAreTold) {
  Observations seen = with_ports({{5000, 5000}, {5001, 5001}});
  seen.samples[1].mapped.address = Address::v4(203, 0, 113, 99);
  EXPECT_EQ(conclude(seen, false).one_public_address, false);
}

TEST(Hairpin, IsAskedOfANatAlone) {
  Observations seen = cone(kSilent, kSilent);
  EXPECT_FALSE(conclude(seen, false).hairpins.has_value());
  seen.hairpin = kSilent;
  EXPECT_EQ(conclude(seen, false).hairpins, false);
  seen.hairpin = kAnswered;
  EXPECT_EQ(conclude(seen, false).hairpins, true);
}

TEST(Fragments, ThatAreRefusedHaveArrived) {
  Observations seen = cone(kSilent, kSilent);
  seen.fragments = kAnswered;
  seen.fragmented_answer = true;
  EXPECT_EQ(conclude(seen, false).fragments_out, true);
  EXPECT_EQ(conclude(seen, false).fragments_in, true);
  seen.fragmented_answer = false;
  EXPECT_FALSE(conclude(seen, false).fragments_in.has_value());
  seen.fragments = Outcome::kRefused;
  EXPECT_EQ(conclude(seen, false).fragments_out, true);
  seen.fragments = kSilent;
  EXPECT_FALSE(conclude(seen, false).fragments_out.has_value());
}

PathReport path_of(const Observations& seen, bool stream_answers = false) {
  PathReport path;
  path.udp.seen = seen;
  path.tcp.answered = stream_answers;
  path.found = conclude(seen, stream_answers);
  return path;
}

int status_of(std::vector<PathReport> paths) {
  Report report;
  report.paths = std::move(paths);
  return exit_status(report);
}

TEST(ExitStatus, SaysWhetherARelayIsNeeded) {
  const PathReport fine = path_of(cone(kSilent, kSilent));
  const PathReport symmetric = path_of(seen_as(kPublic, kSecond, kThird));
  Observations silent;
  silent.reached = kSilent;
  const PathReport blocked = path_of(silent, true), nothing = path_of(silent);
  Observations one_address = cone(Outcome::kNotAsked, Outcome::kNotAsked);
  one_address.mapped_by_a2p1.reset();
  const PathReport unknown = path_of(one_address);
  EXPECT_EQ(status_of({fine}), 0);
  EXPECT_EQ(status_of({symmetric}), 1);
  EXPECT_EQ(status_of({blocked}), 1);
  EXPECT_EQ(status_of({nothing}), 3);
  EXPECT_EQ(status_of({}), 3);
  EXPECT_EQ(status_of({unknown}), 4);
  // The best of several ways is the one that calls take.
  EXPECT_EQ(status_of({nothing, blocked, fine}), 0);
  EXPECT_EQ(status_of({unknown, symmetric}), 1);
}

TEST(ExitStatus, IsThatOfTurnWhereItWasAskedForAndWorksByNothing) {
  Report report;
  report.turn_asked = true;
  report.paths.push_back(path_of(cone(kSilent, kSilent)));
  TurnReport broken;
  broken.error = "Allocate: 401 Unauthenticated";
  report.paths[0].turn.emplace_back(Way::kUdp, broken);
  EXPECT_EQ(exit_status(report), 5);
  report.paths[0].turn.emplace_back(Way::kTcp, TurnReport{});
  EXPECT_EQ(exit_status(report), 0);
}

TEST(Doubts, SayWhatTheServerCannotTell) {
  Observations seen = cone(Outcome::kNotAsked, Outcome::kNotAsked);
  seen.other.reset();
  seen.mapped_by_a2p1.reset();
  auto told = doubts(path_of(seen), false);
  ASSERT_FALSE(told.empty());
  EXPECT_NE(told[0].find("OTHER-ADDRESS"), std::string::npos);
  told = doubts(path_of(cone(Outcome::kRefused, kSilent)), false);
  ASSERT_FALSE(told.empty());
  EXPECT_NE(told[0].find("CHANGE-REQUEST"), std::string::npos);
}

TEST(ForPrograms, WhatIsNotKnownIsNull) {
  Report report;
  report.host = "a\"b\n";
  report.paths.push_back(path_of(cone(Outcome::kRefused, kSilent)));
  const std::string json = tell_programs(report);
  EXPECT_NE(json.find(R"("server": "a\"b\u000a")"), std::string::npos);
  EXPECT_NE(json.find(R"("mapping": "endpoint-independent", "filtering": null)"),
            std::string::npos);
  EXPECT_NE(json.find(R"("name": null)"), std::string::npos);
}

TEST(ForPeople, ColoursAreOnlyThereWhenTheyAreWanted) {
  Report report;
  report.paths.push_back(path_of(cone(kSilent, kSilent)));
  EXPECT_EQ(tell_people(report, false).find('\033'), std::string::npos);
  EXPECT_NE(tell_people(report, true).find('\033'), std::string::npos);
}

}  // namespace
}  // namespace turnpike::natcheck

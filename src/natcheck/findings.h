// What was seen of a NAT, and what it is called: in RFC 4787's words, and in those of RFC 3489
// that everybody knows. Pure: no socket, no clock. What wasn't seen is unknown, never guessed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::natcheck {

// What came of a question.
enum class Outcome : std::uint8_t {
  kNotAsked,
  kAnswered,
  kSilent,       // nothing within the time
  kRefused,      // an error: the server doesn't know what was asked for
  kIgnored,      // an answer, but not by the way that was asked for
  kUnreachable,  // the network said so (ICMP)
};

// One of several sockets that have asked the same server.
struct PortSample {
  std::uint16_t local = 0;
  Endpoint mapped;
};

// UDP on one path to one server, which has the addresses A1 (asked) and A2, and the ports P1
// (asked) and P2: RFC 5780 §4.
struct Observations {
  Endpoint local;
  Outcome reached = Outcome::kNotAsked;
  std::optional<Endpoint> mapped;  // XOR-MAPPED-ADDRESS by A1:P1
  bool altered = false;            // MAPPED-ADDRESS is another: something rewrites payload (§3.6)
  std::optional<Endpoint> other;   // A2:P2, OTHER-ADDRESS

  // From the socket that `mapped` is of.
  std::optional<Endpoint> mapped_by_a2p1, mapped_by_a2p2;
  // Whether A1:P2 answers one who asks it: else its silence below says nothing.
  Outcome a1p2 = Outcome::kNotAsked;
  // Of fresh sockets that have asked A1:P1 alone: whether A2:P2 and A1:P2 may answer.
  Outcome change_both = Outcome::kNotAsked, change_port = Outcome::kNotAsked;

  Outcome hairpin = Outcome::kNotAsked;
  bool hairpin_from_mapped = false;  // it came from the sender's public address (RFC 4787 REQ-9)

  std::vector<PortSample> samples;  // of consecutive local ports, in the order of asking

  Outcome fragments = Outcome::kNotAsked;  // a request that takes several IP packets
  bool fragmented_answer = false;          // and so does its answer
};

enum class Behaviour : std::uint8_t {
  kUnknown,
  kEndpointIndependent,
  kAddressDependent,
  kAddressAndPortDependent,
};

// RFC 3489 §5 and §10.1.
enum class Name : std::uint8_t {
  kUnknown,
  kOpen,      // no NAT, everybody may send
  kFirewall,  // no NAT, but only what was asked for comes in
  kFullCone,
  kAddressRestricted,
  kPortRestricted,
  kSymmetric,
  kUdpBlocked,
};

// Whether calls need a relay (TURN).
enum class RelayNeed : std::uint8_t {
  kUnknown,
  kSeldom,     // only where the other end can't send UDP at all
  kSometimes,  // where the other end is behind a symmetric NAT, too
  kMostly,     // but where the other end lets everybody in, or is address-restricted at most
  kAlways,     // and by TCP or TLS
};

struct Findings {
  std::optional<bool> translated;  // whether there is a NAT
  Behaviour mapping = Behaviour::kUnknown;
  Behaviour filtering = Behaviour::kUnknown;
  Name name = Name::kUnknown;
  RelayNeed relay = RelayNeed::kUnknown;
  std::optional<bool> hairpins;
  std::optional<bool> keeps_ports, contiguous_ports, one_public_address;
  std::optional<bool> fragments_out, fragments_in;
};

// `stream_works`: a TCP or TLS connection to the same server did; only then is silence of UDP that
// of a network that blocks it, and not of a server that isn't there.
Findings conclude(const Observations& seen, bool stream_works);

std::string_view text_of(Outcome outcome);
// "endpoint-independent" and so on; "unknown".
std::string_view text_of(Behaviour behaviour);
// "full cone" and so on; "unknown".
std::string_view text_of(Name name);
// "seldom" and so on; "unknown".
std::string_view text_of(RelayNeed need);

}  // namespace turnpike::natcheck

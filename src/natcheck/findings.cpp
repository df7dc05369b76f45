// From observations to names: RFC 5780 §4.3 and §4.4, RFC 3489 §10.1.
#include "natcheck/findings.h"

#include <algorithm>
#include <cstddef>

namespace turnpike::natcheck {
namespace {

Behaviour mapping_of(const Observations& seen, bool translated) {
  if (!translated) return Behaviour::kEndpointIndependent;
  if (!seen.mapped_by_a2p1) return Behaviour::kUnknown;
  if (seen.mapped_by_a2p1 == seen.mapped) return Behaviour::kEndpointIndependent;
  if (!seen.mapped_by_a2p2) return Behaviour::kUnknown;
  return seen.mapped_by_a2p2 == seen.mapped_by_a2p1 ? Behaviour::kAddressDependent
                                                    : Behaviour::kAddressAndPortDependent;
}

// Silence counts only of those who were heard when they were asked themselves.
Behaviour filtering_of(const Observations& seen) {
  if (seen.change_both == Outcome::kAnswered) return Behaviour::kEndpointIndependent;
  if (seen.change_both != Outcome::kSilent || !seen.mapped_by_a2p2) return Behaviour::kUnknown;
  if (seen.change_port == Outcome::kAnswered) return Behaviour::kAddressDependent;
  if (seen.change_port != Outcome::kSilent || seen.a1p2 != Outcome::kAnswered)
    return Behaviour::kUnknown;
  return Behaviour::kAddressAndPortDependent;
}

Name name_of(const Findings& found) {
  const bool translated = *found.translated;
  // Whatever the filter: who has another port for each destination is known by none.
  if (translated && (found.mapping == Behaviour::kAddressDependent ||
                     found.mapping == Behaviour::kAddressAndPortDependent))
    return Name::kSymmetric;
  if (found.mapping == Behaviour::kUnknown) return Name::kUnknown;
  switch (found.filtering) {
    case Behaviour::kUnknown:
      return Name::kUnknown;
    case Behaviour::kEndpointIndependent:
      return translated ? Name::kFullCone : Name::kOpen;
    case Behaviour::kAddressDependent:
      return translated ? Name::kAddressRestricted : Name::kFirewall;
    case Behaviour::kAddressAndPortDependent:
      break;
  }
  return translated ? Name::kPortRestricted : Name::kFirewall;
}

RelayNeed need_of(const Findings& found) {
  if (found.name == Name::kUdpBlocked) return RelayNeed::kAlways;
  if (found.name == Name::kSymmetric) return RelayNeed::kMostly;
  if (found.name == Name::kOpen || found.name == Name::kFullCone) return RelayNeed::kSeldom;
  // Also where the filter isn't known: with one mapping for all it can't be worse.
  if (found.mapping == Behaviour::kEndpointIndependent) return RelayNeed::kSometimes;
  return RelayNeed::kUnknown;
}

void judge_ports(const Observations& seen, Findings& found) {
  if (seen.samples.size() < 2) return;
  bool keeps = true, contiguous = true, one_address = true;
  const PortSample& first = seen.samples.front();
  for (const PortSample& sample : seen.samples) {
    keeps &= sample.mapped.port == sample.local;
    contiguous &= sample.mapped.port - first.mapped.port == sample.local - first.local;
    one_address &= sample.mapped.address == first.mapped.address;
  }
  found.keeps_ports = keeps;
  found.contiguous_ports = contiguous;
  found.one_public_address = one_address;
}

}  // namespace

Findings conclude(const Observations& seen, bool stream_works) {
  Findings found;
  if (seen.reached != Outcome::kAnswered || !seen.mapped) {
    // Who says that there is nobody has let the question through.
    if (seen.reached == Outcome::kSilent && stream_works) found.name = Name::kUdpBlocked;
    found.relay = need_of(found);
    return found;
  }
  found.translated = *seen.mapped != seen.local;
  found.mapping = mapping_of(seen, *found.translated);
  found.filtering = filtering_of(seen);
  found.name = name_of(found);
  found.relay = need_of(found);
  if (*found.translated) {
    if (seen.hairpin == Outcome::kAnswered) found.hairpins = true;
    if (seen.hairpin == Outcome::kSilent) found.hairpins = false;
    judge_ports(seen, found);
  }
  // An error, too, says that the request has arrived whole.
  if (seen.fragments == Outcome::kAnswered || seen.fragments == Outcome::kRefused)
    found.fragments_out = true;
  if (seen.fragments == Outcome::kAnswered && seen.fragmented_answer) found.fragments_in = true;
  return found;
}

std::string_view text_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kNotAsked:
      return "not asked";
    case Outcome::kAnswered:
      return "answered";
    case Outcome::kSilent:
      return "silent";
    case Outcome::kRefused:
      return "refused";
    case Outcome::kIgnored:
      return "ignored";
    case Outcome::kUnreachable:
      break;
  }
  return "unreachable";
}

std::string_view text_of(Behaviour behaviour) {
  switch (behaviour) {
    case Behaviour::kUnknown:
      return "unknown";
    case Behaviour::kEndpointIndependent:
      return "endpoint-independent";
    case Behaviour::kAddressDependent:
      return "address-dependent";
    case Behaviour::kAddressAndPortDependent:
      break;
  }
  return "address-and-port-dependent";
}

std::string_view text_of(Name name) {
  switch (name) {
    case Name::kUnknown:
      return "unknown";
    case Name::kOpen:
      return "open";
    case Name::kFirewall:
      return "symmetric firewall";
    case Name::kFullCone:
      return "full cone";
    case Name::kAddressRestricted:
      return "address-restricted cone";
    case Name::kPortRestricted:
      return "port-restricted cone";
    case Name::kSymmetric:
      return "symmetric";
    case Name::kUdpBlocked:
      break;
  }
  return "UDP blocked";
}

std::string_view text_of(RelayNeed need) {
  switch (need) {
    case RelayNeed::kUnknown:
      return "unknown";
    case RelayNeed::kSeldom:
      return "seldom";
    case RelayNeed::kSometimes:
      return "sometimes";
    case RelayNeed::kMostly:
      return "mostly";
    case RelayNeed::kAlways:
      break;
  }
  return "always";
}

}  // namespace turnpike::natcheck

// What workers go by that may change while they run: their part of the node's policy, which control
// replaces whole (base/published.h). What is fixed for the process is in Setup; and what a worker
// keeps of its own, such as who has used how much of a rate, stays with it.
#pragma once

#include <cstdint>

#include <memory>

#include "flow/binding_pattern.h"
#include "flow/broadcasts.h"
#include "flow/meters.h"
#include "flow/request_limits.h"
#include "flow/token_bucket.h"
#include "policy/client_rules.h"
#include "policy/payload_rules.h"
#include "turnpike/stateless_answers.h"

namespace turnpike::flow {

// How much each worker answers to those who haven't shown that they are where they say: challenges
// and errors, which are larger than what asks for them (docs/protocol.md 9). A Binding's success is
// not counted: 60 bytes of IP for 48, it is worth nothing to a reflector. With all that RFC 5780
// adds it is 96, and counted. What a source has used
// comes back with requests from it that have a valid nonce, one for each that is admitted without
// an allocation (RequestRates::per_source): challenges that nobody follows up are what counts.
struct StrangerRates {
  TokenRate per_source{500, 2000};
  TokenRate all{50'000};
};

// How many answers with PADDING, or to another port than the request's (RESPONSE-PORT, RFC 5780),
// each worker gives to one source, besides StrangerRates: the ones are long, the others may go to
// somebody else behind the same NAT.
inline constexpr TokenRate kDiscoveryPerSource{10, 50};

// What the fast lane reads comes first, in one line.
struct alignas(64) WorkerPolicy {
  explicit WorkerPolicy(const StatelessAnswers& answers) : binding(answers), stateless(answers) {}

  BindingPattern binding;  // of `stateless`
  Broadcasts broadcasts;   // from which, in whose name, nobody asks
  std::uint16_t channel_max = 0x4FFF;
  // RFC 7915 §4.1: what an IPv4 packet without DF becomes in IPv6 is cut into pieces of no more.
  std::uint16_t translated_mtu = 1280;
  bool resets_ttl = false;  // what is relayed leaves with 64, whatever it came with

  policy::ClientRules clients;  // who is answered; the fast lane asks for bare Bindings alone
  StatelessAnswers stateless;
  StrangerRates strangers;
  TokenRate discovery_per_source = kDiscoveryPerSource;
  RequestRates requests;
  // Our own errors: per worker, and of these to one receiver (IPv6: /64).
  std::uint32_t icmp_per_second = 100;
  TokenRate icmp_per_receiver{10};
  MeterRates meters;
  // None: packets aren't looked into. Those of one policy may be the next one's too.
  std::shared_ptr<const policy::PayloadRules> payload;
};

}  // namespace turnpike::flow

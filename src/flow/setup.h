// What a pipeline is given at the start: ports, listeners, relayed addresses and limits. The same
// for all workers; fixed from then on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/keyed_hash.h"
#include "flow/broadcasts.h"
#include "flow/request_limits.h"
#include "flow/token_bucket.h"
#include "turnpike/listener.h"
#include "turnpike/server.h"
#include "wire/transaction_ids.h"

namespace turnpike::flow {

struct PortInfo {
  std::array<std::uint8_t, 6> mac{};
  std::uint16_t mtu = 1500;
  bool sees_own_frames = false;  // af_packet: drop frames whose source MAC is ours
};

// How much each worker answers to those who haven't shown that they are where they say: challenges
// and errors, which are larger than what asks for them (docs/protocol.md 9). A Binding's success is
// not counted: 60 bytes of IP for 48, it is worth nothing to a reflector.
struct StrangerLimits {
  TokenRate per_source{500, 2000};
  TokenRate all{50'000};
  std::size_t sources = 16384;  // remembered; 256 KiB a worker
  HashKey key{};                // secret
};

struct Setup {
  std::vector<PortInfo> ports;
  std::vector<Listener> listeners;
  std::vector<RelayedAddress> relayed;
  const Broadcasts* broadcasts = &kNoBroadcasts;  // these alone change
  std::uint16_t channel_max = 0x4FFF;
  // Our own errors: per worker, and of these to one receiver (IPv6: /64).
  std::uint32_t icmp_per_second = 100;
  TokenRate icmp_per_receiver{10};
  std::uint8_t shard_count = 1;
  RequestRates requests;
  StrangerLimits strangers;
  TransactionIds::Key transaction_key{};  // secret: of indications' transaction ids
  // RFC 7915 §4.1: what an IPv4 packet without DF becomes in IPv6 is cut into pieces of no more.
  std::uint16_t translated_mtu = 1280;
  bool resets_ttl = false;  // what is relayed leaves with 64, whatever it came with
  bool fast_lane = true;    // false: to measure or test the general stages alone
};

}  // namespace turnpike::flow

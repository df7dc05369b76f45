// A worker's counters: plain numbers on its own cache lines, read by the collector while they
// change (each is written by one thread with relaxed stores).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/duration_histogram.h"
#include "flow/drop.h"
#include "turnpike/counter.h"

namespace turnpike::flow {

struct Traffic {
  Counter packets;
  Counter bytes;  // of UDP payload relayed, without TURN's framing
};

// A worker that isn't polling: how long from the begin of one round to the next, work and all. What
// takes longer counts under each bound that it exceeds.
struct StallBound {
  std::uint32_t us;
  const char* label;
};
inline constexpr std::array<StallBound, 3> kStallBounds{
    {{20, "20us"}, {100, "100us"}, {1000, "1ms"}}};

struct alignas(64) WorkerCounters {
  // By family_index() of the side named.
  std::array<Traffic, 2> client_in;   // ChannelData and Send from clients, relayed
  std::array<Traffic, 2> client_out;  // ChannelData and Data to clients
  std::array<Traffic, 2> peer_in;     // from peers, relayed
  std::array<Traffic, 2> peer_out;    // to peers
  Counter binding_success;
  Counter answered_400, answered_401, answered_420, answered_438;
  // Of binding_success: from another address or port than was asked, to another port than asked,
  // and with PADDING (RFC 5780, RFC 3489).
  Counter from_elsewhere, to_elsewhere, padded;
  Counter brief;  // likewise: without what RFC 5780 adds, as its source has had so many with it
  Counter cookies_sent, cookies_shown;  // of DTLS
  Counter to_engine;
  Counter to_kernel;
  Counter hairpin;
  Counter icmp_sent, icmp_relayed;
  Counter received_packets, transmitted_packets;
  Counter bursts;       // non-empty receive bursts
  Counter busy_cycles;  // TSC cycles of iterations that had packets
  Counter polls;
  std::array<Counter, kStallBounds.size()> stalls;
  DurationHistogram burst_time;  // from receive's return to transmit's, by burst of a round
  std::array<Counter, static_cast<std::size_t>(Drop::kCount)> drops;
};

}  // namespace turnpike::flow

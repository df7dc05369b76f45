// What a transport thread counts of TCP allocations' sockets (RFC 6062). Written by that thread,
// read by any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "turnpike/counter.h"

namespace turnpike {

// Why a socket to or from a peer came to nothing, by no decision of the server's: each once, with
// its label among the metrics and its explanation there.
#define TURNPIKE_PEER_STREAM_FAILURES(X)                                                        \
  X(kRefused, "failed", "the peer refuses it, or there is no way to it")                        \
  X(kOwnHost, "own_host", "the peer is an address of this host's that own_host_peers has not")  \
  X(kAddress, "address", "the relayed transport address is in other hands, or not this host's") \
  X(kFull, "full", "there are as many sockets as there may be (tcp_relay.sockets)")             \
  X(kDescriptors, "descriptors", "no descriptor or memory is left")                             \
  X(kBusy, "busy", "a peer's came faster than its shard takes them")

enum class PeerStreamFailure : std::uint8_t {
#define X(name, label, text) name,
  TURNPIKE_PEER_STREAM_FAILURES(X)
#undef X
      kCount
};

struct PeerStreamFailureInfo {
  std::string_view label, explanation;
};

inline constexpr std::array<PeerStreamFailureInfo,
                            static_cast<std::size_t>(PeerStreamFailure::kCount)>
    kPeerStreamFailureInfo{{
#define X(name, label, text) {label, text},
        TURNPIKE_PEER_STREAM_FAILURES(X)
#undef X
    }};

struct PeerStreamCounters {
  Counter relays;  // now: relayed transport addresses that listen
  Counter open;    // now: connections with peers, and those on their way to one
  Counter bytes_to_peers, bytes_to_clients;
  std::array<Counter, static_cast<std::size_t>(PeerStreamFailure::kCount)> failures;

  void count(PeerStreamFailure why) { failures[static_cast<std::size_t>(why)].add(); }
};

}  // namespace turnpike

// What a transport thread counts. Written by that thread, read by any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "turnpike/counter.h"

namespace turnpike {

// Why a connection has ended, or wasn't let in: each once, with its label among the metrics and its
// explanation there.
#define TURNPIKE_STREAM_ENDS(X)                                                              \
  X(kByClient, "client", "the client has closed it")                                         \
  X(kReset, "reset", "the network or the client has broken it off")                          \
  X(kIdle, "idle", "no message came for idle_s, and it has no allocation")                   \
  X(kHandshake, "handshake", "TLS, or the first message, did not come in time")              \
  X(kTls, "tls", "TLS has failed")                                                           \
  X(kNotStun, "not_stun", "what came is neither STUN nor ChannelData")                       \
  X(kSlow, "slow", "it reads nothing, and even answers have no room any more")               \
  X(kFull, "full", "refused: there are as many as there may be (streams.connections)")       \
  X(kSource, "source", "refused: its source has as many as it may (connections_per_source)") \
  X(kDenied, "denied", "refused: its address is no client's ([clients])")                    \
  X(kReplaced, "replaced", "DTLS: the client has begun anew from the same address and port") \
  X(kProxy, "proxy", "a proxy's header is missing, or can't be used (streams.proxies)")      \
  X(kPeer, "peer", "the peer that it was bound to has closed, or broken off (RFC 6062)")     \
  X(kAllocation, "allocation", "the allocation that it was bound to has ended (RFC 6062)")   \
  X(kShutdown, "shutdown", "the node stops")

enum class StreamEnd : std::uint8_t {
#define X(name, label, text) name,
  TURNPIKE_STREAM_ENDS(X)
#undef X
      kCount
};

struct StreamEndInfo {
  std::string_view label, explanation;
};

inline constexpr std::array<StreamEndInfo, static_cast<std::size_t>(StreamEnd::kCount)>
    kStreamEndInfo{{
#define X(name, label, text) {label, text},
        TURNPIKE_STREAM_ENDS(X)
#undef X
    }};

// TLS's alerts (RFC 8446 §6) that tell something; all others count as one. close_notify is none.
struct TlsAlert {
  std::uint8_t number;
  std::string_view label;
};
inline constexpr std::array<TlsAlert, 21> kTlsAlerts{{{10, "unexpected_message"},
                                                      {20, "bad_record_mac"},
                                                      {40, "handshake_failure"},
                                                      {42, "bad_certificate"},
                                                      {43, "unsupported_certificate"},
                                                      {44, "certificate_revoked"},
                                                      {45, "certificate_expired"},
                                                      {46, "certificate_unknown"},
                                                      {47, "illegal_parameter"},
                                                      {48, "unknown_ca"},
                                                      {49, "access_denied"},
                                                      {50, "decode_error"},
                                                      {51, "decrypt_error"},
                                                      {70, "protocol_version"},
                                                      {71, "insufficient_security"},
                                                      {80, "internal_error"},
                                                      {90, "user_canceled"},
                                                      {109, "missing_extension"},
                                                      {112, "unrecognized_name"},
                                                      {120, "no_application_protocol"},
                                                      {255, "other"}}};

// Its place in kTlsAlerts.
constexpr std::size_t tls_alert(std::uint8_t number) {
  std::size_t place = 0;
  while (place + 1 < kTlsAlerts.size() && kTlsAlerts[place].number != number)
    ++place;
  return place;
}

inline constexpr std::size_t kStreamKinds = 3;  // TCP, TLS, DTLS
inline constexpr std::size_t kDtlsKind = 2;

struct StreamCounters {
  Counter accepted, connections;
  std::array<Counter, kStreamKinds> open;  // now, and done with their handshake
  std::array<Counter, static_cast<std::size_t>(StreamEnd::kCount)> ends;
  std::array<Counter, kStreamKinds> bytes_in, bytes_out;  // without what TLS adds
  Counter messages_in, messages_out;
  Counter writes;         // each of one or more messages
  Counter lost_to_slow;   // messages for readers that are too slow
  Counter lost_too_long;  // messages of clients that no frame holds
  Counter lost_unowned;   // messages for connections that are no more
  Counter stalls;         // reads put off, since no frame was left
  Counter out_of_descriptors;
  // Of DTLS, which loses what can't go on at once.
  Counter lost_no_frame;              // messages and datagrams
  Counter lost_strange;               // datagrams of nobody whose hands were shaken, or are being
  std::array<Counter, 3> handshakes;  // TLS 1.2 and 1.3, DTLS 1.2
  Counter resumed;
  // From clients, and to them, by place in kTlsAlerts.
  std::array<std::array<Counter, kTlsAlerts.size()>, 2> alerts;
};

}  // namespace turnpike

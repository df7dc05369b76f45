// Every reason for which a packet ends here: one list, from which the counter, its metric label and
// its explanation come.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace turnpike::flow {

// X(enumerator, metric label, explanation)
#define TURNPIKE_DROPS(X)                                                                         \
  X(kNone, "none", "not dropped")                                                                 \
  X(kMalformedFrame, "malformed_frame", "Ethernet, VLAN or IP header cut short or inconsistent")  \
  X(kUnknownVlan, "unknown_vlan",                                                                 \
    "tagged for a VLAN that this host has no interface of, where the kernel sees the frame no "   \
    "more")                                                                                       \
  X(kOwnFrame, "own_frame", "our own frame seen again (source MAC is the port's)")                \
  X(kBadIpChecksum, "bad_ip_checksum", "IPv4 header checksum wrong")                              \
  X(kBadUdpChecksum, "bad_udp_checksum", "UDP checksum wrong, or zero over IPv6")                 \
  X(kMalformedUdp, "malformed_udp", "UDP length inconsistent with IP, or source port 0")          \
  X(kSegmentTrain, "segment_train",                                                               \
    "a train of datagrams in one frame: a sender on this host offloads segmentation")             \
  X(kFragmentRejected, "fragment_rejected", "fragment: too many pieces, overlapping or too late") \
  X(kFragmentCrowded, "fragment_crowded",                                                         \
    "fragment that waited for the rest of its datagram: others needed the place more")            \
  X(kNotStun, "not_stun", "to a listener, but neither STUN nor ChannelData")                      \
  X(kNotDtls, "not_dtls", "to a listener of DTLS alone, but not DTLS")                            \
  X(kBadHello, "bad_hello", "DTLS's ClientHello cut short, or in fragments")                      \
  X(kKeepalive, "keepalive", "CRLF or empty keepalive to a listener")                             \
  X(kBadStun, "bad_stun", "STUN with a bad length, attribute or fingerprint")                     \
  X(kSharedSecret, "shared_secret", "Shared Secret request of RFC 3489")                          \
  X(kTooManyAttributes, "too_many_attributes", "STUN with more attributes than any client sends") \
  X(kRequestTooLong, "request_too_long", "STUN request of more than 4 KiB")                       \
  X(kUnknownMethod, "unknown_method", "STUN of a method or class that a server doesn't take")     \
  X(kBindingIndication, "binding_indication", "Binding indication, accepted in silence")          \
  X(kBadChannelData, "bad_channel_data", "ChannelData longer than its datagram")                  \
  X(kNoAllocation, "no_allocation", "ChannelData or Send from a five-tuple without allocation")   \
  X(kNoChannel, "no_channel", "ChannelData on a channel that is not bound, or has expired")       \
  X(kNoPermission, "no_permission", "no live permission for this peer")                           \
  X(kNoRelay, "no_relay", "from a peer to a relay port that nobody has")                          \
  X(kUnanswerable, "unanswerable",                                                                \
    "request from a multicast, broadcast or loopback address, or from one of our own")            \
  X(kClientDenied, "client_denied",                                                               \
    "request from an address that the configuration answers nothing")                             \
  X(kBadSend, "bad_send",                                                                         \
    "Send indication without a peer address or data, or with unknown attributes")                 \
  X(kFamilyMismatch, "family_mismatch", "Send to a family that the allocation has no address of") \
  X(kPayloadRule, "payload_rule", "of a flow whose first packets a payload rule refuses")         \
  X(kPayloadLimit, "payload_limit", "above the rate of the payload rule that its flow matched")   \
  X(kAllocationBandwidth, "allocation_bandwidth", "above limits.bandwidth_per_allocation")        \
  X(kAllocationPacketRate, "allocation_packet_rate", "above limits.packet_rate_per_allocation")   \
  X(kUserBandwidth, "user_bandwidth", "above limits.bandwidth_per_user")                          \
  X(kUserPacketRate, "user_packet_rate", "above limits.packet_rate_per_user")                     \
  X(kRealmBandwidth, "realm_bandwidth", "above limits.bandwidth_per_realm")                       \
  X(kRealmPacketRate, "realm_packet_rate", "above limits.packet_rate_per_realm")                  \
  X(kNodeBandwidth, "node_bandwidth", "above limits.bandwidth")                                   \
  X(kNodePacketRate, "node_packet_rate", "above limits.packet_rate")                              \
  X(kTtlExpired, "ttl_expired", "TTL or hop limit would reach zero")                              \
  X(kTooBig, "too_big", "longer than the outgoing link's MTU and must not be fragmented")         \
  X(kNoHeadroom, "no_headroom", "no room to grow headers")                                        \
  X(kNoRoute, "no_route", "the kernel has no route to the destination")                           \
  X(kNoNeighbour, "no_neighbour", "the next hop's MAC address stayed unknown")                    \
  X(kChallengeSourceLimit, "challenge_source_limit",                                              \
    "more challenges, errors and answers of RFC 3489 wanted by an address (IPv6: /64)")           \
  X(kChallengeLimit, "challenge_limit",                                                           \
    "more challenges and errors wanted from all sources together than a worker gives")            \
  X(kDiscoverySourceLimit, "discovery_source_limit",                                              \
    "more answers with PADDING or to RESPONSE-PORT wanted by an address (IPv6: /64)")             \
  X(kAnswerTooLong, "answer_too_long", "the answer would not fit an IP packet of 576 bytes")      \
  X(kRequestLimit, "request_limit",                                                               \
    "more requests of an allocation than a client has reason to send")                            \
  X(kRequestSourceLimit, "request_source_limit",                                                  \
    "more requests without an allocation from one address (IPv6: /64) than it may send")          \
  X(kEngineRingFull, "engine_ring_full", "requests come faster than the engine answers")          \
  X(kEngineDiscard, "engine_discard", "the engine gave the request up without an answer")         \
  X(kSessionRingFull, "session_ring_full",                                                        \
    "DTLS of clients with an allocation comes faster than its thread reads")                      \
  X(kHandshakeRingFull, "handshake_ring_full",                                                    \
    "DTLS of all others, handshakes first of all, comes faster than its thread reads")            \
  X(kExceptionRingFull, "exception_ring_full",                                                    \
    "more for the kernel than the exception path takes")                                          \
  X(kIcmpUnrelated, "icmp_unrelated",                                                             \
    "ICMP error that quotes nothing we sent, or of another type")                                 \
  X(kPathMtu, "path_mtu", "ICMP \"too big\" about a packet to a client, taken to heart")          \
  X(kTransmitFull, "transmit_full", "the port's transmit queue was full")                         \
  X(kNoMbuf, "no_mbuf", "no buffer for a fragment, a reassembled packet or one of the kernel's")

enum class Drop : std::uint8_t {
#define X(name, label, text) name,
  TURNPIKE_DROPS(X)
#undef X
      kCount
};

struct DropInfo {
  std::string_view label;
  std::string_view explanation;
};

inline constexpr std::array<DropInfo, static_cast<std::size_t>(Drop::kCount)> kDropInfo{{
#define X(name, label, text) {label, text},
    TURNPIKE_DROPS(X)
#undef X
}};

// What is lost where no worker sees it: by a port's device, or by the kernel before it.
#define TURNPIKE_PORT_DROPS(X)                                                                  \
  X(kMissed, "missed",                                                                          \
    "the receive ring was full: a worker came too late; or the frame was longer than a buffer") \
  X(kReceiveErrors, "receive_errors", "frames that the device found broken")                    \
  X(kNoBuffer, "no_buffer", "no buffer to receive into")                                        \
  X(kTransmitErrors, "transmit_errors", "frames that the device failed to send")

enum class PortDrop : std::uint8_t {
#define X(name, label, text) name,
  TURNPIKE_PORT_DROPS(X)
#undef X
};

inline constexpr auto kPortDropInfo = std::to_array<DropInfo>({
#define X(name, label, text) {label, text},
    TURNPIKE_PORT_DROPS(X)
#undef X
});

}  // namespace turnpike::flow

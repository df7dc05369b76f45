// DTLS (RFC 7350, RFC 8656 §3.1): who has its keys reads it, in a thread of its own. A worker says
// hello for that one, for until a client has shown a cookie nothing is kept of him (RFC 6347
// §4.2.1): whoever forges addresses gets no further than this.
#include "flow/frame.h"
#include "flow/pipeline.h"
#include "wire/headers.h"

namespace turnpike::flow {

void Pipeline::classify_dtls(Instant now, Packet& packet) {
  const std::span<const std::uint8_t> payload(packet.data + packet.payload, packet.payload_size);
  if (payload.empty() || !wire::may_be_dtls(payload[0])) return drop(packet, Drop::kNotDtls);
  wire::ClientHello hello;
  switch (wire::read_client_hello(payload, hello)) {
    case wire::HelloState::kBroken:
      return drop(packet, Drop::kBadHello);
    case wire::HelloState::kWhole:
      answer_hello(now, packet, hello);
      break;
    case wire::HelloState::kNone:
      break;
  }
  if (packet.verdict != Verdict::kContinue) return;
  // Application data have a MAC, which says more.
  if (payload[0] != wire::dtls::kApplicationData && !udp_checksum_holds(packet))
    return drop(packet, Drop::kBadUdpChecksum);
  packet.lane = Lane::kSession;
  packet.verdict = Verdict::kSession;
  packet.has_allocation = allocation_of(packet.listener, packet.source).has_value();
}

// With a cookie; one that has it goes on. Less than a hello it is of no worth to a reflector, and
// cheaper than to count it: whoever comes while others forge hellos gets his.
void Pipeline::answer_hello(Instant now, Packet& packet, const wire::ClientHello& hello) {
  if (!is_answerable(packet)) return drop(packet, Drop::kUnanswerable);
  if (!policy_->clients.answer(packet.source.address)) return drop(packet, Drop::kClientDenied);
  if (!udp_checksum_holds(packet)) return drop(packet, Drop::kBadUdpChecksum);
  const Endpoint& server = setup_.listeners[packet.listener].endpoint;
  if (cookies_.holds(now, packet.source, server, hello.random, hello.cookie))
    return counters_.cookies_shown.add();
  std::array<std::uint8_t, wire::kMostVerifyRequest> bytes;
  const std::size_t size = wire::write_hello_verify_request(
      hello, cookies_.mint(now, packet.source, server, hello.random), bytes);
  answer(packet, std::span(bytes).first(size));
  if (packet.verdict == Verdict::kTransmitBack) counters_.cookies_sent.add();
}

void Pipeline::complete_datagram(Instant now, Packet& packet) {
  std::uint8_t* const ip = packet.data + packet.l3;
  const bool v4 = packet.family == Family::kIpv4;
  if (v4) {
    wire::store_be16(ip + wire::ipv4::kId, ip_ids_.take());
    wire::store_be16(ip + wire::ipv4::kChecksum, 0);
    wire::store_be16(ip + wire::ipv4::kChecksum,
                     wire::ipv4_header_checksum(ip, wire::ipv4::kMinSize));
  }
  packet.may_fragment = true;
  packet.path_mtu = PathMtu::kNone;
  if (packet.length - packet.l3 <= PathMtu::least(packet.family)) return;
  const std::uint8_t* const source = ip + (v4 ? wire::ipv4::kSource : wire::ipv6::kSource);
  const std::size_t size = v4 ? wire::ipv4::kAddressSize : wire::ipv6::kAddressSize;
  const std::uint8_t* const header = packet.data + packet.l4;
  const Endpoint server{Address::from_bytes(packet.family, source),
                        wire::load_be16(header + wire::udp::kSourcePort)};
  const Endpoint client{Address::from_bytes(packet.family, source + size),
                        wire::load_be16(header + wire::udp::kDestinationPort)};
  const auto listener = dtls_here_.listener_at(server);
  if (!listener) return;
  if (const auto slot = tables_.find_client(*listener, client))
    packet.path_mtu = tables_.allocation(*slot).path_mtu_at(now_s(now));
}

}  // namespace turnpike::flow

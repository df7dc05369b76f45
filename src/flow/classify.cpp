// The first stage: headers are parsed once, every length against the bytes that are there, and the
// packet gets its lane. What needs no table is finished here: stateless answers, and all that is
// not ours.
#include <algorithm>
#include <cstring>

#include "flow/frame.h"
#include "flow/pipeline.h"
#include "wire/checksum.h"
#include "wire/dtls_records.h"
#include "wire/headers.h"

namespace turnpike::flow {
namespace {

using namespace wire;

// Everything an IP header says that the rest needs.
struct IpHeader {
  std::size_t size = 0;     // of the header
  std::size_t l4_size = 0;  // of what follows, as the header says
  std::uint8_t protocol = 0;
  bool fragment = false;
};

// A fragment header on what is whole: translators to RFC 6145 put one on everything. It is the
// packet itself, whatever else has its identification (RFC 8200 §4.5, RFC 6946 §4), and the header
// goes, so that nothing behind here knows of it.
void take_atomic_fragment_off(Packet& packet, IpHeader& ip) {
  std::uint8_t* header = packet.data + packet.l3;
  const std::uint8_t* extension = header + ipv6::kSize;
  if (ip.l4_size < ipv6_fragment::kSize) return;
  const std::uint16_t offset = load_be16(extension + ipv6_fragment::kOffsetFlags);
  ip.protocol = extension[ipv6_fragment::kNextHeader];
  if ((offset & (ipv6_fragment::kOffsetMask | ipv6_fragment::kMoreFragments)) != 0) return;
  ip.fragment = false;
  ip.l4_size -= ipv6_fragment::kSize;
  header[ipv6::kNextHeader] = ip.protocol;
  store_be16(header + ipv6::kPayloadLength, static_cast<std::uint16_t>(ip.l4_size));
  std::memmove(packet.data + ipv6_fragment::kSize, packet.data, packet.l3 + ipv6::kSize);
  packet.data += ipv6_fragment::kSize;
  packet.length -= ipv6_fragment::kSize;
  packet.headroom = static_cast<std::uint16_t>(packet.headroom + ipv6_fragment::kSize);
}

bool parse_ipv4(Packet& packet, std::size_t have, IpHeader& out) {
  const std::uint8_t* ip = packet.data + packet.l3;
  if (have < ipv4::kMinSize || ipv4::version(ip) != 4) return false;
  out.size = ipv4::header_size(ip);
  const std::size_t total = load_be16(ip + ipv4::kTotalLength);
  if (out.size < ipv4::kMinSize || out.size > total || total > have) return false;
  out.l4_size = total - out.size;
  out.protocol = ip[ipv4::kProtocol];
  const std::uint16_t flags = load_be16(ip + ipv4::kFlagsFragment);
  out.fragment = (flags & (ipv4::kMoreFragments | ipv4::kOffsetMask)) != 0;
  packet.family = Family::kIpv4;
  packet.source.address = Address::from_bytes(Family::kIpv4, ip + ipv4::kSource);
  packet.destination.address = Address::from_bytes(Family::kIpv4, ip + ipv4::kDestination);
  return true;
}

bool parse_ipv6(Packet& packet, std::size_t have, IpHeader& out) {
  const std::uint8_t* ip = packet.data + packet.l3;
  if (have < ipv6::kSize || ipv6::version(ip) != 6) return false;
  out.size = ipv6::kSize;
  out.l4_size = load_be16(ip + ipv6::kPayloadLength);
  if (out.l4_size > have - ipv6::kSize) return false;
  out.protocol = ip[ipv6::kNextHeader];
  out.fragment = out.protocol == ip_protocol::kFragment;
  packet.family = Family::kIpv6;
  packet.source.address = Address::from_bytes(Family::kIpv6, ip + ipv6::kSource);
  packet.destination.address = Address::from_bytes(Family::kIpv6, ip + ipv6::kDestination);
  return true;
}

// Reads the packet's payload as STUN; drops it if it isn't any.
bool parse(Packet& packet, stun::MessageView& message) {
  const stun::Bytes payload(packet.data + packet.payload, packet.payload_size);
  switch (stun::MessageView::parse(payload, message)) {
    case stun::ParseError::kNone:
      return true;
    case stun::ParseError::kNotStun:
      drop(packet, Drop::kNotStun);
      return false;
    case stun::ParseError::kTooManyAttributes:
      drop(packet, Drop::kTooManyAttributes);
      return false;
    case stun::ParseError::kRequestTooLong:
      drop(packet, Drop::kRequestTooLong);
      return false;
    case stun::ParseError::kBadLength:
    case stun::ParseError::kBadAttribute:
    case stun::ParseError::kBadFingerprint:
      break;
  }
  drop(packet, Drop::kBadStun);
  return false;
}

}  // namespace

void Pipeline::classify(Instant now, std::span<Packet> burst) {
  for (Packet& packet : burst) {
    if (packet.verdict != Verdict::kContinue) continue;  // the fast lane's
    if (packet.length < ethernet::kSize) {
      drop(packet, Drop::kMalformedFrame);
      continue;
    }
    const PortInfo& port = setup_.ports[packet.port];
    if (port.sees_own_frames &&
        std::memcmp(packet.data + ethernet::kSource, port.mac.data(), port.mac.size()) == 0) {
      drop(packet, Drop::kOwnFrame);
      continue;
    }
    // To another host, if the port is told all; or to a group (RFC 1122 §3.3.6).
    if (!arrivals_[packet.port].takes_mac(read_mac(packet.data + ethernet::kDestination))) {
      packet.verdict = Verdict::kKernel;
      continue;
    }
    packet.l3 = ethernet::kSize;
    const std::size_t have = packet.length - ethernet::kSize;
    const std::uint16_t type = load_be16(packet.data + ethernet::kType);
    IpHeader ip;
    if (type == ether_type::kIpv4 ? !parse_ipv4(packet, have, ip)
                                  : type == ether_type::kIpv6 && !parse_ipv6(packet, have, ip)) {
      drop(packet, Drop::kMalformedFrame);
      continue;
    }
    // Another's is left as it is.
    if (ip.fragment && type == ether_type::kIpv6 && !packet.reassembled &&
        here_.find(packet.destination.address) != nullptr) {
      take_atomic_fragment_off(packet, ip);
    }
    const bool icmp = (type == ether_type::kIpv4 && ip.protocol == ip_protocol::kIcmp) ||
                      (type == ether_type::kIpv6 && ip.protocol == ip_protocol::kIcmpv6);
    const bool ours_by_protocol = ip.protocol == ip_protocol::kUdp || icmp || ip.fragment;
    if ((type != ether_type::kIpv4 && type != ether_type::kIpv6) || !ours_by_protocol) {
      packet.verdict = Verdict::kKernel;  // ARP, TCP, tagged frames, …
      continue;
    }
    if (type == ether_type::kIpv4 && !ipv4_header_checksum_good(packet.data + packet.l3, ip.size)) {
      drop(packet, Drop::kBadIpChecksum);
      continue;
    }
    packet.l4 = static_cast<std::uint16_t>(packet.l3 + ip.size);
    // Ethernet's padding is no part of the packet.
    const auto cut = static_cast<std::uint32_t>(packet.length - packet.l4 - ip.l4_size);
    packet.length -= cut;
    packet.tailroom = static_cast<std::uint16_t>(packet.tailroom + cut);
    if (ip.fragment && packet.reassembled) {
      drop(packet, Drop::kFragmentRejected);  // a fragment header within fragments
    } else if (ip.fragment) {
      const bool ours =
          ip.protocol == ip_protocol::kUdp && here_.find(packet.destination.address) != nullptr;
      packet.verdict = ours ? Verdict::kReassemble : Verdict::kKernel;
    } else if (icmp) {
      classify_icmp(packet, ip.l4_size);
    } else {
      classify_udp(now, packet, ip.l4_size);
    }
  }
}

// What is listened to in what comes by the port.
const Here& Pipeline::here_for(std::size_t port) const {
  switch (setup_.ports[port].messages_of.value_or(Transport::kUdp)) {
    case Transport::kTcp:
      return tcp_here_;
    case Transport::kDtls:
      return dtls_here_;
    case Transport::kUdp:
      break;
  }
  return here_;
}

// A relayed packet's checksum isn't verified: it changes by the difference of the headers alone
// (frame.cpp), so one that was wrong stays wrong, and its receiver is the one to notice.
void Pipeline::classify_udp(Instant now, Packet& packet, std::size_t l4_size) {
  if (l4_size < udp::kSize) return drop(packet, Drop::kMalformedUdp);
  const std::uint8_t* header = packet.data + packet.l4;
  const std::size_t udp_size = load_be16(header + udp::kLength);
  if (udp_size < udp::kSize || udp_size > l4_size) return drop(packet, Drop::kMalformedUdp);
  packet.source.port = load_be16(header + udp::kSourcePort);
  packet.destination.port = load_be16(header + udp::kDestinationPort);
  packet.payload = static_cast<std::uint16_t>(packet.l4 + udp::kSize);
  packet.payload_size = static_cast<std::uint16_t>(udp_size - udp::kSize);

  const Here& here = here_for(packet.port);
  const Here::Place* place = here.find(packet.destination.address);
  const std::uint32_t listener =
      place != nullptr ? here.listener(*place, packet.destination.port) : Here::kNoListener;
  const bool datagram =
      setup_.ports[packet.port].messages_of.value_or(Transport::kUdp) == Transport::kUdp;
  const std::optional<ListenerIndex> dtls =
      has_dtls_ && datagram ? dtls_here_.listener_at(packet.destination) : std::nullopt;
  if (listener == Here::kNoListener && !dtls &&
      (place == nullptr || place->relayed == Here::kNotRelayed)) {
    packet.verdict = Verdict::kKernel;
    return;
  }
  // UDP segmentation offload of a local sender: a train with one header, which a packet socket sees
  // as one frame. What a packet socket's fanout has reassembled is as long, but has its checksum.
  if (packet.checksum == Checksum::kMaybePartial && !packet.reassembled &&
      packet.length - packet.l3 > setup_.ports[packet.port].mtu &&
      load_be16(header + udp::kChecksum) == pseudo_sum(packet, udp_size)) {
    return drop(packet, Drop::kSegmentTrain);
  }
  // Nobody can be answered on port 0.
  if (packet.source.port == 0) return drop(packet, Drop::kMalformedUdp);
  if (packet.family == Family::kIpv6 && load_be16(header + udp::kChecksum) == 0) {
    return drop(packet, Drop::kBadUdpChecksum);
  }
  // On a port that plain UDP has too, by the first byte (RFC 7983 §7).
  const bool for_dtls = listener == Here::kNoListener ||
                        (packet.payload_size != 0 && may_be_dtls(packet.data[packet.payload]));
  if (dtls && for_dtls) {
    packet.listener = *dtls;
    return classify_dtls(now, packet);
  }
  if (listener != Here::kNoListener) {
    packet.listener = static_cast<ListenerIndex>(listener);
    return classify_from_client(now, packet);
  }
  packet.lane = Lane::kPeer;
  packet.body = packet.payload;
  packet.body_size = packet.payload_size;
  packet.peer = packet.source;
  // Of this host's: permissions are kept by the public address of our own addresses.
  if (setup_.ports[packet.port].messages_of)
    packet.peer.address = here_.public_of(packet.source.address);
}

// By the first byte (RFC 8489 §5, RFC 8656 §12, RFC 7983).
void Pipeline::classify_from_client(Instant now, Packet& packet) {
  const std::uint8_t* payload = packet.data + packet.payload;
  const std::size_t size = packet.payload_size;
  const bool crlf = (size == 2 || size == 4) && payload[0] == '\r' && payload[1] == '\n';
  if (size == 0 || crlf) return drop(packet, Drop::kKeepalive);
  if (payload[0] >= 0x40 && payload[0] <= policy_->channel_max >> 8) {
    if (size < stun::kChannelDataHeaderSize) return drop(packet, Drop::kBadChannelData);
    const std::size_t length = load_be16(payload + 2);
    if (length > size - stun::kChannelDataHeaderSize) return drop(packet, Drop::kBadChannelData);
    packet.lane = Lane::kChannelData;
    packet.channel = load_be16(payload);
    packet.body = static_cast<std::uint16_t>(packet.payload + stun::kChannelDataHeaderSize);
    packet.body_size = static_cast<std::uint16_t>(length);
    return;
  }
  if (payload[0] > 3) return drop(packet, Drop::kNotStun);
  // Whose it is comes before what is in it: a stranger's Send isn't read any further.
  if (size >= stun::kHeaderSize && load_be16(payload) == kSendIndication &&
      load_be32(payload + 4) == stun::kMagicCookie) {
    packet.lane = Lane::kSend;
    return;
  }
  if (!is_answerable(packet)) return drop(packet, Drop::kUnanswerable);
  if (!policy_->clients.answer(packet.source.address)) return drop(packet, Drop::kClientDenied);
  if (size >= stun::kHeaderSize && load_be32(payload + 4) != stun::kMagicCookie)
    return answer_classic(now, packet);
  stun::MessageView message;
  if (parse(packet, message)) answer_or_admit(now, packet, message);
}

// Whether an answer to such a source can only go to one host, and not to ourselves: who forges it
// would have us flood a network, or talk to ourselves. Clients on this host have its addresses, and
// the kernel has seen to it that they are who they say.
bool Pipeline::is_answerable(const Packet& packet) const {
  const Address& source = packet.source.address;
  const bool may_be_ours = setup_.ports[packet.port].messages_of.has_value();
  return is_one_host(source) && (may_be_ours || here_.find(source) == nullptr) &&
         !policy_->broadcasts.has(source);
}

// RFC 3489 (docs/protocol.md 34).
void Pipeline::answer_classic(Instant now, Packet& packet) {
  std::array<std::uint8_t, kAnswerMax> bytes;
  const Listener& listener = setup_.listeners[packet.listener];
  const stun::ClassicResult result = policy_->stateless.answer_classic(
      {packet.data + packet.payload, packet.payload_size}, packet.source, listener, bytes);
  if (result.what == stun::Classic::kNot) return drop(packet, Drop::kNotStun);
  if (!udp_checksum_holds(packet)) return drop(packet, Drop::kBadUdpChecksum);
  if (result.what == stun::Classic::kMalformed) return drop(packet, Drop::kBadStun);
  if (result.what == stun::Classic::kSharedSecret) return drop(packet, Drop::kSharedSecret);
  if (!may_answer_stranger(now, packet)) return;
  const AnswerWay way{.origin = result.origin};
  if (!answer(packet, std::span(bytes).first(result.size), way)) return;
  const bool success = result.what == stun::Classic::kSuccess;
  count_answer(
      {.answer = success ? StatelessAnswer::kBindingSuccess : StatelessAnswer::k420, .way = way});
}

// Sends the packet back with other bytes in it. False: there is no room for them.
bool Pipeline::answer(Packet& packet, std::span<const std::uint8_t> bytes, const AnswerWay& way) {
  const std::size_t room = packet.length - packet.payload + packet.tailroom;
  if (bytes.size() > room) {
    drop(packet, Drop::kNoHeadroom);
    return false;
  }
  if (way != AnswerWay{}) {
    const Listener& listener = setup_.listeners[packet.listener];
    const Endpoint& source =
        way.origin == 0 ? listener.endpoint : listener.discovery->origins[way.origin].internal;
    redirect(packet, source, way.to_port);
  }
  std::memcpy(packet.data + packet.payload, bytes.data(), bytes.size());
  turn_round(packet, bytes.size());
  return true;
}

// RFC 8656 §11.2. Media too: Firefox never binds a channel (docs/protocol.md 25).
void Pipeline::open_send(Packet& packet) {
  stun::MessageView message;
  if (!parse(packet, message)) return;
  if (!message.complete() || message.has_unknown()) return drop(packet, Drop::kBadSend);
  const auto peer = message.xor_address(stun::Attribute::kXorPeerAddress);
  const auto data = message.find(stun::Attribute::kData);
  if (!peer || peer->port == 0) return drop(packet, Drop::kBadSend);
  packet.peer = *peer;
  packet.dont_fragment = message.has(stun::Attribute::kDontFragment);
  const std::ptrdiff_t body = data->value.data() - packet.data;
  if (body > 0xFFFF) return drop(packet, Drop::kBadSend);
  packet.body = static_cast<std::uint16_t>(body);
  packet.body_size = static_cast<std::uint16_t>(data->value.size());
}

// Takes the answer from what the source, and all sources, may have.
Drop Pipeline::refuse_stranger(Instant now, const Packet& packet) {
  if (!strangers_.take(now, packet.source.address, policy_->strangers.per_source))
    return Drop::kChallengeSourceLimit;
  return all_strangers_.take(now, policy_->strangers.all) ? Drop::kNone : Drop::kChallengeLimit;
}

// Likewise; drops the packet if there is nothing left.
bool Pipeline::may_answer_stranger(Instant now, Packet& packet) {
  const Drop refused = refuse_stranger(now, packet);
  if (refused != Drop::kNone) drop(packet, refused);
  return refused == Drop::kNone;
}

// Of a Binding to a listener with discovery: whether it gets all that it asks for. Drops the packet
// if it doesn't, and a brief answer is none.
bool Pipeline::may_answer_all(Instant now, Packet& packet, const StatelessResult& result) {
  if (result.may_be_brief) return refuse_stranger(now, packet) == Drop::kNone;
  if (result.rationed &&
      !discoverers_.take(now, packet.source.address, policy_->discovery_per_source)) {
    drop(packet, Drop::kDiscoverySourceLimit);
    return false;
  }
  return may_answer_stranger(now, packet);
}

// What says which shard a request is for, beside its five-tuple.
stun::Attribute Pipeline::names_shard(stun::Method method) {
  switch (method) {
    case stun::Method::kRefresh:
      return stun::Attribute::kMobilityTicket;
    case stun::Method::kConnectionBind:
      return stun::Attribute::kConnectionId;
    default:
      return stun::Attribute::kReservationToken;
  }
}

// To the engine, as long as its sender keeps to what clients have reason to ask.
void Pipeline::admit(Instant now, Packet& packet, const stun::MessageView& message,
                     std::optional<AllocationSlot> known) {
  packet.lane = Lane::kRequest;
  if (const auto token = message.find(names_shard(message.method()))) {
    packet.body = static_cast<std::uint16_t>(token->value.data() - packet.data);
    packet.body_size = static_cast<std::uint16_t>(token->value.size());
  }
  packet.has_allocation = known.has_value();
  if (known) packet.allocation = *known;
  const RequestRates& rates = policy_->requests;
  const Drop refused =
      known ? requests_.known(now, *known, tables_.allocation(*known).generation, rates)
            : requests_.stranger(now, packet.source.address, rates);
  if (refused != Drop::kNone) return drop(packet, refused);
  // Its nonce shows that a challenge to this source came to its client. One that has an allocation
  // had it for that, and requests of it could give back what others' challenges took.
  if (!known) strangers_.give_back(now, packet.source.address, policy_->strangers.per_source);
  packet.opens_way = known && (message.method() == stun::Method::kChannelBind ||
                               message.method() == stun::Method::kCreatePermission);
}

// StatelessAnswers needs to know whether the five-tuple is known: that alone is looked up at once.
void Pipeline::answer_or_admit(Instant now, Packet& packet, const stun::MessageView& message) {
  if (!udp_checksum_holds(packet)) return drop(packet, Drop::kBadUdpChecksum);
  // A request without integrity can only be answered here; beyond the limit not even that work is
  // done for it.
  const bool binding = message.method() == stun::Method::kBinding;
  const bool has_integrity = message.has(stun::Attribute::kMessageIntegrity) ||
                             message.has(stun::Attribute::kMessageIntegritySha256);
  const bool surely_stranger =
      !has_integrity && !binding && message.message_class() == stun::Class::kRequest;
  if (surely_stranger && !may_answer_stranger(now, packet)) return;
  const auto known = allocation_of(packet.listener, packet.source);
  std::array<std::uint8_t, kPaddedAnswerMax> bytes;
  const Listener& listener = setup_.listeners[packet.listener];
  StatelessResult result =
      policy_->stateless.answer(now, message, packet.source, listener, known.has_value(), bytes);
  switch (result.verdict) {
    case StatelessVerdict::kIgnoreMalformed:
      return drop(packet, Drop::kUnknownMethod);
    case StatelessVerdict::kIgnoreIndication:
      return drop(packet, Drop::kBindingIndication);
    case StatelessVerdict::kTooLong:
      return drop(packet, Drop::kAnswerTooLong);
    case StatelessVerdict::kAdmit:
      return admit(now, packet, message, known);
    case StatelessVerdict::kAnswered:
      break;
  }
  if (result.to_stranger && !surely_stranger && !may_answer_all(now, packet, result)) {
    if (!result.may_be_brief) return;
    counters_.brief.add();
    result.size = StatelessAnswers::answer_briefly(message, packet.source, bytes);
  }
  // A message of this host's has no path to be cut for.
  if (result.padded && !setup_.ports[packet.port].messages_of) {
    packet.path_mtu = std::min<std::uint16_t>(kPaddingMost, setup_.ports[packet.port].mtu);
    if (packet.family == Family::kIpv4)
      store_be16(packet.data + packet.l3 + ipv4::kId, ip_ids_.take());
  }
  if (answer(packet, std::span(bytes).first(result.size), result.way)) count_answer(result);
}

void Pipeline::count_answer(const StatelessResult& result) {
  if (result.way.origin != 0) counters_.from_elsewhere.add();
  if (result.way.to_port != 0) counters_.to_elsewhere.add();
  if (result.padded) counters_.padded.add();
  switch (result.answer) {
    case StatelessAnswer::kBindingSuccess:
      return counters_.binding_success.add();
    case StatelessAnswer::k400:
      return counters_.answered_400.add();
    case StatelessAnswer::k401:
      return counters_.answered_401.add();
    case StatelessAnswer::k420:
      return counters_.answered_420.add();
    case StatelessAnswer::k438:
      return counters_.answered_438.add();
    case StatelessAnswer::kNone:
      return;
  }
}

}  // namespace turnpike::flow

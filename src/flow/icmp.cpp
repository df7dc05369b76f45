// ICMP, both ways: errors about packets that we relayed become Data indications with an ICMP
// attribute (RFC 8656 §11.5, §18.13: no payload); errors of our own (time exceeded, too big) go
// back to whoever sent us the packet.
#include <algorithm>
#include <cstring>
#include <span>

#include "flow/frame.h"
#include "flow/pipeline.h"
#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::flow {
namespace {

using namespace wire;

bool relayed_type(bool v4, std::uint8_t type) {
  return v4 ? type == icmp::kUnreachable || type == icmp::kTimeExceeded
            : type >= icmpv6::kUnreachable && type <= icmpv6::kTimeExceeded;
}

// The MTU where there is one (docs/protocol.md 26), else 0.
std::uint32_t attribute_data(bool v4, const std::uint8_t* icmp) {
  if (v4 && icmp[icmp::kType] == icmp::kUnreachable &&
      icmp[icmp::kCode] == icmp::kFragmentationNeeded) {
    return load_be16(icmp + icmp::kMtuV4);
  }
  return !v4 && icmp[icmp::kType] == icmpv6::kPacketTooBig ? load_be32(icmp + icmp::kMtuV6) : 0;
}

// ICMPv6's covers a pseudo header, ICMP's doesn't (RFC 4443 §2.3).
bool checksum_holds(const Packet& packet, std::size_t l4_size) {
  const std::uint8_t* ip = packet.data + packet.l3;
  const std::uint16_t pseudo =
      packet.family == Family::kIpv4
          ? std::uint16_t{0}
          : pseudo_header_sum_v6(ip + ipv6::kSource, ip + ipv6::kDestination, ip_protocol::kIcmpv6,
                                 static_cast<std::uint32_t>(l4_size));
  return fold(std::uint32_t{pseudo} + sum_bytes(packet.data + packet.l4, l4_size)) == 0xFFFF;
}

constexpr std::size_t kQuoteV4 = 548;   // a whole error fits the minimum MTU (RFC 1812 §4.3.2.3)
constexpr std::size_t kQuoteV6 = 1232;  // RFC 4443 §2.4 (c)

// The first packet of UDP that an error quotes; l4: its UDP header, nullptr if it is none.
struct Quote {
  const std::uint8_t* l4 = nullptr;
  Address source, destination;
  std::size_t length = 0;      // of the whole packet that was sent
  bool may_be_refused = true;  // for its size: not, if any router could have cut it
};

Quote read_quote(Family family, std::span<const std::uint8_t> bytes) {
  Quote quote;
  const std::uint8_t* ip = bytes.data();
  std::size_t header = 0;
  if (family == Family::kIpv4) {
    if (bytes.size() < ipv4::kMinSize) return quote;
    const std::uint16_t flags = load_be16(ip + ipv4::kFlagsFragment);
    header = ipv4::header_size(ip);
    if (ipv4::version(ip) != 4 || header < ipv4::kMinSize || (flags & ipv4::kOffsetMask) != 0 ||
        ip[ipv4::kProtocol] != ip_protocol::kUdp)
      return quote;
    quote.length = load_be16(ip + ipv4::kTotalLength);
    quote.may_be_refused = (flags & ipv4::kDontFragment) != 0;
    quote.source = Address::from_bytes(family, ip + ipv4::kSource);
    quote.destination = Address::from_bytes(family, ip + ipv4::kDestination);
  } else {
    if (bytes.size() < ipv6::kSize || ipv6::version(ip) != 6) return quote;
    std::uint8_t next = ip[ipv6::kNextHeader];
    header = ipv6::kSize;
    if (next == ip_protocol::kFragment && bytes.size() >= header + ipv6_fragment::kSize) {
      const std::uint8_t* extension = ip + header;
      if ((load_be16(extension + ipv6_fragment::kOffsetFlags) & ipv6_fragment::kOffsetMask) != 0)
        return quote;
      next = extension[ipv6_fragment::kNextHeader];
      header += ipv6_fragment::kSize;
    }
    if (next != ip_protocol::kUdp) return quote;
    quote.length = ipv6::kSize + std::size_t{load_be16(ip + ipv6::kPayloadLength)};
    quote.source = Address::from_bytes(family, ip + ipv6::kSource);
    quote.destination = Address::from_bytes(family, ip + ipv6::kDestination);
  }
  if (bytes.size() >= header + udp::kSize) quote.l4 = ip + header;
  return quote;
}

// What the error wants of the path, if it is one that may: smaller packets than the one it quotes.
// Routers older than RFC 1191 say nothing about how small.
std::uint16_t told_mtu(bool v4, const std::uint8_t* icmp, const Quote& quote) {
  const bool too_big = v4 ? icmp[icmp::kType] == icmp::kUnreachable &&
                                icmp[icmp::kCode] == icmp::kFragmentationNeeded
                          : icmp[icmp::kType] == icmpv6::kPacketTooBig;
  const std::uint32_t mtu = attribute_data(v4, icmp);
  if (!too_big || !quote.may_be_refused || mtu >= quote.length) return PathMtu::kNone;
  return static_cast<std::uint16_t>(std::min<std::uint32_t>(mtu, PathMtu::kNone - 1));
}

}  // namespace

// Ours if it quotes UDP that left from a relayed address or, of "too big", a listener; look_up
// finds whose.
void Pipeline::classify_icmp(Packet& packet, std::size_t l4_size) {
  const bool v4 = packet.family == Family::kIpv4;
  const std::uint8_t* icmp = packet.data + packet.l4;
  packet.verdict = Verdict::kKernel;
  if (l4_size < icmp::kSize || !relayed_type(v4, icmp[icmp::kType])) return;
  const Quote quote = read_quote(packet.family, {icmp + icmp::kQuote, l4_size - icmp::kSize});
  if (quote.l4 == nullptr || !checksum_holds(packet, l4_size)) return;
  const Endpoint from{quote.source, load_be16(quote.l4 + udp::kSourcePort)};
  const Endpoint to{quote.destination, load_be16(quote.l4 + udp::kDestinationPort)};
  packet.path_mtu = told_mtu(v4, icmp, quote);
  // Where both are, the larger packets are whose an allocation has them.
  const auto udp_listener = here_.listener_at(from);
  const auto dtls_listener = has_dtls_ ? dtls_here_.listener_at(from) : std::nullopt;
  if (udp_listener || dtls_listener) {
    if (packet.path_mtu == PathMtu::kNone) return;
    const bool by_dtls =
        dtls_listener && (!udp_listener || tables_.find_client(*dtls_listener, to));
    packet.listener = by_dtls ? *dtls_listener : *udp_listener;
    packet.destination = to;
    packet.lane = Lane::kTooBig;
  } else if (here_.is_relayed(quote.source)) {
    packet.destination = from;
    packet.peer = to;
    packet.lane = Lane::kIcmp;
  } else {
    return;
  }
  packet.verdict = Verdict::kContinue;
}

// The frame becomes a Data indication, built where the ICMP message was.
void Pipeline::rewrite_icmp(Packet& packet) {
  const AllocationEntry& allocation = tables_.allocation(packet.allocation);
  if (packet.next_hop == kNoNextHop) return drop(packet, Drop::kNoRoute);
  const std::uint8_t* icmp = packet.data + packet.l4;
  const bool v4 = packet.family == Family::kIpv4;
  std::array<std::uint8_t, 128> message;
  stun::MessageWriter writer(message, stun::Class::kIndication, stun::Method::kData, ids_.next());
  writer.add_xor_address(stun::Attribute::kXorPeerAddress, packet.peer);
  writer.add_icmp(icmp[icmp::kType], icmp[icmp::kCode], attribute_data(v4, icmp));
  const stun::Bytes built = writer.finish();

  // An ICMP error has at least a quoted IP and UDP header behind it, so only IPv6 to a client may
  // need headroom. The message takes the ICMP message's place as the body.
  const MoveEntry* moved = packet.moved;
  const Endpoint client = moved != nullptr ? moved->client : allocation.client;
  packet.body = packet.l4;
  packet.body_size = static_cast<std::uint16_t>(built.size());
  if (packet.length - packet.l4 + packet.tailroom < built.size() ||
      !room_for(packet, client.address.family, 0, 0)) {
    return drop(packet, Drop::kNoHeadroom);
  }
  std::memcpy(packet.data + packet.body, built.data(), built.size());
  Carried carried;
  carried.ttl = 64;
  carried.sum = as_loaded(sum_bytes(built));
  const ListenerIndex listener = moved != nullptr ? moved->listener : allocation.listener;
  put_on(packet, carried, setup_.listeners[listener].endpoint, client, 0, 0);
  packet.verdict = Verdict::kTransmit;
  counters_.icmp_relayed.add();
}

// A receiver's share first, so that nobody's errors use up all others'.
bool Pipeline::may_send_icmp(Instant now, const Address& receiver) {
  if (!icmp_receivers_.take(now, receiver, policy_->icmp_per_receiver)) return false;
  const std::uint32_t second = now_s(now);
  if (second != icmp_second_) {
    icmp_second_ = second;
    icmp_sent_ = 0;
  }
  return ++icmp_sent_ <= policy_->icmp_per_second;
}

// Turns a packet that has been given up into an ICMP error to its sender: headers go before the IP
// header, the rest is the quote. The packet's drop has its name already; it is counted here because
// the verdict changes.
void Pipeline::refuse_by_icmp(Instant now, Packet& packet, bool too_big, std::uint32_t mtu) {
  const bool v4 = packet.family == Family::kIpv4;
  const std::size_t header_size = (v4 ? ipv4::kMinSize : ipv6::kSize) + icmp::kSize;
  // Who comes by a stream has no packets that an error could be about (RFC 8656 §15).
  if (setup_.ports[packet.port].messages_of) return;
  if (packet.headroom < header_size || !is_one_host(packet.source.address) ||
      !may_send_icmp(now, packet.source.address)) {
    return;
  }
  std::uint8_t* quote = packet.data + packet.l3;
  const std::size_t quoted =
      std::min<std::size_t>(packet.length - packet.l3, v4 ? kQuoteV4 : kQuoteV6);
  std::uint8_t* icmp = quote - icmp::kSize;
  std::uint8_t* ip = quote - header_size;
  std::uint8_t* frame = ip - ethernet::kSize;
  std::array<std::uint8_t, 2 * ethernet::kAddressSize> mac;
  std::memcpy(mac.data(), packet.data + ethernet::kSource, ethernet::kAddressSize);
  std::memcpy(mac.data() + ethernet::kAddressSize, packet.data, ethernet::kAddressSize);
  std::array<std::uint8_t, 16> sender;
  std::array<std::uint8_t, 16> self;
  const std::size_t address = v4 ? ipv4::kAddressSize : ipv6::kAddressSize;
  std::memcpy(sender.data(), quote + (v4 ? ipv4::kSource : ipv6::kSource), address);
  std::memcpy(self.data(), quote + (v4 ? ipv4::kDestination : ipv6::kDestination), address);

  std::memcpy(frame, mac.data(), mac.size());
  store_be16(frame + ethernet::kType, v4 ? ether_type::kIpv4 : ether_type::kIpv6);
  std::memset(ip, 0, header_size);
  icmp[icmp::kType] = v4 ? (too_big ? icmp::kUnreachable : icmp::kTimeExceeded)
                         : (too_big ? icmpv6::kPacketTooBig : icmpv6::kTimeExceeded);
  icmp[icmp::kCode] = v4 && too_big ? icmp::kFragmentationNeeded : 0;
  if (too_big && v4) store_be16(icmp + icmp::kMtuV4, static_cast<std::uint16_t>(mtu));
  if (too_big && !v4) store_be32(icmp + icmp::kMtuV6, mtu);
  const std::size_t icmp_size = icmp::kSize + quoted;
  std::uint32_t sum = sum_bytes(icmp, icmp_size);
  if (v4) {
    ip[ipv4::kVersionIhl] = 0x45;
    store_be16(ip + ipv4::kTotalLength, static_cast<std::uint16_t>(ipv4::kMinSize + icmp_size));
    ip[ipv4::kTtl] = 64;
    ip[ipv4::kProtocol] = ip_protocol::kIcmp;
    std::memcpy(ip + ipv4::kSource, self.data(), address);
    std::memcpy(ip + ipv4::kDestination, sender.data(), address);
    store_be16(ip + ipv4::kChecksum, ipv4_header_checksum(ip, ipv4::kMinSize));
  } else {
    ipv6::set_class_and_flow(ip, 0, 0);
    store_be16(ip + ipv6::kPayloadLength, static_cast<std::uint16_t>(icmp_size));
    ip[ipv6::kNextHeader] = ip_protocol::kIcmpv6;
    ip[ipv6::kHopLimit] = 64;
    std::memcpy(ip + ipv6::kSource, self.data(), address);
    std::memcpy(ip + ipv6::kDestination, sender.data(), address);
    sum += pseudo_header_sum_v6(self.data(), sender.data(), ip_protocol::kIcmpv6,
                                static_cast<std::uint32_t>(icmp_size));
  }
  store_be16(icmp + icmp::kChecksum, static_cast<std::uint16_t>(~fold(sum)));
  counters_.drops[static_cast<std::size_t>(packet.drop)].add();
  counters_.icmp_sent.add();
  packet.headroom = static_cast<std::uint16_t>(packet.headroom - header_size);
  packet.data = frame;
  packet.length =
      static_cast<std::uint32_t>(ethernet::kSize + header_size - icmp::kSize + icmp_size);
  packet.verdict = Verdict::kTransmitBack;
}

}  // namespace turnpike::flow

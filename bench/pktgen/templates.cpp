// Headers up to the payload, written once for each flow: sending is a copy of less than two
// cache lines.
#include "templates.h"

#include <stdexcept>

#include "frames.h"
#include "turnpike/stun.h"
#include "wire/checksum.h"

namespace turnpike::pktgen {
namespace {

constexpr std::size_t kMeta = 6;  // frame size, head size, framing, payload size
constexpr std::size_t kDataHeader = 4;

// Without its value: a Send indication for an IPv6 peer is the longest.
constexpr std::size_t framing_size(Framing framing, Family peer) {
  switch (framing) {
    case Framing::kChannelData:
      return stun::kChannelDataHeaderSize;
    case Framing::kSendIndication:
      return stun::kHeaderSize + 4 + (peer == Family::kIpv4 ? 8 : 20) + kDataHeader;
    case Framing::kBinding:
      return stun::kHeaderSize - kPrefix;
    case Framing::kPlain:
      break;
  }
  return 0;
}
static_assert(headers_size(Family::kIpv4) + stun::kChannelDataHeaderSize + kPrefix + kMeta <= 64);
static_assert(kMostHeaders + framing_size(Framing::kSendIndication, Family::kIpv6) + kPrefix +
                  kMeta <=
              128);

std::size_t padding(Framing framing, std::size_t payload_size) {
  return framing == Framing::kSendIndication ? (4 - payload_size % 4) % 4 : 0;
}

void prefill_one(rte_mempool* /*pool*/, void* /*argument*/, void* object, unsigned /*index*/) {
  std::memcpy(Templates::payload(static_cast<rte_mbuf*>(object)), filler().data(),
              kMostPayloadBytes);
}

}  // namespace

const std::array<std::uint8_t, 2 * kMostPayloadBytes>& filler() {
  static const auto bytes = [] {
    std::array<std::uint8_t, 2 * kMostPayloadBytes> made{};
    std::uint32_t state = 0x2545F491;
    for (std::uint8_t& byte : made) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<std::uint8_t>(state >> 24);
    }
    return made;
  }();
  return bytes;
}

void prefill(rte_mempool* frames) {
  rte_mempool_obj_iter(frames, prefill_one, nullptr);
}

Templates::Templates(const Options& options, const Plan& plan, const Session& session,
                     const Port& client_port, const Port& peer_port, Which which)
    : options_(options),
      plan_(plan),
      session_(session),
      client_port_(client_port),
      peer_port_(peer_port),
      which_(which) {
  const bool all_ipv4 = options.client_families == Families::kIpv4 &&
                        options.peer_families.value_or(Families::kIpv4) == Families::kIpv4;
  if (!all_ipv4 || options.indications || which.content == Content::kBinding) stride_ = 128;
  const std::size_t each = std::size_t{which.up} + std::size_t{which.down};
  arena_.resize(stride_ * each * plan.media_flows());
  for (std::uint32_t flow = 0; flow < plan.media_flows(); ++flow) {
    if (!session.is_ready(flow)) continue;
    if (which.up) add(flow, Direction::kUp);
    if (which.down) add(flow, Direction::kDown);
  }
  if (count_ == 0) throw std::runtime_error("no flow is set up, so there is nothing to send");
}

std::size_t Templates::write_framing(std::uint8_t* out, std::uint32_t flow, Framing framing,
                                     std::size_t payload_size) const {
  const Endpoint peer = plan_.peer(flow);
  const std::size_t size = framing_size(framing, peer.address.family);
  if (framing == Framing::kChannelData) {
    wire::store_be16(out, Session::kChannel);
    wire::store_be16(out + 2, static_cast<std::uint16_t>(payload_size));
  } else if (framing == Framing::kSendIndication) {
    stun::TransactionId id{};
    wire::store_be32(id.data() + 8, flow);
    stun::MessageWriter writer(std::span(out, size), stun::Class::kIndication, stun::Method::kSend,
                               id);
    writer.add_xor_address(stun::Attribute::kXorPeerAddress, peer);
    (void)writer.finish();
    std::uint8_t* data = out + size - kDataHeader;
    wire::store_be16(data, static_cast<std::uint16_t>(stun::Attribute::kData));
    wire::store_be16(data + 2, static_cast<std::uint16_t>(payload_size));
    wire::store_be16(out + 2, static_cast<std::uint16_t>(size - stun::kHeaderSize + payload_size +
                                                         padding(framing, payload_size)));
  } else if (framing == Framing::kBinding) {
    std::array<std::uint8_t, stun::kHeaderSize> whole{};
    stun::MessageWriter writer(whole, stun::Class::kRequest, stun::Method::kBinding, {});
    (void)writer.finish();
    std::memcpy(out, whole.data(), size);
  }
  return size;
}

void Templates::add(std::uint32_t flow, Direction direction) {
  const bool up = direction == Direction::kUp;
  const Framing framing = which_.content == Content::kBinding ? Framing::kBinding
                          : !up                               ? Framing::kPlain
                          : options_.indications              ? Framing::kSendIndication
                                                              : Framing::kChannelData;
  const std::size_t payload_size =
      framing == Framing::kBinding ? kPrefix : options_.payloads[flow % options_.payloads.size()];
  const Endpoint from = up ? plan_.client(flow) : plan_.peer(flow);
  const Endpoint to = up ? plan_.server(flow) : session_.relayed(flow);
  const Family family = from.address.family;
  const Port& port = up ? client_port_ : peer_port_;

  std::array<std::uint8_t, 128 + kMostPayloadBytes + 4> frame;
  const std::size_t headers = headers_size(family);
  const std::size_t head =
      headers + write_framing(frame.data() + headers, flow, framing, payload_size);
  std::uint8_t* payload = frame.data() + head;
  std::memcpy(payload, filler().data(), kMostPayloadBytes);
  wire::store_be32(payload, tag_of(flow, direction));
  wire::store_be32(payload + 4, 0);
  const std::size_t udp_payload = head - headers + payload_size + padding(framing, payload_size);
  write_headers(frame.data(), port.macs(family), from, to, udp_payload);
  set_udp_checksum(frame.data(), family, udp_payload);

  std::uint8_t* record = arena_.data() + count_ * stride_;
  const auto frame_size = static_cast<std::uint16_t>(headers + udp_payload);
  const auto small = static_cast<std::uint16_t>(payload_size);
  std::memcpy(record, &frame_size, sizeof frame_size);
  record[2] = static_cast<std::uint8_t>(head);
  record[3] = static_cast<std::uint8_t>(framing);
  std::memcpy(record + 4, &small, sizeof small);
  std::memcpy(record + stride_ - kPrefix - head, frame.data(), head + kPrefix);
  ++count_;
}

void Templates::resize(rte_mbuf* mbuf, const std::uint8_t* at, std::size_t payload_size) {
  auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
  const Family family = Templates::family(frame);
  const Framing kind = framing(at);
  std::uint8_t* message = frame + headers_size(family);
  const std::size_t pad = padding(kind, payload_size);
  if (kind == Framing::kChannelData) {
    wire::store_be16(message + 2, static_cast<std::uint16_t>(payload_size));
  } else if (kind == Framing::kSendIndication) {
    wire::store_be16(payload(mbuf) - 2, static_cast<std::uint16_t>(payload_size));
    wire::store_be16(message + 2,
                     static_cast<std::uint16_t>(payload(mbuf) - message -
                                                static_cast<std::ptrdiff_t>(stun::kHeaderSize) +
                                                static_cast<std::ptrdiff_t>(payload_size + pad)));
    std::memset(payload(mbuf) + payload_size, 0, pad);
  }
  const std::size_t udp_payload = head_size(at) - headers_size(family) + payload_size + pad;
  set_payload_size(frame, family, udp_payload);
  mbuf->data_len = static_cast<std::uint16_t>(headers_size(family) + udp_payload);
  mbuf->pkt_len = mbuf->data_len;
}

void Templates::stamp(rte_mbuf* mbuf, std::uint64_t cycles) {
  static const std::uint16_t replaced = wire::sum_bytes(filler().data() + 8, kStamp - 8);
  std::uint8_t* at = payload(mbuf);
  wire::store_be32(at + 4, kStampMarker);
  wire::store_be64(at + 8, cycles);
  wire::store_be16(at + 16,
                   wire::fold(std::uint32_t{replaced} + wire::minus(wire::sum_bytes(at + 8, 8))));
}

}  // namespace turnpike::pktgen

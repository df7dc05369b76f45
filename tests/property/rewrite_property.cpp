// Every conversion of the relay path against a full recompute: whatever the sizes, paddings, header
// fields and families, what leaves is a right IP packet with a right UDP checksum around the very
// same bytes (RFC 8656 §11–§14).
#include <rapidcheck.h>

#include <algorithm>

#include "flow_world.h"

namespace {

using namespace turnpike;
using namespace turnpike::flow;
using namespace turnpike::flow::test;

struct Case {
  Family client, peer;
  std::vector<std::uint8_t> body;
  Datagram datagram;         // all but addresses and payload
  std::size_t behind = 0;    // bytes after ChannelData in its datagram
  std::size_t ethernet = 0;  // Ethernet padding
};

Family any_family() {
  return *rc::gen::element(Family::kIpv4, Family::kIpv6);
}

Case any_case() {
  Case one{any_family(), any_family(), {}, {}, 0, 0};
  const auto size = *rc::gen::inRange<std::size_t>(0, 1380);
  one.body =
      *rc::gen::container<std::vector<std::uint8_t>>(size, rc::gen::arbitrary<std::uint8_t>());
  one.datagram.ttl = *rc::gen::inRange<std::uint8_t>(2, 255);
  one.datagram.traffic_class = *rc::gen::arbitrary<std::uint8_t>();
  one.datagram.flow_label = *rc::gen::inRange<std::uint32_t>(0, 1U << 20);  // read() wants 0
  one.datagram.dont_fragment = *rc::gen::arbitrary<bool>();
  one.datagram.sum =
      *rc::gen::element(Datagram::Sum::kRight, Datagram::Sum::kZero, Datagram::Sum::kPartial);
  one.behind = *rc::gen::inRange<std::size_t>(0, 9);
  one.ethernet = *rc::gen::inRange<std::size_t>(0, 20);
  return one;
}

// IPv6 has no datagrams without a checksum.
void settle(Datagram& datagram) {
  if (datagram.source.address.family == Family::kIpv6 && datagram.sum == Datagram::Sum::kZero) {
    datagram.sum = Datagram::Sum::kRight;
  }
}

void check_common(const Datagram& in, const std::optional<Datagram>& out, Family from, Family to,
                  std::size_t ip_length) {
  RC_ASSERT(out.has_value());
  RC_ASSERT(out->ttl == in.ttl - 1);
  RC_ASSERT(out->traffic_class == in.traffic_class);
  if (to == Family::kIpv4) {
    RC_ASSERT(out->dont_fragment == (from == Family::kIpv4 ? in.dont_fragment : ip_length > 1260));
    const bool none = in.sum == Datagram::Sum::kZero;
    RC_ASSERT((out->sum == Datagram::Sum::kZero) == none);
  }
}

Endpoint peer_of(Family family) {
  return {family == Family::kIpv4 ? kPeer4 : kPeer6, kPeerPort};
}
Endpoint relay_of(Family family) {
  return family == Family::kIpv4 ? Endpoint{kRelay4, kRelayPort4} : Endpoint{kRelay6, kRelayPort6};
}

void channel_data_to_peer() {
  const Case one = any_case();
  FlowWorld world(one.client);
  Datagram in = one.datagram;
  in.source = world.client_;
  in.destination = world.server_;
  in.payload = {0x40, static_cast<std::uint8_t>(one.peer == Family::kIpv4 ? 0 : 1),
                static_cast<std::uint8_t>(one.body.size() >> 8),
                static_cast<std::uint8_t>(one.body.size())};
  in.payload.insert(in.payload.end(), one.body.begin(), one.body.end());
  for (std::size_t i = 0; i < one.behind; ++i)
    in.payload.push_back(static_cast<std::uint8_t>(0xA0 + i));
  settle(in);
  const Packet packet = world.run(frame_of(in), one.ethernet, Checksum::kMaybePartial);
  RC_ASSERT(packet.verdict == Verdict::kTransmit);
  const auto out = read(packet);
  check_common(in, out, one.client, one.peer, packet.length - 14);
  RC_ASSERT(out->source == relay_of(one.peer));
  RC_ASSERT(out->destination == peer_of(one.peer));
  RC_ASSERT(out->payload == one.body);
}

void send_to_peer() {
  const Case one = any_case();
  FlowWorld world(one.client, false);
  std::vector<std::uint8_t> buffer(2048);
  stun::MessageWriter writer(buffer, stun::Class::kIndication, stun::Method::kSend, {1, 2, 3});
  writer.add_xor_address(stun::Attribute::kXorPeerAddress, peer_of(one.peer));
  writer.add(stun::Attribute::kData, one.body);
  if (one.behind % 2 == 1) writer.add_text(stun::Attribute::kSoftware, "behind");
  const auto message = writer.finish();
  Datagram in = one.datagram;
  in.source = world.client_;
  in.destination = world.server_;
  in.payload.assign(message.begin(), message.end());
  settle(in);
  const Packet packet = world.run(frame_of(in), one.ethernet, Checksum::kMaybePartial);
  RC_ASSERT(packet.verdict == Verdict::kTransmit);
  const auto out = read(packet);
  check_common(in, out, one.client, one.peer, packet.length - 14);
  RC_ASSERT(out->source == relay_of(one.peer));
  RC_ASSERT(out->destination == peer_of(one.peer));
  RC_ASSERT(out->payload == one.body);
}

void peer_to_client(bool channels) {
  const Case one = any_case();
  FlowWorld world(one.client, channels);
  Datagram in = one.datagram;
  in.source = peer_of(one.peer);
  in.destination = relay_of(one.peer);
  in.payload = one.body;
  settle(in);
  const Packet packet = world.run(frame_of(in), one.ethernet, Checksum::kMaybePartial);
  RC_ASSERT(packet.verdict == Verdict::kTransmit);
  const auto out = read(packet);
  check_common(in, out, one.peer, one.client, packet.length - 14);
  RC_ASSERT(out->source == world.server_);
  RC_ASSERT(out->destination == static_cast<const Endpoint&>(world.client_));
  if (channels) {
    RC_ASSERT(get16(out->payload.data()) == (one.peer == Family::kIpv4 ? 0x4000 : 0x4001));
    RC_ASSERT(get16(out->payload.data() + 2) == one.body.size());
    RC_ASSERT(std::vector<std::uint8_t>(out->payload.begin() + 4, out->payload.end()) == one.body);
    return;
  }
  stun::MessageView message;
  RC_ASSERT(stun::MessageView::parse(out->payload, message) == stun::ParseError::kNone);
  RC_ASSERT(message.method() == stun::Method::kData);
  RC_ASSERT(message.xor_address(stun::Attribute::kXorPeerAddress) == peer_of(one.peer));
  const auto data = message.find(stun::Attribute::kData);
  RC_ASSERT(data.has_value());
  RC_ASSERT(std::vector<std::uint8_t>(data->value.begin(), data->value.end()) == one.body);
  for (std::size_t i = data->offset + 4 + one.body.size(); i < out->payload.size(); ++i)
    RC_ASSERT(out->payload[i] == 0);
}

// From one of our clients to another, over the relayed addresses of one.peer's family.
void client_to_client() {
  const Case one = any_case();
  FlowWorld world(one.client);
  const Family to = any_family();
  const ClientEndpoint other{{to == Family::kIpv4 ? kClient4 : kClient6, 40001}};
  const AllocationSlot theirs = world.add(other, 50002, 50003);
  const Endpoint ours = relay_of(one.peer);
  for (const AllocationSlot allocation : {world.allocation_, theirs})
    world.writer_->publish_permission({allocation, ours.address, FlowWorld::kExpires});
  std::vector<std::uint8_t> buffer(2048);
  stun::MessageWriter writer(buffer, stun::Class::kIndication, stun::Method::kSend, {1, 2, 3});
  const auto port = static_cast<std::uint16_t>(one.peer == Family::kIpv4 ? 50002 : 50003);
  writer.add_xor_address(stun::Attribute::kXorPeerAddress, {ours.address, port});
  writer.add(stun::Attribute::kData, one.body);
  const auto message = writer.finish();
  Datagram in = one.datagram;
  in.ttl = std::max<std::uint8_t>(in.ttl, 3);
  in.source = world.client_;
  in.destination = world.server_;
  in.payload.assign(message.begin(), message.end());
  settle(in);
  const Packet packet = world.run(frame_of(in), one.ethernet, Checksum::kMaybePartial);
  RC_ASSERT(packet.verdict == Verdict::kTransmit);
  const auto out = read(packet);
  --in.ttl;  // the hairpin is a hop more
  check_common(in, out, one.client, to, packet.length - 14);
  RC_ASSERT(out->destination == static_cast<const Endpoint&>(other));
  stun::MessageView view;
  RC_ASSERT(stun::MessageView::parse(out->payload, view) == stun::ParseError::kNone);
  RC_ASSERT(view.xor_address(stun::Attribute::kXorPeerAddress) == ours);
  const auto data = view.find(stun::Attribute::kData);
  RC_ASSERT(data.has_value());
  RC_ASSERT(std::vector<std::uint8_t>(data->value.begin(), data->value.end()) == one.body);
}

}  // namespace

int main() {
  bool ok = rc::check("ChannelData becomes the peer's datagram", channel_data_to_peer);
  ok &= rc::check("a Send indication becomes the peer's datagram", send_to_peer);
  ok &= rc::check("a peer's datagram becomes ChannelData", [] { peer_to_client(true); });
  ok &= rc::check("a peer's datagram becomes a Data indication", [] { peer_to_client(false); });
  ok &= rc::check("a client's Send becomes another client's Data indication", client_to_client);
  return ok ? 0 : 1;
}

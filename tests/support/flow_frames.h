// What the tests of the pipeline send through it.
#pragma once

#include <algorithm>

#include "flow_world.h"

namespace turnpike::flow::test {

using stun::Attribute;
using stun::MessageView;
using stun::MessageWriter;

inline constexpr stun::TransactionId kId{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

inline Datagram to_server(const FlowWorld& world, std::span<const std::uint8_t> payload) {
  Datagram datagram;
  datagram.source = world.client_;
  datagram.destination = world.server_;
  datagram.payload.assign(payload.begin(), payload.end());
  return datagram;
}

inline Datagram channel_data(const FlowWorld& world, ChannelNumber number, std::size_t size) {
  std::vector<std::uint8_t> payload(4 + size, 0x77);
  put16(payload.data(), number);
  put16(payload.data() + 2, static_cast<std::uint16_t>(size));
  return to_server(world, payload);
}

inline Datagram from_peer(Family family, std::size_t size) {
  const bool v4 = family == Family::kIpv4;
  Datagram datagram;
  datagram.source = {v4 ? kPeer4 : kPeer6, kPeerPort};
  datagram.destination = v4 ? Endpoint{kRelay4, kRelayPort4} : Endpoint{kRelay6, kRelayPort6};
  datagram.payload.assign(size, 0x66);
  return datagram;
}

template <typename Fill>
Datagram message(const FlowWorld& world, stun::Class message_class, stun::Method method,
                 Fill&& fill) {
  std::vector<std::uint8_t> buffer(4096);
  MessageWriter writer(buffer, message_class, method, kId);
  fill(writer);
  return to_server(world, writer.finish());
}

template <typename Fill>
Datagram send(const FlowWorld& world, Fill&& fill) {
  return message(world, stun::Class::kIndication, stun::Method::kSend, fill);
}

inline Datagram send_to(const FlowWorld& world, const Endpoint& peer, std::size_t size,
                        bool dont_fragment = false) {
  return send(world, [&](MessageWriter& writer) {
    writer.add_xor_address(Attribute::kXorPeerAddress, peer);
    if (dont_fragment) writer.add(Attribute::kDontFragment, {});
    writer.add(Attribute::kData, std::vector<std::uint8_t>(size, 0x55));
  });
}

// A request of the world's client with a nonce of ours and an integrity that only a shard can
// judge.
template <typename Fill>
Datagram authenticated(FlowWorld& world, stun::Method method, Fill&& fill) {
  std::array<char, NonceKeeper::kMaxSize> nonce{};
  const std::size_t size =
      world.nonces_.mint(world.now_, world.realm_, world.client_, world.server_, nonce);
  return message(world, stun::Class::kRequest, method, [&](MessageWriter& writer) {
    fill(writer);
    writer.add_text(Attribute::kUsername, "user");
    writer.add_text(Attribute::kRealm, "example.org");
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
    writer.add_message_integrity(std::array<std::uint8_t, 16>{1});
  });
}

// An ICMP error from a router on the way that quotes `sent`, a frame that left from `from`.
inline std::vector<std::uint8_t> icmp_quoting(const Address& from,
                                              const std::vector<std::uint8_t>& sent,
                                              std::uint8_t type, std::uint8_t code,
                                              std::uint32_t rest = 0) {
  const bool v4 = from.family == Family::kIpv4;
  Datagram outer;
  outer.source = {v4 ? Address::v4(10, 9, 8, 7) : *Address::parse("2001:db8:9::7"), 0};
  outer.destination = {from, 0};
  outer.payload.assign(std::min<std::size_t>(sent.size() - 14, 1200), 0);
  auto frame = frame_of(outer);
  std::uint8_t* ip = frame.data() + 14;
  std::uint8_t* icmp = ip + (v4 ? 20 : 40);
  const std::size_t size = frame.size() - (v4 ? 34 : 54);
  std::memset(icmp, 0, 8);
  icmp[0] = type;
  icmp[1] = code;
  put16(icmp + 4, static_cast<std::uint16_t>(rest >> 16));
  put16(icmp + 6, static_cast<std::uint16_t>(rest));
  std::memcpy(icmp + 8, sent.data() + 14, size - 8);
  ip[v4 ? 9 : 6] = v4 ? 1 : 58;
  std::uint32_t sum = plain_sum(icmp, size);
  if (v4) {
    put16(ip + 10, 0);
    put16(ip + 10, static_cast<std::uint16_t>(~plain_sum(ip, 20)));
  } else {
    sum += plain_sum(ip + 8, 32) + 58 + static_cast<std::uint32_t>(size);
  }
  put16(icmp + 2, static_cast<std::uint16_t>(~fold_plain(sum)));
  return frame;
}

// About what left from `from` to `to` with `size` bytes of payload.
inline std::vector<std::uint8_t> icmp_about(const Endpoint& from, const Endpoint& to,
                                            std::uint8_t type, std::uint8_t code,
                                            std::uint32_t rest = 0, std::size_t size = 20) {
  Datagram sent;
  sent.source = from;
  sent.destination = to;
  sent.payload.assign(size, 1);
  return icmp_quoting(from.address, frame_of(sent), type, code, rest);
}

// How the world sees kRelay4, where a test says so.
inline const Address kPublic = Address::v4(203, 0, 113, 200);

// What a message that left says.
inline std::vector<std::uint8_t> value_of(const Packet& packet, Attribute type) {
  const auto out = read(packet);
  MessageView view;
  if (!out || MessageView::parse(out->payload, view) != stun::ParseError::kNone) return {};
  const auto attribute = view.find(type);
  if (!attribute) return {};
  return {attribute->value.begin(), attribute->value.end()};
}

inline std::optional<Endpoint> peer_told(const Packet& packet) {
  const auto out = read(packet);
  MessageView view;
  if (!out || MessageView::parse(out->payload, view) != stun::ParseError::kNone) return {};
  return view.xor_address(Attribute::kXorPeerAddress);
}

}  // namespace turnpike::flow::test

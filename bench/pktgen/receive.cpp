// Frames are judged by their bytes, as a client or a peer would: nothing here knows what was
// sent.
#include "receive.h"

#include <utility>

#include "turnpike/stun.h"
#include "wire/headers.h"

namespace turnpike::pktgen {

using stun::Attribute;

Arrival Receiver::classify(const Datagram& found) const {
  Datagram datagram = found;
  if (far_end_ == FarEnd::kMirror) std::swap(datagram.source, datagram.destination);
  if (const auto flow = plan_.flow_of_client(datagram.destination))
    return at_client(*flow, datagram);
  Arrival arrival;
  if (const auto flow = plan_.flow_of_peer(datagram.destination)) {
    arrival.kind = Arrival::Kind::kMedia;
    arrival.direction = far_end_ == FarEnd::kRelay ? Direction::kUp : Direction::kDown;
    arrival.flow = *flow;
    arrival.sender_right = datagram.source == session_.relayed(*flow);
    arrival.payload = datagram.payload;
  } else if (plan_.is_attacker(datagram.destination.address)) {
    arrival.kind = Arrival::Kind::kAttackAnswer;
  }
  return arrival;
}

// ChannelData, a Data indication (a Send indication where it comes back unchanged), or a response.
Arrival Receiver::at_client(std::uint32_t flow, const Datagram& datagram) const {
  Arrival arrival;
  arrival.flow = flow;
  arrival.direction = far_end_ == FarEnd::kRelay ? Direction::kDown : Direction::kUp;
  const bool from_server = datagram.source == plan_.server(flow);
  const Bytes message = datagram.payload;
  if (message.size() < stun::kChannelDataHeaderSize) return arrival;
  if (message[0] >> 6 == 1) {
    const std::size_t length = wire::load_be16(message.data() + 2);
    if (length > message.size() - stun::kChannelDataHeaderSize) return arrival;
    arrival.kind = Arrival::Kind::kMedia;
    arrival.sender_right = from_server && wire::load_be16(message.data()) == Session::kChannel;
    arrival.payload = message.subspan(stun::kChannelDataHeaderSize, length);
    return arrival;
  }
  stun::MessageView view;
  if (stun::MessageView::parse(message, view) != stun::ParseError::kNone) return arrival;
  if (view.message_class() != stun::Class::kIndication) {
    arrival.kind = Arrival::Kind::kStun;
    arrival.payload = message;
    return arrival;
  }
  const auto data = view.find(Attribute::kData);
  if (!data) return arrival;  // an ICMP error, told by an indication
  arrival.kind = Arrival::Kind::kMedia;
  arrival.sender_right =
      from_server && view.xor_address(Attribute::kXorPeerAddress) == plan_.peer(flow);
  arrival.payload = data->value;
  return arrival;
}

}  // namespace turnpike::pktgen

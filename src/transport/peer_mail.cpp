// Which shard an event is for, its relay's number says; one of no relay is for the shard that gave
// the stream's.
#include "transport/peer_mail.h"

#include <cassert>

namespace turnpike::transport {

using Kind = PeerCommand::Kind;

PeerMail::PeerMail(const std::vector<EnginePort*>& shards, dataplane::Doorbell& bell)
    : bell_(bell) {
  for (EnginePort* const shard : shards)
    ports_.push_back(std::make_unique<Port>(*this, *shard));
}

PeerMail::Port& PeerMail::port_of(const PeerStreamEvent& event) {
  const std::uint64_t shard = static_cast<std::uint64_t>(event.relay) >> kStreamShardShift;
  assert(shard >= 1 && shard <= ports_.size());
  return *ports_[shard - 1];
}

void PeerMail::tell(const PeerStreamEvent& event) {
  Port& port = port_of(event);
  if (port.late_events_.empty() && port.put_event(event)) return;
  port.late_events_.push_back(event);
}

bool PeerMail::try_tell(const PeerStreamEvent& event) {
  Port& port = port_of(event);
  return port.late_events_.empty() && port.put_event(event);
}

void PeerMail::flush() {
  for (const std::unique_ptr<Port>& port : ports_) {
    while (!port->late_events_.empty() && port->put_event(port->late_events_.front()))
      port->late_events_.pop_front();
  }
}

bool PeerMail::Port::put_event(const PeerStreamEvent& event) {
  if (!events_.put(event)) return false;
  engine_.wake();
  return true;
}

bool PeerMail::Port::put(const PeerCommand& command) {
  if (!late_.empty() || !mail_.commands_.put(command)) return false;
  mail_.bell_.ring();
  return true;
}

void PeerMail::Port::put_surely(const PeerCommand& command) {
  if (!put(command)) late_.push_back(command);
}

bool PeerMail::Port::open(StreamRelay relay, const RelayEndpoint& at) {
  return put({.kind = Kind::kOpen, .relay = relay, .stream = {}, .address = at});
}

bool PeerMail::Port::connect(PeerStream stream, StreamRelay relay, const Endpoint& peer) {
  return put({.kind = Kind::kConnect, .relay = relay, .stream = stream, .address = peer});
}

bool PeerMail::Port::bind(PeerStream stream, const FiveTuple& client, stun::Bytes answer) {
  return put({.kind = Kind::kBind,
              .relay = {},
              .stream = stream,
              .address = {},
              .client = client,
              .message = {answer.begin(), answer.end()}});
}

bool PeerMail::Port::say(const FiveTuple& client, stun::Bytes message) {
  return put({.kind = Kind::kSay,
              .relay = {},
              .stream = {},
              .address = {},
              .client = client,
              .message = {message.begin(), message.end()}});
}

void PeerMail::Port::close(PeerStream stream) {
  put_surely({.kind = Kind::kCloseStream, .relay = {}, .stream = stream, .address = {}});
}

void PeerMail::Port::close(StreamRelay relay) {
  put_surely({.kind = Kind::kCloseRelay, .relay = relay, .stream = {}, .address = {}});
}

void PeerMail::Port::receive(std::vector<PeerStreamEvent>& out) {
  while (!late_.empty() && mail_.commands_.put(late_.front())) {
    late_.pop_front();
    mail_.bell_.ring();
  }
  events_.take(out);
}

}  // namespace turnpike::transport

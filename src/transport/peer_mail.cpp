// Which shard an event is for, its relay's number says; one of no relay is for the shard that gave
// the stream's.
#include "transport/peer_mail.h"

#include <unistd.h>

#include <cassert>

namespace turnpike::transport {

using Kind = PeerCommand::Kind;

PeerMail::PeerMail(const std::vector<EnginePort*>& shards,
                   const std::vector<dataplane::Doorbell*>& bells, const ClientSpread& spread)
    : spread_(spread) {
  for (dataplane::Doorbell* const bell : bells)
    threads_.push_back(std::make_unique<Thread>(*bell));
  for (EnginePort* const shard : shards)
    ports_.push_back(std::make_unique<Port>(*this, *shard, bells.size()));
}

// Sockets that nobody has taken.
PeerMail::~PeerMail() {
  std::vector<PeerCommand> left;
  for (const std::unique_ptr<Thread>& thread : threads_) {
    thread->commands.take(left);
    left.insert(left.end(), thread->late.begin(), thread->late.end());
    for (const PeerCommand& command : left) {
      if (command.peer_fd >= 0) ::close(command.peer_fd);
    }
  }
}

PeerMail::Port& PeerMail::port_of(const PeerStreamEvent& event) {
  const std::uint64_t shard = static_cast<std::uint64_t>(event.relay) >> kStreamShardShift;
  assert(shard >= 1 && shard <= ports_.size());
  return *ports_[shard - 1];
}

void PeerMail::tell(std::size_t thread, const PeerStreamEvent& event) {
  if (!try_tell(thread, event)) port_of(event).late_events_[thread].push_back(event);
}

bool PeerMail::try_tell(std::size_t thread, const PeerStreamEvent& event) {
  Port& port = port_of(event);
  return port.late_events_[thread].empty() && port.put_event(event);
}

void PeerMail::flush(std::size_t thread) {
  for (const std::unique_ptr<Port>& port : ports_) {
    std::deque<PeerStreamEvent>& late = port->late_events_[thread];
    while (!late.empty() && port->put_event(late.front()))
      late.pop_front();
  }
  if (thread != 0) return;
  for (const std::unique_ptr<Thread>& other : threads_) {
    while (!other->late.empty() && other->put(other->late.front()))
      other->late.pop_front();
  }
}

void PeerMail::pass_on(std::size_t thread, const PeerCommand& command) {
  Thread& to = *threads_[thread];
  if (!to.late.empty() || !to.put(command)) to.late.push_back(command);
}

bool PeerMail::Thread::put(const PeerCommand& command) {
  if (!commands.put(command)) return false;
  bell.ring();
  return true;
}

// What is said to a client is for the thread that has it; all else goes by way of the first one, in
// its order.
PeerMail::Thread& PeerMail::thread_for(const PeerCommand& command) {
  return *threads_[command.kind == Kind::kSay ? thread_of(command.client) : 0];
}

bool PeerMail::Port::put_event(const PeerStreamEvent& event) {
  if (!events_.put(event)) return false;
  engine_.wake();
  return true;
}

bool PeerMail::Port::put(const PeerCommand& command) {
  return late_.empty() && mail_.thread_for(command).put(command);
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
  while (!late_.empty() && mail_.thread_for(late_.front()).put(late_.front()))
    late_.pop_front();
  events_.take(out);
}

}  // namespace turnpike::transport

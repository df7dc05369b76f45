// Sockets tell of what is new (EPOLLET), by their numbers: one that is over is found no more.
#include "transport/peer_sockets.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace turnpike::transport {
namespace {

using Event = PeerStreamEvent::Kind;
using Result = Stream::Result;

constexpr int kAccepts = 16;      // of one relay, before others have their turn
constexpr int kReadsPerTurn = 4;  // of one direction
// How long a side that doesn't read has for what the other has left it, and one that has been told
// of the end for closing too.
constexpr std::uint64_t kLeftMs = 30'000;
constexpr std::uint64_t kCloseMs = 2'000;

std::uint64_t number_of(StreamRelay relay) {
  return static_cast<std::uint64_t>(relay);
}
std::uint64_t number_of(PeerStream stream) {
  return static_cast<std::uint64_t>(stream);
}

bool is_exhaustion(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

Result result_of_call(ssize_t returned) {
  if (returned > 0) return Result::kDone;
  if (returned == 0) return Result::kClosed;
  return errno == EAGAIN || errno == EINTR ? Result::kAgain : Result::kReset;
}

}  // namespace

PeerSockets::PeerSockets(const Config& config, PeerMail& mail, std::size_t thread, Clients& clients,
                         int epoll, std::span<std::uint8_t> room)
    : config_(config),
      mail_(mail),
      thread_(thread),
      clients_(clients),
      epoll_(epoll),
      room_(room) {}

PeerSockets::~PeerSockets() = default;

void PeerSockets::take_mail(std::uint64_t now_ms) {
  mail_.flush(thread_);
  for (const std::uint64_t number : std::exchange(again_, {})) {
    if (const auto relay = relays_.find(number); relay != relays_.end())
      accept_some(number, relay->second);
    const auto stream = streams_.find(number);
    if (stream == streams_.end()) continue;
    stream->second.again = false;
    pump(stream->second, now_ms);
  }
  mail_.receive(thread_, commands_);
  for (const PeerCommand& command : commands_)
    heed(command, now_ms);
  commands_.clear();
}

void PeerSockets::heed(const PeerCommand& command, std::uint64_t now_ms) {
  switch (command.kind) {
    case PeerCommand::Kind::kOpen:
      return open(command);
    case PeerCommand::Kind::kConnect:
      return connect(command);
    case PeerCommand::Kind::kBind:
      if (mail_.thread_of(command.client) != thread_) return pass_on(command);
      if (command.peer_fd >= 0) take_over(command);
      return bind(command, now_ms);
    case PeerCommand::Kind::kSay:
      if (Connection* const client = clients_.find(command.client))
        clients_.say(*client, command.message);
      return;
    case PeerCommand::Kind::kCloseStream:
      return close_stream(command);
    case PeerCommand::Kind::kCloseRelay:
      if (const auto found = relays_.find(number_of(command.relay)); found != relays_.end()) {
        relay_at_.erase(found->second.at);
        relays_.erase(found);
        count();
      }
      return;
  }
}

// A stream is where its client is: with the command, to the thread that has him.
void PeerSockets::pass_on(const PeerCommand& command) {
  PeerCommand passed = command;
  if (const auto found = streams_.find(number_of(command.stream)); found != streams_.end()) {
    passed.relay = found->second.relay;
    passed.peer_fd = found->second.socket.release();
    epoll_ctl(epoll_, EPOLL_CTL_DEL, passed.peer_fd, nullptr);
    streams_.erase(found);
    --counted_;  // it goes on to be one
    count();
  }
  mail_.pass_on(mail_.thread_of(command.client), passed);
}

void PeerSockets::take_over(const PeerCommand& command) {
  ++counted_;
  if (add(number_of(command.stream), command.relay, Socket(command.peer_fd), State::kUnbound) !=
      nullptr)
    return;
  counters_.count(PeerStreamFailure::kDescriptors);
  mail_.tell(
      thread_,
      {.kind = Event::kClosed, .relay = command.relay, .stream = command.stream, .peer = {}});
  count();
}

void PeerSockets::close_stream(const PeerCommand& command) {
  if (const auto found = streams_.find(number_of(command.stream)); found != streams_.end())
    return drop(found->second, StreamEnd::kAllocation);
  if (thread_ != 0) return;
  // Whoever has it got it from here.
  for (std::size_t other = 1; other < mail_.threads(); ++other)
    mail_.pass_on(other, command);
}

void PeerSockets::open(const PeerCommand& command) {
  const std::uint64_t number = number_of(command.relay);
  const auto refuse = [&](PeerStreamFailure why) {
    counters_.count(why);
    mail_.tell(thread_,
               {.kind = Event::kNotOpened, .relay = command.relay, .stream = {}, .peer = {}});
  };
  if (is_full()) return refuse(PeerStreamFailure::kFull);
  Socket socket(listen_for_peers(command.address));
  if (socket.fd() < 0)
    return refuse(is_exhaustion(errno) ? PeerStreamFailure::kDescriptors
                                       : PeerStreamFailure::kAddress);
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = number}};
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, socket.fd(), &event) != 0)
    return refuse(PeerStreamFailure::kDescriptors);
  relay_at_[command.address] = number;
  relays_.emplace(number, Relay{command.address, std::move(socket)});
  count();
  mail_.tell(thread_, {.kind = Event::kOpened, .relay = command.relay, .stream = {}, .peer = {}});
}

// kCount: it may. The kernel is asked, not a list: it alone knows all that it would take for its
// own.
PeerStreamFailure PeerSockets::may_connect(const Endpoint& peer) const {
  if (is_full()) return PeerStreamFailure::kFull;
  if (relay_at_.contains(peer) ||
      std::find(config_.own_host.begin(), config_.own_host.end(), peer) != config_.own_host.end())
    return PeerStreamFailure::kCount;
  const auto route = routes_.ask(peer.address);
  if (!route) return PeerStreamFailure::kRefused;
  return route->local ? PeerStreamFailure::kOwnHost : PeerStreamFailure::kCount;
}

void PeerSockets::connect(const PeerCommand& command) {
  const auto refuse = [&](PeerStreamFailure why) {
    counters_.count(why);
    const bool room = why != PeerStreamFailure::kFull && why != PeerStreamFailure::kDescriptors;
    mail_.tell(thread_, {.kind = why == PeerStreamFailure::kOwnHost ? Event::kOwnHost
                                 : room                             ? Event::kFailed
                                                                    : Event::kNoRoom,
                         .relay = command.relay,
                         .stream = command.stream,
                         .peer = {}});
  };
  const auto relay = relays_.find(number_of(command.relay));
  if (relay == relays_.end()) return refuse(PeerStreamFailure::kAddress);
  if (command.address == relay->second.at) return refuse(PeerStreamFailure::kOwnHost);
  if (const auto why = may_connect(command.address); why != PeerStreamFailure::kCount)
    return refuse(why);
  Socket socket(connect_from(relay->second.at, command.address));
  if (socket.fd() < 0)
    return refuse(is_exhaustion(errno) ? PeerStreamFailure::kDescriptors
                                       : PeerStreamFailure::kRefused);
  if (add(number_of(command.stream), command.relay, std::move(socket), State::kConnecting) ==
      nullptr)
    refuse(PeerStreamFailure::kDescriptors);
}

PeerSockets::Stream* PeerSockets::add(std::uint64_t number, StreamRelay relay, Socket socket,
                                      State state) {
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u64 = number}};
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, socket.fd(), &event) != 0) return nullptr;
  Stream made{.number = number, .relay = relay, .socket = std::move(socket), .state = state};
  Stream& stream = streams_.emplace(number, std::move(made)).first->second;
  count();
  return &stream;
}

void PeerSockets::serve(std::uint64_t number, std::uint32_t events, std::uint64_t now_ms) {
  if (const auto relay = relays_.find(number); relay != relays_.end())
    return accept_some(number, relay->second);
  if (const auto stream = streams_.find(number); stream != streams_.end())
    serve(stream->second, events, now_ms);
}

void PeerSockets::accept_some(std::uint64_t number, Relay& relay) {
  relay.waits = false;
  for (int i = 0; i < kAccepts; ++i) {
    Endpoint peer;
    Socket socket(accept_on(relay.socket.fd(), peer));
    if (socket.fd() >= 0) {
      let_in(StreamRelay{number}, std::move(socket), peer);
      continue;
    }
    if (errno == EAGAIN) return;
    if (errno == ECONNABORTED || errno == EINTR) continue;
    counters_.count(PeerStreamFailure::kDescriptors);
    relay.waits = true;
    return;
  }
  again_.push_back(number);
}

// Accepted, whoever it is; its shard says what becomes of it (RFC 6062 §5.3).
void PeerSockets::let_in(StreamRelay to, Socket socket, const Endpoint& peer) {
  if (is_full()) return counters_.count(PeerStreamFailure::kFull);
  const std::uint64_t number = kArrivedStream | ++arrivals_;
  const Stream* const stream = add(number, to, std::move(socket), State::kUnbound);
  if (stream == nullptr) return counters_.count(PeerStreamFailure::kDescriptors);
  const PeerStreamEvent event{
      .kind = Event::kArrived, .relay = to, .stream = PeerStream{number}, .peer = peer};
  if (mail_.try_tell(thread_, event)) return;
  counters_.count(PeerStreamFailure::kBusy);
  streams_.erase(number);
  count();
}

void PeerSockets::tell(const Stream& stream, Event kind) {
  mail_.tell(
      thread_,
      {.kind = kind, .relay = stream.relay, .stream = PeerStream{stream.number}, .peer = {}});
}

void PeerSockets::serve(Stream& stream, std::uint32_t events, std::uint64_t now_ms) {
  const bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
  switch (stream.state) {
    case State::kConnecting: {
      if (!broken && (events & EPOLLOUT) == 0) return;
      if (connect_result(stream.socket.fd()) == 0 && !broken) {
        stream.state = State::kUnbound;
        return tell(stream, Event::kConnected);
      }
      counters_.count(PeerStreamFailure::kRefused);
      tell(stream, Event::kFailed);
      return drop(stream, StreamEnd::kPeer);
    }
    // Nothing is read yet, an end that is due only behind what was sent before it either.
    case State::kUnbound:
      if (!broken) return;
      tell(stream, Event::kClosed);
      return drop(stream, StreamEnd::kPeer);
    case State::kBound:
    case State::kClosing:
      return pump(stream, now_ms);
  }
}

void PeerSockets::bind(const PeerCommand& command, std::uint64_t now_ms) {
  const auto found = streams_.find(number_of(command.stream));
  Connection* const client = clients_.find(command.client);
  if (found == streams_.end()) {
    // The peer has gone meanwhile: a success would promise something.
    if (client != nullptr) clients_.end(*client, StreamEnd::kPeer);
    return;
  }
  Stream& stream = found->second;
  if (client == nullptr || client->peer != 0 || !client->is_binding()) {
    tell(stream, Event::kClosed);
    return drop(stream, StreamEnd::kPeer);
  }
  client->send(command.message);
  if (client->flush(room_, now_ms) == Connection::State::kOver) {
    const StreamEnd why = client->end();
    clients_.end(*client, why);
    tell(stream, Event::kClosed);
    return drop(stream, why);
  }
  stream.state = State::kBound;
  stream.client = client;
  stream.up.waiting = client->become_data();
  client->peer = stream.number;
  count();
  pump(stream, now_ms);
}

void PeerSockets::serve_client(const Connection& client, std::uint64_t now_ms) {
  if (const auto found = streams_.find(client.peer); found != streams_.end())
    pump(found->second, now_ms);
}

void PeerSockets::client_ends(const Connection& client) {
  const auto found = streams_.find(client.peer);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  stream.client = nullptr;
  if (stream.state != State::kClosing) tell(stream, Event::kClosed);
  drop(stream, StreamEnd::kByClient);
}

void PeerSockets::serve_again(std::uint64_t number) {
  Stream& stream = streams_.at(number);
  if (!std::exchange(stream.again, true)) again_.push_back(number);
}

// What waits, and then some reads' worth.
template <typename Read, typename Write>
PeerSockets::Flow PeerSockets::pass(Pipe& pipe, Counter& bytes, Read&& read, Write&& write) {
  for (int reads = 0; reads < kReadsPerTurn; ++reads) {
    while (pipe.from < pipe.waiting.size()) {
      std::size_t put = 0;
      const Result result = write(std::span(pipe.waiting).subspan(pipe.from), put);
      if (result == Result::kAgain) return Flow::kIdle;
      if (result != Result::kDone) return Flow::kBroken;
      bytes.add(put);
      pipe.from += put;
    }
    if (!pipe.waiting.empty()) std::vector<std::uint8_t>().swap(pipe.waiting);
    pipe.from = 0;
    if (pipe.ended) return Flow::kEnded;
    std::size_t got = 0, at = 0;
    const Result result = read(room_, got);
    if (result == Result::kAgain) return Flow::kIdle;
    if (result == Result::kClosed) {
      pipe.ended = true;
      return Flow::kEnded;
    }
    if (result != Result::kDone) return Flow::kBroken;
    while (at < got) {
      std::size_t put = 0;
      const Result written = write(room_.subspan(at, got - at), put);
      if (written == Result::kAgain) break;
      if (written != Result::kDone) return Flow::kBroken;
      bytes.add(put);
      at += put;
    }
    if (at < got) pipe.waiting.assign(room_.data() + at, room_.data() + got);
  }
  return Flow::kMore;
}

PeerSockets::Flow PeerSockets::to_peer(Stream& stream) {
  const int fd = stream.socket.fd();
  return pass(
      stream.up, counters_.bytes_to_peers,
      [&](std::span<std::uint8_t> into, std::size_t& got) {
        return stream.client->read_data(into, got);
      },
      [&](std::span<const std::uint8_t> bytes, std::size_t& put) {
        const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        put = n > 0 ? static_cast<std::size_t>(n) : 0;
        return result_of_call(n);
      });
}

PeerSockets::Flow PeerSockets::to_client(Stream& stream) {
  const int fd = stream.socket.fd();
  return pass(
      stream.down, counters_.bytes_to_clients,
      [&](std::span<std::uint8_t> into, std::size_t& got) {
        const ssize_t n = ::recv(fd, into.data(), into.size(), 0);
        got = n > 0 ? static_cast<std::size_t>(n) : 0;
        return result_of_call(n);
      },
      [&](std::span<const std::uint8_t> bytes, std::size_t& put) {
        return stream.client->write_data(bytes, put);
      });
}

// An end of one side is the other's, behind what came before it: which direction still had more to
// say doesn't matter (docs/protocol.md 33).
void PeerSockets::pump(Stream& stream, std::uint64_t now_ms) {
  if (stream.state == State::kClosing) {
    if (discard(stream)) drop(stream, StreamEnd::kPeer);
    return;
  }
  if (stream.state != State::kBound) return;
  if (stream.client->flush(room_, now_ms) == Connection::State::kOver) {
    tell(stream, Event::kClosed);
    return drop(stream, stream.client->end());
  }
  // Who has closed is read from no more.
  const Flow up = stream.down.ended ? Flow::kIdle : to_peer(stream);
  const Flow down = up == Flow::kEnded || stream.up.ended ? Flow::kIdle : to_client(stream);
  if (up == Flow::kBroken || down == Flow::kBroken) {
    tell(stream, Event::kClosed);
    return drop(stream, up == Flow::kBroken ? StreamEnd::kReset : StreamEnd::kPeer);
  }
  if (up == Flow::kEnded && stream.up.waiting.empty()) return close_gently(stream, true, now_ms);
  if (down == Flow::kEnded && stream.down.waiting.empty())
    return close_gently(stream, false, now_ms);
  if (up == Flow::kMore || down == Flow::kMore) serve_again(stream.number);
}

// The side that has closed goes at once. The other is told, and what it has sent meanwhile is read
// and thrown away until it closes too, for a moment: a socket that is closed with something unread
// takes back what it has not sent yet.
void PeerSockets::close_gently(Stream& stream, bool by_client, std::uint64_t now_ms) {
  tell(stream, Event::kClosed);
  stream.state = State::kClosing;
  stream.ends_ms = now_ms + kCloseMs;
  if (by_client) {
    Connection* const client = std::exchange(stream.client, nullptr);
    client->peer = 0;
    clients_.end(*client, StreamEnd::kByClient);
    ::shutdown(stream.socket.fd(), SHUT_WR);
  } else {
    ::close(stream.socket.release());
    stream.client->close();
    ::shutdown(stream.client->fd(), SHUT_WR);
  }
  count();
  if (discard(stream)) drop(stream, StreamEnd::kPeer);
}

// Whether it is over.
bool PeerSockets::discard(Stream& stream) {
  for (int reads = 0; reads < kReadsPerTurn; ++reads) {
    std::size_t got = 0;
    const Result result =
        stream.client != nullptr
            ? stream.client->read_data(room_, got)
            : result_of_call(::recv(stream.socket.fd(), room_.data(), room_.size(), 0));
    if (result == Result::kAgain) return false;
    if (result != Result::kDone) return true;
  }
  serve_again(stream.number);
  return false;
}

// With its client's connection, if it is bound. Nothing more is told of it.
void PeerSockets::drop(Stream& stream, StreamEnd why) {
  Connection* const client = stream.client;
  const std::uint64_t number = stream.number;
  streams_.erase(number);
  if (client != nullptr) {
    client->peer = 0;
    clients_.end(*client, why);
  }
  count();
}

void PeerSockets::look(std::uint64_t now_ms) {
  for (auto& [number, relay] : relays_) {
    if (relay.waits) accept_some(number, relay);
  }
  std::vector<std::uint64_t> over;
  for (auto& [number, stream] : streams_) {
    const bool left = stream.up.ended || stream.down.ended;
    if (left && stream.ends_ms == kNever) stream.ends_ms = now_ms + kLeftMs;
    if (stream.ends_ms <= now_ms) over.push_back(number);
  }
  for (const std::uint64_t number : over) {
    Stream& stream = streams_.at(number);
    if (stream.state == State::kBound) tell(stream, Event::kClosed);
    drop(stream, StreamEnd::kPeer);
  }
}

void PeerSockets::count() {
  counters_.relays.set(relays_.size());
  counters_.open.set(streams_.size());
  const auto here = static_cast<std::int64_t>(relays_.size() + streams_.size());
  mail_.add_sockets(here - std::exchange(counted_, here));
}

}  // namespace turnpike::transport

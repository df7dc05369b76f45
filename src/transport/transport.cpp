// Sockets tell of what is new (EPOLLET): what is left unread or unsent is remembered here, so that
// one whose frames are out, or who doesn't read, costs nothing while he waits.
#include "transport/transport.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "log/log.h"
#include "transport/proxy_header.h"

namespace turnpike::transport {
namespace {

constexpr std::size_t kRead = 65536;  // bytes at a time
constexpr int kAccepts = 64;          // of one listener, before others have their turn
constexpr int kEvents = 256;
constexpr int kHandshakesPerRound = 8;
constexpr unsigned kBurst = 32;
constexpr unsigned kBurstsPerRound = 32;  // of each worker
constexpr std::uint64_t kLookMs = 500;
constexpr std::uint64_t kMostWaitMs = 100;
constexpr std::uint64_t kRetryMs = 1;  // frames, for want of which something waits
constexpr std::uint64_t kTellAgainMs = 10'000;
constexpr std::uint64_t kDescriptorsMs = 100;     // before the next look for one
constexpr std::uint64_t kBell = 0;                // among what epoll tells of; then come listeners
constexpr std::uint64_t kFirstConnection = 4096;  // no pointer is less

}  // namespace

Transport::Transport(Gate& gate, std::size_t number, dataplane::StreamPort& port,
                     std::uint64_t (*clock_ms)(), PeerMail* mail)
    : gate_(gate),
      config_(gate.config()),
      number_(number),
      port_(port),
      clock_ms_(clock_ms),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      connections_(0, EndsHash{config_.key}),
      room_(kRead + dataplane::StreamPort::kMostMessage),
      closings_(port, config_.key),
      held_(port.workers()) {
  if (epoll_ < 0) throw std::runtime_error(std::string("epoll: ") + std::strerror(errno));
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kBell}};
  epoll_ctl(epoll_, EPOLL_CTL_ADD, port_.bell().fd(), &event);
  if (number_ == 0) {
    for (const Gate::Place& place : config_.places)
      listening_.push_back({place, Socket(listen_on(place.endpoint))});
  }
  for (std::size_t i = 0; i < listening_.size(); ++i) {
    epoll_event of_listener{.events = EPOLLIN | EPOLLET, .data = {.u64 = 1 + i}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, listening_[i].socket.fd(), &of_listener);
  }
  PeerSockets::Clients& of_peers = *this;
  if (mail != nullptr) peers_.emplace(config_.peers, *mail, number_, of_peers, epoll_, room_);
}

Transport::~Transport() {
  stop();
  ::close(epoll_);
}

void Transport::start() {
  heartbeat_.beat(clock_ms_());
  thread_ = std::thread([this] { run(); });
}

void Transport::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_relaxed);
  port_.bell().wake();
  thread_.join();
}

void Transport::run() {
  pthread_setname_np(pthread_self(), ("transport-" + std::to_string(number_)).c_str());
  // OpenSSL writes to sockets that may be closed.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  while (!stopping_.load(std::memory_order_relaxed)) {
    const std::uint64_t now_ms = clock_ms_();
    heartbeat_.beat(now_ms);
    wait(now_ms);
    const std::uint64_t woken_ms = clock_ms_();
    gate_.rotate_tickets(woken_ms);
    closings_.retry();
    take_arrivals(woken_ms);
    handshakes_ = 0;
    for (Connection* connection : std::exchange(unread_, {})) {
      connection->waits_for_turn = false;
      serve(*connection, woken_ms);
    }
    if (woken_ms >= accepts_again_ms_) {
      accepts_again_ms_ = kNever;
      for (Listening& listening : listening_)
        accept_some(listening, woken_ms);
    }
    take_frames(woken_ms);
    if (peers_) peers_->take_mail(woken_ms);
    if (woken_ms - looked_ms_ >= kLookMs) look_for_old(woken_ms);
    ended_.clear();
  }
  while (!connections_.empty())
    end(*connections_.begin()->second, StreamEnd::kShutdown);
  for (const Gate::Arrival& arrival : arrivals_)
    ::close(arrival.fd);
}

// Until a socket or a worker has something, or something is due.
void Transport::wait(std::uint64_t now_ms) {
  std::uint64_t most_ms = kMostWaitMs;
  // Who has more to be read waits for nothing but the others' turn; who has found no frame, for
  // one.
  if (!unread_.empty() || closings_.waits()) most_ms = stalled_ || unread_.empty() ? kRetryMs : 0;
  stalled_ = false;
  if (accepts_again_ms_ != kNever)
    most_ms = std::min(most_ms, accepts_again_ms_ > now_ms ? accepts_again_ms_ - now_ms : 0);
  std::array<epoll_event, kEvents> events;
  int count = -1;
  if (!arrivals_.empty() || (peers_ && peers_->has_more())) most_ms = 0;
  port_.bell().wait_by(
      [this] {
        return port_.has_work() || gate_.has_arrivals(number_) || (peers_ && peers_->has_more());
      },
      [&] { count = epoll_wait(epoll_, events.data(), kEvents, static_cast<int>(most_ms)); });
  if (count < 0) count = epoll_wait(epoll_, events.data(), kEvents, 0);
  const std::uint64_t woken_ms = clock_ms_();
  const auto told = std::span(events).first(static_cast<std::size_t>(std::max(count, 0)));
  for (const epoll_event& event : told) {
    if (event.data.u64 < kFirstConnection) continue;
    if (PeerSockets::is_number(event.data.u64)) {
      peers_->serve(event.data.u64, event.events, woken_ms);
      continue;
    }
    auto& connection = *reinterpret_cast<Connection*>(event.data.u64);
    // It can be written to, as any new one, and has said nothing: there may be thousands of these.
    if (event.events == EPOLLOUT && connection.is_new()) continue;
    if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) connection.reads_to_end = true;
    // Behind those who wait already, that frames are not always for the same.
    if (unread_.empty())
      serve(connection, woken_ms);
    else
      serve_later(connection);
  }
  // Afterwards: who comes in may take the place of one that was told of.
  for (const epoll_event& event : told) {
    if (event.data.u64 == kBell)
      port_.bell().clear();
    else if (event.data.u64 < kFirstConnection)
      accept_some(listening_[event.data.u64 - 1], woken_ms);
  }
}

void Transport::accept_some(Listening& listening, std::uint64_t now_ms) {
  for (int i = 0; i < kAccepts; ++i) {
    Endpoint client;
    const int fd = accept_on(listening.socket.fd(), client);
    if (fd >= 0) {
      let_in(listening, fd, client, now_ms);
      continue;
    }
    if (errno == EAGAIN) return;
    if (errno == ECONNABORTED || errno == EINTR) continue;
    // They wait in the kernel's queue meanwhile.
    counters_.out_of_descriptors.add();
    accepts_again_ms_ = now_ms + kDescriptorsMs;
    if (now_ms >= tells_again_ms_) {
      tells_again_ms_ = now_ms + kTellAgainMs;
      log::warning(std::string("no connection can be let in for now: ") + std::strerror(errno));
    }
    return;
  }
  accepts_again_ms_ = now_ms;
}

void Transport::let_in(const Listening& listening, int fd, const Endpoint& client,
                       std::uint64_t now_ms) {
  Socket socket(fd);
  if (!gate_.take_place()) return refuse(StreamEnd::kFull);
  const Connection::Ends ends{client, listening.place.endpoint, listening.place.listener};
  const bool proxied =
      std::any_of(config_.proxies.begin(), config_.proxies.end(),
                  [&client](const Prefix& prefix) { return prefix.contains(client.address); });
  if (!proxied) return take_in({socket.release(), ends, listening.place.security}, now_ms);
  end_one_before(ends);
  add(socket.release(), ends, Security::kPlain, true, now_ms);
}

// Which the kernel, or the proxy, has forgotten, and which is about to be told.
void Transport::end_one_before(const Connection::Ends& ends) {
  if (const auto before = connections_.find(ends); before != connections_.end())
    end(*before->second, StreamEnd::kReset);
}

void Transport::refuse(StreamEnd why) {
  counters_.ends[static_cast<std::size_t>(why)].add();
}

// Here, or by the thread that has this client.
void Transport::take_in(const Gate::Arrival& arrival, std::uint64_t now_ms) {
  const Endpoint& client = arrival.ends.client;
  const std::size_t thread = gate_.thread_of(client);
  if (thread != number_) return gate_.hand_over(thread, arrival);
  Socket socket(arrival.fd);
  end_one_before(arrival.ends);
  StreamEnd why{};
  if (!gate_.enter(client.address, why)) {
    gate_.give_place_back();
    return refuse(why);
  }
  counters_.accepted.add();
  add(socket.release(), arrival.ends, arrival.security, false, now_ms);
}

void Transport::add(int fd, const Connection::Ends& ends, Security security, bool proxied,
                    std::uint64_t now_ms) {
  auto made = std::make_unique<Connection>(
      fd, ends, make_stream(security, fd), proxied,
      Connection::Bounds{dataplane::StreamPort::kMostMessage, config_.waiting_bytes}, now_ms,
      counters_);
  Connection& connection = *made;
  connections_.emplace(ends, std::move(made));
  counters_.connections.set(connections_.size());
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                    .data = {.u64 = reinterpret_cast<std::uintptr_t>(&connection)}};
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) end(connection, StreamEnd::kReset);
}

// Some of them, before others have their turn.
void Transport::take_arrivals(std::uint64_t now_ms) {
  if (arrivals_.empty()) {
    gate_.take_arrivals(number_, arrivals_);
    std::reverse(arrivals_.begin(), arrivals_.end());
  }
  for (int i = 0; i < kAccepts && !arrivals_.empty(); ++i) {
    take_in(arrivals_.back(), now_ms);
    arrivals_.pop_back();
  }
}

// Reads a proxy's header and no more; whoever has sent it whole is another connection then.
void Transport::hear_proxy(Connection& connection, std::uint64_t now_ms) {
  const ssize_t there = recv(connection.fd(), room_.data(), kMostProxyHeader, MSG_PEEK);
  if (there < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (there <= 0) return end(connection, there == 0 ? StreamEnd::kByClient : StreamEnd::kReset);
  const ProxyHeader header =
      read_proxy_header(std::span(room_).first(static_cast<std::size_t>(there)));
  if (header.state == ProxyHeader::State::kNone) return end(connection, StreamEnd::kProxy);
  if (header.state == ProxyHeader::State::kMore) return;
  if (recv(connection.fd(), room_.data(), header.size, 0) != static_cast<ssize_t>(header.size))
    return end(connection, StreamEnd::kReset);
  introduce(connection, header.client.value_or(connection.ends().client), now_ms);
}

// By the header's address, as if the client had come by himself. A client of the other family than
// the listener's is one of the first listener of his own.
void Transport::introduce(Connection& connection, const Endpoint& client, std::uint64_t now_ms) {
  const Connection::Ends& came = connection.ends();
  const auto place = std::find_if(config_.places.begin(), config_.places.end(),
                                  [&](const auto& one) { return one.listener == came.listener; });
  Gate::Arrival arrival{connection.fd(), {client, came.server, came.listener}, place->security};
  bool may = client.port != 0;
  if (came.server.address.family != client.address.family) {
    const auto other =
        std::find_if(config_.places.begin(), config_.places.end(), [&client](const auto& one) {
          return one.endpoint.address.family == client.address.family;
        });
    may &= other != config_.places.end();
    if (may) arrival.ends.server = other->endpoint, arrival.ends.listener = other->listener;
  }
  if (!may) return end(connection, StreamEnd::kProxy);
  epoll_ctl(epoll_, EPOLL_CTL_DEL, connection.fd(), nullptr);
  connection.release();
  forget(connection);
  take_in(arrival, now_ms);
}

std::unique_ptr<Stream> Transport::make_stream(Security security, int fd) {
  if (security == Security::kPlain) return std::make_unique<PlainStream>(fd);
  if (security == Security::kTls) return std::make_unique<TlsStream>(fd, gate_.tls(), counters_);
  return std::make_unique<EitherStream>(fd, gate_.tls(), counters_);
}

// All that its socket has told of, or may have.
void Transport::serve(Connection& connection, std::uint64_t now_ms) {
  if (connection.has_ended) return;
  if (connection.peer != 0) return peers_->serve_client(connection, now_ms);
  // What TLS costs most comes before anything is known of a client: a flood of it has to let others
  // have their turn.
  if (!connection.is_open() && ++handshakes_ > kHandshakesPerRound) return serve_later(connection);
  if (connection.awaits_proxy()) return hear_proxy(connection, now_ms);
  const Connection::State state = connection.receive(
      room_, now_ms,
      [this](const Connection& from, stun::Bytes message) { return take(from, message); });
  if (state == Connection::State::kAgain) serve_later(connection);
  if (state != Connection::State::kOver &&
      connection.flush(room_, now_ms) != Connection::State::kOver)
    return;
  end(connection, connection.end());
}

void Transport::serve_later(Connection& connection) {
  if (!std::exchange(connection.waits_for_turn, true)) unread_.push_back(&connection);
}

bool Transport::take(const Connection& connection, stun::Bytes message) {
  const std::uint16_t worker = closings_.worker_of(connection.ends());
  rte_mbuf* const frame = closings_.waits(worker) ? nullptr : port_.take(worker, message.size());
  if (frame == nullptr) {
    counters_.stalls.add();
    stalled_ = true;
    return false;
  }
  auto* const data = rte_pktmbuf_mtod(frame, std::uint8_t*);
  const std::size_t header = connection.header().size();
  std::memcpy(data + header, message.data(), message.size());
  connection.header().write(data, message.size());
  frame->data_len = static_cast<std::uint16_t>(header + message.size());
  frame->pkt_len = frame->data_len;
  port_.submit(worker, frame);
  return true;
}

void Transport::take_frames(std::uint64_t now_ms) {
  for (std::uint16_t worker = 0; worker < port_.workers(); ++worker) {
    for (unsigned burst = 0; burst < kBurstsPerRound && take_burst(worker) == kBurst; ++burst)
      continue;
  }
  flush_all(now_ms);
  for (std::uint16_t worker = 0; worker < port_.workers(); ++worker) {
    std::vector<rte_mbuf*>& held = held_[worker];
    if (!held.empty()) port_.give_back(worker, held.data(), static_cast<unsigned>(held.size()));
    held.clear();
  }
}

unsigned Transport::take_burst(std::uint16_t worker) {
  std::array<rte_mbuf*, kBurst> frames;
  const unsigned n = port_.collect(worker, frames.data(), kBurst);
  for (unsigned i = 0; i < n; ++i) {
    held_[worker].push_back(frames[i]);
    Outgoing outgoing;
    if (!read_outgoing({rte_pktmbuf_mtod(frames[i], const std::uint8_t*), frames[i]->data_len},
                       outgoing)) {
      counters_.lost_unowned.add();
      continue;
    }
    const auto found = connections_.find({outgoing.client, outgoing.server, 0});
    if (found == connections_.end()) {
      // An answer that was on its way when its connection ended: what it tells of has no client.
      counters_.lost_unowned.add();
      const auto at =
          std::find_if(config_.places.begin(), config_.places.end(),
                       [&](const auto& one) { return one.endpoint == outgoing.server; });
      if (at != config_.places.end())
        closings_.say({outgoing.client, outgoing.server, at->listener});
      continue;
    }
    Connection& connection = *found->second;
    if (connection.peer != 0) {
      counters_.lost_unowned.add();  // what goes to it is data
      continue;
    }
    if (!connection.has_to_send()) to_flush_.push_back(&connection);
    const bool was_binding = connection.is_binding();
    connection.send(outgoing.message);
    if (was_binding && !connection.is_binding()) serve_later(connection);
  }
  return n;
}

void Transport::flush_all(std::uint64_t now_ms) {
  for (Connection* connection : std::exchange(to_flush_, {})) {
    if (!connection->has_ended && connection->flush(room_, now_ms) == Connection::State::kOver)
      end(*connection, connection->end());
  }
}

void Transport::end(Connection& connection, StreamEnd why) {
  const Connection::Ends ends = connection.ends();
  if (connection.peer != 0) peers_->client_ends(connection);
  connection.close();
  counters_.ends[static_cast<std::size_t>(why)].add();
  if (connection.is_open()) {
    Counter& open = counters_.open[connection.is_tls()];
    open.set(open.get() - 1);
  }
  if (!connection.awaits_proxy()) gate_.leave(ends.client.address);
  gate_.give_place_back();
  const bool begun = connection.has_begun();
  forget(connection);
  if (begun) closings_.say(ends);
}

// It is there for those alone who hold it in this round.
void Transport::forget(Connection& connection) {
  std::erase(unread_, &connection);
  auto node = connections_.extract(connection.ends());
  node.mapped()->has_ended = true;
  ended_.push_back(std::move(node.mapped()));
  counters_.connections.set(connections_.size());
}

void Transport::look_for_old(std::uint64_t now_ms) {
  looked_ms_ = now_ms;
  if (peers_) peers_->look(now_ms);
  std::vector<Connection*> old;
  for (const auto& [ends, connection] : connections_) {
    if (connection->ends_at(config_.patience) <= now_ms) old.push_back(connection.get());
  }
  for (Connection* connection : old)
    end(*connection, connection->has_begun() ? StreamEnd::kIdle : StreamEnd::kHandshake);
}

}  // namespace turnpike::transport

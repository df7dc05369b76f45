// A transport thread: it cuts what its clients send into messages, which workers get as frames of
// one more port, and writes what workers send to them. It waits in epoll_wait alone. The first of
// them accepts all clients' connections, and hears proxies' headers: what a client is known by says
// which thread has it (ClientSpread), so that workers and shards know too.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/heartbeat.h"
#include "base/keyed_hash.h"
#include "base/stream_counters.h"
#include "dataplane/stream_port.h"
#include "transport/closings.h"
#include "transport/connection.h"
#include "transport/gate.h"
#include "transport/peer_sockets.h"
#include "transport/sockets.h"

namespace turnpike::transport {

class Transport final : private PeerSockets::Clients {
 public:
  // The thread of this number of those that `gate` has. The first one opens the listening sockets,
  // and throws std::runtime_error: which address, what is wrong. All outlives it; `clock_ms` is
  // monotonic. `mail`: nullptr where there are no TCP allocations.
  Transport(Gate& gate, std::size_t number, dataplane::StreamPort& port,
            std::uint64_t (*clock_ms)(), PeerMail* mail = nullptr);
  ~Transport() override;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  void start();
  // Ends the thread, and all connections with it. Idempotent.
  void stop();

  // Any thread.
  const StreamCounters& counters() const { return counters_; }
  // nullptr: there are no TCP allocations.
  const PeerStreamCounters* peer_counters() const { return peers_ ? &peers_->counters() : nullptr; }
  const Heartbeat& heartbeat() const { return heartbeat_; }

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  using Connections = std::unordered_map<Connection::Ends, std::unique_ptr<Connection>, EndsHash>;
  struct Listening {
    Gate::Place place;
    Socket socket;
  };

  // transport_peers.cpp
  Connection* find(const FiveTuple& five_tuple) override;
  void say(Connection& connection, stun::Bytes message) override;
  void end(Connection& connection, StreamEnd why) override;

  void run();
  void wait(std::uint64_t now_ms);
  void accept_some(Listening& listening, std::uint64_t now_ms);
  void let_in(const Listening& listening, int fd, const Endpoint& client, std::uint64_t now_ms);
  void add(int fd, const Connection::Ends& ends, Security security, bool proxied,
           std::uint64_t now_ms);
  void refuse(StreamEnd why);
  void end_one_before(const Connection::Ends& ends);
  void take_in(const Gate::Arrival& arrival, std::uint64_t now_ms);
  void take_arrivals(std::uint64_t now_ms);
  std::unique_ptr<Stream> make_stream(Security security, int fd);
  void hear_proxy(Connection& connection, std::uint64_t now_ms);
  void introduce(Connection& connection, const Endpoint& client, std::uint64_t now_ms);
  void forget(Connection& connection);
  void serve(Connection& connection, std::uint64_t now_ms);
  void serve_later(Connection& connection);
  bool take(const Connection& connection, stun::Bytes message);
  void take_frames(std::uint64_t now_ms);
  unsigned take_burst(std::uint16_t worker);
  void flush_all(std::uint64_t now_ms);
  void look_for_old(std::uint64_t now_ms);

  Gate& gate_;
  const Gate::Config& config_;
  const std::size_t number_;
  dataplane::StreamPort& port_;
  std::uint64_t (*const clock_ms_)();
  std::vector<Listening> listening_;  // the first thread's alone
  int epoll_ = -1;

  StreamCounters counters_;
  Connections connections_;
  std::vector<Gate::Arrival> arrivals_;  // still to be taken in, the last one first
  std::vector<std::uint8_t> room_;
  std::optional<PeerSockets> peers_;
  std::vector<Connection*> to_flush_;
  int handshakes_ = 0;                              // in this round
  bool stalled_ = false;                            // somebody has found no frame
  std::vector<Connection*> unread_;                 // to be read though nothing is told of them
  std::vector<std::unique_ptr<Connection>> ended_;  // in this round
  Closings closings_;
  std::vector<std::vector<rte_mbuf*>> held_;  // by worker: until all is flushed
  std::uint64_t accepts_again_ms_ = kNever;   // those who wait to be let in
  std::uint64_t tells_again_ms_ = 0;          // that there are no descriptors left
  std::uint64_t looked_ms_ = 0;
  Heartbeat heartbeat_;  // this thread: wo, others: ro
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace turnpike::transport

// A transport thread: it accepts clients' connections, cuts what they send into messages, which
// workers get as frames of one more port, and writes what workers send to them. It waits in
// epoll_wait alone.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/heartbeat.h"
#include "base/keyed_hash.h"
#include "base/stream_counters.h"
#include "dataplane/stream_port.h"
#include "policy/client_rules.h"
#include "transport/closings.h"
#include "transport/connection.h"
#include "transport/peer_sockets.h"
#include "transport/sockets.h"
#include "transport/source_counts.h"
#include "transport/tls_context.h"
#include "turnpike/listener.h"

namespace turnpike::transport {

// What the streams of a listener are. kAuto: each what its first byte says.
enum class Security : std::uint8_t { kPlain, kTls, kAuto };

class Transport final : private PeerSockets::Clients {
 public:
  struct Place {
    Endpoint endpoint;
    ListenerIndex listener = 0;
    Security security = Security::kPlain;
  };
  struct Config {
    std::vector<Place> places;
    std::vector<CertificateFiles> certificates;  // at least one where a place has TLS
    std::string client_authorities;              // as TlsContext has it
    std::vector<Prefix> proxies;                 // who says for whom he connects
    std::uint32_t connections = 0;               // in all
    std::uint32_t connections_per_source = 0;    // an IPv4 address, an IPv6 /64; 0: no limit
    std::uint32_t waiting_bytes = 0;             // of each, for a client that doesn't read
    Connection::Patience patience{};
    HashKey key{};                // random
    PeerSockets::Config peers{};  // of TCP allocations, where there are any
  };

  // Opens the listening sockets. Throws std::runtime_error: which address, what is wrong. All else
  // outlives it; `clock_ms` is monotonic. `mail`: nullptr where there are no TCP allocations.
  Transport(const Config& config, dataplane::StreamPort& port, const policy::ClientRules& clients,
            std::uint64_t (*clock_ms)(), PeerMail* mail = nullptr);
  ~Transport() override;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  void start();
  // Ends the thread, and all connections with it. Idempotent.
  void stop();

  const std::vector<std::string>& warnings() const { return warnings_; }
  // Control's thread: reads certificates and keys again, for connections that come from now on.
  // Throws what the constructor does, and then those before stay. Returns warnings.
  std::vector<std::string> reload();
  // Any thread.
  const StreamCounters& counters() const { return counters_; }
  // nullptr: there are no TCP allocations.
  const PeerStreamCounters* peer_counters() const { return peers_ ? &peers_->counters() : nullptr; }
  const Heartbeat& heartbeat() const { return heartbeat_; }

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  using Connections = std::unordered_map<Connection::Ends, std::unique_ptr<Connection>, EndsHash>;
  struct Listening {
    Place place;
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
  bool has_tls() const;
  std::unique_ptr<Stream> make_stream(Security security, int fd);
  bool has_room(const Address& client, StreamEnd& why) const;
  bool hear_proxy(Connection& connection);
  bool rename(Connection& connection, const Endpoint& client);
  void serve(Connection& connection, std::uint64_t now_ms);
  void serve_later(Connection& connection);
  bool take(const Connection& connection, stun::Bytes message);
  void take_frames(std::uint64_t now_ms);
  unsigned take_burst(std::uint16_t worker);
  void flush_all(std::uint64_t now_ms);
  void look_for_old(std::uint64_t now_ms);

  const Config config_;
  dataplane::StreamPort& port_;
  const policy::ClientRules& clients_;
  std::uint64_t (*const clock_ms_)();
  std::uint32_t most_connections_;
  std::vector<std::string> warnings_;
  TicketKeys tickets_;
  std::mutex tls_mutex_;                   // guards the next: control writes, this thread reads
  std::shared_ptr<const TlsContext> tls_;  // none: no place has TLS
  std::vector<Listening> listening_;
  int epoll_ = -1;

  StreamCounters counters_;
  Connections connections_;
  SourceCounts of_source_;
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

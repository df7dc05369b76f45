// What all transport threads have in common: what they are told, how many clients may be in, TLS,
// and the boxes by which the one that accepts connections hands them to those that have their
// clients.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/client_spread.h"
#include "base/mailbox.h"
#include "base/stream_counters.h"
#include "dataplane/doorbell.h"
#include "policy/client_rules.h"
#include "transport/connection.h"
#include "transport/peer_sockets.h"
#include "transport/source_counts.h"
#include "transport/tls_context.h"
#include "turnpike/listener.h"

namespace turnpike::transport {

// What the streams of a listener are. kAuto: each what its first byte says.
enum class Security : std::uint8_t { kPlain, kTls, kAuto };

class Gate {
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
    ClientSpread spread{};        // who has which client
    PeerSockets::Config peers{};  // of TCP allocations, where there are any
  };
  // A connection whose client is known, for the thread that has it: the descriptor is its own then.
  struct Arrival {
    int fd = -1;
    Connection::Ends ends;
    Security security = Security::kPlain;
  };

  // `bells`: of each thread, one at least; with `clients` they outlive it. Throws
  // std::runtime_error: which certificate, what is wrong with it.
  Gate(const Config& config, const policy::ClientRules& clients,
       std::vector<dataplane::Doorbell*> bells);
  ~Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  const Config& config() const { return config_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  // Control's thread: reads certificates and keys again, for connections that come from now on.
  // Throws what the constructor does, and then those before stay. Returns warnings.
  std::vector<std::string> reload();

  // All that follows: any thread.

  // None: no place has TLS.
  std::shared_ptr<const TlsContext> tls() const;
  // Before a round's handshakes.
  void rotate_tickets(std::uint64_t now_ms) { tickets_.rotate(now_ms); }

  // One more connection; false: there are as many as there may be.
  bool take_place();
  void give_place_back() { connections_.fetch_sub(1, std::memory_order_relaxed); }
  // One more of this client's, by the thread that has it; false: it may not come, and why not.
  bool enter(const Address& client, StreamEnd& why);
  void leave(const Address& client);

  // By a thread's number.
  std::size_t thread_of(const Endpoint& client) const {
    return config_.spread.thread_of(client, bells_.size());
  }
  // Of one that has a place, so that there is always room.
  void hand_over(std::size_t thread, const Arrival& arrival);
  bool has_arrivals(std::size_t thread) const { return !arrivals_[thread]->empty(); }
  // In place of what `out` held.
  void take_arrivals(std::size_t thread, std::vector<Arrival>& out) {
    arrivals_[thread]->take(out);
  }

 private:
  bool has_tls() const;

  const Config config_;
  const policy::ClientRules& clients_;
  const std::vector<dataplane::Doorbell*> bells_;  // by thread
  std::uint32_t most_connections_;
  std::vector<std::string> warnings_;
  TicketKeys tickets_;
  mutable std::mutex tls_mutex_;           // guards the next
  std::shared_ptr<const TlsContext> tls_;  // none: no place has TLS
  std::atomic<std::uint32_t> connections_{0};
  std::mutex sources_mutex_;  // guards the next
  SourceCounts of_source_;
  std::vector<std::unique_ptr<Mailbox<Arrival>>> arrivals_;  // by thread
};

}  // namespace turnpike::transport

// Who speaks DTLS: associations by five-tuple, without a socket or a thread, so that tests and
// fuzzers drive what a DTLS thread does. Time is an argument.
//
// Nothing is kept of a client before he has shown a cookie (RFC 6347 §4.2.1), which workers hand
// out (flow/classify_dtls.cpp). A hello with a cookie from where an association stands already, and
// of another handshake than that one's, takes its place (RFC 6347 §4.2.8): its client has lost it.
// Anything else leaves it as it is, for anybody may have sent it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/stream_counters.h"
#include "transport/dtls_association.h"
#include "transport/ends.h"
#include "transport/frames.h"
#include "transport/liveness.h"
#include "transport/source_counts.h"
#include "transport/tls_context.h"
#include "turnpike/time.h"
#include "wire/dtls_cookie.h"
#include "wire/dtls_records.h"

namespace turnpike::transport {

// By which way a client's datagrams come, and his answers leave: a worker's port, and an answer's
// Ethernet addresses and VLAN tags.
struct DtlsWay {
  std::uint16_t port = 0;
  std::array<std::uint8_t, 12> ethernet{};
  std::array<std::uint8_t, 8> tags{};
  std::uint8_t tag_bytes = 0;
};

// What becomes of what clients send, and of what is sent to them. Called during the server's calls,
// and calls none of them.
class DtlsOutlet {
 public:
  virtual ~DtlsOutlet() = default;
  // A client's message, for a worker. False: it is lost, and counted.
  virtual bool message(const Ends& ends, const FrameHeader& header, stun::Bytes message) = 0;
  // To the client.
  virtual void datagram(const Ends& ends, const FrameHeader& header, const DtlsWay& way,
                        stun::Bytes datagram) = 0;
  // An association of which messages have come is no more.
  virtual void closed(const Ends& ends) = 0;
};

class DtlsServer {
 public:
  struct Config {
    std::uint32_t associations = 0;             // in all
    std::uint32_t associations_per_source = 0;  // an IPv4 address, an IPv6 /64; 0: no limit
    Liveness::Patience patience{};
    HashKey key{};                   // random
    wire::DtlsCookies::Key cookies;  // the workers'
  };
  DtlsServer(const Config& config, DtlsOutlet& outlet, StreamCounters& counters);
  ~DtlsServer();
  DtlsServer(const DtlsServer&) = delete;
  DtlsServer& operator=(const DtlsServer&) = delete;

  // For those who come from now on.
  void use(std::shared_ptr<const TlsContext> context) { context_ = std::move(context); }

  // A datagram that came by `way`. True: it was a step of a handshake, which costs a thousand times
  // as much as anything else.
  bool receive(Instant now, const Ends& ends, const DtlsWay& way, stun::Bytes datagram);
  // A message for a client. False: there is no such one.
  bool send(Instant now, const Endpoint& client, const Endpoint& server, stun::Bytes message);
  // Sends again what is due, of at most `most` clients; and ends those who are waited for no more.
  void look(Instant now, unsigned most);
  // When look() has something to do; none: nobody is here.
  std::optional<Instant> due() const;
  void end_all(StreamEnd why);

  std::size_t associations() const { return clients_.size(); }

 private:
  static constexpr std::uint64_t kLookMs = 500;

  struct Client {
    Client(const Ends& of, const DtlsWay& by, stun::Bytes hello, Instant now);

    const Ends ends;
    DtlsWay way;
    const FrameHeader from, to;  // in front of what he sends, and of what he is sent
    std::array<std::uint8_t, wire::dtls::kRandomSize> random;  // of his hello
    Liveness life;
    std::optional<DtlsAssociation> association;
    std::uint64_t due_ms = 0;  // its place in due_; 0: it has none
  };
  using Clients = std::unordered_map<Ends, std::unique_ptr<Client>, EndsHash>;

  Client* let_in(Instant now, const Ends& ends, const DtlsWay& way, const wire::ClientHello& hello);
  void heard(Instant now, Client& client, stun::Bytes message);
  void opened(const Client& client);
  void schedule(Instant now, Client& client);
  void end(Client& client, StreamEnd why);
  void end_old(Instant now);

  const Config config_;
  const wire::DtlsCookies cookies_;
  DtlsOutlet& outlet_;
  StreamCounters& counters_;
  std::shared_ptr<const TlsContext> context_;
  Clients clients_;
  SourceCounts of_source_;
  std::set<std::pair<std::uint64_t, Client*>> due_;  // who is sent again what he was sent, and when
  std::uint64_t looked_ms_ = 0;
  std::vector<std::uint8_t> room_;
};

}  // namespace turnpike::transport

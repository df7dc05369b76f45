// The sockets of TCP allocations (RFC 6062), beside those of clients in the transport thread's
// epoll: those that listen at relayed transport addresses, and connections with peers, whose bytes
// go to and from a client's connection once it is bound. What one side doesn't take waits here, as
// much as is read at a time, and no more is read for it meanwhile: the rest waits in the kernel,
// and by TCP's window at the other end.
//
// Whoever may connect anywhere from here could reach what trusts this host: no connection goes to
// an address of its own, whatever peer rules say, but to those that are listed, and to relayed
// transport addresses that listen here.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/peer_stream_counters.h"
#include "kernel/route_query.h"
#include "transport/connection.h"
#include "transport/peer_mail.h"
#include "transport/sockets.h"

namespace turnpike::transport {

class PeerSockets {
 public:
  struct Config {
    std::uint32_t sockets = 0;       // of all kinds
    std::vector<Endpoint> own_host;  // peers on this host
  };
  // The thread's clients.
  class Clients {
   public:
    virtual ~Clients() = default;
    virtual Connection* find(const FiveTuple& five_tuple) = 0;
    virtual void say(Connection& connection, stun::Bytes message) = 0;
    virtual void end(Connection& connection, StreamEnd why) = 0;
  };

  // All of the transport thread's of this number, which outlive it. Throws std::runtime_error when
  // netlink fails.
  PeerSockets(const Config& config, PeerMail& mail, std::size_t thread, Clients& clients, int epoll,
              std::span<std::uint8_t> room);
  ~PeerSockets();

  // Whether what epoll tells of is a socket of these.
  static bool is_number(std::uint64_t told) { return told >> kStreamShardShift != 0; }
  void serve(std::uint64_t number, std::uint32_t events, std::uint64_t now_ms);
  // A client's connection that is bound: its socket has told of something,
  void serve_client(const Connection& client, std::uint64_t now_ms);
  // or it ends.
  void client_ends(const Connection& client);
  // Once a round.
  void take_mail(std::uint64_t now_ms);
  // Whether there is more to do at once.
  bool has_more() const { return !again_.empty() || mail_.has_commands(thread_); }
  // Now and then: those who close take their time, or have no descriptor.
  void look(std::uint64_t now_ms);

  const PeerStreamCounters& counters() const { return counters_; }

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  struct Relay {
    Endpoint at;
    Socket socket;
    bool waits = false;  // peers do, for a descriptor
  };
  // One direction.
  struct Pipe {
    std::vector<std::uint8_t> waiting;  // from `from` on
    std::size_t from = 0;
    bool ended = false;  // nothing more comes
  };
  enum class State : std::uint8_t {
    kConnecting,
    kUnbound,
    kBound,
    kClosing,  // one side has closed, all has been passed on, and the other has been told
  };
  struct Stream {
    std::uint64_t number = 0;
    StreamRelay relay{};  // whose shard is told of it
    Socket socket{-1};
    State state = State::kUnbound;
    Connection* client = nullptr;
    Pipe up, down;  // to the peer, to the client
    std::uint64_t ends_ms = kNever;
    bool again = false;
  };
  enum class Flow : std::uint8_t { kIdle, kMore, kEnded, kBroken };

  void heed(const PeerCommand& command, std::uint64_t now_ms);
  void open(const PeerCommand& command);
  void connect(const PeerCommand& command);
  PeerStreamFailure may_connect(const Endpoint& peer) const;
  bool is_full() const { return mail_.sockets() >= config_.sockets; }
  void bind(const PeerCommand& command, std::uint64_t now_ms);
  void accept_some(std::uint64_t number, Relay& relay);
  void let_in(StreamRelay to, Socket socket, const Endpoint& peer);
  Stream* add(std::uint64_t number, StreamRelay relay, Socket socket, State state);
  void pass_on(const PeerCommand& command);
  void close_stream(const PeerCommand& command);
  void take_over(const PeerCommand& command);
  void serve(Stream& stream, std::uint32_t events, std::uint64_t now_ms);
  void pump(Stream& stream, std::uint64_t now_ms);
  template <typename Read, typename Write>
  Flow pass(Pipe& pipe, Counter& bytes, Read&& read, Write&& write);
  Flow to_peer(Stream& stream);
  Flow to_client(Stream& stream);
  void close_gently(Stream& stream, bool by_client, std::uint64_t now_ms);
  bool discard(Stream& stream);
  void tell(const Stream& stream, PeerStreamEvent::Kind kind);
  void drop(Stream& stream, StreamEnd why);
  void serve_again(std::uint64_t number);
  void count();

  const Config config_;
  PeerMail& mail_;
  const std::size_t thread_;
  Clients& clients_;
  const int epoll_;
  const std::span<std::uint8_t> room_;
  const kernel::RouteQuery routes_;

  PeerStreamCounters counters_;
  std::unordered_map<std::uint64_t, Relay> relays_;
  std::map<Endpoint, std::uint64_t> relay_at_;
  std::unordered_map<std::uint64_t, Stream> streams_;
  std::int64_t counted_ = 0;  // of all threads' sockets, those here
  std::uint64_t arrivals_ = 0;
  std::vector<std::uint64_t> again_;  // relays and streams to serve though nothing is told of them
  std::vector<PeerCommand> commands_;
};

}  // namespace turnpike::transport

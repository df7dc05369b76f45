// One thread's clients, from their first packet to an allocation with a channel, and the socket of
// their peers: all that waits, waits in its epoll_wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "far_ends.h"
#include "histogram.h"
#include "link.h"
#include "options.h"
#include "turnpike/integrity.h"
#include "turnpike/stun.h"

namespace turnpike::streams {

inline constexpr std::uint16_t kChannel = 0x4000;

std::uint64_t now_ns();

enum class Step : std::uint8_t {
  kIdle,       // not there
  kHandshake,  // connecting, too
  kTicket,     // the last word of the server is missing
  kBinding,
  kChallenge,
  kAllocate,
  kBind,
  kReady,
  kRefresh,  // and ready
  kRebind,   // and ready
};
constexpr bool is_ready(Step step) {
  return step == Step::kReady || step == Step::kRefresh || step == Step::kRebind;
}

struct Client {
  Link link;
  Step step = Step::kIdle;
  std::uint8_t serial = 0, sends = 0, refusals = 0, tries = 0;
  Endpoint relayed;
  std::string nonce;
  std::vector<std::uint8_t> rest;            // of a message that isn't all there
  std::vector<std::uint8_t> unsent;          // what the socket did not take
  std::uint64_t began_ns = 0;                // to connect
  std::uint64_t asked_ns = 0;                // the last request was sent
  std::uint64_t due_ns = 0;                  // ready: the next refresh; not there: the next try
  std::uint32_t next_up = 0, next_down = 0;  // sequence numbers to send
  std::uint32_t expected_up = 0, expected_down = 0;  // and to receive
};

struct Counts {
  std::uint64_t begun = 0, handshakes = 0, resumed = 0, served = 0, failed = 0, cut = 0;
  std::map<std::uint16_t, std::uint64_t> errors;  // STUN's, but for 401 and 438
  pktgen::Histogram handshake_ns, served_ns;      // since connecting
  std::uint64_t slept_ns = 0;

  void add(const Counts& other);
};

// Whom a loop tells of what it sees.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void see_served(std::uint32_t /*client*/) {}
  // It is kIdle, and may be started again. `was_ready`: it had been served.
  virtual void see_lost(std::uint32_t /*client*/, bool /*was_ready*/) {}
  virtual void see_media_of_peer(std::uint32_t /*client*/, Bytes /*payload*/) {}
  virtual void see_media_at_peer(Bytes /*payload*/) {}
};

class Loop {
 public:
  // `number`: of the thread.
  Loop(const Options& options, unsigned number, std::uint32_t clients);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  std::vector<Client>& clients() { return clients_; }
  Counts& counts() { return counts_; }
  int peers() const { return peers_; }
  // With --raw, in place of peers.
  FarEnds* far_ends() { return far_ends_.get(); }
  std::uint32_t on_their_way() const { return on_their_way_; }
  std::uint32_t ready() const { return ready_; }

  // Begins to connect a client that is kIdle.
  void start(std::uint32_t number);
  // Ends a client's connection; it is kIdle then. Nobody is told.
  void stop(std::uint32_t number, bool politely);
  // Serves what sockets tell of, or waits for it for at most so long, and what is due.
  void poll(std::uint64_t most_ns, Watcher& watcher);
  // Without looking at any socket.
  void sleep_until(std::uint64_t when_ns);
  // All clients, as many at a time as --window says; those that fail stay kIdle.
  void set_up();
  // Media that a client sends; false: the socket still has some of before.
  bool send(Client& client, Bytes messages);

 private:
  void handle(std::uint32_t number);
  void begin(std::uint32_t number, Step step);
  void enter(Client& client, Step step);
  void go_on(std::uint32_t number);
  void ask(std::uint32_t number);
  void write(Client& client, Bytes bytes);
  bool write_unsent(Client& client);
  void read(std::uint32_t number);
  std::size_t cut(std::uint32_t number, Bytes bytes);
  void take(std::uint32_t number, Bytes message);
  void take_response(std::uint32_t number, Bytes message);
  void succeed(std::uint32_t number, const stun::MessageView& message);
  void refuse(std::uint32_t number, const stun::MessageView& message);
  void serve(std::uint32_t number);
  void lose(std::uint32_t number);
  void open_peers_socket(int fd);
  void read_peers();
  void serve_far_ends();
  void look_at_time(std::uint64_t now);
  stun::TransactionId transaction_id(std::uint32_t number) const;

  const Options& options_;
  const unsigned number_;
  Sessions sessions_;
  std::vector<Client> clients_;
  Counts counts_;
  Watcher* watcher_ = nullptr;
  int epoll_, peers_ = -1;
  std::unique_ptr<FarEnds> far_ends_;
  Endpoint peer_;
  std::uint32_t on_their_way_ = 0, ready_ = 0;
  std::uint64_t looked_ns_ = 0;
  std::uint32_t salt_;
  std::string realm_;
  stun::Key key_{};
  std::vector<std::uint8_t> room_;  // for what is read
};

}  // namespace turnpike::streams

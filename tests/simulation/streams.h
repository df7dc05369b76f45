// Clients' connections: what is on its way either way, in order and without loss, though maybe
// late; and what a close of theirs takes with it. TCP's, and as well DTLS's: of both a server
// learns that they end, and what goes by neither changes its place.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cluster.h"
#include "coverage.h"
#include "turnpike/reservation_token.h"

namespace turnpike::simulation {

// What a client learns from an answer.
struct Lesson {
  FiveTuple by;
  std::optional<std::string> nonce;
  std::optional<std::vector<std::uint8_t>> ticket;
  std::optional<TokenSealer::Token> token;
};

class Streams {
 public:
  // `below`: a random number below a bound. All three are kept.
  Streams(std::function<std::uint32_t(std::uint32_t)> below, Cluster& cluster, StreamEvents& seen)
      : below_(std::move(below)), cluster_(cluster), seen_(seen) {}

  bool is_open(const FiveTuple& five_tuple) const { return open_.contains(five_tuple); }
  // Its client has another place now, and may have closed it.
  void leave(const FiveTuple& five_tuple);
  // Opens the connection unless it is open.
  void send(const Sent& sent);
  // Of the server's; where its connection has ended meanwhile, nobody learns it, and the server
  // hears again that it has.
  void answer(Lesson lesson);
  // Some go on, some stall, and some close. What has come is given to `server` and `client`.
  void step(const std::function<void(Sent)>& server, const std::function<void(Lesson)>& client);
  // All close, and all of it is heard.
  void end();
  // No allocation outlives its connection, and no shard sends to one that has ended.
  void check() const;

 private:
  struct Connection {
    std::deque<Sent> up;
    std::deque<Lesson> down;
    std::uint32_t stalls = 0;  // so many steps more
  };
  using Open = std::map<FiveTuple, Connection>;

  Open::iterator close(Open::iterator connection);
  void tell(const FiveTuple& five_tuple);
  void hear();
  void saw(StreamEvent event) { ++seen_[static_cast<std::size_t>(event)]; }

  const std::function<std::uint32_t(std::uint32_t)> below_;
  Cluster& cluster_;
  StreamEvents& seen_;
  Open open_;
  std::uint32_t deaf_ = 0;      // so many steps more no shard hears of a close
  std::set<FiveTuple> closed_;  // ever
  std::set<FiveTuple> untold_;  // no worker has learned yet that they have
};

}  // namespace turnpike::simulation

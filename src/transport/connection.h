// One client's stream: what it has sent is cut into messages, what goes to it is put together.
// A transport thread's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/stream_counters.h"
#include "transport/ends.h"
#include "transport/frames.h"
#include "transport/liveness.h"
#include "transport/stream.h"

namespace turnpike::transport {

class Connection {
 public:
  using Ends = transport::Ends;
  // Who takes a client's messages, in their order. False: it can't now; the rest waits.
  using Taker = std::function<bool(const Connection&, stun::Bytes message)>;

  struct Bounds {
    std::size_t message;  // the longest one that is relayed
    std::size_t waiting;  // bytes for a client that doesn't read
  };
  // `proxied`: whose it is comes with a proxy's header, and it is let go then.
  Connection(int fd, const Ends& ends, std::unique_ptr<Stream> stream, bool proxied,
             const Bounds& bounds, std::uint64_t now_ms, StreamCounters& counters);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return fd_; }
  const Ends& ends() const { return ends_; }
  const FrameHeader& header() const { return header_; }
  bool awaits_proxy() const { return awaits_proxy_; }
  // Before anything is received: the descriptor is the caller's, and it is good for nothing more.
  void release() { fd_ = -1; }

  // kAgain: there may be more to read, of which the socket won't tell another time.
  enum class State : std::uint8_t { kOpen, kAgain, kOver };
  // After the socket has said that it can be read. `room` is for what is read, longer than any
  // message by as much as is read at a time; the same for all connections.
  State receive(std::span<std::uint8_t> room, std::uint64_t now_ms, const Taker& take);

  // To the client, by the next flush(): `message` must last until then.
  void send(stun::Bytes message);
  bool has_to_send() const { return !batch_.empty(); }
  // All that has been given to send() in as few writes as can be, after what waited before it. Also
  // when the socket has said that it can be written.
  State flush(std::span<std::uint8_t> room, std::uint64_t now_ms);
  // Says to the client that nothing more comes.
  void close();

  // A ConnectionBind (RFC 6062) is on its way: nothing more is read until its answer comes by,
  // since what follows a success isn't STUN.
  bool is_binding() const { return binding_; }
  // Its success has been given to send(): what comes and goes from now on is data. Returns what has
  // come of it already.
  std::vector<std::uint8_t> become_data();
  Stream::Result read_data(std::span<std::uint8_t> into, std::size_t& got);
  // Nothing is taken while the answer still waits, which flush() sends.
  Stream::Result write_data(std::span<const std::uint8_t> bytes, std::size_t& put);

  // The thread's own notes: the peer's stream that it belongs to, as data; 0: none; whether it is
  // to be served without being told of; whether it has ended, and is there for those alone who hold
  // it in this round.
  std::uint64_t peer = 0;
  bool waits_for_turn = false;
  bool has_ended = false;
  // The client has said that nothing more comes, and the socket doesn't tell of it again.
  bool reads_to_end = false;

  bool is_new() const { return !tried_; }  // nothing has been received yet
  bool is_open() const { return open_; }
  bool is_tls() const { return tls_; }
  // Why it is kOver.
  StreamEnd end() const { return end_; }
  // When it is to end if no more messages come: not while it has an allocation, as far as answers
  // have told.
  using Patience = Liveness::Patience;
  // Never by itself, where it is a peer's data: its allocation's end is its own.
  std::uint64_t ends_at(const Patience& patience) const {
    return peer != 0 ? ~std::uint64_t{0} : life_.ends_at(patience);
  }
  bool has_begun() const { return life_.has_begun(); }

 private:
  enum class Cut : std::uint8_t { kAll, kStopped, kStrange };

  State over(StreamEnd why);
  State over(Stream::Result result);
  Cut cut_messages(stun::Bytes bytes, const Taker& take, std::size_t& used);
  State write_batch(std::span<std::uint8_t> room, std::size_t& next);
  State write(stun::Bytes bytes, std::size_t& put);
  State make_wait(stun::Bytes message);
  State write_waiting();

  int fd_;
  const Ends ends_;
  const FrameHeader header_;
  const std::unique_ptr<Stream> stream_;
  const Bounds bounds_;
  StreamCounters& counters_;

  const bool awaits_proxy_;
  bool tried_ = false;    // receive() has been called
  bool open_ = false;     // hands have been shaken
  bool tls_ = false;      // since then
  bool stopped_ = false;  // the taker had no room
  bool binding_ = false;
  StreamEnd end_ = StreamEnd::kByClient;
  Liveness life_;
  std::uint64_t now_ms_ = 0;        // at the last call
  std::vector<std::uint8_t> rest_;  // of a message that isn't all there
  std::size_t skip_ = 0;            // bytes to come that are nobody's: padding, too long a message
  std::vector<stun::Bytes> batch_;
  std::vector<std::uint8_t> waiting_;  // for the socket, from waiting_from_ on
  std::size_t waiting_from_ = 0;
};

}  // namespace turnpike::transport

// A connection's bytes, as they come and go: plain TCP, or TLS over it. Sockets are non-blocking;
// a transport thread's own.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/stream_counters.h"
#include "transport/tls_context.h"

namespace turnpike::transport {

class Stream {
 public:
  enum class Result : std::uint8_t {
    kDone,    // something has been read or written, or the handshake is over
    kAgain,   // nothing now
    kClosed,  // the other side has said that nothing more comes
    kReset,   // broken off
    kFailed,  // TLS can't go on
  };
  virtual ~Stream() = default;

  // Before anything is read or written; kAgain: call again when the socket has something to say.
  virtual Result shake_hands() { return Result::kDone; }
  // nullptr: it is none of TLS.
  virtual const SSL* tls() const { return nullptr; }
  virtual Result read(std::span<std::uint8_t> into, std::size_t& got) = 0;
  // Whether the last read(), if it was kDone, may have left bytes of which the socket doesn't tell
  // again. That it has ended is another matter.
  virtual bool may_have_more() const { return true; }
  // Part of it may be taken: `put` says how much.
  virtual Result write(std::span<const std::uint8_t> bytes, std::size_t& put) = 0;
  // Says that nothing more comes, if that can be said at once.
  virtual void close() {}
};

class PlainStream final : public Stream {
 public:
  explicit PlainStream(int fd) : fd_(fd) {}
  Result read(std::span<std::uint8_t> into, std::size_t& got) override;
  bool may_have_more() const override { return may_have_more_; }
  Result write(std::span<const std::uint8_t> bytes, std::size_t& put) override;

 private:
  const int fd_;
  bool may_have_more_ = true;
};

class TlsStream final : public Stream {
 public:
  // Throws std::bad_alloc.
  TlsStream(int fd, std::shared_ptr<const TlsContext> context, StreamCounters& counters);
  Result shake_hands() override;
  const SSL* tls() const override { return ssl_.get(); }
  Result read(std::span<std::uint8_t> into, std::size_t& got) override;
  bool may_have_more() const override { return may_have_more_; }
  Result write(std::span<const std::uint8_t> bytes, std::size_t& put) override;
  void close() override;

 private:
  struct Deleter {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  Result result_of(int returned);
  static void see_message(int written, int version, int type, const void* bytes, std::size_t size,
                          SSL* ssl, void* self);

  // Keys are changed once in millions of records: who does it for sport costs the relay more than
  // himself.
  static constexpr unsigned kMostKeyUpdates = 64;
  // In one read(), however short they are: each costs more than its bytes do.
  static constexpr int kMostRecords = 64;

  const std::shared_ptr<const TlsContext> context_;  // asked for names in the handshake
  std::unique_ptr<SSL, Deleter> ssl_;
  unsigned key_updates_ = 0;
  bool broken_ = false;  // nothing may be said any more
  bool may_have_more_ = true;
  Result later_ = Result::kAgain;  // what the next read() returns, if it is anything else
};

// One or the other, as its first byte says: a TLS record of a handshake begins with 22, which
// neither STUN nor ChannelData does.
class EitherStream final : public Stream {
 public:
  EitherStream(int fd, std::shared_ptr<const TlsContext> context, StreamCounters& counters)
      : fd_(fd), context_(std::move(context)), counters_(counters) {}
  Result shake_hands() override;
  const SSL* tls() const override { return chosen_ ? chosen_->tls() : nullptr; }
  Result read(std::span<std::uint8_t> into, std::size_t& got) override {
    return chosen_->read(into, got);
  }
  bool may_have_more() const override { return chosen_->may_have_more(); }
  Result write(std::span<const std::uint8_t> bytes, std::size_t& put) override {
    return chosen_->write(bytes, put);
  }
  void close() override {
    if (chosen_) chosen_->close();
  }

 private:
  const int fd_;
  const std::shared_ptr<const TlsContext> context_;
  StreamCounters& counters_;
  std::unique_ptr<Stream> chosen_;
};

}  // namespace turnpike::transport

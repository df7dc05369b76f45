// One client's DTLS (RFC 6347), without a socket or a thread: datagrams come in and go out as
// calls, and each record is one message. A DTLS thread's own.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "base/stream_counters.h"
#include "transport/tls_context.h"
#include "turnpike/stun.h"

namespace turnpike::transport {

class DtlsAssociation {
 public:
  // Of one record; what is longer can't be sent.
  static constexpr std::size_t kMostMessage = 16384;
  // Of what hands are shaken with: a link of IPv6 takes it (RFC 8200 §5).
  static constexpr std::size_t kMostHandshakeDatagram = 1280 - 40 - 8;

  // Datagrams to the client, and messages of his: called during the calls below.
  using Sink = std::function<void(stun::Bytes)>;

  // Throws std::bad_alloc.
  DtlsAssociation(std::shared_ptr<const TlsContext> context, Sink to_client,
                  StreamCounters& counters);
  DtlsAssociation(const DtlsAssociation&) = delete;
  DtlsAssociation& operator=(const DtlsAssociation&) = delete;

  enum class State : std::uint8_t { kOpen, kOver };
  // A datagram of the client's; the first is his hello, whose cookie has been found to be ours.
  // `room` holds kMostMessage bytes.
  State receive(stun::Bytes datagram, std::span<std::uint8_t> room, const Sink& message);
  // False: it can't go, since hands aren't shaken, or it is too long.
  bool send(stun::Bytes message);
  // When the last flight is to be sent again, in ms from now; none: nothing waits for an answer.
  std::optional<std::uint64_t> due_in_ms() const;
  // Sends it again, if that is due.
  State look_at_time();
  // Says that nothing more comes, if that can be said.
  void close();

  bool is_open() const { return open_; }
  bool is_resumed() const { return SSL_session_reused(ssl_.get()) == 1; }
  StreamEnd end() const { return end_; }  // why it is kOver

 private:
  // What a handshake may have us keep: no message of a client's without a certificate is as long,
  // and records that come before their keys are few. With OpenSSL's own, 256 KiB.
  static constexpr std::size_t kMostHandshakeMessage = 4096;
  static constexpr unsigned kMostEarlyRecords = 8;
  // Around a message: AES-GCM has a nonce besides its tag (RFC 5288 §3), ChaCha20-Poly1305 none
  // (RFC 7905 §2).
  static constexpr std::size_t kTag = 16, kNonceAndTag = 24;

  struct Deleter {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  static BIO_METHOD* method();
  static int read(BIO* bio, char* into, int most);
  static int write(BIO* bio, const char* bytes, int size);
  static long control(BIO* bio, int command, long number, void* pointer);

  bool may_read(stun::Bytes datagram);
  State shake_hands();
  State read_records(std::span<std::uint8_t> room, const Sink& message);
  // kOpen: OpenSSL waits for more.
  State result_of(int returned);

  const std::shared_ptr<const TlsContext> context_;  // asked for names in the handshake
  const Sink to_client_;
  stun::Bytes incoming_;  // what OpenSSL reads next; empty: nothing
  std::unique_ptr<SSL, Deleter> ssl_;
  bool heard_ = false;                       // the hello
  bool open_ = false;                        // hands have been shaken
  bool broken_ = false;                      // nothing may be said any more
  unsigned early_ = 0;                       // records that came before their keys
  std::size_t least_record_ = kNonceAndTag;  // once they are encrypted
  // That OpenSSL would have, with all that may be around what is in it.
  std::size_t longest_record_ = SSL3_RT_MAX_PLAIN_LENGTH + SSL3_RT_MAX_ENCRYPTED_OVERHEAD;
  StreamEnd end_ = StreamEnd::kByClient;
};

}  // namespace turnpike::transport

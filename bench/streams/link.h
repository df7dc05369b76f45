// A client's connection: TCP, TLS over it, or DTLS over UDP, from the first packet to the last. No
// certificate is checked: what is measured is a server, not who it is. Of one thread.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "options.h"
#include "turnpike/address.h"

namespace turnpike::streams {

// What links of one thread have in common: settings of TLS, and the last session that can be
// resumed.
class Sessions {
 public:
  // Throws std::runtime_error.
  explicit Sessions(const Options& options);
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;

  SSL_CTX* context() const { return context_.get(); }
  SSL_SESSION* last() const { return last_.get(); }

 private:
  struct Deleter {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
  };
  static int keep(SSL* ssl, SSL_SESSION* session);

  std::unique_ptr<SSL_CTX, Deleter> context_;
  std::unique_ptr<SSL_SESSION, Deleter> last_;
};

class Link {
 public:
  enum class Result : std::uint8_t { kDone, kAgain, kOver };

  Link() = default;
  ~Link() { close(false); }
  Link(Link&& other) noexcept;
  Link& operator=(Link&&) = delete;

  // Begins to connect; `from` is a local address, or nullptr. kOver: errno says why.
  Result open(const Options& options, Sessions& sessions, const Address* from);
  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  // Connects and shakes hands: kDone once both are over.
  Result progress();
  bool is_connected() const { return connected_; }
  bool is_resumed() const;
  // Whether the server has said the last word of the handshake, which in TLS 1.3 is a ticket.
  bool is_confirmed() const;
  // DTLS: sends again what has had no answer for too long. kOver: too often.
  Result retransmit();

  Result read(std::span<std::uint8_t> into, std::size_t& got);
  Result write(std::span<const std::uint8_t> bytes, std::size_t& put);
  // `politely`: with what TLS and TCP have for it. Else as if the client had vanished, and the port
  // is free again at once.
  void close(bool politely);

 private:
  friend class Sessions;
  struct Deleter {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  Result result_of(int returned);

  int fd_ = -1;
  bool connected_ = false, datagrams_ = false, ticket_ = false;
  std::unique_ptr<SSL, Deleter> ssl_;
};

// A non-blocking UDP socket at `address`, for peers. Throws std::runtime_error.
int open_peers(const Address& address);
// The local address and port of a socket.
Endpoint local_of(int fd);
// As the kernel has it; returns its size.
unsigned to_kernel(const Endpoint& endpoint, std::span<std::uint8_t> room);

}  // namespace turnpike::streams

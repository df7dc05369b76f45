// The calls of the kernel and of OpenSSL, and what their results mean.
#include "link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace turnpike::streams {
namespace {

constexpr int kPeersBuffer = 8 << 20;
constexpr long kLinkMtu = 1500;
constexpr std::size_t kReadAhead = 65536;  // several records in one call

void set(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);
}

}  // namespace

unsigned to_kernel(const Endpoint& endpoint, std::span<std::uint8_t> room) {
  if (endpoint.address.family == Family::kIpv4) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(endpoint.port);
    std::memcpy(&address.sin_addr, endpoint.address.bytes.data(), 4);
    std::memcpy(room.data(), &address, sizeof address);
    return sizeof address;
  }
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(endpoint.port);
  std::memcpy(&address.sin6_addr, endpoint.address.bytes.data(), 16);
  std::memcpy(room.data(), &address, sizeof address);
  return sizeof address;
}

Endpoint local_of(int fd) {
  sockaddr_in6 address{};
  socklen_t size = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  if (address.sin6_family == AF_INET6) {
    return {Address::from_bytes(Family::kIpv6,
                                reinterpret_cast<const std::uint8_t*>(&address.sin6_addr)),
            ntohs(address.sin6_port)};
  }
  sockaddr_in v4{};
  std::memcpy(&v4, &address, sizeof v4);
  return {Address::from_bytes(Family::kIpv4, reinterpret_cast<const std::uint8_t*>(&v4.sin_addr)),
          ntohs(v4.sin_port)};
}

int open_peers(const Address& address) {
  std::array<std::uint8_t, sizeof(sockaddr_in6)> room{};
  const unsigned size = to_kernel({address, 0}, room);
  const int fd = socket(address.family == Family::kIpv4 ? AF_INET : AF_INET6,
                        SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(room.data()), size) != 0)
    throw std::runtime_error("peers at " + address.to_string() + ": " + std::strerror(errno));
  // What the process may not have beyond the system's limit, root may.
  set(fd, SOL_SOCKET, SO_RCVBUF, kPeersBuffer);
  set(fd, SOL_SOCKET, SO_RCVBUFFORCE, kPeersBuffer);
  set(fd, SOL_SOCKET, SO_SNDBUF, kPeersBuffer);
  set(fd, SOL_SOCKET, SO_SNDBUFFORCE, kPeersBuffer);
  return fd;
}

Sessions::Sessions(const Options& options)
    : context_(SSL_CTX_new(options.security == Security::kDtls ? DTLS_client_method()
                                                               : TLS_client_method())) {
  SSL_CTX* const context = context_.get();
  if (context == nullptr) throw std::runtime_error("OpenSSL gives no context");
  SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  if (options.tls12) SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
  if (options.security == Security::kTls) {
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, kReadAhead);
  }
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
  SSL_CTX_set_app_data(context, this);
  SSL_CTX_sess_set_new_cb(context, keep);
}

int Sessions::keep(SSL* ssl, SSL_SESSION* session) {
  static_cast<Sessions*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)))->last_.reset(session);
  if (auto* const link = static_cast<Link*>(SSL_get_app_data(ssl))) link->ticket_ = true;
  return 1;
}

Link::Link(Link&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      connected_(other.connected_),
      datagrams_(other.datagrams_),
      ticket_(other.ticket_),
      ssl_(std::move(other.ssl_)) {
  if (ssl_) SSL_set_app_data(ssl_.get(), this);
}

Link::Result Link::open(const Options& options, Sessions& sessions, const Address* from) {
  datagrams_ = options.security == Security::kDtls;
  connected_ = ticket_ = false;
  fd_ = socket(options.server.address.family == Family::kIpv4 ? AF_INET : AF_INET6,
               (datagrams_ ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return Result::kOver;
  std::array<std::uint8_t, sizeof(sockaddr_in6)> room{};
  if (from != nullptr) {
    // The port is chosen at connect(), where those of other destinations don't count.
    set(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    const unsigned size = to_kernel({*from, 0}, room);
    if (bind(fd_, reinterpret_cast<const sockaddr*>(room.data()), size) != 0) return Result::kOver;
  }
  if (!datagrams_) set(fd_, IPPROTO_TCP, TCP_NODELAY, 1);
  const unsigned size = to_kernel(options.server, room);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(room.data()), size) != 0 &&
      errno != EINPROGRESS)
    return Result::kOver;
  if (options.security == Security::kTcp) return Result::kAgain;
  ssl_.reset(SSL_new(sessions.context()));
  if (!ssl_) return Result::kOver;
  SSL_set_app_data(ssl_.get(), this);
  if (datagrams_) {
    BIO* const bio = BIO_new_dgram(fd_, BIO_NOCLOSE);
    BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, room.data());
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_options(ssl_.get(), SSL_OP_NO_QUERY_MTU);
    DTLS_set_link_mtu(ssl_.get(), kLinkMtu);
  } else {
    SSL_set_fd(ssl_.get(), fd_);
  }
  if (!options.name.empty()) SSL_set_tlsext_host_name(ssl_.get(), options.name.c_str());
  if (options.resume && sessions.last() != nullptr) SSL_set_session(ssl_.get(), sessions.last());
  SSL_set_connect_state(ssl_.get());
  return Result::kAgain;
}

Link::Result Link::progress() {
  if (!connected_) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
      return Result::kOver;
    sockaddr_in6 peer{};
    size = sizeof peer;
    if (getpeername(fd_, reinterpret_cast<sockaddr*>(&peer), &size) != 0)
      return errno == ENOTCONN ? Result::kAgain : Result::kOver;
    connected_ = true;
  }
  return ssl_ ? result_of(SSL_do_handshake(ssl_.get())) : Result::kDone;
}

Link::Result Link::retransmit() {
  if (!datagrams_ || !ssl_) return Result::kDone;
  const long handled = DTLSv1_handle_timeout(ssl_.get());
  if (handled < 0) ERR_clear_error();
  return handled < 0 ? Result::kOver : Result::kDone;
}

bool Link::is_resumed() const {
  return ssl_ && SSL_session_reused(ssl_.get()) == 1;
}

bool Link::is_confirmed() const {
  return !ssl_ || SSL_version(ssl_.get()) != TLS1_3_VERSION || ticket_;
}

Link::Result Link::result_of(int returned) {
  if (returned > 0) return Result::kDone;
  const int error = SSL_get_error(ssl_.get(), returned);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return Result::kAgain;
  ERR_clear_error();
  return Result::kOver;
}

Link::Result Link::read(std::span<std::uint8_t> into, std::size_t& got) {
  got = 0;
  if (ssl_) return result_of(SSL_read_ex(ssl_.get(), into.data(), into.size(), &got));
  const ssize_t n = ::recv(fd_, into.data(), into.size(), 0);
  if (n > 0) got = static_cast<std::size_t>(n);
  if (n > 0) return Result::kDone;
  return n < 0 && (errno == EAGAIN || errno == EINTR) ? Result::kAgain : Result::kOver;
}

Link::Result Link::write(std::span<const std::uint8_t> bytes, std::size_t& put) {
  put = 0;
  if (ssl_) return result_of(SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &put));
  const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (n >= 0) put = static_cast<std::size_t>(n);
  if (n >= 0) return Result::kDone;
  return errno == EAGAIN || errno == EINTR ? Result::kAgain : Result::kOver;
}

void Link::close(bool politely) {
  if (fd_ < 0) return;
  if (politely && ssl_ && SSL_is_init_finished(ssl_.get()) == 1) SSL_shutdown(ssl_.get());
  ERR_clear_error();
  // Who closes first would have its port waiting for a minute (TIME_WAIT).
  const linger at_once{1, 0};
  if (!datagrams_) setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ssl_.reset();
  ::close(fd_);
  fd_ = -1;
}

}  // namespace turnpike::streams

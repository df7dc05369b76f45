// Non-blocking calls, each with a wait that has an end.
#include "natcheck/carrier.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "wire/stream_framing.h"

namespace turnpike::natcheck {
namespace {

std::string openssl_reason() {
  const unsigned long error = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(error);
  ERR_clear_error();
  return reason == nullptr ? "the connection was closed" : reason;
}

}  // namespace

std::string_view text_of(Way way) {
  switch (way) {
    case Way::kUdp:
      return "udp";
    case Way::kTcp:
      return "tcp";
    case Way::kTls:
      break;
  }
  return "tls";
}

std::unique_ptr<Carrier> Carrier::open(Way way, const Path& path, std::uint16_t port,
                                       const TlsSettings& tls, Clock::duration patience,
                                       std::string& error) {
  const auto deadline = Clock::now() + patience;
  std::unique_ptr<Carrier> made;
  try {
    made.reset(new Carrier(way, open_socket(path, way == Way::kUdp ? SOCK_DGRAM : SOCK_STREAM, 0)));
  } catch (const std::system_error& none) {
    error = none.what();
    return nullptr;
  }
  error = made->connect_to({path.server, port}, deadline);
  if (error.empty() && way == Way::kTls) error = made->shake_hands(tls, deadline);
  if (!error.empty()) made.reset();
  return made;
}

Carrier::~Carrier() {
  if (ssl_ && SSL_is_init_finished(ssl_.get()) == 1) SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

bool Carrier::wait(short events, Clock::time_point deadline) const {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  pollfd one{socket_.get(), events, 0};
  return left > 0 && poll(&one, 1, static_cast<int>(left)) > 0;
}

std::string Carrier::connect_to(const Endpoint& server, Clock::time_point deadline) {
  const KernelAddress to(server);
  if (way_ != Way::kUdp) {
    const int on = 1;
    setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (connect(socket_.get(), to.get(), to.size()) == 0) return {};
  if (errno != EINPROGRESS) return std::strerror(errno);
  if (!wait(POLLOUT, deadline)) return "no answer";
  int failed = 0;
  socklen_t size = sizeof failed;
  getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &failed, &size);
  return failed == 0 ? "" : std::strerror(failed);
}

// The certificate is judged and told of, and the connection goes on whatever it is: no password is
// ever sent by it, only what is computed from one.
std::string Carrier::shake_hands(const TlsSettings& settings, Clock::time_point deadline) {
  context_.reset(SSL_CTX_new(TLS_client_method()));
  if (!context_) return openssl_reason();
  const bool trusts =
      settings.ca_file.empty()
          ? SSL_CTX_set_default_verify_paths(context_.get()) == 1
          : SSL_CTX_load_verify_locations(context_.get(), settings.ca_file.c_str(), nullptr) == 1;
  if (!trusts) return "certificates to trust: " + openssl_reason();
  ssl_.reset(SSL_new(context_.get()));
  if (!ssl_ || SSL_set_fd(ssl_.get(), socket_.get()) != 1) return openssl_reason();
  SSL_set_verify(ssl_.get(), SSL_VERIFY_NONE, nullptr);
  X509_VERIFY_PARAM* const expected = SSL_get0_param(ssl_.get());
  if (Address::parse(settings.name)) {
    X509_VERIFY_PARAM_set1_ip_asc(expected, settings.name.c_str());
  } else {
    X509_VERIFY_PARAM_set1_host(expected, settings.name.c_str(), settings.name.size());
    SSL_set_tlsext_host_name(ssl_.get(), settings.name.c_str());
  }
  for (;;) {
    const int returned = SSL_connect(ssl_.get());
    if (returned == 1) break;
    if (!wait_for_tls(returned, deadline))
      return Clock::now() >= deadline ? "no answer to the handshake" : openssl_reason();
  }
  shown_.version = SSL_get_version(ssl_.get());
  if (X509* const certificate = SSL_get0_peer_certificate(ssl_.get())) {
    std::array<char, 256> name{};
    X509_NAME_oneline(X509_get_subject_name(certificate), name.data(), name.size());
    shown_.certificate = printable(name.data());
  }
  const long verdict = SSL_get_verify_result(ssl_.get());
  if (verdict != X509_V_OK) shown_.distrust = X509_verify_cert_error_string(verdict);
  return {};
}

// Whether there is reason to try again what has returned `returned`.
bool Carrier::wait_for_tls(int returned, Clock::time_point deadline) {
  const int error = SSL_get_error(ssl_.get(), returned);
  if (error == SSL_ERROR_WANT_READ) return wait(POLLIN, deadline);
  if (error == SSL_ERROR_WANT_WRITE) return wait(POLLOUT, deadline);
  over_ = true;
  return false;
}

bool Carrier::send(stun::Bytes message, Clock::time_point deadline) {
  std::vector<std::uint8_t> bytes(message.begin(), message.end());
  if (way_ != Way::kUdp) bytes.resize(wire::size_in_stream(message));
  for (std::size_t sent = 0; sent < bytes.size();) {
    const std::size_t left = bytes.size() - sent;
    if (ssl_) {
      std::size_t put = 0;
      const int returned = SSL_write_ex(ssl_.get(), bytes.data() + sent, left, &put);
      if (returned == 1) sent += put;
      if (returned != 1 && !wait_for_tls(returned, deadline)) return false;
      continue;
    }
    const ssize_t put = ::send(socket_.get(), bytes.data() + sent, left, MSG_NOSIGNAL);
    if (put >= 0) sent += static_cast<std::size_t>(put);
    if (put < 0 && (errno != EAGAIN || !wait(POLLOUT, deadline))) return false;
  }
  return true;
}

std::optional<std::vector<std::uint8_t>> Carrier::receive(Clock::time_point deadline) {
  // Also where there is always something to read.
  while (Clock::now() < deadline) {
    if (auto message = take_message()) return message;
    if (over_ || !read_some(deadline)) return std::nullopt;
  }
  return std::nullopt;
}

std::optional<std::vector<std::uint8_t>> Carrier::take_message() {
  if (unread_.empty()) return std::nullopt;
  std::size_t size = unread_.size(), taken = size;
  if (way_ != Way::kUdp) {
    const auto first = wire::first_message(unread_, true);
    over_ |= first.state == wire::StreamMessage::State::kStrange;
    if (first.state != wire::StreamMessage::State::kWhole || unread_.size() < first.taken)
      return std::nullopt;
    size = first.size;
    taken = first.taken;
  }
  const auto at = [this](std::size_t n) {
    return unread_.begin() + static_cast<std::ptrdiff_t>(n);
  };
  std::vector<std::uint8_t> message(at(0), at(size));
  unread_.erase(at(0), at(taken));
  return message;
}

// Waits for bytes; of UDP for one datagram. False: none came.
bool Carrier::read_some(Clock::time_point deadline) {
  static thread_local std::array<std::uint8_t, 65536> room;
  for (;;) {
    if (ssl_) {
      std::size_t got = 0;
      const int returned = SSL_read_ex(ssl_.get(), room.data(), room.size(), &got);
      unread_.insert(unread_.end(), room.data(), room.data() + got);
      if (returned == 1) return true;
      if (!wait_for_tls(returned, deadline)) return false;
      continue;
    }
    const ssize_t got = recv(socket_.get(), room.data(), room.size(), 0);
    if (got > 0) {
      unread_.insert(unread_.end(), room.data(), room.data() + got);
      return true;
    }
    over_ = got == 0 ? way_ != Way::kUdp : errno != EAGAIN;
    if (over_ || !wait(POLLIN, deadline)) return false;
  }
}

}  // namespace turnpike::natcheck

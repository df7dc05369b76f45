// The calls of the kernel and of OpenSSL, and what their results mean.
#include "transport/stream.h"

#include <openssl/err.h>
#include <sys/socket.h>

#include <cerrno>
#include <new>

namespace turnpike::transport {
namespace {

Stream::Result result_of_call(ssize_t returned) {
  if (returned > 0) return Stream::Result::kDone;
  if (returned == 0) return Stream::Result::kClosed;
  const bool again = errno == EAGAIN || errno == EINTR;
  return again ? Stream::Result::kAgain : Stream::Result::kReset;
}

}  // namespace

Stream::Result PlainStream::read(std::span<std::uint8_t> into, std::size_t& got) {
  const ssize_t n = ::recv(fd_, into.data(), into.size(), 0);
  got = n > 0 ? static_cast<std::size_t>(n) : 0;
  may_have_more_ = got == into.size();  // else the socket was empty, and tells of what comes
  return result_of_call(n);
}

Stream::Result PlainStream::write(std::span<const std::uint8_t> bytes, std::size_t& put) {
  const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  put = n > 0 ? static_cast<std::size_t>(n) : 0;
  return result_of_call(n);
}

TlsStream::TlsStream(int fd, std::shared_ptr<const TlsContext> context, StreamCounters& counters)
    : context_(std::move(context)), ssl_(SSL_new(context_->get())) {
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd) != 1) throw std::bad_alloc();
  SSL_set_accept_state(ssl_.get());
  count_alerts(ssl_.get(), counters);
  SSL_set_msg_callback(ssl_.get(), see_message);
  SSL_set_msg_callback_arg(ssl_.get(), this);
}

Stream::Result TlsStream::result_of(int returned) {
  if (returned > 0) return Result::kDone;
  const int error = SSL_get_error(ssl_.get(), returned);
  switch (error) {
    case SSL_ERROR_WANT_WRITE:
    case SSL_ERROR_WANT_READ:
      return Result::kAgain;
    case SSL_ERROR_ZERO_RETURN:
      return Result::kClosed;
    case SSL_ERROR_SYSCALL:
      broken_ = true;
      ERR_clear_error();
      return Result::kReset;
    default:
      break;
  }
  broken_ = true;
  // A client that goes without a word (RFC 8446 §6.1) is no failure of TLS.
  const bool cut = ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
  ERR_clear_error();
  return cut ? Result::kReset : Result::kFailed;
}

Stream::Result TlsStream::shake_hands() {
  return result_of(SSL_accept(ssl_.get()));
}

void TlsStream::see_message(int written, int /*version*/, int type, const void* bytes,
                            std::size_t size, SSL* /*ssl*/, void* self) {
  const bool update = written == 0 && type == SSL3_RT_HANDSHAKE && size != 0 &&
                      *static_cast<const std::uint8_t*>(bytes) == SSL3_MT_KEY_UPDATE;
  if (update) ++static_cast<TlsStream*>(self)->key_updates_;
}

Stream::Result TlsStream::read(std::span<std::uint8_t> into, std::size_t& got) {
  got = 0;
  if (later_ != Result::kAgain) return later_;
  may_have_more_ = true;
  for (int records = 0; records < kMostRecords && got < into.size(); ++records) {
    if (key_updates_ > kMostKeyUpdates) return Result::kFailed;
    std::size_t some = 0;
    const Result result =
        result_of(SSL_read_ex(ssl_.get(), into.data() + got, into.size() - got, &some));
    if (result != Result::kDone) {
      if (got == 0) return result;
      later_ = result;  // what came before it is to be told first
      may_have_more_ = result != Result::kAgain;
      break;
    }
    got += some;
  }
  return Result::kDone;
}

Stream::Result TlsStream::write(std::span<const std::uint8_t> bytes, std::size_t& put) {
  put = 0;
  return result_of(SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &put));
}

void TlsStream::close() {
  if (broken_ || SSL_in_init(ssl_.get()) != 0) return;
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

Stream::Result EitherStream::shake_hands() {
  if (!chosen_) {
    std::uint8_t first = 0;
    const ssize_t n = ::recv(fd_, &first, sizeof first, MSG_PEEK);
    if (n <= 0) return result_of_call(n);
    if (first == SSL3_RT_HANDSHAKE)
      chosen_ = std::make_unique<TlsStream>(fd_, context_, counters_);
    else
      chosen_ = std::make_unique<PlainStream>(fd_);
  }
  return chosen_->shake_hands();
}

}  // namespace turnpike::transport

// OpenSSL between two ends of memory that keep datagrams apart, which its own don't.
#include "transport/dtls_association.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "wire/dtls_records.h"

namespace turnpike::transport {

BIO_METHOD* DtlsAssociation::method() {
  static BIO_METHOD* const made = [] {
    BIO_METHOD* const one = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams");
    if (one == nullptr) throw std::bad_alloc();
    BIO_meth_set_read(one, read);
    BIO_meth_set_write(one, write);
    BIO_meth_set_ctrl(one, control);
    BIO_meth_set_create(one, [](BIO* bio) {
      BIO_set_init(bio, 1);
      return 1;
    });
    return one;
  }();
  return made;
}

// One datagram at a time: what of it has no room is lost, as from a socket.
int DtlsAssociation::read(BIO* bio, char* into, int most) {
  auto& self = *static_cast<DtlsAssociation*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const stun::Bytes datagram = std::exchange(self.incoming_, {});
  const std::size_t size = std::min(datagram.size(), static_cast<std::size_t>(std::max(most, 0)));
  if (size == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  std::memcpy(into, datagram.data(), size);
  return static_cast<int>(size);
}

int DtlsAssociation::write(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  static_cast<DtlsAssociation*>(BIO_get_data(bio))
      ->to_client_({reinterpret_cast<const std::uint8_t*>(bytes), static_cast<std::size_t>(size)});
  return size;
}

long DtlsAssociation::control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_DGRAM_GET_MTU_OVERHEAD:
      return 40 + 8;
    default:
      return 0;
  }
}

DtlsAssociation::DtlsAssociation(std::shared_ptr<const TlsContext> context, Sink to_client,
                                 StreamCounters& counters)
    : context_(std::move(context)),
      to_client_(std::move(to_client)),
      ssl_(SSL_new(context_->get())) {
  BIO* const bio = BIO_new(method());
  if (!ssl_ || bio == nullptr) {
    BIO_free(bio);
    throw std::bad_alloc();
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_accept_state(ssl_.get());
  SSL_set_mtu(ssl_.get(), kMostHandshakeDatagram);
  count_alerts(ssl_.get(), counters);
}

DtlsAssociation::State DtlsAssociation::result_of(int returned) {
  if (returned > 0) return State::kOpen;
  const int error = SSL_get_error(ssl_.get(), returned);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return State::kOpen;
  if (error == SSL_ERROR_ZERO_RETURN) {
    end_ = StreamEnd::kByClient;
  } else {
    broken_ = true;
    end_ = StreamEnd::kTls;
  }
  ERR_clear_error();
  return State::kOver;
}

// What OpenSSL must not see, for anybody may have sent it. A record too short for what its cipher
// puts around a message ends the association there, where RFC 6347 §4.1.2.7 lets it be dropped.
// And until hands are shaken OpenSSL keeps what it can't use yet, more of it than a client has
// reason to send.
bool DtlsAssociation::may_read(stun::Bytes datagram) {
  const wire::DtlsGlance glance = wire::glance_at_dtls(datagram);
  // OpenSSL passes over the header alone of a record that it won't have, and reads on in its body.
  if (!glance.even || glance.longest_record > longest_record_ || (open_ && !glance.of_12))
    return false;
  if (glance.encrypted != 0 && glance.least_encrypted < least_record_) return false;
  if (open_) return true;
  early_ += glance.encrypted;
  return glance.longest_message <= kMostHandshakeMessage && early_ <= kMostEarlyRecords;
}

DtlsAssociation::State DtlsAssociation::receive(stun::Bytes datagram, std::span<std::uint8_t> room,
                                                const Sink& message) {
  if (!may_read(datagram)) return State::kOpen;
  incoming_ = datagram;
  State state = State::kOpen;
  if (!open_) state = shake_hands();
  if (open_) state = read_records(room, message);
  incoming_ = {};
  return state;
}

// The hello goes by way of DTLSv1_listen(), which alone can begin where a cookie has been shown.
DtlsAssociation::State DtlsAssociation::shake_hands() {
  ERR_clear_error();
  if (!heard_) {
    const std::unique_ptr<BIO_ADDR, void (*)(BIO_ADDR*)> nobody(BIO_ADDR_new(), BIO_ADDR_free);
    if (!nobody) throw std::bad_alloc();
    heard_ = DTLSv1_listen(ssl_.get(), nobody.get()) > 0;
    if (!heard_) {
      ERR_clear_error();
      broken_ = true;
      end_ = StreamEnd::kTls;
      return State::kOver;
    }
  }
  const int returned = SSL_accept(ssl_.get());
  open_ = returned == 1;
  if (open_) {
    const int cipher = SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl_.get()));
    if (cipher == NID_chacha20_poly1305) least_record_ = kTag;
    // RFC 6066 §4, if the client has asked for it: 512 bytes, or up to three times twice as many.
    const unsigned asked = SSL_SESSION_get_max_fragment_length(SSL_get0_session(ssl_.get()));
    if (asked != TLSEXT_max_fragment_length_DISABLED)
      longest_record_ = (std::size_t{512} << (asked - 1)) + SSL3_RT_MAX_ENCRYPTED_OVERHEAD;
  }
  return result_of(returned);
}

DtlsAssociation::State DtlsAssociation::read_records(std::span<std::uint8_t> room,
                                                     const Sink& message) {
  while (true) {
    ERR_clear_error();
    std::size_t got = 0;
    const int returned = SSL_read_ex(ssl_.get(), room.data(), room.size(), &got);
    if (returned != 1) return result_of(returned);
    message(stun::Bytes(room).first(got));
  }
}

bool DtlsAssociation::send(stun::Bytes message) {
  if (!open_ || broken_ || message.empty() || message.size() > kMostMessage) return false;
  ERR_clear_error();
  std::size_t put = 0;
  return SSL_write_ex(ssl_.get(), message.data(), message.size(), &put) == 1;
}

std::optional<std::uint64_t> DtlsAssociation::due_in_ms() const {
  timeval left{};
  if (DTLSv1_get_timeout(ssl_.get(), &left) != 1) return std::nullopt;
  return static_cast<std::uint64_t>(left.tv_sec) * 1000 +
         (static_cast<std::uint64_t>(left.tv_usec) + 999) / 1000;
}

DtlsAssociation::State DtlsAssociation::look_at_time() {
  ERR_clear_error();
  if (DTLSv1_handle_timeout(ssl_.get()) >= 0) return State::kOpen;
  ERR_clear_error();
  broken_ = true;
  end_ = StreamEnd::kHandshake;
  return State::kOver;
}

void DtlsAssociation::close() {
  if (broken_ || SSL_in_init(ssl_.get()) != 0) return;
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

}  // namespace turnpike::transport

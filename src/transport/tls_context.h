// Certificates, keys and what TLS and DTLS are spoken with: one context for each certificate,
// chosen by the name that a client asks for (SNI); one that asks for none, or for a name of no
// certificate, gets the first.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/stream_counters.h"

namespace turnpike::transport {

// Keys of session tickets, which are all that is kept of a session, and are the client's to keep:
// who has a key reads what was resumed with it, so they change, and the one before is good for as
// long again. Shared by TlsContexts, and by threads.
class TicketKeys {
 public:
  static constexpr std::uint64_t kLifeMs = 3'600'000;

  // Before a round's handshakes.
  void rotate(std::uint64_t now_ms);

  // As SSL_CTX_set_tlsext_ticket_key_evp_cb() has it.
  int use(unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
          bool encrypts);

 private:
  struct Key {
    std::array<unsigned char, 16> name{};
    std::array<unsigned char, 32> aes{}, hmac{};
  };
  std::mutex mutex_;  // guards all that follows
  Key current_, last_;
  std::uint64_t since_ms_ = 0;
  bool any_ = false, two_ = false;
};

struct CertificateFiles {
  std::string chain;  // PEM: the server's own first, then its issuers
  std::string key;    // PEM
};

// TLS over TCP, or DTLS over UDP.
enum class Protocol : std::uint8_t { kTls, kDtls };

class TlsContext {
 public:
  // `tickets` outlives it. Throws std::runtime_error: which file, what is wrong with it:
  // unreadable, expired or not yet valid, the key another certificate's, an issuer missing between
  // it and the roots. `client_authorities`: a PEM file; who shows no certificate that one of these
  // has issued isn't let in; empty: nobody is asked for one.
  TlsContext(const std::vector<CertificateFiles>& certificates, TicketKeys& tickets,
             Protocol protocol = Protocol::kTls, std::string client_authorities = "");
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  SSL_CTX* get() const { return contexts_.front().get(); }
  // What the operator should know: a certificate that ends within two weeks, for one.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  struct Deleter {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  using Context = std::unique_ptr<SSL_CTX, Deleter>;

  Context make(const CertificateFiles& files);
  void ask_for_certificates(SSL_CTX* context) const;
  static void speak(SSL_CTX* context, Protocol protocol);
  static int use_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                        EVP_MAC_CTX* mac, int encrypts);
  static int choose(SSL* ssl, int* alert, void* self);
  static int choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* out_size,
                             const unsigned char* offered, unsigned offered_size, void* self);

  TicketKeys& tickets_;
  const Protocol protocol_;
  const std::string client_authorities_;
  std::vector<Context> contexts_;  // as the certificates were given
  std::vector<std::string> warnings_;
};

// From now on: alerts that come and go, but for those that say that nothing more comes.
void count_alerts(SSL* ssl, StreamCounters& counters);

}  // namespace turnpike::transport

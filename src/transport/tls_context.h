// Certificates, keys and what TLS is spoken with: one context for each certificate, chosen by the
// name that a client asks for (SNI); one that asks for none, or for a name of no certificate, gets
// the first.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

namespace turnpike::transport {

struct CertificateFiles {
  std::string chain;  // PEM: the server's own first, then its issuers
  std::string key;    // PEM
};

class TlsContext {
 public:
  // Throws std::runtime_error: which file, what is wrong with it: unreadable, expired or not yet
  // valid, the key another certificate's, an issuer missing between it and the roots.
  explicit TlsContext(const std::vector<CertificateFiles>& certificates);

  SSL_CTX* get() const { return contexts_.front().get(); }
  // What the operator should know: a certificate that ends within two weeks, for one.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  struct Deleter {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  using Context = std::unique_ptr<SSL_CTX, Deleter>;

  Context make(const CertificateFiles& files);
  static int choose(SSL* ssl, int* alert, void* self);
  static int choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* out_size,
                             const unsigned char* offered, unsigned offered_size, void* self);

  std::vector<Context> contexts_;  // as the certificates were given
  std::vector<std::string> warnings_;
};

}  // namespace turnpike::transport

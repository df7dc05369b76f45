// TLS 1.2 and 1.3, and DTLS 1.2, with what OpenSSL calls safe, the suites of RFC 8489 §6.2.3 among
// it.
#include "transport/tls_context.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstring>
#include <ctime>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace turnpike::transport {
namespace {

constexpr const char* kSuites =
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!eNULL:!MD5:!SHA1";
constexpr int kWarnDays = 14;
constexpr std::size_t kReadAhead = 65536;

[[noreturn]] void fail(const std::string& file, const std::string& what) {
  std::array<char, 256> why{};
  const unsigned long error = ERR_peek_last_error();
  if (error != 0) ERR_error_string_n(error, why.data(), why.size());
  ERR_clear_error();
  throw std::runtime_error(file + ": " + what + (error != 0 ? std::string(": ") + why.data() : ""));
}

// Whether the system's own roots have issued it.
bool is_rooted(X509* certificate) {
  const std::unique_ptr<X509_STORE, void (*)(X509_STORE*)> roots(X509_STORE_new(), X509_STORE_free);
  const std::unique_ptr<X509_STORE_CTX, void (*)(X509_STORE_CTX*)> look(X509_STORE_CTX_new(),
                                                                        X509_STORE_CTX_free);
  X509* issuer = nullptr;
  const bool found = roots && look && X509_STORE_set_default_paths(roots.get()) == 1 &&
                     X509_STORE_CTX_init(look.get(), roots.get(), certificate, nullptr) == 1 &&
                     X509_STORE_CTX_get1_issuer(&issuer, look.get(), certificate) == 1;
  X509_free(issuer);
  ERR_clear_error();
  return found;
}

// Whether it says where its issuer's certificate can be had, as those of public authorities do.
bool tells_of_issuer(X509* certificate) {
  return X509_get_ext_by_NID(certificate, NID_info_access, -1) >= 0;
}

std::string name_of(X509_NAME* name) {
  std::array<char, 256> text{};
  X509_NAME_oneline(name, text.data(), text.size());
  return text.data();
}

}  // namespace

void TicketKeys::rotate(std::uint64_t now_ms) {
  const std::scoped_lock lock(mutex_);
  // Another thread may have done it, by a clock that it has read later.
  if (any_ && now_ms < since_ms_ + kLifeMs) return;
  two_ = any_;
  last_ = current_;
  any_ = RAND_bytes(current_.name.data(), current_.name.size()) == 1 &&
         RAND_bytes(current_.aes.data(), current_.aes.size()) == 1 &&
         RAND_bytes(current_.hmac.data(), current_.hmac.size()) == 1;
  since_ms_ = now_ms;
}

// 0: no key, the handshake is a whole one; 2: good, but the client is to have a new ticket.
int TicketKeys::use(unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                    EVP_MAC_CTX* mac, bool encrypts) {
  const std::scoped_lock lock(mutex_);
  const auto is = [name](const Key& key) {
    return std::memcmp(name, key.name.data(), key.name.size()) == 0;
  };
  if (!any_) return 0;
  const bool old = !encrypts && two_ && is(last_);
  if (!encrypts && !old && !is(current_)) return 0;
  Key& key = old ? last_ : current_;
  if (encrypts) {
    std::memcpy(name, key.name.data(), key.name.size());
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) return -1;
  }
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.hmac.data(), key.hmac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end()};
  if (EVP_MAC_CTX_set_params(mac, parameters) != 1) return -1;
  const int set = encrypts
                      ? EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.aes.data(), iv)
                      : EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.aes.data(), iv);
  if (set != 1) return -1;
  return old ? 2 : 1;
}

TlsContext::TlsContext(const std::vector<CertificateFiles>& certificates, TicketKeys& tickets,
                       Protocol protocol, std::string client_authorities)
    : tickets_(tickets), protocol_(protocol), client_authorities_(std::move(client_authorities)) {
  for (const CertificateFiles& files : certificates)
    contexts_.push_back(make(files));
  SSL_CTX_set_tlsext_servername_callback(contexts_.front().get(), choose);
  SSL_CTX_set_tlsext_servername_arg(contexts_.front().get(), this);
}

// The protocol's own, beside what both have.
void TlsContext::speak(SSL_CTX* context, Protocol protocol) {
  if (protocol == Protocol::kDtls) {
    SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION);
    // Nobody can ask the network how much it takes here.
    SSL_CTX_set_options(context, SSL_OP_COOKIE_EXCHANGE | SSL_OP_NO_QUERY_MTU);
    // Whoever gets as far as here has shown a cookie of ours (wire/dtls_cookie.h).
    SSL_CTX_set_cookie_verify_cb(context, [](SSL*, const unsigned char*, unsigned) { return 1; });
    return;
  }
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  // All that the socket has in one call, instead of two for each record.
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, kReadAhead);
}

TlsContext::Context TlsContext::make(const CertificateFiles& files) {
  Context context(
      SSL_CTX_new(protocol_ == Protocol::kDtls ? DTLS_server_method() : TLS_server_method()));
  if (!context) throw std::bad_alloc();
  SSL_CTX* const made = context.get();
  speak(made, protocol_);
  SSL_CTX_set_options(made, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  // Two tickets are for browsers that open several connections at once.
  SSL_CTX_set_num_tickets(made, 1);
  SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
  constexpr std::string_view kContext = "turnpike";
  SSL_CTX_set_session_id_context(made, reinterpret_cast<const unsigned char*>(kContext.data()),
                                 kContext.size());
  SSL_CTX_set_app_data(made, &tickets_);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(made, use_ticket);
  SSL_CTX_set_alpn_select_cb(made, choose_protocol, nullptr);
  SSL_CTX_set_dh_auto(made, 1);
  if (SSL_CTX_set_cipher_list(made, kSuites) != 1) fail(files.chain, "no suite of TLS 1.2 is left");
  if (SSL_CTX_use_certificate_chain_file(made, files.chain.c_str()) != 1)
    fail(files.chain, "expected a chain of certificates in PEM");
  if (SSL_CTX_use_PrivateKey_file(made, files.key.c_str(), SSL_FILETYPE_PEM) != 1)
    fail(files.key, "expected the private key of " + files.chain + " in PEM");

  if (!client_authorities_.empty()) ask_for_certificates(made);

  X509* const own = SSL_CTX_get0_certificate(made);
  const std::time_t now = std::time(nullptr);
  if (X509_cmp_current_time(X509_get0_notBefore(own)) > 0)
    fail(files.chain, "the certificate is not valid yet");
  if (X509_cmp_current_time(X509_get0_notAfter(own)) < 0)
    fail(files.chain, "the certificate has expired");
  std::time_t soon = now + kWarnDays * 24 * 3600;
  if (X509_cmp_time(X509_get0_notAfter(own), &soon) < 0)
    warnings_.push_back(files.chain + ": the certificate expires within " +
                        std::to_string(kWarnDays) + " days");
  // A client has the roots, and nothing between them and the certificate but what it is sent.
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(made, &chain);
  X509* last = own;
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    X509* const issuer = sk_X509_value(chain, i);
    if (X509_check_issued(issuer, last) != X509_V_OK)
      fail(files.chain, "expected each certificate's issuer behind it, found " +
                            name_of(X509_get_subject_name(issuer)) + " behind " +
                            name_of(X509_get_subject_name(last)));
    last = issuer;
  }
  if (last == own && X509_check_issued(own, own) != X509_V_OK && !is_rooted(own)) {
    const std::string what = "holds no issuer of the certificate (" +
                             name_of(X509_get_issuer_name(own)) +
                             "): clients that don't have it can't check the certificate";
    if (tells_of_issuer(own))
      fail(files.chain, what + "; expected the whole chain (fullchain.pem)");
    warnings_.push_back(files.chain + ": " + what);
  }
  return context;
}

void TlsContext::ask_for_certificates(SSL_CTX* context) const {
  STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(client_authorities_.c_str());
  if (names == nullptr || SSL_CTX_load_verify_file(context, client_authorities_.c_str()) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    fail(client_authorities_, "expected the certificates of authorities in PEM");
  }
  SSL_CTX_set_client_CA_list(context, names);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
}

int TlsContext::use_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                           EVP_MAC_CTX* mac, int encrypts) {
  auto* const tickets = static_cast<TicketKeys*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  const int used = tickets->use(name, iv, cipher, mac, encrypts != 0);
  // By TLS 1.3 a ticket is for one connection (RFC 8446 §C.4): who has none left comes anew in
  // full.
  return used == 1 && encrypts == 0 && SSL_version(ssl) == TLS1_3_VERSION ? 2 : used;
}

// By SNI: the first certificate of that name.
int TlsContext::choose(SSL* ssl, int* /*alert*/, void* self) {
  const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name == nullptr) return SSL_TLSEXT_ERR_NOACK;
  for (const Context& context : static_cast<TlsContext*>(self)->contexts_) {
    X509* const certificate = SSL_CTX_get0_certificate(context.get());
    if (X509_check_host(certificate, name, std::strlen(name), 0, nullptr) != 1) continue;
    SSL_set_SSL_CTX(ssl, context.get());
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

// RFC 7443. A client that offers none of these gets none, and is let in.
int TlsContext::choose_protocol(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size,
                                const unsigned char* offered, unsigned offered_size,
                                void* /*self*/) {
  constexpr std::string_view kOurs{"\x09stun.turn\x12stun.nat-discovery", 29};
  static_assert(kOurs.size() == 1 + 9 + 1 + 18);
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(kOurs.data()),
                            kOurs.size(), offered, offered_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

void count_alerts(SSL* ssl, StreamCounters& counters) {
  SSL_set_app_data(ssl, &counters);
  SSL_set_info_callback(ssl, [](const SSL* of, int what, int value) {
    const auto number = static_cast<std::uint8_t>(value);
    if ((what & SSL_CB_ALERT) == 0 || number == SSL3_AD_CLOSE_NOTIFY) return;
    auto* const told = static_cast<StreamCounters*>(SSL_get_app_data(of));
    told->alerts[(what & SSL_CB_WRITE) != 0][tls_alert(number)].add();
  });
}

}  // namespace turnpike::transport

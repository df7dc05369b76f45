// Long-term credentials' arithmetic on OpenSSL's EVP (RFC 8489 §9.2, §14.4–14.6).
//
// A MAC context for each digest lives with its thread: fetching an algorithm costs more than
// hashing a STUN message, and threads then share nothing. The message is never copied: only its
// header is, with the length that the RFC wants under the hash.
#include "turnpike/integrity.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <cassert>
#include <memory>

#include "wire/headers.h"
#include "wire/hmac.h"

namespace turnpike::stun {
namespace {

Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

struct FreeMacContext {
  void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
};
using MacContext = std::unique_ptr<EVP_MAC_CTX, FreeMacContext>;

MacContext make_context(const char* digest_name) {
  EVP_MAC* mac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  if (mac == nullptr) return nullptr;
  MacContext context(EVP_MAC_CTX_new(mac));
  EVP_MAC_free(mac);
  std::string name = digest_name;
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name.data(), 0),
      OSSL_PARAM_construct_end()};
  if (!context || EVP_MAC_CTX_set_params(context.get(), params) != 1) return nullptr;
  return context;
}

EVP_MAC_CTX* context_of(Digest digest) {
  thread_local const MacContext sha1 = make_context("SHA1");
  thread_local const MacContext sha256 = make_context("SHA256");
  return digest == Digest::kSha1 ? sha1.get() : sha256.get();
}

// The digest of texts joined by ":".
std::size_t digest_joined(const EVP_MD* algorithm, std::initializer_list<std::string_view> texts,
                          std::array<std::uint8_t, 32>& out) {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  bool good = context != nullptr && EVP_DigestInit_ex(context, algorithm, nullptr) == 1;
  bool first = true;
  for (const std::string_view text : texts) {
    if (!first) good = good && EVP_DigestUpdate(context, ":", 1) == 1;
    first = false;
    good = good && EVP_DigestUpdate(context, text.data(), text.size()) == 1;
  }
  unsigned size = 0;
  good = good && EVP_DigestFinal_ex(context, out.data(), &size) == 1;
  EVP_MD_CTX_free(context);
  return good ? size : 0;
}

bool check(const MessageView& message, Bytes key, Digest digest, const AttributeView& attribute) {
  const auto computed =
      message_hmac(digest, key, message.bytes(), attribute.offset, attribute.value.size());
  return computed &&
         equal_constant_time(Bytes(*computed).first(attribute.value.size()), attribute.value);
}

}  // namespace

std::optional<std::array<std::uint8_t, kSha256Size>> hmac(Digest digest, Bytes key, Bytes header,
                                                          Bytes body) {
  EVP_MAC_CTX* context = context_of(digest);
  if (context == nullptr || key.empty()) return std::nullopt;
  std::array<std::uint8_t, kSha256Size> out{};
  std::size_t size = 0;
  const bool good = EVP_MAC_init(context, key.data(), key.size(), nullptr) == 1 &&
                    EVP_MAC_update(context, header.data(), header.size()) == 1 &&
                    EVP_MAC_update(context, body.data(), body.size()) == 1 &&
                    EVP_MAC_final(context, out.data(), &size, out.size()) == 1;
  if (!good || size != (digest == Digest::kSha1 ? kSha1Size : kSha256Size)) return std::nullopt;
  return out;
}

std::optional<std::array<std::uint8_t, kSha256Size>> message_hmac(Digest digest, Bytes key,
                                                                  Bytes message, std::size_t offset,
                                                                  std::size_t value_size) {
  assert(offset >= kHeaderSize && offset <= message.size());
  std::array<std::uint8_t, kHeaderSize> header;
  std::copy_n(message.begin(), kHeaderSize, header.begin());
  wire::store_be16(header.data() + 2,
                   static_cast<std::uint16_t>(offset + 4 + value_size - kHeaderSize));
  return hmac(digest, key, header, message.subspan(kHeaderSize, offset - kHeaderSize));
}

Key long_term_key(PasswordAlgorithm algorithm, std::string_view username, std::string_view realm,
                  std::string_view password) {
  Key key;
  const EVP_MD* md = algorithm == PasswordAlgorithm::kMd5 ? EVP_md5() : EVP_sha256();
  key.size = static_cast<std::uint8_t>(digest_joined(md, {username, realm, password}, key.bytes));
  return key;
}

std::array<std::uint8_t, 32> userhash(std::string_view username, std::string_view realm) {
  std::array<std::uint8_t, 32> hash{};
  const std::size_t size = digest_joined(EVP_sha256(), {username, realm}, hash);
  // Only a broken library gets here, and a hash of zeros would be everybody's.
  assert(size == hash.size());
  static_cast<void>(size);
  return hash;
}

std::string rest_password(std::string_view secret, std::string_view username) {
  const auto mac = hmac(Digest::kSha1, as_bytes(secret), as_bytes(username), {});
  if (!mac) return {};
  std::array<std::uint8_t, 32> text{};  // 28 characters and EVP's terminator
  const int size = EVP_EncodeBlock(text.data(), mac->data(), kSha1Size);
  return {reinterpret_cast<const char*>(text.data()), static_cast<std::size_t>(size)};
}

bool check_message_integrity(const MessageView& message, Bytes key) {
  const auto attribute = message.find(Attribute::kMessageIntegrity);
  if (!attribute || attribute->value.size() != kSha1Size) return false;
  return check(message, key, Digest::kSha1, *attribute);
}

bool check_message_integrity_sha256(const MessageView& message, Bytes key) {
  const auto attribute = message.find(Attribute::kMessageIntegritySha256);
  if (!attribute) return false;
  // RFC 8489 §14.6: no truncation where the usage doesn't allow it, and TURN doesn't.
  if (attribute->value.size() != kSha256Size) return false;
  return check(message, key, Digest::kSha256, *attribute);
}

bool equal_constant_time(Bytes a, Bytes b) {
  if (a.size() != b.size()) return false;
  return a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace turnpike::stun

// Nonces that are checked without having been kept.
//
// Form: "obMatJos2", four base64 characters of the 24 security feature bits (RFC 8489 §9.2.1; bits
// counted from the right, as its example and every client do), then base64 of birth (4 bytes) and
// MAC (8): 29 characters, because a challenge must not be much larger than what asks for it.
//
// 64 bits of MAC are enough here. A guess can only be tried on us, a packet a guess, and says
// nothing about another; with two keys in use one in 2^63 is right: at ten million packets a second
// one in thirty thousand years. And who guesses right has shown nothing but that he can receive at
// an address: the integrity is still to be passed.
#include "turnpike/nonce.h"

#include <algorithm>
#include <optional>

#include "base/keyed_hash.h"
#include "turnpike/integrity.h"
#include "wire/headers.h"

namespace turnpike {
namespace {

constexpr std::string_view kCookie = "obMatJos2";
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint32_t kPasswordAlgorithmsBit = 0x000001;
constexpr std::uint32_t kUsernameAnonymityBit = 0x000002;

constexpr std::size_t kMacSize = 8;
constexpr std::size_t kSealedSize = 4 + kMacSize;
constexpr std::size_t kPrefixSize = kCookie.size() + 4;
constexpr std::size_t kNonceSize = kPrefixSize + kSealedSize / 3 * 4;
static_assert(kSealedSize % 3 == 0, "base64 without padding");
static_assert(kNonceSize == NonceKeeper::kSize && kNonceSize <= NonceKeeper::kMaxSize);

// Under the MAC.
constexpr std::size_t kFixedInput = 4 + 1 + 4 + 2 * 19;
constexpr std::size_t kRealmMax = 763;  // of bytes; no REALM has more (RFC 8489 §14.9)

// Workers' clocks are read once a burst, so one may check what another has minted a moment later.
constexpr std::uint32_t kClockSkewSeconds = 2;

using Sealed = std::array<std::uint8_t, kSealedSize>;

std::uint32_t feature_bits(const Realm& realm) {
  return (realm.password_algorithms ? kPasswordAlgorithmsBit : 0) |
         (realm.username_anonymity ? kUsernameAnonymityBit : 0);
}

// The algorithm list, which isn't written out: a nonce that came with another one is none of ours.
std::uint8_t algorithm_bits(const Realm& realm) {
  return static_cast<std::uint8_t>((realm.sha256_offered ? 1 : 0) | (realm.md5_offered ? 2 : 0));
}

void encode_three(std::uint32_t bits, char* out) {
  for (int i = 0; i < 4; ++i)
    out[i] = kAlphabet[bits >> (18 - 6 * i) & 0x3F];
}

std::optional<std::uint32_t> decode_three(std::string_view four) {
  std::uint32_t bits = 0;
  for (const char c : four) {
    const std::size_t digit = kAlphabet.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
  }
  return bits;
}

std::size_t write_prefix(const Realm& realm, char* out) {
  std::copy(kCookie.begin(), kCookie.end(), out);
  encode_three(feature_bits(realm), out + kCookie.size());
  return kPrefixSize;
}

std::optional<Sealed> decode_sealed(std::string_view text) {
  Sealed sealed{};
  for (std::size_t i = 0; i < kSealedSize / 3; ++i) {
    const auto bits = decode_three(text.substr(4 * i, 4));
    if (!bits) return std::nullopt;
    sealed[3 * i] = static_cast<std::uint8_t>(*bits >> 16);
    sealed[3 * i + 1] = static_cast<std::uint8_t>(*bits >> 8);
    sealed[3 * i + 2] = static_cast<std::uint8_t>(*bits);
  }
  return sealed;
}

std::uint8_t* append_endpoint(std::uint8_t* at, const Endpoint& endpoint) {
  *at++ = static_cast<std::uint8_t>(endpoint.address.family);
  at = std::copy(endpoint.address.bytes.begin(), endpoint.address.bytes.end(), at);
  wire::store_be16(at, endpoint.port);
  return at + 2;
}

}  // namespace

NonceKeeper::NonceKeeper(const Config& config) : config_(config), keys_{prepare(config.key)} {}

void NonceKeeper::rotate(const Key& key) {
  const std::uint32_t next = current_.load(std::memory_order_relaxed) + 1;
  keys_[next % keys_.size()] = prepare(key);
  current_.store(next, std::memory_order_release);
}

NonceKeeper::Prepared NonceKeeper::prepare(const Key& key) {
  return {wire::load_be64(key.data()), wire::load_be64(key.data() + 8)};
}

// Everything under the MAC but the realm's name has a fixed size. The name, which has not, comes
// last, so that no field can reach into its neighbour.
NonceKeeper::Mac NonceKeeper::mac(const Prepared& key, std::uint32_t born_s, const Realm& realm,
                                  const Endpoint& client, const Endpoint& server) {
  std::array<std::uint8_t, kFixedInput + kRealmMax> input;
  std::uint8_t* at = input.data();
  wire::store_be32(at, born_s);
  at[4] = algorithm_bits(realm);
  wire::store_be32(at + 5, feature_bits(realm));
  at = append_endpoint(append_endpoint(at + 9, client), server);
  const std::string_view name = std::string_view(realm.name).substr(0, kRealmMax);
  at = std::copy(name.begin(), name.end(), at);

  Mac result;
  wire::store_be64(result.data(), siphash24(key.k0, key.k1, {input.data(), at}));
  return result;
}

std::size_t NonceKeeper::mint(Instant now, const Realm& realm, const Endpoint& client,
                              const Endpoint& server, std::array<char, kMaxSize>& out) const {
  const std::uint32_t born_s = now_s(now);
  Sealed sealed;
  wire::store_be32(sealed.data(), born_s);
  const Prepared& key = keys_[current_.load(std::memory_order_acquire) % keys_.size()];
  const Mac seal = mac(key, born_s, realm, client, server);
  std::copy(seal.begin(), seal.end(), sealed.begin() + 4);

  char* at = out.data() + write_prefix(realm, out.data());
  for (std::size_t i = 0; i < kSealedSize; i += 3, at += 4) {
    encode_three(static_cast<std::uint32_t>(sealed[i] << 16 | sealed[i + 1] << 8 | sealed[i + 2]),
                 at);
  }
  return kNonceSize;
}

NonceState NonceKeeper::check(Instant now, const Realm& realm, const Endpoint& client,
                              const Endpoint& server, std::string_view nonce,
                              std::uint32_t lifetime_s) const {
  // Other bits than clients are told now: this one must learn them first.
  std::array<char, kPrefixSize> prefix;
  write_prefix(realm, prefix.data());
  if (nonce.size() != kNonceSize ||
      !nonce.starts_with(std::string_view(prefix.data(), kPrefixSize))) {
    return NonceState::kInvalid;
  }
  const auto sealed = decode_sealed(nonce.substr(kPrefixSize));
  if (!sealed) return NonceState::kInvalid;

  const std::uint32_t born_s = wire::load_be32(sealed->data());
  const stun::Bytes seal = stun::Bytes(*sealed).subspan(4);
  const std::uint32_t current = current_.load(std::memory_order_acquire);
  const auto made_with = [&](std::uint32_t key) {
    return stun::equal_constant_time(seal,
                                     mac(keys_[key % keys_.size()], born_s, realm, client, server));
  };
  const bool ours = made_with(current) || (current != 0 && made_with(current - 1));
  if (!ours) return NonceState::kInvalid;

  const std::uint32_t seconds = now_s(now);
  const bool from_future = born_s > seconds && born_s - seconds > kClockSkewSeconds;
  const bool too_old = seconds > born_s && seconds - born_s >= lifetime_s;
  return from_future || too_old ? NonceState::kStale : NonceState::kValid;
}

}  // namespace turnpike

// Classic STUN's few differences: sixteen bytes of transaction id, no XOR, no padding (every length
// is a multiple of four), UNKNOWN-ATTRIBUTES filled up by repetition (RFC 3489 §11.2.10).
#include "turnpike/classic_stun.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "wire/headers.h"

namespace turnpike::stun {
namespace {

using wire::load_be16;
using wire::load_be32;
using wire::store_be16;
using wire::store_be32;

constexpr std::uint16_t kBindingRequest = 0x0001;
constexpr std::uint16_t kBindingResponse = 0x0101;
constexpr std::uint16_t kBindingError = 0x0111;
constexpr std::uint16_t kSharedSecretRequest = 0x0002;

constexpr std::uint16_t kMappedAddress = 0x0001;
constexpr std::uint16_t kResponseAddress = 0x0002;
constexpr std::uint16_t kChangeRequest = 0x0003;
constexpr std::uint16_t kSourceAddress = 0x0004;
constexpr std::uint16_t kChangedAddress = 0x0005;
constexpr std::uint16_t kErrorCode = 0x0009;
constexpr std::uint16_t kUnknownAttributes = 0x000A;
constexpr std::uint16_t kLastKnown = 0x000B;  // REFLECTED-FROM

// A space at the end: the length of a phrase is a multiple of four here (RFC 3489 §11.2.9).
constexpr std::string_view kUnknownPhrase = "Unknown Attribute   ";
static_assert(kUnknownPhrase.size() % 4 == 0);

// What a request asks for.
struct Asked {
  bool can_change = false;  // set before it is read: there is another address
  Origin origin = 0;
  std::array<std::uint16_t, kAttributesMax> refused{};
  std::size_t count = 0;  // of them

  void refuse(std::uint16_t type) {
    const auto end = refused.begin() + static_cast<std::ptrdiff_t>(count);
    if (std::find(refused.begin(), end, type) == end) refused[count++] = type;
  }

  // The first of its kind counts. What RFC 3489 knows and has no meaning in a request is ignored.
  void read(std::uint16_t type, Bytes value, bool first) {
    if (type == kResponseAddress) return refuse(type);  // whoever asks would say where it goes
    if (type == kChangeRequest && first) {
      const Origin wanted = value.size() == 4 ? origin_of(load_be32(value.data())) : kChangeBoth;
      if (value.size() != 4 || (wanted != 0 && !can_change)) return refuse(type);
      origin = wanted;
    }
    if ((type == 0 || type > kLastKnown) && comprehension_required(type)) refuse(type);
  }
};

// False if an attribute reaches beyond the message, or there are too many.
bool read_attributes(Bytes attributes, Asked& asked) {
  std::size_t counted = 0;
  bool changes = false;
  while (!attributes.empty()) {
    if (attributes.size() < 4 || ++counted > kAttributesMax) return false;
    const std::uint16_t type = load_be16(attributes.data());
    const std::size_t size = load_be16(attributes.data() + 2);
    if (size % 4 != 0 || size > attributes.size() - 4) return false;
    asked.read(type, attributes.subspan(4, size), !changes);
    changes |= type == kChangeRequest;
    attributes = attributes.subspan(4 + size);
  }
  return true;
}

// The header of an answer with `size` bytes of attributes.
void write_header(std::uint8_t* out, std::uint16_t type, std::size_t size, Bytes request) {
  store_be16(out, type);
  store_be16(out + 2, static_cast<std::uint16_t>(size));
  std::memcpy(out + 4, request.data() + 4, 16);
}

std::uint8_t* write_address(std::uint8_t* at, std::uint16_t type, const Endpoint& endpoint) {
  const auto address = endpoint.address.view();
  store_be16(at, type);
  store_be16(at + 2, static_cast<std::uint16_t>(4 + address.size()));
  store_be16(at + 4, static_cast<std::uint16_t>(endpoint.address.family));
  store_be16(at + 6, endpoint.port);
  std::memcpy(at + 8, address.data(), address.size());
  return at + 8 + address.size();
}

std::size_t write_success(Bytes request, const Endpoint& client, const Listener& listener,
                          Origin origin, std::uint8_t* out) {
  std::uint8_t* at = write_address(out + kHeaderSize, kMappedAddress, client);
  if (listener.discovery) {
    const auto& origins = listener.discovery->origins;
    at = write_address(at, kSourceAddress, origins[origin].external);
    at = write_address(at, kChangedAddress, origins[kChangeBoth].external);
  } else {
    at = write_address(at, kSourceAddress, listener.public_endpoint());
  }
  const auto size = static_cast<std::size_t>(at - out);
  write_header(out, kBindingResponse, size - kHeaderSize, request);
  return size;
}

std::size_t write_refusal(Bytes request, const Asked& asked, std::uint8_t* out) {
  const std::size_t listed = asked.count + asked.count % 2;
  const std::size_t size = 8 + kUnknownPhrase.size() + 4 + 2 * listed;
  write_header(out, kBindingError, size, request);
  std::uint8_t* at = out + kHeaderSize;
  store_be16(at, kErrorCode);
  store_be16(at + 2, static_cast<std::uint16_t>(4 + kUnknownPhrase.size()));
  store_be32(at + 4, 4 << 8 | 20);
  std::memcpy(at + 8, kUnknownPhrase.data(), kUnknownPhrase.size());
  at += 8 + kUnknownPhrase.size();
  store_be16(at, kUnknownAttributes);
  store_be16(at + 2, static_cast<std::uint16_t>(2 * listed));
  for (std::size_t i = 0; i < listed; ++i)
    store_be16(at + 4 + 2 * i, asked.refused[std::min(i, asked.count - 1)]);
  return kHeaderSize + size;
}

}  // namespace

ClassicResult answer_classic(Bytes bytes, const Endpoint& client, const Listener& listener,
                             std::span<std::uint8_t> out) {
  if (bytes.size() < kHeaderSize || load_be32(bytes.data() + 4) == kMagicCookie) return {};
  const std::uint16_t type = load_be16(bytes.data());
  const std::size_t length = load_be16(bytes.data() + 2);
  if (type != kBindingRequest && type != kSharedSecretRequest) return {};
  if (kHeaderSize + length != bytes.size() || bytes.size() > kRequestMax)
    return {Classic::kMalformed, 0};
  if (type == kSharedSecretRequest) return {Classic::kSharedSecret, 0};
  Asked asked;
  asked.can_change = listener.discovery.has_value();
  if (!read_attributes(bytes.subspan(kHeaderSize), asked)) return {Classic::kMalformed, 0};
  if (asked.count != 0) return {Classic::kUnknown, write_refusal(bytes, asked, out.data())};
  return {Classic::kSuccess, write_success(bytes, client, listener, asked.origin, out.data()),
          asked.origin};
}

}  // namespace turnpike::stun

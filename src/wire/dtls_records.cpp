// Field by field; every length against the bytes that are there.
#include "wire/dtls_records.h"

#include <algorithm>
#include <cassert>

#include "wire/headers.h"

namespace turnpike::wire {
namespace {

using namespace dtls;

constexpr std::uint8_t kClientHello = 1;
constexpr std::uint8_t kHelloVerifyRequest = 3;
constexpr std::uint8_t kMajorVersion = 0xFE;
// What a HelloVerifyRequest says, whatever is agreed upon later (RFC 6347 §4.2.1).
constexpr std::uint16_t kVersion10 = 0xFEFF;
constexpr std::uint16_t kVersion12 = 0xFEFD;
constexpr std::size_t kMostSessionId = 32;

// Of a record's header.
constexpr std::size_t kVersion = 1, kEpoch = 3, kSequence = 5, kLength = 11;
constexpr std::size_t kSequenceSize = 6;

std::size_t load_be24(const std::uint8_t* at) {
  return std::size_t{at[0]} << 16 | load_be16(at + 1);
}

void store_be24(std::uint8_t* at, std::size_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 16);
  store_be16(at + 1, static_cast<std::uint16_t>(value));
}

// The body of the record at the start of `bytes`; empty: it isn't all there, or says nothing.
stun::Bytes first_record(stun::Bytes bytes) {
  if (bytes.size() < kRecordHeaderSize) return {};
  const std::size_t length = load_be16(bytes.data() + kLength);
  if (length > bytes.size() - kRecordHeaderSize) return {};
  return bytes.subspan(kRecordHeaderSize, length);
}

// Takes a field with a length of one byte off `left`; false: it isn't all there.
bool take_short(stun::Bytes& left, std::size_t most, stun::Bytes& field) {
  if (left.empty() || left[0] > most || left[0] > left.size() - 1) return false;
  field = left.subspan(1, left[0]);
  left = left.subspan(1 + field.size());
  return true;
}

// Of a plain handshake's record.
std::size_t longest_message(stun::Bytes body) {
  std::size_t longest = 0;
  while (!body.empty()) {
    if (body.size() < kHandshakeHeaderSize) return SIZE_MAX;
    const std::size_t fragment = load_be24(body.data() + 9);
    if (fragment > body.size() - kHandshakeHeaderSize) return SIZE_MAX;
    longest = std::max(longest, load_be24(body.data() + 1));
    body = body.subspan(kHandshakeHeaderSize + fragment);
  }
  return longest;
}

}  // namespace

HelloState read_client_hello(stun::Bytes datagram, ClientHello& out) {
  if (datagram.size() < kRecordHeaderSize + 1 || datagram[0] != kHandshake ||
      datagram[kVersion] != kMajorVersion || load_be16(datagram.data() + kEpoch) != 0)
    return HelloState::kNone;
  if (datagram[kRecordHeaderSize] != kClientHello) return HelloState::kNone;
  const stun::Bytes body = first_record(datagram);
  if (body.size() < kHandshakeHeaderSize) return HelloState::kBroken;
  const std::size_t length = load_be24(body.data() + 1);
  const bool whole = load_be24(body.data() + 6) == 0 && load_be24(body.data() + 9) == length;
  if (!whole || length > body.size() - kHandshakeHeaderSize) return HelloState::kBroken;
  stun::Bytes left = body.subspan(kHandshakeHeaderSize, length);
  constexpr std::size_t kClientVersion = 2;
  if (left.size() < kClientVersion + kRandomSize) return HelloState::kBroken;
  out.sequence = datagram.subspan(kSequence, kSequenceSize);
  out.random = left.subspan(kClientVersion, kRandomSize);
  left = left.subspan(kClientVersion + kRandomSize);
  stun::Bytes session;
  if (!take_short(left, kMostSessionId, session) || !take_short(left, kMostCookie, out.cookie))
    return HelloState::kBroken;
  // A suite and a method of compression are in every one.
  constexpr std::size_t kLeast = 2 + 2 + 1 + 1;
  return left.size() < kLeast ? HelloState::kBroken : HelloState::kWhole;
}

std::size_t write_hello_verify_request(const ClientHello& hello, stun::Bytes cookie,
                                       std::span<std::uint8_t, kMostVerifyRequest> out) {
  const std::size_t body = 2 + 1 + cookie.size();
  assert(kRecordHeaderSize + kHandshakeHeaderSize + body <= out.size());
  std::fill(out.begin(), out.end(), std::uint8_t{0});
  out[0] = kHandshake;
  store_be16(out.data() + kVersion, kVersion10);
  std::copy(hello.sequence.begin(), hello.sequence.end(), out.begin() + kSequence);
  store_be16(out.data() + kLength, static_cast<std::uint16_t>(kHandshakeHeaderSize + body));
  std::uint8_t* const message = out.data() + kRecordHeaderSize;
  message[0] = kHelloVerifyRequest;
  store_be24(message + 1, body);
  store_be24(message + 9, body);
  std::uint8_t* const at = message + kHandshakeHeaderSize;
  store_be16(at, kVersion10);
  at[2] = static_cast<std::uint8_t>(cookie.size());
  std::copy(cookie.begin(), cookie.end(), at + 3);
  return kRecordHeaderSize + kHandshakeHeaderSize + body;
}

DtlsGlance glance_at_dtls(stun::Bytes datagram) {
  DtlsGlance glance;
  while (datagram.size() >= kRecordHeaderSize) {
    const std::size_t length = load_be16(datagram.data() + kLength);
    if (length > datagram.size() - kRecordHeaderSize) break;
    glance.longest_record = std::max(glance.longest_record, length);
    glance.of_12 &= load_be16(datagram.data() + kVersion) == kVersion12;
    const stun::Bytes body = datagram.subspan(kRecordHeaderSize, length);
    if (load_be16(datagram.data() + kEpoch) != 0) {
      glance.least_encrypted =
          glance.encrypted == 0 ? length : std::min(glance.least_encrypted, length);
      ++glance.encrypted;
    } else if (datagram[0] == kHandshake) {
      glance.longest_message = std::max(glance.longest_message, longest_message(body));
    }
    datagram = datagram.subspan(kRecordHeaderSize + length);
  }
  glance.even = datagram.empty();
  return glance;
}

}  // namespace turnpike::wire

// Building a STUN message in the caller's buffer. reserve() is the only place that moves the end,
// so the only one that checks for room and clears the padding: no byte of an answer is ever left
// over from another message (CVE-2020-4067).
#include <algorithm>

#include "turnpike/stun.h"
#include "wire/crc32.h"
#include "wire/headers.h"
#include "wire/hmac.h"

namespace turnpike::stun {
namespace {

using wire::store_be16;
using wire::store_be32;

constexpr std::size_t kMaxMessageSize = 65535;

// RFC 8489 §5, figure 3: the method's bits with the class's two between them.
std::uint16_t message_type(Class message_class, Method method) {
  const unsigned m = static_cast<unsigned>(method);
  const unsigned c = static_cast<unsigned>(message_class);
  return static_cast<std::uint16_t>((m & 0xF80) << 2 | (m & 0x70) << 1 | (m & 0xF) | (c & 2) << 7 |
                                    (c & 1) << 4);
}

std::size_t address_value_size(const Endpoint& endpoint) {
  return 4 + endpoint.address.size();
}

void write_address(std::uint8_t* value, const Endpoint& endpoint) {
  value[0] = 0;
  value[1] = static_cast<std::uint8_t>(endpoint.address.family);
  store_be16(value + 2, endpoint.port);
  const auto raw = endpoint.address.view();
  std::copy(raw.begin(), raw.end(), value + 4);
}

}  // namespace

MessageWriter::MessageWriter(std::span<std::uint8_t> buffer, Class message_class, Method method,
                             const TransactionId& transaction_id)
    : buffer_(buffer), size_(kHeaderSize), overflowed_(buffer.size() < kHeaderSize) {
  if (overflowed_) return;
  store_be16(buffer_.data(), message_type(message_class, method));
  store_be16(buffer_.data() + 2, 0);
  store_be32(buffer_.data() + 4, kMagicCookie);
  std::copy(transaction_id.begin(), transaction_id.end(), buffer_.data() + 8);
}

// Room for an attribute with its header written and its padding cleared; nullptr if it doesn't fit.
std::uint8_t* MessageWriter::reserve(Attribute type, std::size_t value_size) {
  if (overflowed_) return nullptr;
  const std::size_t room = std::min(buffer_.size(), kMaxMessageSize) - size_;
  const std::size_t padded = (value_size + 3) & ~std::size_t{3};
  if (value_size > kMaxMessageSize || 4 + padded > room) {
    overflowed_ = true;
    return nullptr;
  }
  std::uint8_t* at = buffer_.data() + size_;
  // All padding stands in the last word; where there is no value, that is the header, still to
  // come.
  store_be32(at + padded, 0);
  store_be16(at, static_cast<std::uint16_t>(type));
  store_be16(at + 2, static_cast<std::uint16_t>(value_size));
  size_ += 4 + padded;
  return at + 4;
}

void MessageWriter::add(Attribute type, Bytes value) {
  if (std::uint8_t* at = reserve(type, value.size())) std::copy(value.begin(), value.end(), at);
}

void MessageWriter::add_text(Attribute type, std::string_view value) {
  if (std::uint8_t* at = reserve(type, value.size())) std::copy(value.begin(), value.end(), at);
}

void MessageWriter::add_u32(Attribute type, std::uint32_t value) {
  if (std::uint8_t* at = reserve(type, 4)) store_be32(at, value);
}

void MessageWriter::add_u8_rfffu(Attribute type, std::uint8_t value) {
  add_u32(type, std::uint32_t{value} << 24);
}

void MessageWriter::add_channel_number(std::uint16_t number) {
  add_u32(Attribute::kChannelNumber, std::uint32_t{number} << 16);
}

void MessageWriter::add_address(Attribute type, const Endpoint& endpoint) {
  if (std::uint8_t* at = reserve(type, address_value_size(endpoint))) write_address(at, endpoint);
}

// RFC 8489 §14.2. The mask is the cookie and the transaction id, which stand in this message's
// header from the fourth byte on.
void MessageWriter::add_xor_address(Attribute type, const Endpoint& endpoint) {
  std::uint8_t* at = reserve(type, address_value_size(endpoint));
  if (at == nullptr) return;
  write_address(at, endpoint);
  store_be16(at + 2, static_cast<std::uint16_t>(endpoint.port ^ (kMagicCookie >> 16)));
  for (std::size_t i = 0; i < endpoint.address.size(); ++i)
    at[4 + i] ^= buffer_[4 + i];
}

void MessageWriter::add_error_code(std::uint16_t code) {
  add_error_code(code, reason_phrase(code));
}

void MessageWriter::add_error_code(std::uint16_t code, std::string_view reason) {
  std::uint8_t* at = reserve(Attribute::kErrorCode, 4 + reason.size());
  if (at == nullptr) return;
  store_be32(at, (std::uint32_t{code} / 100) << 8 | code % 100U);
  std::copy(reason.begin(), reason.end(), at + 4);
}

void MessageWriter::add_address_error_code(Family family, std::uint16_t code) {
  const std::string_view reason = reason_phrase(code);
  std::uint8_t* at = reserve(Attribute::kAddressErrorCode, 4 + reason.size());
  if (at == nullptr) return;
  store_be32(at, static_cast<std::uint32_t>(family) << 24 | (std::uint32_t{code} / 100) << 8 |
                     code % 100U);
  std::copy(reason.begin(), reason.end(), at + 4);
}

void MessageWriter::add_unknown_attributes(std::span<const std::uint16_t> types) {
  std::uint8_t* at = reserve(Attribute::kUnknownAttributes, types.size() * 2);
  if (at == nullptr) return;
  for (const std::uint16_t type : types) {
    store_be16(at, type);
    at += 2;
  }
}

void MessageWriter::add_icmp(std::uint8_t type, std::uint8_t code, std::uint32_t data) {
  std::uint8_t* at = reserve(Attribute::kIcmp, 8);
  if (at == nullptr) return;
  store_be32(at, std::uint32_t{type} << 8 | code);
  store_be32(at + 4, data);
}

void MessageWriter::add_message_integrity(Bytes key) {
  const std::size_t offset = size_;
  std::uint8_t* at = reserve(Attribute::kMessageIntegrity, kSha1Size);
  if (at == nullptr) return;
  const auto mac = message_hmac(Digest::kSha1, key, buffer_.first(size_), offset, kSha1Size);
  // A message that should be signed and isn't must not leave: it is as if it hadn't fitted.
  overflowed_ = !mac;
  if (mac) std::copy_n(mac->begin(), kSha1Size, at);
}

void MessageWriter::add_message_integrity_sha256(Bytes key) {
  const std::size_t offset = size_;
  std::uint8_t* at = reserve(Attribute::kMessageIntegritySha256, kSha256Size);
  if (at == nullptr) return;
  const auto mac = message_hmac(Digest::kSha256, key, buffer_.first(size_), offset, kSha256Size);
  overflowed_ = !mac;
  if (mac) std::copy_n(mac->begin(), kSha256Size, at);
}

void MessageWriter::add_fingerprint() {
  const std::size_t offset = size_;
  std::uint8_t* at = reserve(Attribute::kFingerprint, 4);
  if (at == nullptr) return;
  store_be16(buffer_.data() + 2, static_cast<std::uint16_t>(size_ - kHeaderSize));
  store_be32(at, wire::fingerprint(buffer_.first(offset)));
}

std::span<const std::uint8_t> MessageWriter::finish() {
  if (overflowed_) return {};
  store_be16(buffer_.data() + 2, static_cast<std::uint16_t>(size_ - kHeaderSize));
  return buffer_.first(size_);
}

// RFC 8489 §14.8, RFC 8656 §19 and RFC 8016 §4.
std::string_view reason_phrase(std::uint16_t code) {
  switch (code) {
    case 300:
      return "Try Alternate";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthenticated";
    case 403:
      return "Forbidden";
    case 405:
      return "Mobility Forbidden";
    case 420:
      return "Unknown Attribute";
    case 437:
      return "Allocation Mismatch";
    case 438:
      return "Stale Nonce";
    case 440:
      return "Address Family not Supported";
    case 441:
      return "Wrong Credentials";
    case 442:
      return "Unsupported Transport Protocol";
    case 443:
      return "Peer Address Family Mismatch";
    case 446:
      return "Connection Already Exists";
    case 447:
      return "Connection Timeout or Failure";
    case 486:
      return "Allocation Quota Reached";
    case 500:
      return "Server Error";
    case 508:
      return "Insufficient Capacity";
    default:
      return "Error";
  }
}

}  // namespace turnpike::stun

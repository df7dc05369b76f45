// Reading a STUN message in place (RFC 8489 §5, §6.3, §14). parse() walks the attributes once and
// proves that each lies within the message; everything after relies on that.
#include "turnpike/stun.h"
#include "wire/attributes.h"
#include "wire/crc32.h"
#include "wire/headers.h"

namespace turnpike::stun {
namespace {

using wire::load_be16;
using wire::load_be32;

constexpr std::size_t kAttributeHeaderSize = 4;
constexpr std::size_t kMaxMessageSize = 65535;
constexpr std::uint32_t kFingerprintXor = 0x5354554E;  // "STUN", RFC 8489 §14.7

constexpr std::size_t padded(std::size_t size) {
  return (size + 3) & ~std::size_t{3};
}

// RFC 8489 §14.7: a CRC of everything before FINGERPRINT, with the length field as it stands.
bool fingerprint_good(Bytes message, std::size_t offset, std::size_t value_size) {
  if (value_size != 4 || offset + 8 != message.size()) return false;
  const std::uint32_t stored = load_be32(message.data() + offset + kAttributeHeaderSize);
  return stored == (wire::crc32(message.first(offset)) ^ kFingerprintXor);
}

ParseError check_header(Bytes bytes) {
  if (bytes.size() < kHeaderSize || (bytes[0] & 0xC0) != 0) return ParseError::kNotStun;
  if (load_be32(bytes.data() + 4) != kMagicCookie) return ParseError::kNotStun;
  const std::size_t length = load_be16(bytes.data() + 2);
  if (length % 4 != 0 || kHeaderSize + length != bytes.size() || bytes.size() > kMaxMessageSize) {
    return ParseError::kBadLength;
  }
  return ParseError::kNone;
}

// The address attributes' common form: a zero byte, the family, the port, the address.
std::optional<Endpoint> parse_address(Bytes value) {
  if (value.size() < 8) return std::nullopt;
  const auto family = static_cast<Family>(value[1]);
  const bool right_size = (family == Family::kIpv4 && value.size() == 8) ||
                          (family == Family::kIpv6 && value.size() == 20);
  if (!right_size) return std::nullopt;
  return Endpoint{Address::from_bytes(family, value.data() + 4), load_be16(value.data() + 2)};
}

// The value of an attribute that is there and has a size the table allows.
std::optional<Bytes> sized_value(const MessageView& message, Attribute type) {
  const auto attribute = message.find(type);
  const AttributeRule* rule = find_attribute_rule(static_cast<std::uint16_t>(type));
  if (!attribute || rule == nullptr) return std::nullopt;
  const std::size_t size = attribute->value.size();
  if (size < rule->size_min || size > rule->size_max) return std::nullopt;
  return attribute->value;
}

}  // namespace

ParseError MessageView::parse(Bytes bytes, MessageView& out) {
  if (const ParseError error = check_header(bytes); error != ParseError::kNone) return error;
  MessageView view;
  view.bytes_ = bytes;
  for (std::size_t at = kHeaderSize; at < bytes.size();) {
    // Both `at` and the size are multiples of four, so a header is whole.
    const auto type = static_cast<Attribute>(load_be16(bytes.data() + at));
    const std::size_t value_size = load_be16(bytes.data() + at + 2);
    if (padded(value_size) > bytes.size() - at - kAttributeHeaderSize) {
      return ParseError::kBadAttribute;
    }
    if (type == Attribute::kFingerprint) {
      if (!fingerprint_good(bytes, at, value_size)) return ParseError::kBadFingerprint;
      view.has_fingerprint_ = true;
    }
    // §14.5, §14.6: after SHA-256's, SHA-1's integrity is among what is ignored.
    if (type == Attribute::kMessageIntegrity && view.integrity_at_ == 0 &&
        view.integrity_sha256_at_ == 0) {
      view.integrity_at_ = static_cast<std::uint32_t>(at);
    }
    if (type == Attribute::kMessageIntegritySha256 && view.integrity_sha256_at_ == 0) {
      view.integrity_sha256_at_ = static_cast<std::uint32_t>(at);
    }
    at += kAttributeHeaderSize + padded(value_size);
  }
  out = view;
  return ParseError::kNone;
}

Class MessageView::message_class() const {
  // §5, figure 3: the class bits are 4 and 8 of the type.
  const unsigned type = load_be16(bytes_.data());
  return static_cast<Class>((type >> 7 & 2) | (type >> 4 & 1));
}

std::uint16_t MessageView::raw_method() const {
  const unsigned type = load_be16(bytes_.data());
  return static_cast<std::uint16_t>((type >> 2 & 0xF80) | (type >> 1 & 0x70) | (type & 0xF));
}

TransactionId MessageView::transaction_id() const {
  TransactionId id;
  std::memcpy(id.data(), bytes_.data() + 8, id.size());
  return id;
}

// Steps to the next visible attribute at or after `at`, and `at` beyond it.
bool MessageView::next(std::size_t& at, AttributeView& attribute) const {
  while (at < bytes_.size()) {
    const std::size_t here = at;
    const std::uint16_t type = load_be16(bytes_.data() + here);
    const std::size_t size = load_be16(bytes_.data() + here + 2);
    at = here + kAttributeHeaderSize + padded(size);

    const bool after_sha1 = integrity_at_ != 0 && here > integrity_at_;
    const bool after_sha256 = integrity_sha256_at_ != 0 && here > integrity_sha256_at_;
    const bool visible = (!after_sha1 && !after_sha256) || here == integrity_sha256_at_ ||
                         static_cast<Attribute>(type) == Attribute::kFingerprint;
    if (!visible) continue;
    attribute = {type, static_cast<std::uint32_t>(here),
                 bytes_.subspan(here + kAttributeHeaderSize, size)};
    return true;
  }
  return false;
}

std::optional<AttributeView> MessageView::find(Attribute type) const {
  std::size_t at = kHeaderSize;
  AttributeView attribute;
  while (next(at, attribute)) {
    if (attribute.type == static_cast<std::uint16_t>(type)) return attribute;
  }
  return std::nullopt;
}

std::optional<Endpoint> MessageView::address(Attribute type) const {
  const auto value = sized_value(*this, type);
  return value ? parse_address(*value) : std::nullopt;
}

// RFC 8489 §14.2: the port is XORed with the cookie's upper half, the address with the cookie and,
// where it is longer, with the transaction id: the sixteen bytes after the header's first four.
std::optional<Endpoint> MessageView::xor_address(const AttributeView& attribute) const {
  auto endpoint = parse_address(attribute.value);
  if (!endpoint) return std::nullopt;
  endpoint->port ^= static_cast<std::uint16_t>(kMagicCookie >> 16);
  for (std::size_t i = 0; i < endpoint->address.size(); ++i) {
    endpoint->address.bytes[i] ^= bytes_[4 + i];
  }
  return endpoint;
}

std::optional<Endpoint> MessageView::xor_address(Attribute type) const {
  const auto attribute = find(type);
  return attribute ? xor_address(*attribute) : std::nullopt;
}

std::optional<std::uint32_t> MessageView::u32(Attribute type) const {
  const auto value = sized_value(*this, type);
  if (!value || value->size() != 4) return std::nullopt;
  return load_be32(value->data());
}

std::optional<std::string_view> MessageView::text(Attribute type) const {
  const auto value = sized_value(*this, type);
  if (!value) return std::nullopt;
  return std::string_view(reinterpret_cast<const char*>(value->data()), value->size());
}

std::optional<std::uint16_t> MessageView::channel_number() const {
  const auto value = u32(Attribute::kChannelNumber);
  if (!value) return std::nullopt;
  return static_cast<std::uint16_t>(*value >> 16);
}

std::optional<std::uint8_t> MessageView::requested_transport() const {
  const auto value = u32(Attribute::kRequestedTransport);
  if (!value) return std::nullopt;
  return static_cast<std::uint8_t>(*value >> 24);
}

std::optional<std::uint8_t> MessageView::family_octet(Attribute type) const {
  const auto value = u32(type);
  if (!value) return std::nullopt;
  return static_cast<std::uint8_t>(*value >> 24);
}

std::optional<bool> MessageView::even_port_reserve() const {
  const auto value = sized_value(*this, Attribute::kEvenPort);
  if (!value) return std::nullopt;
  return ((*value)[0] & 0x80) != 0;
}

// RFC 8489 §14.8: the class is the hundreds digit, 3 to 6; the number 0 to 99.
std::optional<std::uint16_t> MessageView::error_code() const {
  const auto value = sized_value(*this, Attribute::kErrorCode);
  if (!value) return std::nullopt;
  const unsigned hundreds = (*value)[2] & 0x07U;
  const unsigned number = (*value)[3];
  if (hundreds < 3 || hundreds > 6 || number > 99) return std::nullopt;
  return static_cast<std::uint16_t>(hundreds * 100 + number);
}

}  // namespace turnpike::stun

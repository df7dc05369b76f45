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

const std::uint8_t kIntegrityPlace =
    place_of(static_cast<std::uint16_t>(Attribute::kMessageIntegrity));
const std::uint8_t kIntegritySha256Place =
    place_of(static_cast<std::uint16_t>(Attribute::kMessageIntegritySha256));

// RFC 5780's, which are a listener's to know.
const std::uint64_t kDiscoveryPlaces = [] {
  std::uint64_t places = 0;
  for (const Attribute type :
       {Attribute::kChangeRequest, Attribute::kPadding, Attribute::kResponsePort})
    places |= std::uint64_t{1} << place_of(static_cast<std::uint16_t>(type));
  return places;
}();

constexpr std::size_t padded(std::size_t size) {
  return (size + 3) & ~std::size_t{3};
}

// RFC 8489 §14.7: a CRC of everything before FINGERPRINT, with the length field as it stands.
bool fingerprint_good(Bytes message, std::size_t offset, std::size_t value_size) {
  if (value_size != 4 || offset + 8 != message.size()) return false;
  const std::uint32_t stored = load_be32(message.data() + offset + kAttributeHeaderSize);
  return stored == wire::fingerprint(message.first(offset));
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
  const Class message_class = view.message_class();
  if (message_class == Class::kRequest && bytes.size() > kRequestMax) {
    return ParseError::kRequestTooLong;
  }
  const bool lists_peers = view.method() == Method::kCreatePermission;
  std::size_t counted = 0;
  bool sealed = false;  // behind the first integrity
  for (std::size_t at = kHeaderSize; at < bytes.size();) {
    // Both `at` and the size are multiples of four, so a header is whole.
    const std::uint32_t head = load_be32(bytes.data() + at);
    const auto raw_type = static_cast<std::uint16_t>(head >> 16);
    const auto type = static_cast<Attribute>(raw_type);
    const std::size_t value_size = head & 0xFFFF;
    if (padded(value_size) > bytes.size() - at - kAttributeHeaderSize) {
      return ParseError::kBadAttribute;
    }
    if (!lists_peers || type != Attribute::kXorPeerAddress) ++counted;
    if (counted > kAttributesMax) return ParseError::kTooManyAttributes;
    const bool fingerprint = type == Attribute::kFingerprint;
    const bool sha256 = type == Attribute::kMessageIntegritySha256;
    if (fingerprint) {
      if (!fingerprint_good(bytes, at, value_size)) return ParseError::kBadFingerprint;
      view.has_fingerprint_ = true;
    }
    // §14.5, §14.6: after SHA-256's, SHA-1's integrity is among what is ignored.
    if (!sealed || sha256 || fingerprint) {
      const std::uint8_t place = place_of(raw_type);
      if (place == kNoPlace) {
        view.has_unknown_ |= comprehension_required(raw_type);
      } else if (view.at_[place] == 0) {
        view.at_[place] = static_cast<std::uint16_t>(at);
        view.present_ |= std::uint64_t{1} << place;
      }
      sealed |= sha256 || type == Attribute::kMessageIntegrity;
    }
    at += kAttributeHeaderSize + padded(value_size);
  }
  view.has_unknown_ |= (view.present_ & kDiscoveryPlaces) != 0;
  out = view;
  return ParseError::kNone;
}

bool MessageView::complete() const {
  return (must_have(method(), message_class()) & ~present_) == 0;
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
  const std::size_t sha1_at = at_[kIntegrityPlace];
  const std::size_t sha256_at = at_[kIntegritySha256Place];
  while (at < bytes_.size()) {
    const std::size_t here = at;
    const std::uint16_t type = load_be16(bytes_.data() + here);
    const std::size_t size = load_be16(bytes_.data() + here + 2);
    at = here + kAttributeHeaderSize + padded(size);

    const bool after_sha1 = sha1_at != 0 && here > sha1_at;
    const bool after_sha256 = sha256_at != 0 && here > sha256_at;
    const bool visible = (!after_sha1 && !after_sha256) || here == sha256_at ||
                         static_cast<Attribute>(type) == Attribute::kFingerprint;
    if (!visible) continue;
    attribute = {type, static_cast<std::uint32_t>(here),
                 bytes_.subspan(here + kAttributeHeaderSize, size)};
    return true;
  }
  return false;
}

std::optional<AttributeView> MessageView::find(Attribute type) const {
  const auto raw_type = static_cast<std::uint16_t>(type);
  const std::uint8_t place = place_of(raw_type);
  if (place == kNoPlace || at_[place] == 0) return std::nullopt;
  const std::size_t at = at_[place];
  return AttributeView{
      raw_type, static_cast<std::uint32_t>(at),
      bytes_.subspan(at + kAttributeHeaderSize, load_be16(bytes_.data() + at + 2))};
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

// RFC 5780 §7.5 calls the two bytes behind it padding: some count them in its length.
std::optional<std::uint16_t> MessageView::response_port() const {
  const auto value = sized_value(*this, Attribute::kResponsePort);
  if (!value) return std::nullopt;
  return load_be16(value->data());
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

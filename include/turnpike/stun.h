// STUN messages (RFC 8489 §5, §14; TURN's methods and attributes: RFC 8656 §17, §18): a view that
// reads one in place and a writer that builds one in the caller's memory. Neither allocates.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "turnpike/address.h"

namespace turnpike::stun {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint32_t kMagicCookie = 0x2112A442;
constexpr std::size_t kHeaderSize = 20;
constexpr std::size_t kChannelDataHeaderSize = 4;

// What no client sends, and what would cost a stranger's victim more time than the stranger:
// attributes of a message, a CreatePermission's XOR-PEER-ADDRESS not counted; bytes of a request.
constexpr std::size_t kAttributesMax = 64;
constexpr std::size_t kRequestMax = 4096;

enum class Class : std::uint8_t { kRequest = 0, kIndication = 1, kSuccess = 2, kError = 3 };

enum class Method : std::uint16_t {
  kBinding = 0x001,
  kAllocate = 0x003,
  kRefresh = 0x004,
  kSend = 0x006,
  kData = 0x007,
  kCreatePermission = 0x008,
  kChannelBind = 0x009,
  kConnect = 0x00A,  // RFC 6062
  kConnectionBind = 0x00B,
  kConnectionAttempt = 0x00C,
};

enum class Attribute : std::uint16_t {
  kMappedAddress = 0x0001,
  kChangeRequest = 0x0003,  // RFC 5780, and RFC 3489 before it
  kUsername = 0x0006,
  kMessageIntegrity = 0x0008,
  kErrorCode = 0x0009,
  kUnknownAttributes = 0x000A,
  kChannelNumber = 0x000C,
  kLifetime = 0x000D,
  kXorPeerAddress = 0x0012,
  kData = 0x0013,
  kRealm = 0x0014,
  kNonce = 0x0015,
  kXorRelayedAddress = 0x0016,
  kRequestedAddressFamily = 0x0017,
  kEvenPort = 0x0018,
  kRequestedTransport = 0x0019,
  kDontFragment = 0x001A,
  kMessageIntegritySha256 = 0x001C,
  kPasswordAlgorithm = 0x001D,
  kUserhash = 0x001E,
  kXorMappedAddress = 0x0020,
  kReservationToken = 0x0022,
  kPadding = 0x0026,       // RFC 5780
  kResponsePort = 0x0027,  // RFC 5780
  kConnectionId = 0x002A,  // RFC 6062
  kAdditionalAddressFamily = 0x8000,
  kAddressErrorCode = 0x8001,
  kPasswordAlgorithms = 0x8002,
  kAlternateDomain = 0x8003,
  kIcmp = 0x8004,
  kSoftware = 0x8022,
  kAlternateServer = 0x8023,
  kFingerprint = 0x8028,
  kResponseOrigin = 0x802B,  // RFC 5780
  kOtherAddress = 0x802C,    // RFC 5780
  kOrigin = 0x802F,          // draft-ietf-tram-stun-origin
  kMobilityTicket = 0x8030,  // RFC 8016
};

// Below 0x8000 a receiver that doesn't know the attribute must refuse the message (RFC 8489 §14).
constexpr bool comprehension_required(std::uint16_t type) {
  return type < 0x8000;
}

// What RFC 5780 has in requests: understood only in a Binding to a listener with a second address
// (docs/protocol.md 34), and unknown anywhere else.
constexpr bool is_of_nat_discovery(std::uint16_t type) {
  const auto attribute = static_cast<Attribute>(type);
  return attribute == Attribute::kChangeRequest || attribute == Attribute::kPadding ||
         attribute == Attribute::kResponsePort;
}

using TransactionId = std::array<std::uint8_t, 12>;

// Why bytes are not a STUN message that may be looked at (RFC 8489 §6.3; docs/protocol.md 1).
enum class ParseError : std::uint8_t {
  kNone = 0,
  kNotStun,            // first two bits, or the cookie
  kBadLength,          // the length field: not a multiple of 4, or not that of the datagram
  kBadAttribute,       // an attribute reaches beyond the message
  kBadFingerprint,     // FINGERPRINT is there and wrong, or isn't last
  kTooManyAttributes,  // more than kAttributesMax
  kRequestTooLong,     // more than kRequestMax
};

// One attribute, where it stands in the message.
struct AttributeView {
  std::uint16_t type = 0;
  std::uint32_t offset = 0;  // of its header, from the start of the message
  Bytes value;               // without padding
};

// A message read in place. It refers to the bytes it was parsed from and must not outlive them.
// After a successful parse every attribute lies within the message; values are checked by the
// getters. Finds the first attribute of a type; what stands after MESSAGE-INTEGRITY (and after
// MESSAGE-INTEGRITY-SHA256) is invisible, but for MESSAGE-INTEGRITY-SHA256 and FINGERPRINT
// (RFC 8489 §14.5–14.7). Where each attribute of the table stands is noted in the one walk that
// parse() makes, so that find() is a look into an array. Any thread; no allocation.
class MessageView {
 public:
  // `bytes` is exactly one datagram. On success `out` is set. A FINGERPRINT that is there is
  // checked. Methods and classes are not judged here.
  static ParseError parse(Bytes bytes, MessageView& out);

  Bytes bytes() const { return bytes_; }
  Class message_class() const;
  std::uint16_t raw_method() const;
  Method method() const { return static_cast<Method>(raw_method()); }
  TransactionId transaction_id() const;
  bool has_fingerprint() const { return has_fingerprint_; }

  // Whether everything is there that must be, in a message of this class and method.
  bool complete() const;
  // Whether an attribute is visible that must be understood and isn't in the table, or is of
  // is_of_nat_discovery().
  bool has_unknown() const { return has_unknown_; }

  bool has(Attribute type) const { return find(type).has_value(); }
  std::optional<AttributeView> find(Attribute type) const;

  // Calls `visit(const AttributeView&)` for each visible attribute in order, duplicates included,
  // until it returns false.
  template <typename Visitor>
  void for_each(Visitor&& visit) const {
    std::size_t at = kHeaderSize;
    AttributeView attribute;
    while (next(at, attribute)) {
      if (!visit(static_cast<const AttributeView&>(attribute))) return;
    }
  }

  // Values; nullopt where the attribute is missing or its value has not the right form (use has()
  // to tell the two apart). XOR-… addresses come back in the clear.
  std::optional<Endpoint> address(Attribute type) const;
  std::optional<Endpoint> xor_address(Attribute type) const;
  std::optional<Endpoint> xor_address(const AttributeView& attribute) const;
  std::optional<std::uint32_t> u32(Attribute type) const;      // exactly 4 bytes: LIFETIME
  std::optional<std::string_view> text(Attribute type) const;  // bytes as they are
  std::optional<std::uint16_t> channel_number() const;
  std::optional<std::uint16_t> response_port() const;  // with its two bytes of padding or without
  std::optional<std::uint8_t> requested_transport() const;
  // The family octet of REQUESTED- or ADDITIONAL-ADDRESS-FAMILY as it is, known or not.
  std::optional<std::uint8_t> family_octet(Attribute type) const;
  std::optional<bool> even_port_reserve() const;    // the R bit
  std::optional<std::uint16_t> error_code() const;  // 300–699

 private:
  static constexpr std::size_t kPlaces = 40;

  bool next(std::size_t& at, AttributeView& attribute) const;

  Bytes bytes_;
  // By an attribute's place in the table: the offset of the first that is visible; 0: none.
  std::array<std::uint16_t, kPlaces> at_{};
  std::uint64_t present_ = 0;  // a bit for each of them
  bool has_fingerprint_ = false;
  bool has_unknown_ = false;
};
static_assert(sizeof(MessageView) <= 112, "copied with requests");

// Builds a message in the caller's buffer. Once something does not fit, everything further is
// ignored and finish() returns an empty span; so callers check once, at the end. Padding is zero.
class MessageWriter {
 public:
  MessageWriter(std::span<std::uint8_t> buffer, Class message_class, Method method,
                const TransactionId& transaction_id);

  void add(Attribute type, Bytes value);
  void add_text(Attribute type, std::string_view value);
  void add_u32(Attribute type, std::uint32_t value);
  void add_u8_rfffu(Attribute type, std::uint8_t value);  // one byte, three reserved zero bytes
  void add_channel_number(std::uint16_t number);
  void add_address(Attribute type, const Endpoint& endpoint);
  void add_xor_address(Attribute type, const Endpoint& endpoint);
  // ERROR-CODE with the RFC's reason phrase for `code`, or another, fewer than 128 characters.
  void add_error_code(std::uint16_t code);
  void add_error_code(std::uint16_t code, std::string_view reason);
  // ADDRESS-ERROR-CODE (RFC 8656 §18.12).
  void add_address_error_code(Family family, std::uint16_t code);
  void add_unknown_attributes(std::span<const std::uint16_t> types);
  // ICMP (RFC 8656 §18.13): reserved 16 bits, type, code, 4 bytes of data.
  void add_icmp(std::uint8_t type, std::uint8_t code, std::uint32_t data);
  // Over all that has been added so far. `key` as integrity.h derives it. Nothing but FINGERPRINT
  // (or, after SHA-1, SHA-256) may follow.
  void add_message_integrity(Bytes key);
  void add_message_integrity_sha256(Bytes key);
  void add_fingerprint();

  bool overflowed() const { return overflowed_; }
  std::size_t size() const { return size_; }  // of what has been added so far, header and all
  // The whole message with its length set; empty if it did not fit.
  std::span<const std::uint8_t> finish();

 private:
  std::uint8_t* reserve(Attribute type, std::size_t value_size);

  std::span<std::uint8_t> buffer_;
  std::size_t size_ = 0;
  bool overflowed_ = false;
};

// The reason phrase that the RFCs give `code`; "Error" for a code they don't name.
std::string_view reason_phrase(std::uint16_t code);

// What may stand where: one table, attribute × message, that parser, engine and tests read
// (docs/protocol.md 4).
bool is_known_method(std::uint16_t raw_method);
// Whether this server understands `type` in a request or indication of `method`: an unknown
// comprehension-required one makes 420. Those of is_of_nat_discovery() are a listener's to
// understand.
bool is_understood(std::uint16_t type, Method method);
// Comprehension-required attributes that is_understood() refuses, first of each, in order. Returns
// how many were written to `out`.
std::size_t unknown_attributes(const MessageView& message, std::span<std::uint16_t> out);

}  // namespace turnpike::stun

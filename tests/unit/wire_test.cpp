// STUN on the wire: published vectors, every attribute both ways, credentials, nonces, tokens, the
// front door and the Internet checksum.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "turnpike/front_door.h"
#include "turnpike/integrity.h"
#include "turnpike/nonce.h"
#include "turnpike/reservation_token.h"
#include "turnpike/stun.h"
#include "wire/attributes.h"
#include "wire/challenge.h"
#include "wire/checksum.h"
#include "wire/crc32.h"
#include "wire/headers.h"
#include "wire/hmac.h"

namespace turnpike::stun {
namespace {

using Buffer = std::vector<std::uint8_t>;

// Spaces are ignored.
Buffer hex(std::string_view text) {
  Buffer bytes;
  std::string digits;
  for (const char c : text) {
    if (c != ' ') digits.push_back(c);
  }
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoul(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
Endpoint endpoint(const char* text) {
  return Endpoint::parse(text).value();
}

constexpr TransactionId kId{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

MessageView parsed(Bytes bytes) {
  MessageView view;
  EXPECT_EQ(MessageView::parse(bytes, view), ParseError::kNone);
  return view;
}
ParseError parse_error(Bytes bytes) {
  MessageView view;
  return MessageView::parse(bytes, view);
}

// A message of a header and the given attributes, with its length set.
Buffer message(std::string_view type, std::string_view attributes) {
  Buffer bytes = hex(std::string(type) + "0000 2112a442 0102030405060708090a0b0c");
  const Buffer rest = hex(attributes);
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  wire::store_be16(bytes.data() + 2, static_cast<std::uint16_t>(rest.size()));
  return bytes;
}

// RFC 5769 §2.
const Buffer kSampleRequest =
    hex("00010058 2112a442 b7e7a701bc34d686fa87dfae"
        "80220010 5354554e207465737420636c69656e74 00240004 6e0001ff 80290008 932ff9b151263b36"
        "00060009 6576746a3a68367659202020 00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
        "80280004 e57a3bcf");
const Buffer kSampleIpv4Response =
    hex("0101003c 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220"
        "00200008 0001a147e112a643 00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
        "80280004 c07d4c96");
const Buffer kSampleIpv6Response =
    hex("01010048 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220"
        "00200014 0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9"
        "00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c");
const Buffer kSampleLongTerm =
    hex("00010060 2112a442 78ad3433c6ad72c029da412e"
        "00060012 e3839ee38388e383aae38383e382afe382b90000"
        "0015001c 662f2f3439396b3935346436 4f4c33346f4c3946535476793634 7341"
        "0014000b 6578616d706c652e6f726700 00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666");
// RFC 8489 B.1 as erratum 6268 has it: with PASSWORD-ALGORITHM, and the length that goes with it.
const Buffer kSampleSha256 =
    hex("00010090 2112a442 78ad3433c6ad72c029da412e"
        "001e0020 4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
        "00150029 6f624d61744a6f7332414141 43662f2f3439396b3935346436 4f4c33346f4c3946535476793634"
        "7341000000 0014000b 6578616d706c652e6f726700 001d0004 00020000"
        "001c0020 b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65");

constexpr std::string_view kIcePassword = "VOkJxbRl1RmTxUk/WvJxBt";
constexpr std::string_view kMatrixUser = "マトリックス";
constexpr std::string_view kMatrixNonce = "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA";

TEST(Rfc5769, SampleRequestParsesAndVerifies) {
  const MessageView view = parsed(kSampleRequest);
  EXPECT_EQ(view.message_class(), Class::kRequest);
  EXPECT_EQ(view.method(), Method::kBinding);
  EXPECT_TRUE(view.has_fingerprint());
  EXPECT_EQ(view.text(Attribute::kUsername), "evtj:h6vY");
  EXPECT_EQ(view.text(Attribute::kSoftware), "STUN test client");
  EXPECT_TRUE(check_message_integrity(view, bytes_of(kIcePassword)));
  EXPECT_FALSE(check_message_integrity(view, bytes_of("VOkJxbRl1RmTxUk/WvJxBu")));
}

TEST(Rfc5769, SampleResponsesGiveTheirAddresses) {
  const MessageView v4 = parsed(kSampleIpv4Response);
  EXPECT_EQ(v4.message_class(), Class::kSuccess);
  EXPECT_EQ(v4.xor_address(Attribute::kXorMappedAddress), endpoint("192.0.2.1:32853"));
  EXPECT_EQ(v4.text(Attribute::kSoftware), "test vector");
  EXPECT_TRUE(check_message_integrity(v4, bytes_of(kIcePassword)));

  const MessageView v6 = parsed(kSampleIpv6Response);
  EXPECT_EQ(v6.xor_address(Attribute::kXorMappedAddress),
            endpoint("[2001:db8:1234:5678:11:2233:4455:6677]:32853"));
  EXPECT_TRUE(check_message_integrity(v6, bytes_of(kIcePassword)));
}

TEST(Rfc5769, LongTermRequestVerifiesAndIsRebuiltByteForByte) {
  const MessageView view = parsed(kSampleLongTerm);
  const Key key = long_term_key(PasswordAlgorithm::kMd5, kMatrixUser, "example.org", "TheMatrIX");
  EXPECT_EQ(key.size, 16);
  EXPECT_TRUE(check_message_integrity(view, key.view()));

  Buffer out(512, 0xEE);
  MessageWriter writer(out, Class::kRequest, Method::kBinding, view.transaction_id());
  writer.add_text(Attribute::kUsername, kMatrixUser);
  writer.add_text(Attribute::kNonce, "f//499k954d6OL34oL9FSTvy64sA");
  writer.add_text(Attribute::kRealm, "example.org");
  writer.add_message_integrity(key.view());
  const auto built = writer.finish();
  EXPECT_EQ(Buffer(built.begin(), built.end()), kSampleLongTerm);
}

TEST(Rfc8489, SampleB1VerifiesAndIsRebuiltByteForByte) {
  const MessageView view = parsed(kSampleSha256);
  const Key key =
      long_term_key(PasswordAlgorithm::kSha256, kMatrixUser, "example.org", "TheMatrIX");
  EXPECT_EQ(key.size, 32);
  EXPECT_EQ(view.text(Attribute::kNonce), kMatrixNonce);
  EXPECT_TRUE(check_message_integrity_sha256(view, key.view()));
  const auto hash = userhash(kMatrixUser, "example.org");
  EXPECT_EQ(view.text(Attribute::kUserhash),
            std::string_view(reinterpret_cast<const char*>(hash.data()), hash.size()));

  Buffer out(512, 0xEE);
  MessageWriter writer(out, Class::kRequest, Method::kBinding, view.transaction_id());
  writer.add(Attribute::kUserhash, hash);
  writer.add_text(Attribute::kNonce, kMatrixNonce);
  writer.add_text(Attribute::kRealm, "example.org");
  writer.add(Attribute::kPasswordAlgorithm, hex("00020000"));
  writer.add_message_integrity_sha256(key.view());
  const auto built = writer.finish();
  EXPECT_EQ(Buffer(built.begin(), built.end()), kSampleSha256);
}

TEST(Rfc5769, EveryFlippedByteIsNoticed) {
  for (const Buffer* sample : {&kSampleRequest, &kSampleIpv4Response, &kSampleIpv6Response}) {
    for (std::size_t i = 0; i < sample->size(); ++i) {
      // The two bytes that make FINGERPRINT a fingerprint: without it, nothing is checked.
      if (i / 2 == (sample->size() - 8) / 2) continue;
      Buffer broken = *sample;
      broken[i] ^= 0x01;
      EXPECT_NE(parse_error(broken), ParseError::kNone) << i;
    }
  }
}

TEST(Rfc8489, EveryFlippedByteBeforeIntegrityBreaksIt) {
  const Key key =
      long_term_key(PasswordAlgorithm::kSha256, kMatrixUser, "example.org", "TheMatrIX");
  for (std::size_t i = 0; i < kSampleSha256.size(); ++i) {
    Buffer broken = kSampleSha256;
    broken[i] ^= 0x80;
    MessageView view;
    if (MessageView::parse(broken, view) != ParseError::kNone) continue;
    EXPECT_FALSE(check_message_integrity_sha256(view, key.view())) << i;
  }
}

TEST(Parse, RefusesWhatIsNotStun) {
  EXPECT_EQ(parse_error({}), ParseError::kNotStun);
  EXPECT_EQ(parse_error(hex("0001")), ParseError::kNotStun);
  EXPECT_EQ(parse_error(message("8001", "")), ParseError::kNotStun);
  EXPECT_EQ(parse_error(message("4001", "")), ParseError::kNotStun);
  Buffer no_cookie = message("0001", "");
  no_cookie[4] = 0;
  EXPECT_EQ(parse_error(no_cookie), ParseError::kNotStun);
  EXPECT_EQ(parse_error(message("0001", "")), ParseError::kNone);
}

TEST(Parse, RefusesALengthThatIsNotTheDatagrams) {
  Buffer bytes = message("0001", "80220004 61616161");
  bytes.push_back(0);
  EXPECT_EQ(parse_error(bytes), ParseError::kBadLength);
  EXPECT_EQ(parse_error(Bytes(bytes).first(bytes.size() - 3)), ParseError::kBadLength);
  EXPECT_EQ(parse_error(message("0001", "802200")), ParseError::kBadLength);
}

TEST(Parse, RefusesAMessageLargerThanADatagram) {
  Buffer bytes(kHeaderSize + 65532);
  std::copy_n(message("0001", "").begin(), kHeaderSize, bytes.begin());
  wire::store_be16(bytes.data() + 2, 65532);
  wire::store_be16(bytes.data() + 20, 0x8022);
  wire::store_be16(bytes.data() + 22, 65528);
  EXPECT_EQ(parse_error(bytes), ParseError::kBadLength);
}

TEST(Parse, RefusesAnAttributeBeyondTheEnd) {
  EXPECT_EQ(parse_error(message("0001", "80220005 61616161")), ParseError::kBadAttribute);
  EXPECT_EQ(parse_error(message("0001", "8022ffff 61616161")), ParseError::kBadAttribute);
  EXPECT_EQ(parse_error(message("0001", "80220004")), ParseError::kBadAttribute);
  EXPECT_EQ(parse_error(message("0001", "80220000")), ParseError::kNone);
}

TEST(Parse, RefusesAFingerprintThatIsWrongOrNotLast) {
  Buffer out(128);
  MessageWriter writer(out, Class::kRequest, Method::kBinding, kId);
  writer.add_fingerprint();
  const auto built = writer.finish();
  Buffer good(built.begin(), built.end());
  EXPECT_EQ(parse_error(good), ParseError::kNone);
  Buffer more = good;
  const Buffer software = hex("80220000");
  more.insert(more.end(), software.begin(), software.end());
  wire::store_be16(more.data() + 2, 12);
  EXPECT_EQ(parse_error(more), ParseError::kBadFingerprint);
  good.back() ^= 1;
  EXPECT_EQ(parse_error(good), ParseError::kBadFingerprint);
  EXPECT_EQ(parse_error(message("0001", "80280000")), ParseError::kBadFingerprint);
}

TEST(Parse, ReadsEveryClassAndMethodTheWriterMakes) {
  for (const Method method :
       {Method::kBinding, Method::kAllocate, Method::kRefresh, Method::kSend, Method::kData,
        Method::kCreatePermission, Method::kChannelBind, static_cast<Method>(0xFFF)}) {
    for (const Class message_class :
         {Class::kRequest, Class::kIndication, Class::kSuccess, Class::kError}) {
      Buffer out(64);
      MessageWriter writer(out, message_class, method, kId);
      const MessageView view = parsed(writer.finish());
      EXPECT_EQ(view.message_class(), message_class);
      EXPECT_EQ(view.method(), method);
      EXPECT_EQ(view.transaction_id(), kId);
    }
  }
  // RFC 8656 §17: as they stand on the wire.
  EXPECT_EQ(parsed(message("0113", "")).message_class(), Class::kError);
  EXPECT_EQ(parsed(message("0113", "")).method(), Method::kAllocate);
  EXPECT_EQ(parsed(message("0016", "")).message_class(), Class::kIndication);
  EXPECT_EQ(parsed(message("0016", "")).method(), Method::kSend);
  EXPECT_EQ(parsed(message("0109", "")).message_class(), Class::kSuccess);
}

TEST(View, FirstOfDuplicateAttributesCounts) {
  const Buffer bytes = message("0003", "000d0004 00000001 000d0004 00000002 00190004 11000000");
  const MessageView view = parsed(bytes);
  EXPECT_EQ(view.u32(Attribute::kLifetime), 1U);
  EXPECT_EQ(view.requested_transport(), 17);
}

TEST(View, FirstOfDuplicatesCountsEvenIfItsValueIsBad) {
  const Buffer bytes = message("0003", "000d0000 000d0004 00000002");
  EXPECT_TRUE(parsed(bytes).has(Attribute::kLifetime));
  EXPECT_FALSE(parsed(bytes).u32(Attribute::kLifetime));
}

TEST(View, WhatStandsAfterIntegrityIsInvisible) {
  const std::string sha1 = "00080014 0000000000000000000000000000000000000000";
  const std::string sha256 =
      "001c0020 0000000000000000000000000000000000000000000000000000000000000000";
  const std::string lifetime = "000d0004 00000001";

  const Buffer after_sha1 = message("0003", sha1 + lifetime + sha256 + "00190004 11000000");
  EXPECT_FALSE(parsed(after_sha1).has(Attribute::kLifetime));
  EXPECT_FALSE(parsed(after_sha1).has(Attribute::kRequestedTransport));
  EXPECT_TRUE(parsed(after_sha1).has(Attribute::kMessageIntegrity));
  EXPECT_TRUE(parsed(after_sha1).has(Attribute::kMessageIntegritySha256));

  const Buffer after_sha256 = message("0003", sha256 + lifetime + sha1 + sha256);
  EXPECT_FALSE(parsed(after_sha256).has(Attribute::kLifetime));
  EXPECT_FALSE(parsed(after_sha256).has(Attribute::kMessageIntegrity));
  int visible = 0;
  parsed(after_sha256).for_each([&](const AttributeView&) { return ++visible, true; });
  EXPECT_EQ(visible, 1);
}

TEST(View, UnknownAttributeAfterIntegrityIsNot420) {
  const Buffer bytes =
      message("0003", "7ff00000 00080014 0000000000000000000000000000000000000000 7ff10000");
  std::array<std::uint16_t, 4> unknown{};
  EXPECT_EQ(unknown_attributes(parsed(bytes), unknown), 1U);
  EXPECT_EQ(unknown[0], 0x7ff0);
}

TEST(View, FingerprintAfterIntegrityIsSeen) {
  EXPECT_TRUE(parsed(kSampleRequest).has(Attribute::kFingerprint));
}

TEST(View, VisitsInOrderUntilToldToStop) {
  const Buffer bytes = message("0003", "80220001 61000000 000d0000 00190000");
  std::vector<std::uint16_t> seen;
  parsed(bytes).for_each([&](const AttributeView& attribute) {
    seen.push_back(attribute.type);
    return seen.size() < 2;
  });
  EXPECT_EQ(seen, (std::vector<std::uint16_t>{0x8022, 0x000d}));
}

TEST(View, AddressesOfWrongFamilyOrSizeAreRefused) {
  for (const char* value :
       {"00200004 00010000", "00200008 00030000 00000000", "00200008 00020000 00000000",
        "00200014 00010000 00000000"
        "00000000 00000000 00000000"}) {
    const Buffer bytes = message("0101", value);
    EXPECT_TRUE(parsed(bytes).has(Attribute::kXorMappedAddress));
    EXPECT_FALSE(parsed(bytes).xor_address(Attribute::kXorMappedAddress)) << value;
  }
}

TEST(View, TextsBeyondTheirRfcLimitAreRefused) {
  Buffer out(2048);
  MessageWriter writer(out, Class::kRequest, Method::kAllocate, kId);
  writer.add_text(Attribute::kUsername, std::string(508, 'u'));
  writer.add_text(Attribute::kRealm, std::string(764, 'r'));
  const Buffer bytes(writer.finish().begin(), writer.finish().end());
  EXPECT_EQ(parsed(bytes).text(Attribute::kUsername)->size(), 508U);
  EXPECT_TRUE(parsed(bytes).has(Attribute::kRealm));
  EXPECT_FALSE(parsed(bytes).text(Attribute::kRealm));
}

TEST(View, ErrorCodesOutsideTheirRangeAreRefused) {
  EXPECT_EQ(parsed(message("0111", "00090004 00000426")).error_code(), 438);
  EXPECT_EQ(parsed(message("0111", "00090004 fffffc26")).error_code(), 438);
  EXPECT_FALSE(parsed(message("0111", "00090004 00000226")).error_code());
  EXPECT_FALSE(parsed(message("0111", "00090004 00000726")).error_code());
  EXPECT_FALSE(parsed(message("0111", "00090004 00000464")).error_code());
  EXPECT_FALSE(parsed(message("0111", "00090000")).error_code());
}

// A message under construction, in a buffer that is dirty on purpose.
class Written {
 public:
  explicit Written(Class message_class = Class::kRequest, Method method = Method::kAllocate)
      : out_(1024, 0xEE), writer(out_, message_class, method, kId) {}
  MessageView view() {
    const auto bytes = writer.finish();
    EXPECT_FALSE(bytes.empty());
    return parsed(bytes);
  }

 private:
  Buffer out_;

 public:
  MessageWriter writer;
};

TEST(Writer, AddressAttributesComeBackInBothFamilies) {
  for (const char* text :
       {"192.0.2.1:32853", "0.0.0.0:0", "255.255.255.255:65535", "[2001:db8::1]:1", "[::]:0"}) {
    for (const Attribute type : {Attribute::kMappedAddress, Attribute::kAlternateServer}) {
      Written written;
      written.writer.add_address(type, endpoint(text));
      EXPECT_EQ(written.view().address(type), endpoint(text));
    }
    for (const Attribute type : {Attribute::kXorMappedAddress, Attribute::kXorPeerAddress,
                                 Attribute::kXorRelayedAddress}) {
      Written written;
      written.writer.add_xor_address(type, endpoint(text));
      EXPECT_EQ(written.view().xor_address(type), endpoint(text));
      EXPECT_NE(written.view().address(type), endpoint(text));
    }
  }
}

TEST(Writer, TextAttributesComeBackAtEveryPadding) {
  for (const Attribute type : {Attribute::kUsername, Attribute::kRealm, Attribute::kNonce,
                               Attribute::kSoftware, Attribute::kAlternateDomain}) {
    for (const std::string_view text : {"a", "ab", "abc", "abcd", "abcde"}) {
      Written written;
      written.writer.add_text(type, text);
      written.writer.add_u32(Attribute::kLifetime, 7);
      EXPECT_EQ(written.view().text(type), text);
      EXPECT_EQ(written.view().u32(Attribute::kLifetime), 7U);
    }
  }
}

TEST(Writer, TurnAttributesComeBack) {
  Written written;
  MessageWriter& writer = written.writer;
  writer.add_u32(Attribute::kLifetime, 0xFFFFFFFF);
  writer.add_channel_number(0x4FFF);
  writer.add_u8_rfffu(Attribute::kRequestedTransport, 17);
  writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, 2);
  writer.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 9);
  writer.add(Attribute::kEvenPort, hex("80"));
  writer.add(Attribute::kDontFragment, {});
  writer.add(Attribute::kReservationToken, hex("0102030405060708"));
  writer.add(Attribute::kData, hex("aabbcc"));
  writer.add(Attribute::kUserhash, Buffer(32, 7));
  writer.add(Attribute::kPasswordAlgorithm, hex("00020000"));
  writer.add(Attribute::kPasswordAlgorithms, hex("0002000000010000"));
  const MessageView view = written.view();
  EXPECT_EQ(view.u32(Attribute::kLifetime), 0xFFFFFFFF);
  EXPECT_EQ(view.channel_number(), 0x4FFF);
  EXPECT_EQ(view.requested_transport(), 17);
  EXPECT_EQ(view.family_octet(Attribute::kRequestedAddressFamily), 2);
  EXPECT_EQ(view.family_octet(Attribute::kAdditionalAddressFamily), 9);
  EXPECT_EQ(view.even_port_reserve(), true);
  EXPECT_TRUE(view.has(Attribute::kDontFragment));
  EXPECT_EQ(view.find(Attribute::kReservationToken)->value.size(), 8U);
  EXPECT_EQ(view.find(Attribute::kData)->value.size(), 3U);
  EXPECT_EQ(view.text(Attribute::kUserhash)->size(), 32U);
  EXPECT_EQ(password_algorithm(view), 2);
  EXPECT_EQ(view.find(Attribute::kPasswordAlgorithms)->value.size(), 8U);
}

TEST(Writer, EvenPortWithoutReservationIsFalseNotMissing) {
  EXPECT_EQ(parsed(message("0003", "00180001 7f000000")).even_port_reserve(), false);
  EXPECT_FALSE(parsed(message("0003", "")).even_port_reserve());
  EXPECT_FALSE(parsed(message("0003", "00180000")).even_port_reserve());
}

TEST(Writer, ErrorAttributesCarryCodeAndReason) {
  for (const std::uint16_t code :
       {300, 400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 486, 500, 508}) {
    Written written(Class::kError);
    written.writer.add_error_code(code);
    const MessageView view = written.view();
    EXPECT_EQ(view.error_code(), code);
    const auto text = view.text(Attribute::kErrorCode).value();
    EXPECT_EQ(text.substr(4), reason_phrase(code));
    EXPECT_NE(reason_phrase(code), "Error");
  }
  EXPECT_EQ(reason_phrase(499), "Error");
}

TEST(Writer, AddressErrorCodeAndIcmpStandAsRfc8656Draws) {
  Written written(Class::kSuccess);
  written.writer.add_address_error_code(Family::kIpv6, 440);
  written.writer.add_icmp(3, 4, 1280);
  const MessageView view = written.view();
  const auto error = view.find(Attribute::kAddressErrorCode)->value;
  EXPECT_EQ(Buffer(error.begin(), error.begin() + 4), hex("02000428"));
  const auto icmp = view.find(Attribute::kIcmp)->value;
  EXPECT_EQ(Buffer(icmp.begin(), icmp.end()), hex("0000 03 04 00000500"));
}

TEST(Writer, UnknownAttributesListEachType) {
  Written written(Class::kError);
  const std::array<std::uint16_t, 3> types{0x0003, 0x7fff, 0x0024};
  written.writer.add_unknown_attributes(types);
  const auto value = written.view().find(Attribute::kUnknownAttributes)->value;
  EXPECT_EQ(Buffer(value.begin(), value.end()), hex("0003 7fff 0024"));
}

TEST(Writer, PaddingIsZeroInADirtyBuffer) {
  for (std::size_t size = 0; size < 9; ++size) {
    Written written;
    written.writer.add_text(Attribute::kSoftware, std::string(size, 'x'));
    const auto bytes = written.writer.finish();
    for (std::size_t i = kHeaderSize + 4 + size; i < bytes.size(); ++i)
      EXPECT_EQ(bytes[i], 0);
    EXPECT_EQ(bytes.size() % 4, 0U);
  }
}

TEST(Writer, IntegritiesOfBothKindsVerifyTogetherAndWithFingerprint) {
  const Key md5 = long_term_key(PasswordAlgorithm::kMd5, "u", "r", "p");
  Written written;
  written.writer.add_u32(Attribute::kLifetime, 600);
  written.writer.add_message_integrity(md5.view());
  written.writer.add_message_integrity_sha256(md5.view());
  written.writer.add_fingerprint();
  const MessageView view = written.view();
  EXPECT_TRUE(view.has_fingerprint());
  EXPECT_TRUE(check_message_integrity(view, md5.view()));
  EXPECT_TRUE(check_message_integrity_sha256(view, md5.view()));
  const Key other = long_term_key(PasswordAlgorithm::kMd5, "u", "r", "q");
  EXPECT_FALSE(check_message_integrity(view, other.view()));
  EXPECT_FALSE(check_message_integrity_sha256(view, other.view()));
}

TEST(Writer, SaysNothingOnceSomethingDidNotFit) {
  for (std::size_t room = 0; room < 60; ++room) {
    Buffer out(room);
    MessageWriter writer(out, Class::kRequest, Method::kAllocate, kId);
    writer.add_u32(Attribute::kLifetime, 1);        // 8 bytes
    writer.add_message_integrity(bytes_of("key"));  // 24
    writer.add_fingerprint();                       // 8
    EXPECT_EQ(writer.finish().empty(), room < 60) << room;
    EXPECT_EQ(writer.overflowed(), room < 60) << room;
  }
  Buffer out(60);
  MessageWriter writer(out, Class::kRequest, Method::kAllocate, kId);
  writer.add(Attribute::kData, Buffer(41));
  writer.add_u32(Attribute::kLifetime, 1);
  EXPECT_TRUE(writer.finish().empty());
}

TEST(Writer, WithoutAKeyNoMessageLeaves) {
  Written written;
  written.writer.add_message_integrity({});
  EXPECT_TRUE(written.writer.finish().empty());
}

TEST(Integrity, Sha256IsTakenWholeOnly) {
  const Key key = long_term_key(PasswordAlgorithm::kSha256, "u", "r", "p");
  for (std::size_t size = 0; size <= 36; ++size) {
    Written written;
    written.writer.add_u32(Attribute::kLifetime, 600);
    written.writer.add(Attribute::kMessageIntegritySha256, Buffer(size));
    const auto draft = written.writer.finish();
    Buffer whole(draft.begin(), draft.end());
    const auto mac = message_hmac(Digest::kSha256, key.view(), draft, 28, size).value();
    std::copy_n(mac.begin(), std::min<std::size_t>(size, 32), whole.begin() + 32);
    EXPECT_EQ(check_message_integrity_sha256(parsed(whole), key.view()), size == 32) << size;
  }
}

TEST(Integrity, MissingOrMisshapenAttributeIsFalse) {
  const Key key = long_term_key(PasswordAlgorithm::kMd5, "u", "r", "p");
  const Buffer none = message("0003", "");
  EXPECT_FALSE(check_message_integrity(parsed(none), key.view()));
  EXPECT_FALSE(check_message_integrity_sha256(parsed(none), key.view()));
  const Buffer brief = message("0003", "00080010 00000000000000000000000000000000");
  EXPECT_FALSE(check_message_integrity(parsed(brief), key.view()));
  EXPECT_FALSE(check_message_integrity(parsed(kSampleLongTerm), {}));
}

TEST(Integrity, ConstantTimeComparisonComparesEveryByte) {
  const Buffer a = hex("00010203");
  EXPECT_TRUE(equal_constant_time(a, hex("00010203")));
  EXPECT_FALSE(equal_constant_time(a, hex("00010204")));
  EXPECT_FALSE(equal_constant_time(a, hex("01010203")));
  EXPECT_FALSE(equal_constant_time(a, hex("000102")));
  EXPECT_TRUE(equal_constant_time({}, {}));
}

// RFC 2202, case 2, in base64.
TEST(Integrity, RestPasswordIsHmacSha1InBase64) {
  EXPECT_EQ(rest_password("Jefe", "what do ya want for nothing?"), "7/zfauXrL6LSdBbV8YTfnCWafHk=");
}

TEST(OpaqueString, PassesOrdinaryTextUnchanged) {
  for (const std::string_view text :
       {"user", "1700000000:user", "pass word", "マトリックス", "ß🙂"}) {
    EXPECT_EQ(opaque_string(text), text);
  }
}

TEST(OpaqueString, MapsForeignSpacesToOurs) {
  EXPECT_EQ(opaque_string("a\u00A0b\u3000c\u2003d"), "a b c d");
}

TEST(OpaqueString, RefusesEmptyControlsAndIgnorables) {
  using namespace std::string_view_literals;
  for (const std::string_view text : {""sv, "a\0b"sv, "a\nb"sv, "\x7f"sv, "\u0085"sv, "a\u00ADb"sv,
                                      "\u200B"sv, "\uFEFFa"sv, "\uE000"sv, "\uFFFF"sv}) {
    EXPECT_FALSE(opaque_string(text));
  }
}

TEST(OpaqueString, RefusesInvalidUtf8) {
  for (const std::string_view text : {"\x80", "\xC0\xAF", "\xC3", "a\xE2\x82", "\xED\xA0\x80",
                                      "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xE0\x80\xAF"}) {
    EXPECT_FALSE(opaque_string(text));
  }
}

TEST(AttributeTable, NamesEveryRuleOnceWithAPlace) {
  for (const AttributeRule& rule : attribute_rules()) {
    EXPECT_EQ(find_attribute_rule(static_cast<std::uint16_t>(rule.type)), &rule);
    EXPECT_LE(rule.size_min, rule.size_max) << rule.name;
    EXPECT_NE(rule.request.may | rule.success.may | rule.error.may, 0) << rule.name;
    for (const Placement* place : {&rule.request, &rule.success, &rule.error}) {
      EXPECT_EQ(place->must & ~place->may, 0) << rule.name;
    }
  }
  EXPECT_EQ(find_attribute_rule(0x0003), nullptr);
  EXPECT_EQ(find_attribute_rule(0xFFFF), nullptr);
}

TEST(AttributeTable, SaysWhatEachTurnMessageMustCarry) {
  const auto where = [](Attribute type, Method method, Class message_class = Class::kRequest) {
    return presence(type, method, message_class);
  };
  EXPECT_EQ(where(Attribute::kRequestedTransport, Method::kAllocate), Presence::kMust);
  EXPECT_EQ(where(Attribute::kRequestedTransport, Method::kRefresh), Presence::kUnexpected);
  EXPECT_EQ(where(Attribute::kChannelNumber, Method::kChannelBind), Presence::kMust);
  EXPECT_EQ(where(Attribute::kXorPeerAddress, Method::kCreatePermission), Presence::kMust);
  EXPECT_EQ(where(Attribute::kData, Method::kSend, Class::kIndication), Presence::kMust);
  EXPECT_EQ(where(Attribute::kData, Method::kData, Class::kIndication), Presence::kMay);
  EXPECT_EQ(where(Attribute::kXorRelayedAddress, Method::kAllocate, Class::kSuccess),
            Presence::kMust);
  EXPECT_EQ(where(Attribute::kErrorCode, Method::kRefresh, Class::kError), Presence::kMust);
  EXPECT_EQ(where(Attribute::kErrorCode, Method::kRefresh, Class::kSuccess), Presence::kUnexpected);
}

TEST(AttributeTable, KnownButUnexpectedIsUnderstood) {
  EXPECT_TRUE(is_understood(0x000D, Method::kBinding));
  EXPECT_TRUE(is_understood(0x0019, Method::kRefresh));
  EXPECT_FALSE(is_understood(0x0003, Method::kBinding));   // CHANGE-REQUEST (docs/protocol.md 34)
  EXPECT_FALSE(is_understood(0x0024, Method::kBinding));   // ICE's PRIORITY
  EXPECT_FALSE(is_understood(0x001B, Method::kAllocate));  // ACCESS-TOKEN (docs/protocol.md 36)
  EXPECT_FALSE(is_known_method(0x002));                    // Shared Secret
  EXPECT_FALSE(is_known_method(0x00A));                    // RFC 6062
  EXPECT_TRUE(is_known_method(0x009));
}

TEST(AttributeTable, UnknownAttributesAreListedOnceInOrder) {
  const Buffer bytes =
      message("0001", "7ff10000 00030000 7ff10000 c0010000 00060001 61000000 7ff20000");
  std::array<std::uint16_t, 8> out{};
  ASSERT_EQ(unknown_attributes(parsed(bytes), out), 3U);
  EXPECT_EQ(out[0], 0x7ff1);
  EXPECT_EQ(out[1], 0x0003);
  EXPECT_EQ(out[2], 0x7ff2);
  std::array<std::uint16_t, 2> brief{};
  EXPECT_EQ(unknown_attributes(parsed(bytes), brief), 2U);
}

TEST(Crc32, MatchesTheCheckValueAtEverySplit) {
  EXPECT_EQ(wire::crc32(bytes_of("123456789")), 0xCBF43926U);
  EXPECT_EQ(wire::crc32({}), 0U);
  EXPECT_EQ(wire::crc32(bytes_of("The quick brown fox jumps over the lazy dog")), 0x414FA339U);
}

}  // namespace
}  // namespace turnpike::stun

namespace turnpike {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr Instant kStart{1'000'000};
Endpoint endpoint(const char* text) {
  return Endpoint::parse(text).value();
}
const Endpoint kClient = endpoint("198.51.100.7:40000");
const Endpoint kServer = endpoint("203.0.113.1:3478");

NonceKeeper::Config nonce_config() {
  NonceKeeper::Config config;
  config.realm = "example.org";
  config.key = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  return config;
}

std::string mint(const NonceKeeper& keeper, Instant now = kStart) {
  std::array<char, NonceKeeper::kMaxSize> out;
  return {out.data(), keeper.mint(now, kClient, kServer, out)};
}

Instant after(std::uint32_t seconds) {
  return kStart + std::uint64_t{seconds} * 1000;
}

TEST(Nonce, SaysItsSecurityFeaturesCountedFromTheRight) {
  NonceKeeper::Config config = nonce_config();
  const auto cookie = [&](bool algorithms, bool anonymity) {
    config.password_algorithms = algorithms;
    config.username_anonymity = anonymity;
    return mint(NonceKeeper(config)).substr(0, 13);
  };
  EXPECT_EQ(cookie(true, true), "obMatJos2AAAD");
  EXPECT_EQ(cookie(true, false), "obMatJos2AAAB");
  EXPECT_EQ(cookie(false, true), "obMatJos2AAAC");
  EXPECT_EQ(cookie(false, false), "obMatJos2AAAA");
}

TEST(Nonce, IsShortAndPrintable) {
  const std::string nonce = mint(NonceKeeper(nonce_config()));
  EXPECT_LE(nonce.size(), NonceKeeper::kMaxSize);
  for (const char c : nonce) {
    EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+' || c == '/');
  }
}

TEST(Nonce, LivesItsLifetimeAndThenIsStale) {
  const NonceKeeper keeper(nonce_config());
  const std::string nonce = mint(keeper);
  EXPECT_EQ(keeper.check(kStart, kClient, kServer, nonce), NonceState::kValid);
  EXPECT_EQ(keeper.check(after(3599), kClient, kServer, nonce), NonceState::kValid);
  EXPECT_EQ(keeper.check(after(3600), kClient, kServer, nonce), NonceState::kStale);
}

TEST(Nonce, OfAMomentAheadIsValidAndOfTheFutureIsStale) {
  const NonceKeeper keeper(nonce_config());
  EXPECT_EQ(keeper.check(kStart, kClient, kServer, mint(keeper, after(2))), NonceState::kValid);
  EXPECT_EQ(keeper.check(kStart, kClient, kServer, mint(keeper, after(3))), NonceState::kStale);
}

TEST(Nonce, FromAnotherAddressPortOrServerIsInvalid) {
  const NonceKeeper keeper(nonce_config());
  const std::string nonce = mint(keeper);
  for (const char* other : {"198.51.100.8:40000", "198.51.100.7:40001",
                            "[::ffff:198.51.100.7]:40000", "[c633:6407::]:40000"}) {
    EXPECT_EQ(keeper.check(kStart, endpoint(other), kServer, nonce), NonceState::kInvalid) << other;
  }
  for (const char* other : {"203.0.113.2:3478", "203.0.113.1:3479"}) {
    EXPECT_EQ(keeper.check(kStart, kClient, endpoint(other), nonce), NonceState::kInvalid) << other;
  }
  EXPECT_EQ(keeper.check(kStart, kServer, kClient, nonce), NonceState::kInvalid);
}

TEST(Nonce, WithAnyCharacterChangedIsInvalid) {
  const NonceKeeper keeper(nonce_config());
  const std::string nonce = mint(keeper);
  for (std::size_t i = 0; i < nonce.size(); ++i) {
    std::string forged = nonce;
    forged[i] = forged[i] == 'A' ? 'B' : 'A';
    EXPECT_EQ(keeper.check(kStart, kClient, kServer, forged), NonceState::kInvalid) << i;
    forged[i] = '\0';
    EXPECT_EQ(keeper.check(kStart, kClient, kServer, forged), NonceState::kInvalid) << i;
  }
  EXPECT_EQ(keeper.check(kStart, kClient, kServer, ""), NonceState::kInvalid);
  EXPECT_EQ(keeper.check(kStart, kClient, kServer, nonce + "A"), NonceState::kInvalid);
  EXPECT_EQ(keeper.check(kStart, kClient, kServer, nonce.substr(1)), NonceState::kInvalid);
}

TEST(Nonce, OfAnotherRealmKeyGenerationOrFeatureSetIsInvalid) {
  const std::string nonce = mint(NonceKeeper(nonce_config()));
  const auto check_with = [&](auto change) {
    NonceKeeper::Config config = nonce_config();
    change(config);
    return NonceKeeper(config).check(kStart, kClient, kServer, nonce);
  };
  using Config = NonceKeeper::Config;
  EXPECT_EQ(check_with([](Config&) {}), NonceState::kValid);
  EXPECT_EQ(check_with([](Config& c) { c.realm = "example.com"; }), NonceState::kInvalid);
  EXPECT_EQ(check_with([](Config& c) { c.key[15] ^= 1; }), NonceState::kInvalid);
  EXPECT_EQ(check_with([](Config& c) { c.generation = 1; }), NonceState::kInvalid);
  EXPECT_EQ(check_with([](Config& c) { c.username_anonymity = false; }), NonceState::kInvalid);
}

TEST(Nonce, OutlivesOneRotationOfTheKeyAndNotTwo) {
  NonceKeeper keeper(nonce_config());
  for (std::uint8_t round = 0; round < 9; ++round) {
    const std::string nonce = mint(keeper);
    keeper.rotate({round, 0xFF});
    EXPECT_NE(mint(keeper), nonce);
    EXPECT_EQ(keeper.check(kStart, kClient, kServer, nonce), NonceState::kValid);
    EXPECT_EQ(keeper.check(after(3600), kClient, kServer, nonce), NonceState::kStale);
    keeper.rotate({round, 0xFE});
    EXPECT_EQ(keeper.check(kStart, kClient, kServer, nonce), NonceState::kInvalid);
  }
}

TEST(Nonce, OfTheZeroKeyIsNoPreviousKey) {
  NonceKeeper::Config zero = nonce_config();
  zero.key = {};
  EXPECT_EQ(NonceKeeper(nonce_config()).check(kStart, kClient, kServer, mint(NonceKeeper(zero))),
            NonceState::kInvalid);
}

TEST(ReservationToken, OpensToWhatWasSealed) {
  const TokenSealer sealer({9, 8, 7});
  for (const std::uint32_t id : {0U, 1U, 0x123456U, 0xFFFFFFU}) {
    const auto content = sealer.open(sealer.seal({.shard = 200, .id = id}));
    ASSERT_TRUE(content);
    EXPECT_EQ(content->shard, 200);
    EXPECT_EQ(content->id, id);
  }
}

TEST(ReservationToken, ForgedForeignOrCutIsRefused) {
  const TokenSealer sealer({9, 8, 7});
  const auto token = sealer.seal({.shard = 1, .id = 77});
  for (std::size_t i = 0; i < token.size(); ++i) {
    auto forged = token;
    forged[i] ^= 1;
    EXPECT_FALSE(sealer.open(forged)) << i;
  }
  EXPECT_FALSE(TokenSealer({9, 8, 6}).open(token));
  EXPECT_FALSE(sealer.open(std::span(token).first(7)));
  EXPECT_FALSE(sealer.open({}));
}

// A front door with its nonces, and requests to bring to it.
class FrontDoorTest : public testing::Test {
 protected:
  using Buffer = std::vector<std::uint8_t>;

  FrontDoorTest() { config.realm = "example.org"; }

  DoorResult knock(const Buffer& request, bool known = false, Instant now = kStart) {
    request_ = request;
    MessageView view;
    EXPECT_EQ(MessageView::parse(request_, view), stun::ParseError::kNone);
    out.fill(0xEE);
    return FrontDoor(config, nonces).answer(now, view, kClient, kServer, known, out);
  }
  MessageView answer(const DoorResult& result) {
    EXPECT_EQ(result.door, Door::kAnswered);
    MessageView view;
    EXPECT_EQ(MessageView::parse(std::span(out).first(result.size), view), stun::ParseError::kNone);
    return view;
  }
  template <typename Fill>
  Buffer request(Method method, Fill fill, Class message_class = Class::kRequest) {
    std::array<std::uint8_t, 1024> buffer;
    MessageWriter writer(buffer, message_class, method, {7, 7, 7});
    fill(writer);
    const auto bytes = writer.finish();
    EXPECT_FALSE(bytes.empty());
    return {bytes.begin(), bytes.end()};
  }
  Buffer request(Method method, Class message_class = Class::kRequest) {
    return request(
        method, [](MessageWriter&) {}, message_class);
  }
  // With all credentials; the key is the engine's business and arbitrary here.
  Buffer signed_request(const std::string& nonce, Buffer algorithms = {}, Buffer algorithm = {}) {
    return request(Method::kAllocate, [&](MessageWriter& writer) {
      writer.add_text(Attribute::kUsername, "user");
      writer.add_text(Attribute::kRealm, "example.org");
      writer.add_text(Attribute::kNonce, nonce);
      if (!algorithms.empty()) writer.add(Attribute::kPasswordAlgorithms, algorithms);
      if (!algorithm.empty()) writer.add(Attribute::kPasswordAlgorithm, algorithm);
      writer.add_message_integrity(Buffer{1});
    });
  }

  FrontDoor::Config config;
  NonceKeeper nonces{nonce_config()};
  std::array<std::uint8_t, kAnswerMax> out{};

 private:
  Buffer request_;
};

const std::vector<std::uint8_t> kOffered{0, 2, 0, 0, 0, 1, 0, 0};
const std::vector<std::uint8_t> kChooseSha256{0, 2, 0, 0};
const std::vector<std::uint8_t> kChooseMd5{0, 1, 0, 0};

TEST_F(FrontDoorTest, BindingIsAnsweredWithTheSendersAddress) {
  const DoorResult result = knock(request(Method::kBinding));
  EXPECT_EQ(result.answer, DoorAnswer::kBindingSuccess);
  const MessageView view = answer(result);
  EXPECT_EQ(view.message_class(), Class::kSuccess);
  EXPECT_EQ(view.method(), Method::kBinding);
  EXPECT_EQ(view.transaction_id(), (stun::TransactionId{7, 7, 7}));
  EXPECT_EQ(view.xor_address(Attribute::kXorMappedAddress), kClient);
  EXPECT_FALSE(view.has(Attribute::kSoftware));
  EXPECT_FALSE(view.has_fingerprint());
}

TEST_F(FrontDoorTest, AnswersCarryAFingerprintIffTheRequestDid) {
  const auto with = [](MessageWriter& writer) { writer.add_fingerprint(); };
  EXPECT_TRUE(answer(knock(request(Method::kBinding, with))).has_fingerprint());
  EXPECT_TRUE(answer(knock(request(Method::kAllocate, with))).has_fingerprint());
  EXPECT_FALSE(answer(knock(request(Method::kAllocate))).has_fingerprint());
}

TEST_F(FrontDoorTest, BindingWithUnknownRequiredAttributesGets420AndTheirList) {
  const DoorResult result = knock(request(Method::kBinding, [](MessageWriter& writer) {
    writer.add_u32(static_cast<Attribute>(0x0003), 6);
    writer.add_u32(static_cast<Attribute>(0x7ABC), 6);
    writer.add_u32(static_cast<Attribute>(0xC001), 6);
  }));
  EXPECT_EQ(result.answer, DoorAnswer::k420);
  const MessageView view = answer(result);
  EXPECT_EQ(view.error_code(), 420);
  const auto list = view.find(Attribute::kUnknownAttributes)->value;
  EXPECT_EQ(Buffer(list.begin(), list.end()), (Buffer{0x00, 0x03, 0x7A, 0xBC}));
}

TEST_F(FrontDoorTest, BindingWithManyUnknownAttributesStillFits) {
  const DoorResult result = knock(request(Method::kBinding, [](MessageWriter& writer) {
    for (std::uint16_t type = 0x7000; type < 0x7000 + stun::kAttributesMax - 1; ++type) {
      writer.add(static_cast<Attribute>(type), {});
    }
    writer.add_fingerprint();
  }));
  EXPECT_EQ(result.answer, DoorAnswer::k420);
  EXPECT_EQ(answer(result).find(Attribute::kUnknownAttributes)->value.size(),
            2 * (stun::kAttributesMax - 1))
      << "each is named";
}

TEST_F(FrontDoorTest, BindingIgnoresCredentials) {
  const auto result = knock(request(Method::kBinding, [](MessageWriter& writer) {
    writer.add_text(Attribute::kUsername, "user");
    writer.add_message_integrity(Buffer{1});
  }));
  EXPECT_EQ(result.answer, DoorAnswer::kBindingSuccess);
  EXPECT_FALSE(answer(result).has(Attribute::kMessageIntegrity));
}

TEST_F(FrontDoorTest, BindingIndicationIsAcceptedInSilence) {
  EXPECT_EQ(knock(request(Method::kBinding, Class::kIndication)).door, Door::kIgnoreIndication);
}

TEST_F(FrontDoorTest, WhatNoServerTakesIsIgnored) {
  for (const Class message_class : {Class::kSuccess, Class::kError}) {
    EXPECT_EQ(knock(request(Method::kBinding, message_class)).door, Door::kIgnoreMalformed);
    EXPECT_EQ(knock(request(Method::kAllocate, message_class)).door, Door::kIgnoreMalformed);
  }
  EXPECT_EQ(knock(request(Method::kAllocate, Class::kIndication)).door, Door::kIgnoreMalformed);
  EXPECT_EQ(knock(request(Method::kSend)).door, Door::kIgnoreMalformed);
  EXPECT_EQ(knock(request(Method::kData)).door, Door::kIgnoreMalformed);
  EXPECT_EQ(knock(request(static_cast<Method>(0x002))).door, Door::kIgnoreMalformed);
}

TEST_F(FrontDoorTest, EachUsageCanBeTurnedOff) {
  config.stun_only = true;
  EXPECT_EQ(knock(request(Method::kAllocate)).door, Door::kIgnoreMalformed);
  EXPECT_EQ(knock(request(Method::kBinding)).door, Door::kAnswered);
  config.stun_only = false;
  config.turn_only = true;
  EXPECT_EQ(knock(request(Method::kAllocate)).door, Door::kAnswered);
  EXPECT_EQ(knock(request(Method::kBinding)).door, Door::kIgnoreMalformed);
  EXPECT_EQ(knock(request(Method::kBinding, Class::kIndication)).door, Door::kIgnoreMalformed);
}

TEST_F(FrontDoorTest, RequestWithoutIntegrityIsChallenged) {
  for (const Method method :
       {Method::kAllocate, Method::kRefresh, Method::kCreatePermission, Method::kChannelBind}) {
    const DoorResult result = knock(request(method));
    EXPECT_EQ(result.answer, DoorAnswer::k401);
    const MessageView view = answer(result);
    EXPECT_EQ(view.message_class(), Class::kError);
    EXPECT_EQ(view.method(), method);
    EXPECT_EQ(view.error_code(), 401);
    EXPECT_EQ(view.text(Attribute::kRealm), "example.org");
    EXPECT_EQ(nonces.check(kStart, kClient, kServer, *view.text(Attribute::kNonce)),
              NonceState::kValid);
    const auto list = view.find(Attribute::kPasswordAlgorithms)->value;
    EXPECT_EQ(Buffer(list.begin(), list.end()), kOffered);
    EXPECT_FALSE(view.has(Attribute::kMessageIntegrity));
    EXPECT_FALSE(view.has(Attribute::kUsername));
  }
}

TEST_F(FrontDoorTest, ListsWhichAlgorithmsAreOffered) {
  const auto listed = [&](bool sha256, bool md5) {
    config.sha256_offered = sha256;
    config.md5_offered = md5;
    const auto list =
        answer(knock(request(Method::kAllocate))).find(Attribute::kPasswordAlgorithms)->value;
    return Buffer(list.begin(), list.end());
  };
  EXPECT_EQ(listed(true, true), kOffered);
  EXPECT_EQ(listed(true, false), kChooseSha256);
  EXPECT_EQ(listed(false, true), kChooseMd5) << "RFC 8489 §9.2.4: a MUST, whoever the users are";
}

TEST_F(FrontDoorTest, IntegrityWithoutTheRestIs400) {
  const std::string nonce = mint(nonces);
  for (int missing = 0; missing < 3; ++missing) {
    const DoorResult result = knock(request(Method::kAllocate, [&](MessageWriter& writer) {
      if (missing != 0) writer.add_text(Attribute::kUsername, "user");
      if (missing != 1) writer.add_text(Attribute::kRealm, "example.org");
      if (missing != 2) writer.add_text(Attribute::kNonce, nonce);
      writer.add_message_integrity(Buffer{1});
    }));
    EXPECT_EQ(result.answer, DoorAnswer::k400) << missing;
    const MessageView view = answer(result);
    EXPECT_EQ(view.error_code(), 400);
    EXPECT_FALSE(view.has(Attribute::kRealm));
    EXPECT_FALSE(view.has(Attribute::kNonce));
  }
}

TEST_F(FrontDoorTest, CredentialsAfterIntegrityDoNotCount) {
  Buffer bytes = signed_request(mint(nonces));
  // USERNAME (4 + 4 bytes) comes first; move it behind everything.
  std::rotate(bytes.begin() + 20, bytes.begin() + 28, bytes.end());
  EXPECT_EQ(knock(bytes).answer, DoorAnswer::k400);
}

TEST_F(FrontDoorTest, CompleteCredentialsWithAFreshNonceAreAdmitted) {
  EXPECT_EQ(knock(signed_request(mint(nonces))).door, Door::kAdmit);
  EXPECT_EQ(knock(signed_request(mint(nonces), kOffered, kChooseSha256)).door, Door::kAdmit);
  EXPECT_EQ(knock(signed_request(mint(nonces), kOffered, kChooseMd5)).door, Door::kAdmit);
}

TEST_F(FrontDoorTest, UserhashAndSha256IntegrityAreAdmittedToo) {
  const std::string nonce = mint(nonces);
  const auto with_hash = [&](std::size_t size) {
    return request(Method::kAllocate, [&](MessageWriter& writer) {
      writer.add(Attribute::kUserhash, Buffer(size, 1));
      writer.add_text(Attribute::kRealm, "example.org");
      writer.add_text(Attribute::kNonce, nonce);
      writer.add_message_integrity_sha256(Buffer{1});
    });
  };
  EXPECT_EQ(knock(with_hash(32)).door, Door::kAdmit);
  EXPECT_EQ(knock(with_hash(31)).answer, DoorAnswer::k400);
}

TEST_F(FrontDoorTest, ForgedNonceIs438WithAFreshOne) {
  const DoorResult result = knock(signed_request("obMatJos2AAADforged"), true);
  EXPECT_EQ(result.answer, DoorAnswer::k438);
  const MessageView view = answer(result);
  EXPECT_EQ(view.error_code(), 438);
  EXPECT_EQ(view.text(Attribute::kRealm), "example.org");
  EXPECT_EQ(nonces.check(kStart, kClient, kServer, *view.text(Attribute::kNonce)),
            NonceState::kValid);
  EXPECT_TRUE(view.has(Attribute::kPasswordAlgorithms));
}

TEST_F(FrontDoorTest, NonceOfAnotherClientIs438) {
  std::array<char, NonceKeeper::kMaxSize> text;
  const std::size_t size = nonces.mint(kStart, endpoint("198.51.100.7:40001"), kServer, text);
  EXPECT_EQ(knock(signed_request(std::string(text.data(), size))).answer, DoorAnswer::k438);
}

TEST_F(FrontDoorTest, StaleNonceIs438UnlessTheFiveTupleIsKnown) {
  const Buffer bytes = signed_request(mint(nonces));
  EXPECT_EQ(knock(bytes, false, after(3600)).answer, DoorAnswer::k438);
  EXPECT_EQ(knock(bytes, true, after(3600)).door, Door::kAdmit);
}

TEST_F(FrontDoorTest, WeakenedAlgorithmListIs400) {
  const std::string nonce = mint(nonces);
  EXPECT_EQ(knock(signed_request(nonce, kChooseMd5, kChooseMd5)).answer, DoorAnswer::k400);
  EXPECT_EQ(knock(signed_request(nonce, {0, 1, 0, 0, 0, 2, 0, 0}, kChooseMd5)).answer,
            DoorAnswer::k400);
  EXPECT_EQ(knock(signed_request(nonce, kOffered)).answer, DoorAnswer::k400);
  EXPECT_EQ(knock(signed_request(nonce, {}, kChooseSha256)).answer, DoorAnswer::k400);
  EXPECT_EQ(knock(signed_request(nonce, kOffered, {0, 3, 0, 0})).answer, DoorAnswer::k400);
  EXPECT_EQ(knock(signed_request(nonce, kOffered, {0, 2, 0, 4, 0, 0, 0, 0})).answer,
            DoorAnswer::k400);
}

TEST_F(FrontDoorTest, OldAlgorithmGenerationIs438AndNever400) {
  NonceKeeper::Config next = nonce_config();
  next.generation = 1;
  const std::string old = mint(nonces);
  const NonceKeeper renewed(next);
  const FrontDoor other(config, renewed);
  MessageView view;
  const Buffer bytes = signed_request(old, kChooseMd5, kChooseMd5);
  ASSERT_EQ(MessageView::parse(bytes, view), stun::ParseError::kNone);
  EXPECT_EQ(other.answer(kStart, view, kClient, kServer, false, out).answer, DoorAnswer::k438);
}

TEST_F(FrontDoorTest, AnswerThatDoesNotFitIsNotSent) {
  config.realm = std::string(600, 'r');
  EXPECT_EQ(knock(request(Method::kAllocate)).door, Door::kTooLong);
}

}  // namespace
}  // namespace turnpike

namespace turnpike::wire {
namespace {

using Buffer = std::vector<std::uint8_t>;

// RFC 1071 §3's example.
TEST(Checksum, SumsRfc1071sExample) {
  const Buffer bytes{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(sum_bytes(bytes), 0xddf2);
}

std::uint16_t slow_sum(const std::uint8_t* data, std::size_t size) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < size; ++i)
    sum += i % 2 == 0 ? data[i] << 8 : data[i];
  while (sum > 0xFFFF)
    sum = (sum & 0xFFFF) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

TEST(Checksum, SumsEveryAlignmentAndLength) {
  Buffer bytes(300);
  std::uint32_t state = 1;
  for (auto& byte : bytes)
    byte = static_cast<std::uint8_t>((state = state * 1664525 + 1) >> 24);
  for (std::size_t from = 0; from < 8; ++from) {
    for (std::size_t size = 0; size + from <= 200; ++size) {
      EXPECT_EQ(sum_bytes(bytes.data() + from, size), slow_sum(bytes.data() + from, size));
    }
  }
  const Buffer ones(65535, 0xFF);
  EXPECT_EQ(sum_bytes(ones), slow_sum(ones.data(), ones.size()));
}

TEST(Checksum, OddOffsetSwapsTheSum) {
  const Buffer bytes{0x12, 0x34, 0x56, 0x78, 0x9a};
  const std::uint32_t split =
      std::uint32_t{sum_bytes(bytes.data(), 1)} + at_odd_offset(sum_bytes(bytes.data() + 1, 4));
  EXPECT_EQ(fold(split), sum_bytes(bytes));
}

// RFC 1624 §4: the case where RFC 1141's equation gives 0xFFFF instead of 0.
TEST(Checksum, DifferenceGivesRfc1624sCornerCase) {
  EXPECT_EQ(ChecksumDifference().replace(0x5555, 0x3285).apply(0xdd2f), 0x0000);
}

TEST(Checksum, DifferenceAgreesWithComputingAnew) {
  Buffer bytes{0x45, 0x00, 0x00, 0x54, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11,
               0x00, 0x00, 0xc0, 0x00, 0x02, 0x01, 0xc6, 0x33, 0x64, 0x07};
  store_be16(bytes.data() + ipv4::kChecksum, ipv4_header_checksum(bytes.data(), 20));
  EXPECT_TRUE(ipv4_header_checksum_good(bytes.data(), 20));
  for (std::uint32_t ttl = 0; ttl < 256; ++ttl) {
    const std::uint16_t before = load_be16(bytes.data() + ipv4::kTtl);
    const std::uint16_t old = load_be16(bytes.data() + ipv4::kChecksum);
    bytes[ipv4::kTtl] = static_cast<std::uint8_t>(ttl * 7);
    const std::uint16_t updated =
        ChecksumDifference().replace(before, load_be16(bytes.data() + ipv4::kTtl)).apply(old);
    EXPECT_EQ(updated, ipv4_header_checksum(bytes.data(), 20));
    store_be16(bytes.data() + ipv4::kChecksum, updated);
    EXPECT_TRUE(ipv4_header_checksum_good(bytes.data(), 20));
  }
  bytes[0] ^= 1;
  EXPECT_FALSE(ipv4_header_checksum_good(bytes.data(), 20));
}

// The words are added one by one here, as RFC 768 names them.
TEST(Checksum, UdpOverIpv4MatchesAHandComputedOne) {
  const Buffer source{192, 0, 2, 1};
  const Buffer destination{198, 51, 100, 7};
  Buffer udp{0x13, 0x88, 0x00, 0x35, 0x00, 0x0b, 0xAA, 0xAA, 'h', 'i', '!'};
  std::uint32_t sum = 0xc000 + 0x0201 + 0xc633 + 0x6407 + 0x0011 + 0x000b;
  sum += 0x1388 + 0x0035 + 0x000b + 0x6869 + 0x2100;
  sum = (sum & 0xFFFF) + (sum >> 16);
  sum = (sum & 0xFFFF) + (sum >> 16);
  const std::uint16_t expected = static_cast<std::uint16_t>(~sum);
  EXPECT_EQ(udp_checksum_v4(source.data(), destination.data(), udp.data(), udp.size()), expected);
  store_be16(udp.data() + udp::kChecksum, expected);
  const std::uint16_t pseudo = pseudo_header_sum_v4(source.data(), destination.data(), 17, 11);
  EXPECT_TRUE(udp_checksum_good(pseudo, udp.data(), udp.size()));
  udp.back() ^= 1;
  EXPECT_FALSE(udp_checksum_good(pseudo, udp.data(), udp.size()));
}

TEST(Checksum, UdpOverIpv6VerifiesWhatItComputes) {
  Buffer addresses(32, 0x5A);
  for (std::size_t size = 8; size < 64; ++size) {
    Buffer udp(size, static_cast<std::uint8_t>(size));
    const std::uint16_t checksum =
        udp_checksum_v6(addresses.data(), addresses.data() + 16, udp.data(), size);
    store_be16(udp.data() + udp::kChecksum, checksum);
    EXPECT_TRUE(udp_checksum_good(pseudo_header_sum_v6(addresses.data(), addresses.data() + 16, 17,
                                                       static_cast<std::uint32_t>(size)),
                                  udp.data(), size));
  }
}

TEST(Checksum, UdpResultOfZeroIsSentAsAllOnes) {
  const Buffer zero(4);
  // Pseudo header 0x0011 + 0x000a, header 0x000a, payload the rest to 0xFFFF.
  Buffer udp{0, 0, 0, 0, 0, 10, 0, 0, 0xFF, 0xDA};
  EXPECT_EQ(udp_checksum_v4(zero.data(), zero.data(), udp.data(), udp.size()), 0xFFFF);
  EXPECT_EQ(udp_on_wire(0), 0xFFFF);
  EXPECT_EQ(udp_on_wire(1), 1);
}

TEST(Headers, LoadsAndStoresAreBigEndianAtAnyAlignment) {
  Buffer bytes(16);
  for (std::size_t at = 0; at < 8; ++at) {
    store_be64(bytes.data() + at, 0x0102030405060708);
    EXPECT_EQ(bytes[at], 1);
    EXPECT_EQ(bytes[at + 7], 8);
    EXPECT_EQ(load_be16(bytes.data() + at), 0x0102);
    EXPECT_EQ(load_be32(bytes.data() + at), 0x01020304U);
    EXPECT_EQ(load_be64(bytes.data() + at), 0x0102030405060708U);
  }
}

TEST(Headers, Ipv6ClassAndFlowShareTheFirstWord) {
  Buffer header(40);
  ipv6::set_class_and_flow(header.data(), 0xB8, 0xABCDE);
  EXPECT_EQ(ipv6::version(header.data()), 6);
  EXPECT_EQ(ipv6::traffic_class(header.data()), 0xB8);
  EXPECT_EQ(ipv6::flow_label(header.data()), 0xABCDEU);
}

}  // namespace
}  // namespace turnpike::wire

// What is a STUN message, and what a reader sees of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

#include "stun_bytes.h"
#include "turnpike/integrity.h"
#include "turnpike/stun.h"

namespace turnpike::stun {
namespace {

using namespace test;

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

}  // namespace
}  // namespace turnpike::stun

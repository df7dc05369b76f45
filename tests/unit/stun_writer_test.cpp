// What is written comes back: each attribute, every padding, and nothing where something did not
// fit.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "stun_bytes.h"
#include "turnpike/integrity.h"
#include "turnpike/stun.h"
#include "wire/challenge.h"

namespace turnpike::stun {
namespace {

using namespace test;

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

}  // namespace
}  // namespace turnpike::stun

// The messages that RFC 5769 and RFC 8489 publish, read, verified and rebuilt byte for byte.
#include <gtest/gtest.h>

#include <string>

#include "stun_bytes.h"
#include "turnpike/integrity.h"

namespace turnpike::stun {
namespace {

using namespace test;

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

}  // namespace
}  // namespace turnpike::stun

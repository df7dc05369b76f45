// Integrity attributes are taken whole and compared in constant time.
#include <gtest/gtest.h>

#include <algorithm>

#include "stun_bytes.h"
#include "turnpike/integrity.h"
#include "wire/hmac.h"

namespace turnpike::stun {
namespace {

using namespace test;

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

}  // namespace
}  // namespace turnpike::stun

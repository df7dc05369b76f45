// Who is let in: static users by name and by hash, REST users by secret and time.
#include "auth/credentials.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace turnpike::auth {
namespace {

using stun::PasswordAlgorithm;

constexpr std::uint64_t kNow = 1'700'000'000;
const std::string kSoon = "1700000600";
const std::string kPast = "1700000000";  // expires this very second

Accounts base() {
  Accounts accounts;
  accounts.realm = "example.org";
  return accounts;
}

Accounts static_users() {
  Accounts accounts = base();
  accounts.users = {{"alice", "secret", ""}, {"bob", "other", ""}};
  return accounts;
}

Accounts rest() {
  Accounts accounts = base();
  accounts.rest_secrets = {"old", "new"};
  return accounts;
}

KeyState find(const Credentials& credentials, std::string_view name, UserKeys& out,
              KeyPurpose purpose = KeyPurpose::kAllocate) {
  return credentials.find_keys({name, std::nullopt}, "example.org", purpose, kNow, out);
}

bool same(const stun::Key& a, const stun::Key& b) {
  return std::ranges::equal(a.view(), b.view());
}

TEST(StaticUser, HasBothKeys) {
  UserKeys keys;
  ASSERT_EQ(find(Credentials(static_users()), "alice", keys), KeyState::kFound);
  EXPECT_EQ(keys.username, "alice");
  EXPECT_EQ(keys.quota_name, "alice");
  ASSERT_EQ(keys.md5.size(), 1u);
  ASSERT_EQ(keys.sha256.size(), 1u);
  EXPECT_TRUE(same(keys.md5[0],
                   stun::long_term_key(PasswordAlgorithm::kMd5, "alice", "example.org", "secret")));
  EXPECT_TRUE(same(keys.sha256[0], stun::long_term_key(PasswordAlgorithm::kSha256, "alice",
                                                       "example.org", "secret")));
}

TEST(StaticUser, IsFoundByItsHash) {
  const Credentials credentials(static_users());
  UserKeys keys;
  EXPECT_EQ(credentials.find_keys({"", stun::userhash("bob", "example.org")}, "example.org",
                                  KeyPurpose::kAllocate, kNow, keys),
            KeyState::kFound);
  EXPECT_EQ(keys.username, "bob");
  EXPECT_EQ(credentials.find_keys({"", stun::userhash("carol", "example.org")}, "example.org",
                                  KeyPurpose::kAllocate, kNow, keys),
            KeyState::kUnknown);
}

TEST(StaticUser, IsUnknownByAnotherNameOrRealm) {
  const Credentials credentials(static_users());
  UserKeys keys;
  EXPECT_EQ(find(credentials, "carol", keys), KeyState::kUnknown);
  EXPECT_EQ(find(credentials, "", keys), KeyState::kUnknown);
  EXPECT_EQ(credentials.find_keys({"alice", std::nullopt}, "example.net", KeyPurpose::kAllocate,
                                  kNow, keys),
            KeyState::kUnknown);
  EXPECT_TRUE(keys.username.empty());
}

// RFC 8265 §4.2: a non-ASCII space is a space, whoever writes it.
TEST(StaticUser, IsPreparedAsOpaqueStringOnBothSides) {
  Accounts accounts = base();
  accounts.users = {
      {"a\xC2\xA0"
       "b",
       "pass\xC2\xA0word", ""}};
  const Credentials credentials(accounts);
  UserKeys keys;
  ASSERT_EQ(find(credentials, "a b", keys), KeyState::kFound);
  EXPECT_TRUE(same(keys.md5[0], stun::long_term_key(PasswordAlgorithm::kMd5, "a b", "example.org",
                                                    "pass word")));
  EXPECT_EQ(find(credentials,
                 "a\xE3\x80\x80"
                 "b",
                 keys),
            KeyState::kFound);
}

TEST(AnyUser, WhoseNameIsNoOpaqueStringIsUnknown) {
  Accounts accounts = base();
  accounts.rest_secrets = {"secret"};
  const Credentials credentials(accounts);
  UserKeys keys;
  EXPECT_EQ(find(credentials, "9999999999:zoë", keys), KeyState::kFound);
  for (const char* name : {"9999999999:zoe\u0308", "9999999999:a\u200Bb", "9999999999:a\xFF"})
    EXPECT_EQ(find(credentials, name, keys), KeyState::kUnknown) << name;
}

// RFC 8489 §9.2.2: the key of user "user", realm "realm", password "pass" is known.
TEST(Md5User, HasTheGivenKeyAndNoOther) {
  Accounts accounts;
  accounts.realm = "realm";
  accounts.users = {{"user", "", "8493FBC53BA582FB4C044C456BDC40EB"}};
  const Credentials credentials(accounts);
  UserKeys keys;
  ASSERT_EQ(credentials.find_keys({"user", std::nullopt}, "realm", KeyPurpose::kOther, kNow, keys),
            KeyState::kFound);
  ASSERT_EQ(keys.md5.size(), 1u);
  EXPECT_TRUE(
      same(keys.md5[0], stun::long_term_key(PasswordAlgorithm::kMd5, "user", "realm", "pass")));
  EXPECT_TRUE(keys.sha256.empty());
  EXPECT_FALSE(credentials.sha256_offered());
  EXPECT_TRUE(credentials.anonymity_offered());
}

TEST(Offer, FollowsFromWhoTheUsersAre) {
  EXPECT_TRUE(Credentials(static_users()).sha256_offered());
  EXPECT_TRUE(Credentials(static_users()).anonymity_offered());
  EXPECT_TRUE(Credentials(rest()).sha256_offered());
  EXPECT_FALSE(Credentials(rest()).anonymity_offered());

  Accounts both = static_users();
  both.rest_secrets = {"s"};
  EXPECT_FALSE(Credentials(both).anonymity_offered());
  both.users.push_back({"carol", "", "8493fbc53ba582fb4c044c456bdc40eb"});
  EXPECT_FALSE(Credentials(both).sha256_offered());
}

TEST(RestUser, HasAKeyForEachSecret) {
  UserKeys keys;
  const std::string name = kSoon + ":alice";
  ASSERT_EQ(find(Credentials(rest()), name, keys), KeyState::kFound);
  EXPECT_EQ(keys.username, name);
  ASSERT_EQ(keys.md5.size(), 2u);
  ASSERT_EQ(keys.sha256.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string password = stun::rest_password(i == 0 ? "old" : "new", name);
    EXPECT_TRUE(same(keys.md5[i],
                     stun::long_term_key(PasswordAlgorithm::kMd5, name, "example.org", password)));
    EXPECT_TRUE(same(keys.sha256[i], stun::long_term_key(PasswordAlgorithm::kSha256, name,
                                                         "example.org", password)));
  }
}

// openssl: printf '1700000600:alice' | openssl dgst -sha1 -hmac north-star -binary | base64
TEST(RestUser, PasswordIsWhatAWebServerComputes) {
  EXPECT_EQ(stun::rest_password("north-star", "1700000600:alice"), "ZVN8nPSiCf0OCJ9WlZXuBbrv+VU=");
}

TEST(RestUser, IsCountedWithoutItsTimeInEitherOrder) {
  const Credentials credentials(rest());
  UserKeys keys;
  for (const auto& [name, counted] :
       {std::pair<std::string, std::string>{kSoon + ":alice", "alice"},
        {"alice:" + kSoon, "alice"},
        {kSoon, kSoon},
        {kSoon + ":", kSoon + ":"},
        {kSoon + ":a:b", "a:b"},
        {"a:b:" + kSoon, "a:b"},
        {kSoon + ":42", "42"}}) {
    ASSERT_EQ(find(credentials, name, keys), KeyState::kFound) << name;
    EXPECT_EQ(keys.quota_name, counted) << name;
    EXPECT_EQ(keys.username, name);
  }
}

// A telephone number as a name must not be taken for the time, which its owner would then choose.
TEST(RestUser, WithANumberForANameIsReadByTheConfiguredOrder) {
  UserKeys keys;
  Accounts accounts = rest();
  EXPECT_EQ(find(Credentials(accounts), kPast + ":4915112345678", keys), KeyState::kExpired);
  EXPECT_EQ(find(Credentials(accounts), kSoon + ":42", keys), KeyState::kFound);
  EXPECT_EQ(keys.quota_name, "42");

  accounts.rest_format = RestFormat::kUserTime;
  EXPECT_EQ(find(Credentials(accounts), "4915112345678:" + kPast, keys), KeyState::kExpired);
  ASSERT_EQ(find(Credentials(accounts), "42:" + kSoon, keys), KeyState::kFound);
  EXPECT_EQ(keys.quota_name, "42");
  ASSERT_EQ(find(Credentials(accounts), "1:x:" + kSoon, keys), KeyState::kFound);
  EXPECT_EQ(keys.quota_name, "1:x");
  // The other order is understood where it is the only one that makes sense.
  ASSERT_EQ(find(Credentials(accounts), kSoon + ":alice", keys), KeyState::kFound);
  EXPECT_EQ(keys.quota_name, "alice");
}

TEST(RestUser, WithoutATimeIsUnknown) {
  const Credentials credentials(rest());
  UserKeys keys;
  for (const std::string name :
       {"alice", ":", "alice:", ":alice", "17000006x0:alice", "-1:alice", "+1700000600:alice",
        "99999999999999999999999:alice", " 1700000600:alice", "1700000600.5:alice"}) {
    EXPECT_EQ(find(credentials, name, keys), KeyState::kNoTimestamp) << name;
  }
}

TEST(RestUser, ThatHasExpiredCannotAllocateButMayRefresh) {
  const Credentials credentials(rest());
  const std::string name = kPast + ":alice";
  UserKeys keys;
  EXPECT_EQ(find(credentials, name, keys, KeyPurpose::kAllocate), KeyState::kExpired);
  EXPECT_EQ(keys.expires_unix_s, kNow);
  EXPECT_EQ(find(credentials, name, keys, KeyPurpose::kRefresh), KeyState::kFound);
  EXPECT_EQ(find(credentials, name, keys, KeyPurpose::kOther), KeyState::kFound);
}

TEST(RestUser, IsGoodUntilTheSecondItsNameSays) {
  const Credentials credentials(rest());
  UserKeys keys;
  const UserName user{"1700000001:alice", std::nullopt};
  EXPECT_EQ(credentials.find_keys(user, "example.org", KeyPurpose::kAllocate, kNow, keys),
            KeyState::kFound);
  EXPECT_EQ(credentials.find_keys(user, "example.org", KeyPurpose::kAllocate, kNow + 1, keys),
            KeyState::kExpired);
}

TEST(RestUser, ThatHasExpiredCannotRefreshWhereExpiryIsStrict) {
  Accounts accounts = rest();
  accounts.strict_expiry = true;
  const Credentials credentials(accounts);
  const std::string name = kPast + ":alice";
  UserKeys keys;
  EXPECT_EQ(find(credentials, name, keys, KeyPurpose::kRefresh), KeyState::kExpired);
  EXPECT_EQ(find(credentials, name, keys, KeyPurpose::kOther), KeyState::kFound);
}

TEST(RestUser, IsUnknownWithoutSecrets) {
  UserKeys keys;
  EXPECT_EQ(find(Credentials(static_users()), kSoon + ":alice", keys), KeyState::kUnknown);
}

TEST(RestUser, NeverShadowsAStaticUser) {
  Accounts accounts = rest();
  accounts.users = {{kSoon + ":alice", "secret", ""}};
  UserKeys keys;
  ASSERT_EQ(find(Credentials(accounts), kSoon + ":alice", keys), KeyState::kFound);
  ASSERT_EQ(keys.md5.size(), 1u);
  EXPECT_TRUE(same(keys.md5[0], stun::long_term_key(PasswordAlgorithm::kMd5, kSoon + ":alice",
                                                    "example.org", "secret")));
}

}  // namespace
}  // namespace turnpike::auth

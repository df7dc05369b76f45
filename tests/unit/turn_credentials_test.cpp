// What RFC 8489 §9.2.4 says of integrity and nonces where a client says two things at once, and
// what a refusal costs the server.
#include <dlfcn.h>
#include <openssl/evp.h>

#include "turn_world.h"

namespace {
int macs = 0;
}

// In place of the library's, and on to it: every HMAC begins with one.
extern "C" int EVP_MAC_init(EVP_MAC_CTX* context, const unsigned char* key, std::size_t size,
                            const OSSL_PARAM* params) {
  static const auto real =
      reinterpret_cast<decltype(&EVP_MAC_init)>(dlsym(RTLD_NEXT, "EVP_MAC_init"));
  ++macs;
  return real(context, key, size, params);
}

namespace turnpike {
namespace {

using namespace test;

class CredentialsOfTurn : public TurnServer {
 protected:
  // With everything but integrity, which `seal` adds.
  Answer ask_sealed(const Fill& seal) {
    std::array<std::uint8_t, 1024> buffer{};
    stun::TransactionId id{};
    ++transaction_;
    std::memcpy(id.data(), &transaction_, sizeof transaction_);
    MessageWriter writer(buffer, Class::kRequest, Method::kAllocate, id);
    udp(writer);
    writer.add_text(Attribute::kUsername, user_);
    writer.add_text(Attribute::kRealm, realm_);
    writer.add_text(Attribute::kNonce, nonce_for(from(1000)));
    seal(writer);
    const auto bytes = writer.finish();
    return say(from(1000), {bytes.begin(), bytes.end()});
  }
  stun::Key right() const { return client_key(stun::PasswordAlgorithm::kMd5); }
  stun::Key wrong() const {
    stun::Key key = right();
    key.bytes[0] ^= 1;
    return key;
  }
  int macs_of(const Fill& fill = {}) {
    const auto bytes = build(Method::kAllocate, from(1000), [&](MessageWriter& writer) {
      udp(writer);
      if (fill) fill(writer);
    });
    const int before = macs;
    EXPECT_EQ(say(from(1000), bytes).code(), 401);
    return macs - before;
  }
};

// §9.2.4: where SHA-256's integrity is there, it is the one that counts.
TEST_F(CredentialsOfTurn, Sha1IntegrityDoesNotCountBesideSha256s) {
  EXPECT_EQ(ask_sealed([&](MessageWriter& writer) {
              writer.add_message_integrity(right().view());
              writer.add_message_integrity_sha256(wrong().view());
            }).code(),
            401);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(ask_sealed([&](MessageWriter& writer) {
              writer.add_message_integrity(wrong().view());
              writer.add_message_integrity_sha256(right().view());
            }).code(),
            0);
}

// §9.2.4: without PASSWORD-ALGORITHM its answer is SHA-1's, whatever integrity it came with.
TEST_F(CredentialsOfTurn, AnAnswerIsSignedAsPasswordAlgorithmSays) {
  const Answer answer = ask_sealed(
      [&](MessageWriter& writer) { writer.add_message_integrity_sha256(right().view()); });
  EXPECT_EQ(answer.code(), 0);
  EXPECT_FALSE(answer.view.has(Attribute::kMessageIntegritySha256));
  EXPECT_TRUE(stun::check_message_integrity(answer.view, right().view()));
}

// Else the time of a refusal tells who is a user.
TEST_F(CredentialsOfTurn, AnUnknownUserCostsAsManyHmacsAsAWrongPassword) {
  for (const bool sha256 : {false, true}) {
    if (sha256) {
      algorithms_ = kBoth;
      algorithm_ = kSha256;
    }
    user_ = "alice";
    password_ = "guess";
    EXPECT_EQ(macs_of(), 1);
    user_ = "mallory";
    for (const KeyState state : {KeyState::kUnknown, KeyState::kExpired, KeyState::kNoTimestamp}) {
      world_.unknown = state;
      EXPECT_EQ(macs_of(), 1);
    }
  }
}

TEST_F(CredentialsOfTurn, AUserWhoTurnsOutToBeUnknownCostsAnHmacToo) {
  user_ = "mallory";
  world_.pending = true;
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  server_->handle(now_, from(1000), bytes, RequestToken{77});
  const int before = macs;
  server_->keys_arrived(now_, {"mallory", {}}, 0, nullptr);
  EXPECT_EQ(world_.code_of(RequestToken{77}), 401);
  EXPECT_EQ(macs - before, 1);
}

// Only the Allocate itself may come again with its old nonce.
TEST_F(CredentialsOfTurn, AStaleNonceLetsNothingElseOfTheAllocatesTransactionPass) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  ASSERT_EQ(say(from(1000), bytes).code(), 0);
  ASSERT_EQ(refresh(1000, 3600).code(), 0);
  for (const Method method :
       {Method::kRefresh, Method::kCreatePermission, Method::kChannelBind, Method::kAllocate}) {
    nonce_ = nonce_for(from(1000));
    const std::uint64_t transaction = transaction_;
    transaction_ = method == Method::kAllocate ? transaction_ : 0;  // the first's again
    const auto old = build(method, from(1000), udp);
    transaction_ = transaction + 1;
    nonce_.clear();
    for (int i = 0; i < 4; ++i) {
      pass(950);
      ASSERT_EQ(refresh(1000, 3600).code(), 0);
    }
    EXPECT_EQ(say(from(1000), old).code(), 438);
  }
  EXPECT_EQ(say(from(1000), bytes).code(), 0);
}

}  // namespace
}  // namespace turnpike

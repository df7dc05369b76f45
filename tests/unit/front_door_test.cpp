// What is answered without state, and what is let through to the engine.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "nonces.h"
#include "turnpike/front_door.h"
#include "turnpike/integrity.h"
#include "turnpike/stun.h"
#include "wire/challenge.h"

namespace turnpike {
namespace {

using namespace test;
using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

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
    return FrontDoor(config, nonces).answer(now, view, kClient, listener, known, out);
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
  Listener listener{kServer};
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
  listener.stun_only = true;
  EXPECT_EQ(knock(request(Method::kAllocate)).door, Door::kIgnoreMalformed);
  EXPECT_EQ(knock(request(Method::kBinding)).door, Door::kAnswered);
  listener.stun_only = false;
  listener.turn_only = true;
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
  EXPECT_EQ(other.answer(kStart, view, kClient, listener, false, out).answer, DoorAnswer::k438);
}

TEST_F(FrontDoorTest, AnswerThatDoesNotFitIsNotSent) {
  config.realm = std::string(600, 'r');
  EXPECT_EQ(knock(request(Method::kAllocate)).door, Door::kTooLong);
}

}  // namespace
}  // namespace turnpike

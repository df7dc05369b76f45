// What is answered without state, and what is let through to the engine.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "nonces.h"
#include "turnpike/integrity.h"
#include "turnpike/stateless_answers.h"
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

// The stateless answers with their nonces, and requests for them.
class StatelessAnswersTest : public testing::Test {
 protected:
  using Buffer = std::vector<std::uint8_t>;

  StatelessAnswersTest() { config.realms = {kRealm}; }

  StatelessResult ask(const Buffer& request, bool known = false, Instant now = kStart) {
    request_ = request;
    MessageView view;
    EXPECT_EQ(MessageView::parse(request_, view), stun::ParseError::kNone);
    out.fill(0xEE);
    return StatelessAnswers(config, nonces).answer(now, view, kClient, listener, known, out);
  }
  MessageView answer(const StatelessResult& result) {
    EXPECT_EQ(result.verdict, StatelessVerdict::kAnswered);
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

  StatelessAnswers::Config config;
  Listener listener{kServer};
  NonceKeeper nonces{nonce_config()};
  std::array<std::uint8_t, kAnswerMax> out{};

 private:
  Buffer request_;
};

const std::vector<std::uint8_t> kOffered{0, 2, 0, 0, 0, 1, 0, 0};
const std::vector<std::uint8_t> kChooseSha256{0, 2, 0, 0};
const std::vector<std::uint8_t> kChooseMd5{0, 1, 0, 0};

TEST_F(StatelessAnswersTest, BindingIsAnsweredWithTheSendersAddress) {
  const StatelessResult result = ask(request(Method::kBinding));
  EXPECT_EQ(result.answer, StatelessAnswer::kBindingSuccess);
  const MessageView view = answer(result);
  EXPECT_EQ(view.message_class(), Class::kSuccess);
  EXPECT_EQ(view.method(), Method::kBinding);
  EXPECT_EQ(view.transaction_id(), (stun::TransactionId{7, 7, 7}));
  EXPECT_EQ(view.xor_address(Attribute::kXorMappedAddress), kClient);
  EXPECT_FALSE(view.has(Attribute::kSoftware));
  EXPECT_FALSE(view.has_fingerprint());
}

TEST_F(StatelessAnswersTest, AnswersCarryAFingerprintIffTheRequestDid) {
  const auto with = [](MessageWriter& writer) { writer.add_fingerprint(); };
  EXPECT_TRUE(answer(ask(request(Method::kBinding, with))).has_fingerprint());
  EXPECT_TRUE(answer(ask(request(Method::kAllocate, with))).has_fingerprint());
  EXPECT_FALSE(answer(ask(request(Method::kAllocate))).has_fingerprint());
}

TEST_F(StatelessAnswersTest, BindingWithUnknownRequiredAttributesGets420AndTheirList) {
  const StatelessResult result = ask(request(Method::kBinding, [](MessageWriter& writer) {
    writer.add_u32(static_cast<Attribute>(0x0003), 6);
    writer.add_u32(static_cast<Attribute>(0x7ABC), 6);
    writer.add_u32(static_cast<Attribute>(0xC001), 6);
  }));
  EXPECT_EQ(result.answer, StatelessAnswer::k420);
  const MessageView view = answer(result);
  EXPECT_EQ(view.error_code(), 420);
  const auto list = view.find(Attribute::kUnknownAttributes)->value;
  EXPECT_EQ(Buffer(list.begin(), list.end()), (Buffer{0x00, 0x03, 0x7A, 0xBC}));
}

TEST_F(StatelessAnswersTest, BindingWithManyUnknownAttributesStillFits) {
  const StatelessResult result = ask(request(Method::kBinding, [](MessageWriter& writer) {
    for (std::uint16_t type = 0x7000; type < 0x7000 + stun::kAttributesMax - 1; ++type) {
      writer.add(static_cast<Attribute>(type), {});
    }
    writer.add_fingerprint();
  }));
  EXPECT_EQ(result.answer, StatelessAnswer::k420);
  EXPECT_EQ(answer(result).find(Attribute::kUnknownAttributes)->value.size(),
            2 * (stun::kAttributesMax - 1))
      << "each is named";
}

TEST_F(StatelessAnswersTest, BindingIgnoresCredentials) {
  const auto result = ask(request(Method::kBinding, [](MessageWriter& writer) {
    writer.add_text(Attribute::kUsername, "user");
    writer.add_message_integrity(Buffer{1});
  }));
  EXPECT_EQ(result.answer, StatelessAnswer::kBindingSuccess);
  EXPECT_FALSE(answer(result).has(Attribute::kMessageIntegrity));
}

TEST_F(StatelessAnswersTest, BindingIndicationIsAcceptedInSilence) {
  EXPECT_EQ(ask(request(Method::kBinding, Class::kIndication)).verdict,
            StatelessVerdict::kIgnoreIndication);
}

TEST_F(StatelessAnswersTest, WhatNoServerTakesIsIgnored) {
  for (const Class message_class : {Class::kSuccess, Class::kError}) {
    EXPECT_EQ(ask(request(Method::kBinding, message_class)).verdict,
              StatelessVerdict::kIgnoreMalformed);
    EXPECT_EQ(ask(request(Method::kAllocate, message_class)).verdict,
              StatelessVerdict::kIgnoreMalformed);
  }
  EXPECT_EQ(ask(request(Method::kAllocate, Class::kIndication)).verdict,
            StatelessVerdict::kIgnoreMalformed);
  EXPECT_EQ(ask(request(Method::kSend)).verdict, StatelessVerdict::kIgnoreMalformed);
  EXPECT_EQ(ask(request(Method::kData)).verdict, StatelessVerdict::kIgnoreMalformed);
  EXPECT_EQ(ask(request(static_cast<Method>(0x002))).verdict, StatelessVerdict::kIgnoreMalformed);
}

TEST_F(StatelessAnswersTest, EachUsageCanBeTurnedOff) {
  listener.stun_only = true;
  EXPECT_EQ(ask(request(Method::kAllocate)).verdict, StatelessVerdict::kIgnoreMalformed);
  EXPECT_EQ(ask(request(Method::kBinding)).verdict, StatelessVerdict::kAnswered);
  listener.stun_only = false;
  listener.turn_only = true;
  EXPECT_EQ(ask(request(Method::kAllocate)).verdict, StatelessVerdict::kAnswered);
  EXPECT_EQ(ask(request(Method::kBinding)).verdict, StatelessVerdict::kIgnoreMalformed);
  EXPECT_EQ(ask(request(Method::kBinding, Class::kIndication)).verdict,
            StatelessVerdict::kIgnoreMalformed);
}

TEST_F(StatelessAnswersTest, RequestWithoutIntegrityIsChallenged) {
  for (const Method method :
       {Method::kAllocate, Method::kRefresh, Method::kCreatePermission, Method::kChannelBind}) {
    const StatelessResult result = ask(request(method));
    EXPECT_EQ(result.answer, StatelessAnswer::k401);
    const MessageView view = answer(result);
    EXPECT_EQ(view.message_class(), Class::kError);
    EXPECT_EQ(view.method(), method);
    EXPECT_EQ(view.error_code(), 401);
    EXPECT_EQ(view.text(Attribute::kRealm), "example.org");
    EXPECT_EQ(nonces.check(kStart, kRealm, kClient, kServer, *view.text(Attribute::kNonce)),
              NonceState::kValid);
    const auto list = view.find(Attribute::kPasswordAlgorithms)->value;
    EXPECT_EQ(Buffer(list.begin(), list.end()), kOffered);
    EXPECT_FALSE(view.has(Attribute::kMessageIntegrity));
    EXPECT_FALSE(view.has(Attribute::kUsername));
  }
}

TEST_F(StatelessAnswersTest, ListsWhichAlgorithmsAreOffered) {
  const auto listed = [&](bool sha256, bool md5) {
    config.realms[0].sha256_offered = sha256;
    config.realms[0].md5_offered = md5;
    const auto list =
        answer(ask(request(Method::kAllocate))).find(Attribute::kPasswordAlgorithms)->value;
    return Buffer(list.begin(), list.end());
  };
  EXPECT_EQ(listed(true, true), kOffered);
  EXPECT_EQ(listed(true, false), kChooseSha256);
  EXPECT_EQ(listed(false, true), kChooseMd5) << "RFC 8489 §9.2.4: a MUST, whoever the users are";
}

TEST_F(StatelessAnswersTest, IntegrityWithoutTheRestIs400) {
  const std::string nonce = mint(nonces);
  for (int missing = 0; missing < 3; ++missing) {
    const StatelessResult result = ask(request(Method::kAllocate, [&](MessageWriter& writer) {
      if (missing != 0) writer.add_text(Attribute::kUsername, "user");
      if (missing != 1) writer.add_text(Attribute::kRealm, "example.org");
      if (missing != 2) writer.add_text(Attribute::kNonce, nonce);
      writer.add_message_integrity(Buffer{1});
    }));
    EXPECT_EQ(result.answer, StatelessAnswer::k400) << missing;
    const MessageView view = answer(result);
    EXPECT_EQ(view.error_code(), 400);
    EXPECT_FALSE(view.has(Attribute::kRealm));
    EXPECT_FALSE(view.has(Attribute::kNonce));
  }
}

TEST_F(StatelessAnswersTest, CredentialsAfterIntegrityDoNotCount) {
  Buffer bytes = signed_request(mint(nonces));
  // USERNAME (4 + 4 bytes) comes first; move it behind everything.
  std::rotate(bytes.begin() + 20, bytes.begin() + 28, bytes.end());
  EXPECT_EQ(ask(bytes).answer, StatelessAnswer::k400);
}

TEST_F(StatelessAnswersTest, CompleteCredentialsWithAFreshNonceAreAdmitted) {
  EXPECT_EQ(ask(signed_request(mint(nonces))).verdict, StatelessVerdict::kAdmit);
  EXPECT_EQ(ask(signed_request(mint(nonces), kOffered, kChooseSha256)).verdict,
            StatelessVerdict::kAdmit);
  EXPECT_EQ(ask(signed_request(mint(nonces), kOffered, kChooseMd5)).verdict,
            StatelessVerdict::kAdmit);
}

TEST_F(StatelessAnswersTest, UserhashAndSha256IntegrityAreAdmittedToo) {
  const std::string nonce = mint(nonces);
  const auto with_hash = [&](std::size_t size) {
    return request(Method::kAllocate, [&](MessageWriter& writer) {
      writer.add(Attribute::kUserhash, Buffer(size, 1));
      writer.add_text(Attribute::kRealm, "example.org");
      writer.add_text(Attribute::kNonce, nonce);
      writer.add_message_integrity_sha256(Buffer{1});
    });
  };
  EXPECT_EQ(ask(with_hash(32)).verdict, StatelessVerdict::kAdmit);
  EXPECT_EQ(ask(with_hash(31)).answer, StatelessAnswer::k400);
}

TEST_F(StatelessAnswersTest, ForgedNonceIs438WithAFreshOne) {
  const StatelessResult result = ask(signed_request("obMatJos2AAADforged"), true);
  EXPECT_EQ(result.answer, StatelessAnswer::k438);
  const MessageView view = answer(result);
  EXPECT_EQ(view.error_code(), 438);
  EXPECT_EQ(view.text(Attribute::kRealm), "example.org");
  EXPECT_EQ(nonces.check(kStart, kRealm, kClient, kServer, *view.text(Attribute::kNonce)),
            NonceState::kValid);
  EXPECT_TRUE(view.has(Attribute::kPasswordAlgorithms));
}

TEST_F(StatelessAnswersTest, NonceOfAnotherClientIs438) {
  std::array<char, NonceKeeper::kMaxSize> text;
  const std::size_t size =
      nonces.mint(kStart, kRealm, endpoint("198.51.100.7:40001"), kServer, text);
  EXPECT_EQ(ask(signed_request(std::string(text.data(), size))).answer, StatelessAnswer::k438);
}

TEST_F(StatelessAnswersTest, StaleNonceIs438UnlessTheFiveTupleIsKnown) {
  const Buffer bytes = signed_request(mint(nonces));
  EXPECT_EQ(ask(bytes, false, after(3600)).answer, StatelessAnswer::k438);
  EXPECT_EQ(ask(bytes, true, after(3600)).verdict, StatelessVerdict::kAdmit);
}

TEST_F(StatelessAnswersTest, WeakenedAlgorithmListIs400) {
  const std::string nonce = mint(nonces);
  EXPECT_EQ(ask(signed_request(nonce, kChooseMd5, kChooseMd5)).answer, StatelessAnswer::k400);
  EXPECT_EQ(ask(signed_request(nonce, {0, 1, 0, 0, 0, 2, 0, 0}, kChooseMd5)).answer,
            StatelessAnswer::k400);
  EXPECT_EQ(ask(signed_request(nonce, kOffered)).answer, StatelessAnswer::k400);
  EXPECT_EQ(ask(signed_request(nonce, {}, kChooseSha256)).answer, StatelessAnswer::k400);
  EXPECT_EQ(ask(signed_request(nonce, kOffered, {0, 3, 0, 0})).answer, StatelessAnswer::k400);
  EXPECT_EQ(ask(signed_request(nonce, kOffered, {0, 2, 0, 4, 0, 0, 0, 0})).answer,
            StatelessAnswer::k400);
}

TEST_F(StatelessAnswersTest, NonceOfAnOldAlgorithmListIs438AndNever400) {
  const std::string old = mint(nonces);
  config.realms[0].sha256_offered = false;
  const StatelessResult result = ask(signed_request(old, kOffered, kChooseMd5));
  EXPECT_EQ(result.answer, StatelessAnswer::k438);
  const auto list = answer(result).find(Attribute::kPasswordAlgorithms)->value;
  EXPECT_EQ(Buffer(list.begin(), list.end()), kChooseMd5);
}

TEST_F(StatelessAnswersTest, EachListenerHasItsRealm) {
  config.realms.push_back({.name = "a-longer-name.example.net", .sha256_offered = false});
  const Buffer first = signed_request(mint(nonces));
  const Buffer second = signed_request(mint(nonces, kStart, config.realms[1]));
  EXPECT_EQ(ask(first).verdict, StatelessVerdict::kAdmit);
  EXPECT_EQ(ask(second).answer, StatelessAnswer::k438);
  listener.realm = 1;
  EXPECT_EQ(ask(second).verdict, StatelessVerdict::kAdmit);
  EXPECT_EQ(ask(first).answer, StatelessAnswer::k438) << "another realm's nonce";
  const MessageView view = answer(ask(request(Method::kAllocate)));
  EXPECT_EQ(view.text(Attribute::kRealm), "a-longer-name.example.net");
  const auto list = view.find(Attribute::kPasswordAlgorithms)->value;
  EXPECT_EQ(Buffer(list.begin(), list.end()), kChooseMd5);
  EXPECT_EQ(nonces.check(kStart, config.realms[1], kClient, kServer, *view.text(Attribute::kNonce)),
            NonceState::kValid);
}

TEST_F(StatelessAnswersTest, AnswerThatDoesNotFitIsNotSent) {
  config.realms[0].name = std::string(600, 'r');
  EXPECT_EQ(ask(request(Method::kAllocate)).verdict, StatelessVerdict::kTooLong);
}

}  // namespace
}  // namespace turnpike

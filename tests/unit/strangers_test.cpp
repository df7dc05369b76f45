// What those get who haven't shown that they are where they say: challenges that are no use to a
// reflector, so many for a source and for all of them in a second, and none for a request that a
// nonce vouches for (docs/protocol.md 9).
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "flow_world.h"
#include "turnpike/stun.h"

namespace turnpike::flow::test {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr std::size_t kIpUdpV4 = 28;
constexpr std::size_t kIpUdpV6 = 48;
const Endpoint kServer{kServer4, kPort};

template <typename Fill>
std::vector<std::uint8_t> message(Method method, Fill fill) {
  std::array<std::uint8_t, 1024> buffer;
  MessageWriter writer(buffer, Class::kRequest, method, {9, 8, 7});
  fill(writer);
  const auto bytes = writer.finish();
  return {bytes.begin(), bytes.end()};
}

std::vector<std::uint8_t> allocate() {
  return message(Method::kAllocate, [](MessageWriter&) {});
}

// With a nonce of `nonces` for `client`; the integrity is the engine's to judge.
std::vector<std::uint8_t> signed_allocate(const NonceKeeper& nonces, const Endpoint& client,
                                          Instant now) {
  std::array<char, NonceKeeper::kMaxSize> text;
  const std::size_t size = nonces.mint(now, {.name = "example.org"}, client, kServer, text);
  return message(Method::kAllocate, [&](MessageWriter& writer) {
    writer.add_text(Attribute::kUsername, "alice");
    writer.add_text(Attribute::kRealm, "example.org");
    writer.add_text(Attribute::kNonce, {text.data(), size});
    writer.add_message_integrity(std::vector<std::uint8_t>{1});
  });
}

// --- How large a challenge is.

class Challenge : public testing::Test {
 protected:
  // The answer to `request` by a node of `realm`.
  std::vector<std::uint8_t> answer(const std::string& realm, const Endpoint& client,
                                   const std::vector<std::uint8_t>& request) {
    const NonceKeeper nonces({.key = {1}});
    MessageView view;
    EXPECT_EQ(MessageView::parse(request, view), stun::ParseError::kNone);
    std::array<std::uint8_t, kAnswerMax> out;
    const StatelessAnswers stateless({.realms = {{.name = realm}}}, nonces);
    const StatelessResult result =
        stateless.answer(Instant{1'000'000}, view, client, {kServer}, false, out);
    EXPECT_EQ(result.verdict, StatelessVerdict::kAnswered) << realm.size();
    EXPECT_TRUE(result.to_stranger);
    return {out.begin(), out.begin() + static_cast<std::ptrdiff_t>(result.size)};
  }
  std::string reason(const std::vector<std::uint8_t>& bytes) {
    MessageView view;
    EXPECT_EQ(MessageView::parse(bytes, view), stun::ParseError::kNone);
    const auto value = view.find(Attribute::kErrorCode)->value.subspan(4);
    return {value.begin(), value.end()};
  }

  const Endpoint client4_{kClient4, kClientPort};
  const Endpoint client6_{kClient6, kClientPort};
};

TEST_F(Challenge, IsAtMostThreeTimesItsRequestForRealmsTo32Bytes) {
  for (std::size_t size = 1; size <= StatelessAnswers::kRealmSmall; ++size) {
    const std::string realm(size, 'r');
    const auto request = allocate();
    EXPECT_LE(kIpUdpV4 + answer(realm, client4_, request).size(), 3 * (kIpUdpV4 + request.size()))
        << size;
    EXPECT_LE(kIpUdpV6 + answer(realm, client6_, request).size(), 3 * (kIpUdpV6 + request.size()))
        << size;
  }
}

// What clients send has REQUESTED-TRANSPORT, and often more.
TEST_F(Challenge, ToAnEverydayRequestIsAtMostThreeTimesAsLongForEveryCommonRealm) {
  const auto request = message(Method::kAllocate, [](MessageWriter& writer) {
    writer.add_u8_rfffu(Attribute::kRequestedTransport, 17);
  });
  for (std::size_t size = 1; size <= 56; ++size) {
    EXPECT_LE(kIpUdpV4 + answer(std::string(size, 'r'), client4_, request).size(),
              3 * (kIpUdpV4 + request.size()))
        << size;
  }
}

TEST_F(Challenge, IsNeverWithheldForALongRealm) {
  for (std::size_t size = 1; size <= 127; ++size) {
    MessageView view;
    const auto bytes = answer(std::string(size, 'r'), client4_, allocate());
    ASSERT_EQ(MessageView::parse(bytes, view), stun::ParseError::kNone);
    EXPECT_EQ(view.text(Attribute::kRealm)->size(), size);
    EXPECT_EQ(view.error_code(), 401);
  }
}

TEST_F(Challenge, SaysItsReasonWhereThereIsRoom) {
  const auto large = message(Method::kAllocate, [](MessageWriter& writer) {
    writer.add_text(Attribute::kSoftware, "a client with a long name");
  });
  EXPECT_EQ(reason(answer("example.org", client4_, large)), "Unauthenticated");
  EXPECT_EQ(reason(answer(std::string(32, 'r'), client4_, allocate())), "");
}

TEST_F(Challenge, OfALongestRealmFitsAPacketOf576Bytes) {
  std::size_t longest = 0;
  while (StatelessAnswers::challenge_size(longest + 1) <= kAnswerMax)
    ++longest;
  EXPECT_EQ(longest, 460U);
  const auto with_fingerprint =
      message(Method::kAllocate, [](MessageWriter& writer) { writer.add_fingerprint(); });
  EXPECT_EQ(answer(std::string(longest, 'r'), client4_, with_fingerprint).size(), kAnswerMax);
}

TEST_F(Challenge, HasNoSoftware) {
  MessageView view;
  const auto bytes = answer("example.org", client4_, allocate());
  ASSERT_EQ(MessageView::parse(bytes, view), stun::ParseError::kNone);
  EXPECT_FALSE(view.has(Attribute::kSoftware));
}

// --- How many there are.

class Strangers : public testing::Test {
 protected:
  explicit Strangers(const StrangerRates& rates = {}) {
    world_.policy_.strangers = rates;
    world_.setup_.strangers.sources = 4096;
    world_.pipeline_ = std::make_unique<Pipeline>(world_.setup_, *world_.tables_, world_.hop_,
                                                  world_.policy_, world_.tokens_, world_.counters_);
  }

  Packet ask(const Address& source, std::uint16_t port, const std::vector<std::uint8_t>& payload) {
    return world_.run(frame_of({{source, port}, kServer, payload}));
  }
  // How many of `tries` requests of one source are answered.
  unsigned answered(const Address& source, unsigned tries) {
    unsigned count = 0;
    for (unsigned i = 0; i < tries; ++i) {
      count += ask(source, static_cast<std::uint16_t>(1024 + i), allocate()).verdict ==
                       Verdict::kTransmitBack
                   ? 1
                   : 0;
    }
    return count;
  }

  FlowWorld world_{Family::kIpv4};
};

TEST_F(Strangers, AThousandOfOneAddressAreChallengedAtOnce) {
  EXPECT_EQ(answered(kClient4, 1000), 1000U);
}

TEST_F(Strangers, OfOneAddressGetABurstAndThenItsRate) {
  EXPECT_EQ(answered(kClient4, 5000), 2000U);
  EXPECT_EQ(world_.drops(Drop::kChallengeSourceLimit), 3000U);
  EXPECT_EQ(answered(Address::v4(198, 51, 100, 99), 10), 10U) << "another's is its own";
  world_.now_ = world_.now_ + 1000;
  EXPECT_EQ(answered(kClient4, 5000), 500U);
}

TEST_F(Strangers, WithAValidNonceAreNeverCharged) {
  answered(kClient4, 5000);
  const Endpoint client{kClient4, 777};
  const auto request = signed_allocate(world_.nonces_, client, world_.now_);
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(ask(kClient4, 777, request).verdict, Verdict::kEngine);
}

TEST_F(Strangers, WhoComeBackWithTheirNonceGiveTheirTokenBack) {
  for (std::uint16_t i = 0; i < 10'000; ++i) {
    const auto port = static_cast<std::uint16_t>(1024 + i);
    ASSERT_EQ(ask(kClient4, port, allocate()).verdict, Verdict::kTransmitBack) << i;
    const auto request = signed_allocate(world_.nonces_, {kClient4, port}, world_.now_);
    ASSERT_EQ(ask(kClient4, port, request).verdict, Verdict::kEngine) << i;
    if (i % 2 == 1)
      world_.now_ = world_.now_ + 4;  // what the engine is asked has a limit of its own
  }
  EXPECT_EQ(answered(kClient4, 5000), 2000U) << "and never more than all";
}

// One nonce, sent as fast as can be, lets a reflector have no more than what the engine is asked.
TEST_F(Strangers, WithOneNonceGiveBackNoMoreThanTheyMayAsk) {
  const auto request = signed_allocate(world_.nonces_, {kClient4, 777}, world_.now_);
  unsigned challenges = 0;
  for (unsigned ms = 0; ms < 2000; ++ms) {
    for (int i = 0; i < 10; ++i) {
      challenges += answered(kClient4, 1);
      ask(kClient4, 777, request);
    }
    world_.now_ = world_.now_ + 1;
  }
  EXPECT_LE(challenges, 2 * (2000U + 2 * 500U));
  EXPECT_GE(challenges, 2000U + 2 * 500U);
}

TEST_F(Strangers, AreGivenNothingByWhoHasAnAllocation) {
  answered(kClient4, 5000);
  const auto request = signed_allocate(world_.nonces_, {kClient4, kClientPort}, world_.now_);
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(ask(kClient4, kClientPort, request).verdict, Verdict::kEngine);
  EXPECT_EQ(ask(kClient4, 777, allocate()).drop, Drop::kChallengeSourceLimit);
}

TEST_F(Strangers, WithAForgedNonceAreCharged) {
  const NonceKeeper other({.key = {2}});
  const auto request = signed_allocate(other, {kClient4, 777}, world_.now_);
  for (int i = 0; i < 2000; ++i)
    EXPECT_EQ(ask(kClient4, 777, request).verdict, Verdict::kTransmitBack);
  EXPECT_EQ(ask(kClient4, 777, request).drop, Drop::kChallengeSourceLimit);
}

TEST_F(Strangers, BindingsOfAnAddressWithoutTokensAreAnsweredAllTheSame) {
  answered(kClient4, 5000);
  EXPECT_EQ(ask(kClient4, 777, message(Method::kBinding, [](MessageWriter&) {})).verdict,
            Verdict::kTransmitBack);
  const auto unknown = message(Method::kBinding, [](MessageWriter& writer) {
    writer.add_u32(static_cast<Attribute>(0x0003), 0);
  });
  EXPECT_EQ(ask(kClient4, 777, unknown).drop, Drop::kChallengeSourceLimit);
}

class StrangersOfAllSources : public Strangers {
 protected:
  StrangersOfAllSources() : Strangers({.per_source = {500, 2000}, .all = {1000}}) {}
};

TEST_F(StrangersOfAllSources, GetNoMoreThanTheCeilingInASecond) {
  unsigned count = 0;
  for (unsigned i = 0; i < 5000; ++i) {
    const auto source =
        Address::v4(203, 0, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i));
    count += answered(source, 1);
  }
  EXPECT_EQ(count, 1000U);
  EXPECT_EQ(world_.drops(Drop::kChallengeLimit), 4000U);
  world_.now_ = world_.now_ + 1000;
  EXPECT_EQ(answered(kClient4, 10), 10U);
}

// --- What isn't looked into, and who isn't answered.

TEST_F(Strangers, SendIsNotReadBeforeItsAllocationIsFound) {
  std::vector<std::uint8_t> bomb(1428, 0);
  put16(bomb.data(), 0x0016);
  put16(bomb.data() + 2, 1408);
  std::memcpy(bomb.data() + 4, "\x21\x12\xA4\x42", 4);
  for (std::size_t at = 20; at < bomb.size(); at += 4)
    put16(bomb.data() + at, 0x8022);
  EXPECT_EQ(ask(kClient4, 777, bomb).drop, Drop::kNoAllocation);
  EXPECT_EQ(ask(kClient4, kClientPort, bomb).drop, Drop::kTooManyAttributes);
}

TEST_F(Strangers, RequestsOfNoClientsShapeAreDroppedByName) {
  std::vector<std::uint8_t> bomb(1428, 0);
  put16(bomb.data(), 0x0003);
  put16(bomb.data() + 2, 1408);
  std::memcpy(bomb.data() + 4, "\x21\x12\xA4\x42", 4);
  for (std::size_t at = 20; at < bomb.size(); at += 4)
    put16(bomb.data() + at, 0x8022);
  EXPECT_EQ(ask(kClient4, 777, bomb).drop, Drop::kTooManyAttributes);
  std::vector<std::uint8_t> giant(4104, 0);
  std::memcpy(giant.data(), bomb.data(), 20);
  put16(giant.data() + 2, static_cast<std::uint16_t>(giant.size() - 20));
  put16(giant.data() + 20, 0x8022);
  put16(giant.data() + 22, static_cast<std::uint16_t>(giant.size() - 24));
  EXPECT_EQ(ask(kClient4, 777, giant).drop, Drop::kRequestTooLong);
}

TEST_F(Strangers, OfAddressesThatAreNoHostsAreNotAnswered) {
  world_.policy_.broadcasts = Broadcasts({Address::v4(203, 0, 113, 255)});
  const auto binding = message(Method::kBinding, [](MessageWriter&) {});
  for (const Address& source :
       {Address::v4(0, 0, 0, 1), Address::v4(127, 0, 0, 1), Address::v4(224, 0, 0, 1),
        Address::v4(255, 255, 255, 255), Address::v4(203, 0, 113, 255), kServer4, kRelay4}) {
    EXPECT_EQ(ask(source, 777, binding).drop, Drop::kUnanswerable) << source.to_string();
    EXPECT_EQ(ask(source, 777, allocate()).drop, Drop::kUnanswerable) << source.to_string();
  }
  const Endpoint server6{kServer6, kPort};
  for (const char* text : {"::", "::1", "ff02::1"}) {
    const Packet packet = world_.run(frame_of({{*Address::parse(text), 777}, server6, binding}));
    EXPECT_EQ(packet.drop, Drop::kUnanswerable) << text;
  }
  EXPECT_EQ(world_.run(frame_of({{kServer6, 777}, server6, binding})).drop, Drop::kUnanswerable);

  // Another network now.
  const Address before = Address::v4(203, 0, 113, 255), after = Address::v4(198, 51, 100, 255);
  EXPECT_EQ(ask(after, 777, binding).verdict, Verdict::kTransmitBack);
  WorkerPolicy next = world_.policy_;
  next.broadcasts = Broadcasts({after});
  world_.pipeline_->use(next);
  EXPECT_EQ(ask(before, 777, binding).verdict, Verdict::kTransmitBack);
  for (const auto& bytes : {binding, allocate()})
    EXPECT_EQ(ask(after, 777, bytes).drop, Drop::kUnanswerable);
}

// --- Classic STUN.

std::vector<std::uint8_t> classic_binding() {
  std::vector<std::uint8_t> bytes(20, 7);
  put16(bytes.data(), 1);
  put16(bytes.data() + 2, 0);
  return bytes;
}

TEST_F(Strangers, OfClassicStunAreAnswered) {
  const Packet packet = ask(kClient4, 777, classic_binding());
  ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->destination, (Endpoint{kClient4, 777}));
  EXPECT_EQ(out->payload.size(), 44U);
  EXPECT_EQ(get16(out->payload.data()), 0x0101);
  EXPECT_EQ(world_.counters_.binding_success.get(), 1U);
}

TEST_F(Strangers, OfClassicStunAreLimitedBySource) {
  unsigned count = 0;
  for (int i = 0; i < 3000; ++i)
    count += ask(kClient4, 777, classic_binding()).verdict == Verdict::kTransmitBack ? 1 : 0;
  EXPECT_EQ(count, 2000U);
  EXPECT_EQ(world_.drops(Drop::kChallengeSourceLimit), 1000U);
}

TEST_F(Strangers, OfClassicStunWithABadChecksumAreNot) {
  auto frame = frame_of({{kClient4, 777}, kServer, classic_binding()});
  frame.back() ^= 1;
  EXPECT_EQ(world_.run(frame).drop, Drop::kBadUdpChecksum);
}

TEST_F(Strangers, WhoAskForASharedSecretAreDroppedByName) {
  auto bytes = classic_binding();
  bytes[1] = 2;
  EXPECT_EQ(ask(kClient4, 777, bytes).drop, Drop::kSharedSecret);
  bytes[1] = 3;
  EXPECT_EQ(ask(kClient4, 777, bytes).drop, Drop::kNotStun);
}

}  // namespace
}  // namespace turnpike::flow::test

// Who asks: credentials, and what each that is wrong with them is answered; keys that have to be
// fetched.
#include <algorithm>
#include <array>

#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

TEST_F(TurnServer, WrongPasswordAndUnknownUserLookAlike) {
  password_ = "guess";
  const Answer wrong = allocate(1000);
  user_ = "mallory";
  const Answer unknown = allocate(1000);
  EXPECT_EQ(wrong.code(), 401);
  EXPECT_EQ(unknown.code(), 401);
  EXPECT_EQ(wrong.bytes.size(), unknown.bytes.size());
  EXPECT_FALSE(wrong.view.has(Attribute::kMessageIntegrity));
}

TEST_F(TurnServer, TellsTheOperatorWhyCredentialsWereRefused) {
  std::vector<std::size_t> sizes;
  password_ = "guess";
  sizes.push_back(allocate(1000).bytes.size());
  user_ = "mallory";
  for (const KeyState state : {KeyState::kUnknown, KeyState::kExpired, KeyState::kNoTimestamp}) {
    world_.unknown = state;
    const Answer answer = allocate(1000);
    EXPECT_EQ(answer.code(), 401);
    sizes.push_back(answer.bytes.size());
  }
  EXPECT_EQ(world_.refused, (std::vector{Unauthorized::kWrongKey, Unauthorized::kUnknownUser,
                                         Unauthorized::kExpired, Unauthorized::kNoTimestamp}));
  EXPECT_EQ(std::set(sizes.begin(), sizes.end()).size(), 1U) << "the client sees a difference";
}

TEST_F(TurnServer, AnotherUserOfTheSameFiveTupleGets441) {
  allocate(1000);
  user_ = "bob";
  EXPECT_EQ(refresh(1000, 600).code(), 441);
}

TEST_F(TurnServer, StaleNonceGets438ButARetransmissionItsAnswer) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  const Answer first = say(from(1000), bytes);
  const auto old = build(Method::kRefresh, from(1000), {});
  for (int i = 0; i < 7; ++i) {
    pass(500);
    ASSERT_EQ(refresh(1000, 3600).code(), 0);
  }
  pass(200);
  EXPECT_EQ(say(from(1000), old).code(), 438);
  EXPECT_EQ(say(from(1000), bytes).bytes, first.bytes);
}

TEST_F(TurnServer, ChallengesARequestWithoutIntegrity) {
  std::array<std::uint8_t, 256> buffer{};
  MessageWriter writer(buffer, Class::kRequest, Method::kAllocate, {});
  udp(writer);
  const auto bytes = writer.finish();
  const Answer answer = say(from(1000), {bytes.begin(), bytes.end()});
  EXPECT_EQ(answer.code(), 401);
  EXPECT_EQ(answer.view.text(Attribute::kRealm), "example.org");
  const auto list = answer.view.find(Attribute::kPasswordAlgorithms);
  ASSERT_TRUE(list);
  EXPECT_TRUE(std::equal(kBoth.begin(), kBoth.end(), list->value.begin(), list->value.end()));
  EXPECT_FALSE(answer.view.has(Attribute::kMessageIntegrity));
  nonce_ = *answer.view.text(Attribute::kNonce);
  EXPECT_EQ(allocate(1000).code(), 0) << "the challenge's nonce opens";
}

TEST_F(TurnServer, RefusesHalfACredentialWith400) {
  nonce_ = "none";
  EXPECT_EQ(allocate(1000).code(), 400);
  nonce_ = "";
  by_hash_ = true;
  EXPECT_EQ(allocate(1000).code(), 400) << "named twice";
  by_hash_ = by_name_ = false;
  const Answer nobody = allocate(1000);
  EXPECT_EQ(nobody.code(), 400);
  EXPECT_FALSE(nobody.view.has(Attribute::kMessageIntegrity));
  const std::array<std::uint8_t, 31> torso{};
  EXPECT_EQ(allocate(1000, [&](auto& w) { w.add(Attribute::kUserhash, torso); }).code(), 400);
}

TEST_F(TurnServer, RefusesCredentialsOfAnImpossibleSizeWith400) {
  const std::vector<std::uint8_t> overlong(764, 'x');
  for (const Attribute type : {Attribute::kNonce, Attribute::kRealm, Attribute::kUsername}) {
    EXPECT_EQ(allocate(1000, [&](auto& w) { w.add(type, {}); }).code(), 400);
    EXPECT_EQ(allocate(1000, [&](auto& w) { w.add(type, overlong); }).code(), 400);
  }
  EXPECT_EQ(world_.asked_for_keys, 0);
}

TEST_F(TurnServer, ChallengesAnotherRealmWith401) {
  realm_ = "example.com";
  EXPECT_EQ(allocate(1000).code(), 401);
  EXPECT_EQ(world_.asked_for_keys, 0);
}

TEST_F(TurnServer, RefusesANonceOfAnotherAddressWith438) {
  nonce_ = nonce_for(from(1001));
  const Answer stolen = allocate(1000);
  EXPECT_EQ(stolen.code(), 438);
  EXPECT_FALSE(stolen.view.has(Attribute::kMessageIntegrity));
  nonce_ = "obMatJos2AAADmadeup";
  EXPECT_EQ(allocate(1000).code(), 438);
  nonce_ = *stolen.view.text(Attribute::kNonce);
  EXPECT_EQ(allocate(1000).code(), 0);
}

TEST_F(TurnServer, RefusesAWeakenedListOfAlgorithmsWith400) {
  algorithms_ = kMd5;
  algorithm_ = kMd5;
  EXPECT_EQ(allocate(1000).code(), 400) << "the list was cut";
  algorithms_ = {};
  EXPECT_EQ(allocate(1000).code(), 400) << "a choice without a list";
  algorithms_ = kBoth;
  algorithm_ = {};
  EXPECT_EQ(allocate(1000).code(), 400) << "a list without a choice";
  algorithm_ = {0, 9, 0, 0};
  EXPECT_EQ(allocate(1000).code(), 400) << "a choice that is not on the list";
  algorithm_ = kMd5;
  EXPECT_EQ(allocate(1000).code(), 0);
}

TEST_F(TurnServer, SignsWithSha256AloneWhereTheRequestNamedAnAlgorithm) {
  algorithms_ = kBoth;
  algorithm_ = kSha256;
  const Answer strong = allocate(1000);
  ASSERT_EQ(strong.code(), 0);
  EXPECT_FALSE(strong.view.has(Attribute::kMessageIntegrity));
  EXPECT_TRUE(stun::check_message_integrity_sha256(
      strong.view, client_key(stun::PasswordAlgorithm::kSha256).view()));
  algorithm_ = kMd5;
  const Answer mixed = permit(1000, {kForbidden});
  EXPECT_EQ(mixed.code(), 403);
  EXPECT_FALSE(mixed.view.has(Attribute::kMessageIntegrity));
  EXPECT_TRUE(stun::check_message_integrity_sha256(
      mixed.view, client_key(stun::PasswordAlgorithm::kMd5).view()));
}

TEST_F(TurnServer, KnowsAUserByNameAndByHash) {
  by_name_ = false;
  by_hash_ = true;
  EXPECT_EQ(allocate(1000).code(), 0);
  by_name_ = true;
  by_hash_ = false;
  EXPECT_EQ(refresh(1000, 600).code(), 0) << "one user, named another way";
  user_ = "bob";
  by_name_ = false;
  by_hash_ = true;
  EXPECT_EQ(refresh(1000, 600).code(), 441);
}

TEST_F(TurnServer, SignsItsRefusalsOnceItKnowsTheClient) {
  const Answer none = refresh(1000, 0);
  const Answer missing = ask(Method::kAllocate, 1000);
  const Answer unknown = allocate(1000, [](auto& w) { w.add(static_cast<Attribute>(0x7001), {}); });
  for (const Answer* answer : {&none, &missing, &unknown}) {
    EXPECT_NE(answer->code(), 0);
    EXPECT_TRUE(stun::check_message_integrity(answer->view,
                                              client_key(stun::PasswordAlgorithm::kMd5).view()));
  }
}

TEST_F(TurnServer, NamesUnknownAttributesOnlyToWhomItKnows) {
  const auto strange = [](MessageWriter& w) { w.add(static_cast<Attribute>(0x7001), {}); };
  const Answer known = allocate(1000, strange);
  ASSERT_EQ(known.code(), 420);
  const auto list = known.view.find(Attribute::kUnknownAttributes);
  ASSERT_TRUE(list && list->value.size() == 2);
  EXPECT_EQ(list->value[0] << 8 | list->value[1], 0x7001);
  password_ = "guess";
  EXPECT_EQ(allocate(1000, strange).code(), 401);
}

TEST_F(TurnServer, CarriesFingerprintAndSoftwareAsAskedFor) {
  const Answer plain = allocate(1000);
  EXPECT_FALSE(plain.view.has(Attribute::kFingerprint));
  EXPECT_FALSE(plain.view.has(Attribute::kSoftware));
  config_.software = "Turnpike";
  restart();
  fingerprint_ = true;
  const Answer answer = allocate(1001);
  EXPECT_TRUE(answer.view.has_fingerprint());
  EXPECT_EQ(answer.view.text(Attribute::kSoftware), "Turnpike");
}

TEST_F(TurnServer, AnAllocationKeepsTheKeyThatMadeIt) {
  ASSERT_EQ(allocate(1000).code(), 0);
  world_.users.clear();
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 0);
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  const Answer again = refresh(1000, 0);
  EXPECT_EQ(again.code(), 437) << "what is left of it knows the key still";
  EXPECT_TRUE(again.view.has(Attribute::kMessageIntegrity));
  EXPECT_EQ(allocate(1000).code(), 401) << "a new one needs a user";
}

TEST_F(TurnServer, StrictExpiryRefusesToRefreshForAUserWhoIsGone) {
  config_.realms[0].strict_expiry = true;
  restart();
  ASSERT_EQ(allocate(1000).code(), 0);
  world_.users.clear();
  EXPECT_EQ(refresh(1000, 600).code(), 401);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 0) << "until it expires it works";
}

TEST_F(TurnServer, AChangedPasswordWorksOnALiveAllocation) {
  ASSERT_EQ(allocate(1000).code(), 0);
  world_.secret = password_ = "changed";
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  password_ = "secret";
  EXPECT_EQ(refresh(1000, 600).code(), 0) << "as does the one that made it";
  password_ = "guess";
  EXPECT_EQ(refresh(1000, 600).code(), 401);
}

TEST_F(TurnServer, WaitsForKeysAndAnswersOnce) {
  world_.pending = true;
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  server_->handle(now_, from(1000), bytes, RequestToken{77});
  server_->handle(now_, from(1000), bytes, RequestToken{78});
  EXPECT_TRUE(world_.replies.empty());
  EXPECT_EQ(world_.discards.at(RequestToken{78}), Discard::kDuplicateParked);
  world_.pending = false;
  UserKeys keys;
  world_.find_keys({"alice", {}}, 0, KeyPurpose::kAllocate, keys);
  server_->keys_arrived(now_, {"alice", {}}, 0, &keys);
  EXPECT_EQ(world_.replies.count(RequestToken{77}), 1U);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
}

TEST_F(TurnServer, GivesUpOnKeysThatNeverCome) {
  world_.pending = true;
  server_->handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{77});
  pass(3);
  EXPECT_EQ(world_.discards.at(RequestToken{77}), Discard::kKeyTimeout);
}

TEST_F(TurnServer, RefusesAUserWhoseKeysNeverWere) {
  world_.pending = true;
  server_->handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{77});
  server_->keys_arrived(now_, {"bob", {}}, 0, nullptr);
  server_->keys_arrived(now_, {"alice", {}}, 1, nullptr);
  EXPECT_TRUE(world_.replies.empty()) << "not who was asked for";
  server_->keys_arrived(now_, {"alice", {}}, 0, nullptr);
  EXPECT_EQ(world_.code_of(RequestToken{77}), 401);
}

TEST_F(TurnServer, ParksNoMoreThanItsLimit) {
  config_.max_parked = 2;
  restart();
  world_.pending = true;
  for (std::uint8_t i = 0; i < 3; ++i) {
    FiveTuple who = from(1000);
    who.client.address.bytes[3] = i;
    server_->handle(now_, who, build(Method::kAllocate, who, udp), RequestToken{i + 1U});
  }
  EXPECT_EQ(world_.discards,
            (std::map<RequestToken, Discard>{{RequestToken{3}, Discard::kParkingFull}}));
}

TEST_F(TurnServer, JudgesAParkedRequestByWhatLivesWhenItsKeysArrive) {
  config_.realms[0].strict_expiry = true;
  config_.parked_timeout_ms = 3'600'000;
  restart();
  ASSERT_EQ(allocate(1000).code(), 0);
  UserKeys keys;
  world_.find_keys({"alice", {}}, 0, KeyPurpose::kRefresh, keys);
  world_.pending = true;
  server_->handle(now_, from(1000), build(Method::kRefresh, from(1000), {}), RequestToken{77});
  now_.ms += 601'000;
  server_->keys_arrived(now_, {"alice", {}}, 0, &keys);
  EXPECT_EQ(world_.code_of(RequestToken{77}), 437)
      << "an allocation that has expired is not brought back";
  EXPECT_TRUE(world_.sink.allocations.empty());
}

}  // namespace
}  // namespace turnpike

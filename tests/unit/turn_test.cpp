// The TURN server's answers, request by request.
#include <algorithm>
#include <atomic>
#include <thread>

#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

TEST_F(TurnServer, AllocatesAndShowsThePublicFace) {
  const Answer answer = allocate(1000);
  ASSERT_EQ(answer.code(), 0);
  const auto relayed = answer.view.xor_address(Attribute::kXorRelayedAddress);
  ASSERT_TRUE(relayed);
  EXPECT_EQ(relayed->address, kPublic);
  EXPECT_GE(relayed->port, 49152);
  EXPECT_EQ(answer.view.u32(Attribute::kLifetime), 600U);
  EXPECT_EQ(answer.view.xor_address(Attribute::kXorMappedAddress), Endpoint(from(1000).client));
  const auto key =
      stun::long_term_key(stun::PasswordAlgorithm::kMd5, "alice", "example.org", "secret");
  EXPECT_TRUE(stun::check_message_integrity(answer.view, key.view()));
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
}

TEST_F(TurnServer, AnswersARetransmittedAllocateAlike) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  const Answer first = say(from(1000), bytes);
  const Answer again = say(from(1000), bytes);
  EXPECT_EQ(first.bytes, again.bytes);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
  EXPECT_EQ(allocate(1000).code(), 437);
}

TEST_F(TurnServer, LateDuplicateAllocateMakesNoGhost) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  say(from(1000), bytes);
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  EXPECT_EQ(say(from(1000), bytes).code(), 437);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(refresh(1000, 0).code(), 437);
  EXPECT_EQ(allocate(1000).code(), 0) << "a new Allocate works at once";
}

TEST_F(TurnServer, RefusesWhatTheRfcRefuses) {
  EXPECT_EQ(ask(Method::kAllocate, 1000).code(), 400);
  EXPECT_EQ(ask(Method::kAllocate, 1000,
                [](auto& w) { w.add_u8_rfffu(Attribute::kRequestedTransport, 6); })
                .code(),
            442);
  EXPECT_EQ(
      allocate(1000, [](auto& w) { w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 9); }).code(),
      440);
  EXPECT_EQ(allocate(1000, [](auto& w) { w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 1); })
                .code(),
            400);
  EXPECT_EQ(allocate(1000, [](auto& w) { w.add(static_cast<Attribute>(0x7001), {}); }).code(), 420);
  const std::array<std::uint8_t, 8> junk{};
  EXPECT_EQ(allocate(1000, [&](auto& w) { w.add(Attribute::kReservationToken, junk); }).code(),
            508);
  EXPECT_EQ(ask(Method::kRefresh, 1000).code(), 437);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 437);
  EXPECT_TRUE(world_.sink.allocations.empty());
}

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

TEST_F(TurnServer, UserQuotaGets486) {
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(allocate(1002).code(), 486);
  refresh(1000, 0);
  EXPECT_EQ(allocate(1002).code(), 0);
}

TEST_F(TurnServer, AFullSinkGets508AndLeaksNothing) {
  world_.sink.full = true;
  EXPECT_EQ(allocate(1000).code(), 508);
  EXPECT_EQ(quotas_.count("alice"), 0U);
}

TEST_F(TurnServer, LifetimeIsClamped) {
  allocate(1000);
  EXPECT_EQ(refresh(1000, 1).view.u32(Attribute::kLifetime), 600U);
  EXPECT_EQ(refresh(1000, 1000).view.u32(Attribute::kLifetime), 1000U);
  EXPECT_EQ(refresh(1000, 0xFFFFFFFF).view.u32(Attribute::kLifetime), 3600U);
}

TEST_F(TurnServer, AllocationExpiresAfter600Seconds) {
  allocate(1000);
  permit(1000, {kPeer});
  bind(1000, 0x4000, {kPeer, 9});
  pass(599);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
  pass(2);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_TRUE(world_.sink.permissions.empty());
  EXPECT_TRUE(world_.sink.channels.empty());
  EXPECT_EQ(server_->counters().allocations.get(), 0U);
  EXPECT_EQ(server_->counters().permissions.get(), 0U);
  EXPECT_EQ(server_->counters().channels.get(), 0U);
  EXPECT_EQ(quotas_.count("alice"), 0U);
}

TEST_F(TurnServer, PermissionExpiresAfter300Seconds) {
  allocate(1000);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 0);
  pass(299);
  EXPECT_EQ(world_.sink.permissions.size(), 1U);
  pass(2);
  EXPECT_TRUE(world_.sink.permissions.empty());
}

TEST_F(TurnServer, ChannelKeepsItsPermissionsSlotThoughClosed) {
  allocate(1000);
  refresh(1000, 3600);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
  pass(400);
  ASSERT_EQ(world_.sink.permissions.size(), 1U);
  EXPECT_LE(world_.sink.permissions.begin()->second.expires_s, now_s(now_));
  permit(1000, {kPeer});
  EXPECT_GT(world_.sink.permissions.begin()->second.expires_s, now_s(now_));
  pass(202);
  EXPECT_TRUE(world_.sink.channels.empty());
}

TEST_F(TurnServer, CreatePermissionIsAllOrNothing) {
  allocate(1000);
  EXPECT_EQ(permit(1000, {}).code(), 400);
  EXPECT_EQ(permit(1000, {kPeer, kForbidden}).code(), 403);
  EXPECT_EQ(permit(1000, {kPeer, kPeer6}).code(), 443);
  EXPECT_TRUE(world_.sink.permissions.empty());
  EXPECT_EQ(permit(1000, {kPeer, Address::v4(203, 0, 113, 6)}).code(), 0);
  EXPECT_EQ(world_.sink.permissions.size(), 2U);
}

TEST_F(TurnServer, PermissionsAreCapped) {
  allocate(1000);
  for (std::uint32_t i = 0; i < 300; ++i) {
    const Answer answer = permit(1000, {Address::v4(203, 0, static_cast<std::uint8_t>(i >> 8),
                                                    static_cast<std::uint8_t>(i))});
    EXPECT_EQ(answer.code(), i < 256 ? 0 : 508);
  }
  EXPECT_EQ(world_.sink.permissions.size(), 256U);
}

TEST_F(TurnServer, ChannelBindConflictsGet400) {
  allocate(1000);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 10}).code(), 400);
  EXPECT_EQ(bind(1000, 0x4001, {kPeer, 9}).code(), 400);
  EXPECT_EQ(bind(1000, 0x3FFF, {kPeer, 11}).code(), 400);
  EXPECT_EQ(bind(1000, 0x5000, {kPeer, 11}).code(), 400);
  EXPECT_EQ(bind(1000, 0x4002, {kPeer, 0}).code(), 400);
  EXPECT_EQ(bind(1000, 0x4002, {kForbidden, 9}).code(), 403);
  EXPECT_EQ(bind(1000, 0x4002, {kPeer6, 9}).code(), 443);
  EXPECT_EQ(world_.sink.channels.size(), 1U);
}

TEST_F(TurnServer, ADualAllocationsFamiliesEndByThemselves) {
  const Answer answer =
      allocate(1000, [](auto& w) { w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2); });
  ASSERT_EQ(answer.code(), 0);
  EXPECT_EQ(world_.sink.ports.size(), 2U);
  permit(1000, {kPeer, kPeer6});
  const Answer half = ask(Method::kRefresh, 1000, [](auto& w) {
    w.add_u32(Attribute::kLifetime, 0);
    w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 2);
  });
  EXPECT_EQ(half.code(), 0);
  EXPECT_EQ(world_.sink.ports.size(), 1U);
  EXPECT_EQ(world_.sink.permissions.size(), 1U);
  EXPECT_EQ(permit(1000, {kPeer6}).code(), 443);
  EXPECT_EQ(server_->counters().permissions.get(), 1U);
}

TEST_F(TurnServer, EvenPortsReturn) {
  QuotaLedger quotas(0, 0, true);
  server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, quotas);
  const auto free = server_->counters().free_ports.get();
  for (int i = 0; i < 100; ++i) {
    const std::array<std::uint8_t, 1> pair{static_cast<std::uint8_t>(i % 2 == 0 ? 0x80 : 0)};
    const Answer answer = allocate(1000, [&](auto& w) { w.add(Attribute::kEvenPort, pair); });
    ASSERT_EQ(answer.code(), 0);
    EXPECT_EQ(answer.view.xor_address(Attribute::kXorRelayedAddress)->port % 2, 0);
    EXPECT_EQ(answer.view.has(Attribute::kReservationToken), i % 2 == 0);
    refresh(1000, 0);
    pass(1);
  }
  pass(70);
  EXPECT_EQ(server_->counters().free_ports.get(), free);
}

TEST_F(TurnServer, AFreedPortRestsBeforeItsNextOwner) {
  config_.port_min = 50000;
  config_.port_max = 50003;
  restart();
  std::set<std::uint16_t> drawn;
  for (int i = 0; i < 4; ++i) {
    drawn.insert(allocate(1000).view.xor_address(Attribute::kXorRelayedAddress)->port);
    refresh(1000, 0);
  }
  EXPECT_EQ(drawn.size(), 4U);
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
  world_.find_keys({"alice", {}}, "example.org", KeyPurpose::kAllocate, keys);
  server_->keys_arrived(now_, {"alice", {}}, "example.org", &keys);
  EXPECT_EQ(world_.replies.count(RequestToken{77}), 1U);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
}

TEST_F(TurnServer, GivesUpOnKeysThatNeverCome) {
  world_.pending = true;
  server_->handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{77});
  pass(3);
  EXPECT_EQ(world_.discards.at(RequestToken{77}), Discard::kKeyTimeout);
}

TEST_F(TurnServer, RedirectsAfterAuthentication) {
  config_.redirects = {{{kServer, 3478}, {{kPeer6, 3478}, {kPeer, 3478}}}};
  restart();
  const Answer answer = allocate(1000);
  EXPECT_EQ(answer.code(), 300);
  EXPECT_EQ(answer.view.address(Attribute::kAlternateServer)->address, kPeer);
  EXPECT_TRUE(answer.view.has(Attribute::kMessageIntegrity));
}

TEST_F(TurnServer, AReservationIsTakenUpFromAnotherFiveTuple) {
  const std::array<std::uint8_t, 1> pair{0x80};
  const Answer first = allocate(1000, [&](auto& w) { w.add(Attribute::kEvenPort, pair); });
  const auto token = first.view.find(Attribute::kReservationToken)->value;
  const std::vector<std::uint8_t> kept(token.begin(), token.end());
  const Answer second = allocate(1001, [&](auto& w) { w.add(Attribute::kReservationToken, kept); });
  EXPECT_EQ(second.view.xor_address(Attribute::kXorRelayedAddress)->port,
            first.view.xor_address(Attribute::kXorRelayedAddress)->port + 1);
  refresh(1000, 0);
  EXPECT_EQ(allocate(1000, [&](auto& w) { w.add(Attribute::kReservationToken, kept); }).code(), 508)
      << "used up";
}

// --- who asks

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
  config_.strict_expiry = true;
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

TEST_F(TurnServer, DropsWhatIsNoRequestOfIts) {
  server_->handle(now_, from(1000), std::array<std::uint8_t, 3>{1, 2, 3}, RequestToken{7});
  std::array<std::uint8_t, 64> buffer{};
  MessageWriter binding(buffer, Class::kRequest, Method::kBinding, {});
  server_->handle(now_, from(1000), binding.finish(), RequestToken{8});
  MessageWriter indication(buffer, Class::kIndication, Method::kAllocate, {});
  server_->handle(now_, from(1000), indication.finish(), RequestToken{9});
  for (const std::uint64_t token : {7U, 8U, 9U})
    EXPECT_EQ(world_.discards.at(RequestToken{token}), Discard::kMalformed);
  EXPECT_TRUE(world_.replies.empty());
}

// --- keys that have to be fetched

TEST_F(TurnServer, RefusesAUserWhoseKeysNeverWere) {
  world_.pending = true;
  server_->handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{77});
  server_->keys_arrived(now_, {"bob", {}}, "example.org", nullptr);
  server_->keys_arrived(now_, {"alice", {}}, "example.com", nullptr);
  EXPECT_TRUE(world_.replies.empty()) << "not who was asked for";
  server_->keys_arrived(now_, {"alice", {}}, "example.org", nullptr);
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
  config_.strict_expiry = true;
  config_.parked_timeout_ms = 3'600'000;
  restart();
  ASSERT_EQ(allocate(1000).code(), 0);
  UserKeys keys;
  world_.find_keys({"alice", {}}, "example.org", KeyPurpose::kRefresh, keys);
  world_.pending = true;
  server_->handle(now_, from(1000), build(Method::kRefresh, from(1000), {}), RequestToken{77});
  now_.ms += 601'000;
  server_->keys_arrived(now_, {"alice", {}}, "example.org", &keys);
  EXPECT_EQ(world_.code_of(RequestToken{77}), 437)
      << "an allocation that has expired is not brought back";
  EXPECT_TRUE(world_.sink.allocations.empty());
}

// --- Allocate

TEST_F(TurnServer, RefusesMalformedAttributesWith400) {
  const std::array<std::uint8_t, 3> three{17, 0, 0};
  const auto with = [&](Attribute attribute) {
    return [&three, attribute](MessageWriter& w) { w.add(attribute, three); };
  };
  EXPECT_EQ(ask(Method::kAllocate, 1000, with(Attribute::kRequestedTransport)).code(), 400);
  for (const Attribute attribute : {Attribute::kLifetime, Attribute::kRequestedAddressFamily,
                                    Attribute::kAdditionalAddressFamily, Attribute::kEvenPort}) {
    EXPECT_EQ(allocate(1000, with(attribute)).code(), 400);
  }
  allocate(1000);
  EXPECT_EQ(ask(Method::kRefresh, 1000, with(Attribute::kLifetime)).code(), 400);
  EXPECT_EQ(ask(Method::kRefresh, 1000, with(Attribute::kRequestedAddressFamily)).code(), 400);
  for (const Method method : {Method::kCreatePermission, Method::kChannelBind}) {
    const Answer answer = ask(method, 1000, [&](auto& w) {
      w.add_channel_number(0x4000);
      w.add(Attribute::kXorPeerAddress, three);
    });
    EXPECT_EQ(answer.code(), 400);
  }
}

TEST_F(TurnServer, RefusesContradictionsWith400) {
  const std::array<std::uint8_t, 8> token{};
  const std::array<std::uint8_t, 1> pair{0x80};
  const Fill even = [&](MessageWriter& w) { w.add(Attribute::kEvenPort, pair); };
  const Fill reserved = [&](MessageWriter& w) { w.add(Attribute::kReservationToken, token); };
  const Fill requested = [](MessageWriter& w) {
    w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 1);
  };
  const Fill additional = [](MessageWriter& w) {
    w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2);
  };
  const std::vector<std::pair<Fill, Fill>> contradictions{{reserved, even},
                                                          {reserved, requested},
                                                          {reserved, additional},
                                                          {additional, even},
                                                          {additional, requested}};
  for (const auto& contradiction : contradictions) {
    const Answer answer = allocate(1000, [&](auto& w) {
      contradiction.first(w);
      contradiction.second(w);
    });
    EXPECT_EQ(answer.code(), 400);
  }
}

TEST_F(TurnServer, GivesTheFamilyThatIsAskedFor) {
  const auto v6 = [](auto& w) { w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 2); };
  const Answer answer = allocate(1000, v6);
  ASSERT_EQ(answer.code(), 0);
  EXPECT_EQ(answer.view.xor_address(Attribute::kXorRelayedAddress)->address, kRelay6);
  config_.relayed.pop_back();
  restart();
  EXPECT_EQ(allocate(1001, v6).code(), 440);
  config_.relayed = {{kRelay6, std::nullopt}};
  restart();
  EXPECT_EQ(allocate(1001).code(), 440) << "without a wish it is IPv4 or nothing";
}

TEST_F(TurnServer, SaysWhichOfTwoFamiliesIsMissing) {
  const auto dual = [](auto& w) { w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2); };
  const auto error_of = [](const Answer& answer) {
    const auto error = answer.view.find(Attribute::kAddressErrorCode);
    if (!error || error->value.size() < 4) return std::pair(0, 0);
    return std::pair<int, int>(error->value[0], error->value[2] * 100 + error->value[3]);
  };
  config_.relayed = {{kRelay4, std::nullopt}};
  restart();
  const Answer unsupported = allocate(1000, dual);
  EXPECT_EQ(unsupported.code(), 0);
  EXPECT_EQ(error_of(unsupported), std::pair(2, 440));

  config_ = config_with();
  config_.port_min = 50000;
  config_.port_max = 50001;
  restart();
  user_ = "bob";
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(allocate(1002).code(), 0);
  user_ = "alice";
  const Answer exhausted = allocate(1003, dual);
  EXPECT_EQ(exhausted.code(), 0);
  EXPECT_EQ(error_of(exhausted), std::pair(1, 508));
  EXPECT_EQ(exhausted.view.xor_address(Attribute::kXorRelayedAddress)->address, kRelay6);
}

TEST_F(TurnServer, TakesDontFragmentAsAQuestionOfCapability) {
  EXPECT_EQ(allocate(1000, [](auto& w) { w.add(Attribute::kDontFragment, {}); }).code(), 0);
}

TEST_F(TurnServer, RefusesClientsBehindTeredoAnd6to4With403) {
  const auto client = [](const char* address) {
    return FiveTuple{
        ClientEndpoint{{*Address::parse(address), 1000}}, {kServer, 3478}, Transport::kUdp};
  };
  for (const char* address : {"2001:0:1::1", "2002:c000:201::1"}) {
    const FiveTuple who = client(address);
    EXPECT_EQ(say(who, build(Method::kAllocate, who, udp)).code(), 403);
    EXPECT_EQ(say(who, build(Method::kChannelBind, who, {})).code(), 403);
  }
  const FiveTuple near = client("2001:1::1");
  EXPECT_EQ(say(near, build(Method::kAllocate, near, udp)).code(), 0);
}

TEST_F(TurnServer, AllocationsAreCapped) {
  config_.max_allocations = 1;
  restart();
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 508);
  EXPECT_EQ(quotas_.count("alice"), 1U);
  refresh(1000, 0);
  EXPECT_EQ(allocate(1001).code(), 0);
}

TEST_F(TurnServer, PublishesAndWithdrawsBeforeItAnswers) {
  allocate(1000);
  EXPECT_EQ(world_.open_at_reply, 1U);
  refresh(1000, 0);
  EXPECT_EQ(world_.open_at_reply, 0U);
}

TEST_F(TurnServer, ARefusedPairLeavesNoReservation) {
  const auto free = server_->counters().free_ports.get();
  world_.sink.full = true;
  EXPECT_EQ(allocate(1000, even_pair).code(), 508);
  pass(1);
  EXPECT_EQ(server_->counters().reservations.get(), 0U);
  EXPECT_EQ(server_->counters().free_ports.get(), free);
}

TEST_F(TurnServer, AReservationOutlivesARefusal) {
  const auto token = token_of(allocate(1000, even_pair));
  const auto redeem = [&](auto& w) { w.add(Attribute::kReservationToken, token); };
  world_.sink.full = true;
  EXPECT_EQ(allocate(1001, redeem).code(), 508);
  world_.sink.full = false;
  EXPECT_EQ(allocate(1001, redeem).code(), 0);
}

TEST_F(TurnServer, AReservationLives30Seconds) {
  const auto token = token_of(allocate(1000, even_pair));
  pass(29);
  EXPECT_EQ(server_->counters().reservations.get(), 1U);
  now_.ms += 1000;
  EXPECT_EQ(allocate(1001, [&](auto& w) { w.add(Attribute::kReservationToken, token); }).code(),
            508)
      << "even before the next tick";
  pass(1);
  EXPECT_EQ(server_->counters().reservations.get(), 0U);
}

TEST_F(TurnServer, ReservationsHoldAQuarterOfThePortsAtMost) {
  config_.port_min = 50000;
  config_.port_max = 50015;
  config_.relayed = {{kRelay4, std::nullopt}};
  QuotaLedger quotas(0, 0, true);
  server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, quotas);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(allocate(1000, even_pair).code(), i < 4 ? 0 : 508);
    refresh(1000, 0);
  }
}

TEST_F(TurnServer, AReservationBelongsToTheShardThatMadeIt) {
  config_ = config_with(0, 2);
  restart();
  World other_world;
  Server other(config_with(1, 2), other_world, nonces_, tokens_, quotas_);
  const Answer first = allocate(1000, even_pair);
  const auto token = token_of(first);
  EXPECT_EQ(tokens_.open(token)->shard, 0);
  const auto redeem = [&](MessageWriter& w) {
    udp(w);
    w.add(Attribute::kReservationToken, token);
  };
  other.handle(now_, from(1001), build(Method::kAllocate, from(1001), redeem), RequestToken{1});
  EXPECT_EQ(other_world.code_of(RequestToken{1}), 508);
  const Answer taken = say(from(1001), build(Method::kAllocate, from(1001), redeem));
  EXPECT_EQ(taken.view.xor_address(Attribute::kXorRelayedAddress)->port,
            first.view.xor_address(Attribute::kXorRelayedAddress)->port + 1);
  EXPECT_EQ(quotas_.count("alice"), 2U) << "one ledger for both shards";
}

TEST_F(TurnServer, AFiveTupleHasOneAllocationOverAllShards) {
  config_ = config_with(0, 2);
  restart();
  World other_world;
  Server other(config_with(1, 2), other_world, nonces_, tokens_, quotas_);
  ASSERT_EQ(allocate(1000).code(), 0);
  other.handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{1});
  EXPECT_EQ(other_world.code_of(RequestToken{1}), 437);
  EXPECT_EQ(quotas_.count("alice"), 1U);
  refresh(1000, 0);
  other.handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{2});
  EXPECT_EQ(other_world.code_of(RequestToken{2}), 0);
}

// --- what is left of an allocation

TEST_F(TurnServer, AGhostIsKeptAwayFor40Seconds) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  say(from(1000), bytes);
  refresh(1000, 0);
  pass(39);
  EXPECT_EQ(say(from(1000), bytes).code(), 437);
  pass(2);
  EXPECT_EQ(say(from(1000), bytes).code(), 438) << "its nonce is too old by then";
}

TEST_F(TurnServer, RemembersAsManyGhostsAsItMayHaveAllocations) {
  config_.max_allocations = 2;
  restart();
  std::vector<std::vector<std::uint8_t>> all;
  for (std::uint16_t i = 0; i < 3; ++i) {
    all.push_back(build(Method::kAllocate, from(i), udp));
    EXPECT_EQ(say(from(i), all.back()).code(), 0);
    refresh(i, 0);
    pass(1);
  }
  EXPECT_EQ(say(from(2), all[2]).code(), 437);
  EXPECT_EQ(say(from(1), all[1]).code(), 437);
  EXPECT_EQ(say(from(0), all[0]).code(), 0) << "the oldest had to go";
}

TEST_F(TurnServer, AShorterRefreshIsKept) {
  // Long from the start: a look due after 600 seconds anyway would hide one that nobody planned.
  allocate(1000, [](auto& w) { w.add_u32(Attribute::kLifetime, 3600); });
  pass(10);
  EXPECT_EQ(refresh(1000, 600).view.u32(Attribute::kLifetime), 600U);
  pass(601);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(quotas_.count("alice"), 0U);
}

TEST_F(TurnServer, AnExpiredAllocationIsGoneEvenBeforeTheNextTick) {
  allocate(1000);
  now_.ms += 600'000;
  EXPECT_EQ(permit(1000, {kPeer}).code(), 437);
  EXPECT_EQ(allocate(1000).code(), 0);
}

TEST_F(TurnServer, RefreshOfAFamilyThatIsNotThereGets443) {
  allocate(1000);
  const auto refresh_family = [&](std::uint8_t family) {
    return ask(Method::kRefresh, 1000,
               [&](auto& w) { w.add_u8_rfffu(Attribute::kRequestedAddressFamily, family); })
        .code();
  };
  EXPECT_EQ(refresh_family(2), 443);
  EXPECT_EQ(refresh_family(1), 0);
}

// --- permissions and channels

TEST_F(TurnServer, CreatePermissionInstallsNothingWhereTheSinkHasNoRoomForAll) {
  allocate(1000);
  ASSERT_EQ(permit(1000, {kPeer}).code(), 0);
  const std::uint32_t before = world_.sink.permissions.begin()->second.expires_s;
  pass(10);
  world_.sink.room = 1;
  EXPECT_EQ(permit(1000, {kPeer, Address::v4(203, 0, 113, 6), Address::v4(203, 0, 113, 7)}).code(),
            508);
  ASSERT_EQ(world_.sink.permissions.size(), 1U);
  EXPECT_EQ(world_.sink.permissions.begin()->second.expires_s, before);
  EXPECT_EQ(server_->counters().permissions.get(), 1U);
}

TEST_F(TurnServer, APeerNamedTwiceCountsOnce) {
  config_.max_permissions_per_allocation = 1;
  restart();
  allocate(1000);
  EXPECT_EQ(permit(1000, {kPeer, kPeer}).code(), 0);
  EXPECT_EQ(world_.sink.permissions.size(), 1U);
}

TEST_F(TurnServer, ARelayedAddressAsAPeerIsKnownByItsPublicFace) {
  allocate(1000);
  EXPECT_EQ(permit(1000, {kRelay4}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kRelay4, 50000}).code(), 0);
  ASSERT_EQ(world_.sink.permissions.size(), 1U);
  EXPECT_EQ(world_.sink.permissions.begin()->second.peer, kPublic);
  EXPECT_EQ(world_.sink.channels.begin()->second.peer.address, kPublic);
  EXPECT_EQ(bind(1000, 0x4000, {kPublic, 50000}).code(), 0) << "the same peer";
}

TEST_F(TurnServer, ChannelBindRefreshesChannelAndPermission) {
  allocate(1000);
  refresh(1000, 3600);
  bind(1000, 0x4000, {kPeer, 9});
  pass(500);
  EXPECT_LE(world_.sink.permissions.begin()->second.expires_s, now_s(now_));
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
  EXPECT_EQ(world_.sink.permissions.begin()->second.expires_s, now_s(now_) + 300);
  EXPECT_EQ(world_.sink.channels.begin()->second.expires_s, now_s(now_) + 600);
  pass(599);
  EXPECT_EQ(world_.sink.channels.size(), 1U);
  pass(1);
  EXPECT_TRUE(world_.sink.channels.empty());
  EXPECT_TRUE(world_.sink.permissions.empty()) << "nothing holds it any more";
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 10}).code(), 0) << "the number is free again";
}

TEST_F(TurnServer, ChannelsAreCapped) {
  config_.max_channels_per_allocation = 1;
  restart();
  allocate(1000);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4001, {kPeer, 10}).code(), 508);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
}

TEST_F(TurnServer, ARefusedChannelBindLeavesNoPermission) {
  allocate(1000);
  world_.sink.room = 1;
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 508);
  EXPECT_TRUE(world_.sink.permissions.empty());
  EXPECT_EQ(server_->counters().permissions.get(), 0U);
  EXPECT_EQ(server_->counters().channels.get(), 0U);
}

TEST_F(TurnServer, ChannelNumbersReachTo7FffWhereConfigured) {
  config_.channel_max = 0x7FFF;
  restart();
  allocate(1000);
  EXPECT_EQ(bind(1000, 0x7FFF, {kPeer, 9}).code(), 0);
  EXPECT_EQ(bind(1000, 0x8000, {kPeer, 10}).code(), 400);
}

TEST_F(TurnServer, EveryAnswerIsCountedByMethodAndResult) {
  const auto count = [&](Method method, std::uint16_t result) {
    const auto row = std::find(kMethods.begin(), kMethods.end(), method) - kMethods.begin();
    const auto column = std::find(kResults.begin(), kResults.end(), result) - kResults.begin();
    return server_->counters()
        .requests[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)]
        .get();
  };
  allocate(1000);
  allocate(1000);
  permit(1000, {kForbidden});
  refresh(1000, 0);
  EXPECT_EQ(count(Method::kAllocate, 0), 1U);
  EXPECT_EQ(count(Method::kAllocate, 437), 1U);
  EXPECT_EQ(count(Method::kCreatePermission, 403), 1U);
  EXPECT_EQ(count(Method::kRefresh, 0), 1U);
  EXPECT_EQ(count(Method::kChannelBind, 0), 0U);
}

// --- the parts

FiveTuple numbered(std::uint32_t number) {
  const Address client =
      Address::v4(10, static_cast<std::uint8_t>(number >> 16),
                  static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number));
  return {ClientEndpoint{{client, 1000}}, {kServer, 3478}, Transport::kUdp};
}

TEST(QuotaLedger, IsExactWhereManyThreadsAskAtOnce) {
  QuotaLedger ledger(100, 150, true);
  std::atomic<std::uint32_t> granted{0};
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i, name = i % 2 == 0 ? "alice" : "bob"] {
      for (std::uint32_t k = 0; k < 1000; ++k) {
        if (ledger.reserve(name, numbered(i * 1000 + k)) == QuotaLedger::Verdict::kReserved)
          ++granted;
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_LE(ledger.count("alice"), 100U);
  EXPECT_LE(ledger.count("bob"), 100U);
  EXPECT_EQ(ledger.count("alice") + ledger.count("bob"), granted);
  EXPECT_EQ(granted, 150U);
}

TEST(QuotaLedger, CountsAllUsersTogether) {
  QuotaLedger ledger(0, 1, false);
  EXPECT_EQ(ledger.reserve("alice", numbered(1)), QuotaLedger::Verdict::kReserved);
  EXPECT_EQ(ledger.reserve("bob", numbered(2)), QuotaLedger::Verdict::kFull);
  ledger.release("alice", numbered(1));
  EXPECT_EQ(ledger.reserve("bob", numbered(2)), QuotaLedger::Verdict::kReserved);
}

}  // namespace
}  // namespace turnpike

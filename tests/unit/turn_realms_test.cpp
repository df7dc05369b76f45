// Two listeners, each with a realm of its own, that have a user of one name: neither's credentials,
// nonces, reservations or quotas are of any worth in the other.
#include <gtest/gtest.h>

#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

ServerConfig two_realms() {
  ServerConfig config = config_with();
  config.realms.push_back({.name = "example.net"});
  return config;
}

class Realms : public TurnServer {
 protected:
  Realms() : TurnServer(two_realms()) {}

  // All that clients know of the realm they come to from now on.
  void come_to(RealmIndex realm) {
    came_to_ = realm;
    server_realm_ = config_.realms[realm];
    realm_ = server_realm_.name;
  }
};

TEST_F(Realms, EachLetsItsOwnUsersIn) {
  EXPECT_EQ(allocate(1000).code(), 0);
  come_to(1);
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(refresh(1001, 600).code(), 0);
}

TEST_F(Realms, CredentialsOfTheOtherAreRefusedWithTheListenersOwnName) {
  come_to(1);
  realm_ = "example.org";  // the key, too
  const Answer refused = allocate(1000);
  EXPECT_EQ(refused.code(), 401);
  EXPECT_EQ(refused.view.text(Attribute::kRealm), "example.net");
  EXPECT_EQ(world_.refused, std::vector{Unauthorized::kWrongRealm});
}

// As who names the right realm and has only the other's key does.
TEST_F(Realms, KeyOfTheOtherIsAWrongKey) {
  come_to(1);
  world_.realms[1] = "the.password.is.another.here";
  EXPECT_EQ(allocate(1000).code(), 401);
  EXPECT_EQ(world_.refused, std::vector{Unauthorized::kWrongKey});
}

TEST_F(Realms, NonceOfTheOtherIsNone) {
  come_to(1);
  server_realm_ = config_.realms[0];
  const Answer refused = allocate(1000);
  EXPECT_EQ(refused.code(), 438);
  EXPECT_EQ(refused.view.text(Attribute::kRealm), "example.net");
  nonce_ = *refused.view.text(Attribute::kNonce);
  EXPECT_EQ(allocate(1000).code(), 0) << "the one that came with the refusal is";
}

TEST_F(Realms, EachListsItsOwnAlgorithms) {
  ServerPolicy next = config_;
  next.realms[1].sha256_offered = false;
  server_->use(next);
  user_ = "mallory";
  const auto list_at = [this](RealmIndex realm) {
    come_to(realm);
    if (realm == 1) server_realm_.sha256_offered = false;
    const Answer refused = allocate(1000);
    const auto list = refused.view.find(Attribute::kPasswordAlgorithms)->value;
    return std::vector<std::uint8_t>(list.begin(), list.end());
  };
  EXPECT_EQ(list_at(0), kBoth);
  EXPECT_EQ(list_at(1), kMd5);
}

TEST_F(Realms, UserhashIsOfTheListenersRealm) {
  come_to(1);
  by_name_ = false;
  by_hash_ = true;
  ASSERT_EQ(allocate(1000).code(), 0);
  const int asked = world_.asked_for_keys;
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  EXPECT_EQ(world_.asked_for_keys, asked) << "the owner is known by his hash";
}

TEST_F(Realms, QuotasAreOfAUserInHisRealm) {
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(allocate(1002).code(), 486);
  come_to(1);
  EXPECT_EQ(allocate(2000).code(), 0);
  EXPECT_EQ(allocate(2001).code(), 0);
  EXPECT_EQ(allocate(2002).code(), 486);
  EXPECT_EQ(server_->counters().realm_allocations[0].get(), 2U);
  EXPECT_EQ(server_->counters().realm_allocations[1].get(), 2U);
  EXPECT_EQ(refresh(2000, 0).code(), 0);
  EXPECT_EQ(server_->counters().realm_allocations[1].get(), 1U);
  EXPECT_EQ(quotas_.count({"alice", 0}), 2U);
  EXPECT_EQ(quotas_.count({"alice", 1}), 1U);
  pass(3600);
  EXPECT_EQ(quotas_.count({"alice", 0}), 0U);
  EXPECT_EQ(quotas_.count({"alice", 1}), 0U);
  EXPECT_EQ(server_->counters().realm_allocations[0].get(), 0U);
  EXPECT_EQ(server_->counters().realm_allocations[1].get(), 0U);
}

TEST_F(Realms, PeerIsRefusedInOneAlone) {
  ASSERT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(permit(1000, {kForbiddenElsewhere}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kForbiddenElsewhere, 4000}).code(), 0);
  come_to(1);
  ASSERT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(permit(1001, {kForbiddenElsewhere}).code(), 403);
  EXPECT_EQ(bind(1001, 0x4000, {kForbiddenElsewhere, 4000}).code(), 403);
}

TEST_F(Realms, ReservationIsTakenUpInItsOwnAlone) {
  const Answer made = allocate(1000, even_pair);
  ASSERT_EQ(made.code(), 0);
  const TokenSealer::Token token = token_of(made);
  const auto redeem = [&](MessageWriter& writer) {
    writer.add(Attribute::kReservationToken, token);
  };
  come_to(1);
  EXPECT_EQ(allocate(1001, redeem).code(), 508) << "another alice";
  come_to(0);
  EXPECT_EQ(allocate(1001, redeem).code(), 0);
}

TEST_F(Realms, KeysThatArriveAreOfTheirRealmsRequestsAlone) {
  world_.pending = true;
  come_to(1);
  server_->handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{77},
                  came_to_);
  world_.pending = false;
  UserKeys keys;
  ASSERT_EQ(world_.find_keys({"alice", {}}, 1, KeyPurpose::kAllocate, keys), KeyState::kFound);
  server_->keys_arrived(now_, {"alice", {}}, 0, &keys);
  EXPECT_FALSE(world_.replies.contains(RequestToken{77}));
  server_->keys_arrived(now_, {"alice", {}}, 1, &keys);
  ASSERT_TRUE(world_.replies.contains(RequestToken{77}));
  EXPECT_EQ(world_.code_of(RequestToken{77}), 0);
}

TEST_F(Realms, StrictnessIsARealmsOwn) {
  ServerPolicy next = config_;
  next.realms[1].strict_expiry = true;
  server_->use(next);
  ASSERT_EQ(allocate(1000).code(), 0);
  come_to(1);
  ASSERT_EQ(allocate(1001).code(), 0);
  world_.unknown = KeyState::kExpired;
  world_.users.clear();
  EXPECT_EQ(refresh(1001, 600).code(), 401);
  come_to(0);
  EXPECT_EQ(refresh(1000, 600).code(), 0);
}

}  // namespace
}  // namespace turnpike

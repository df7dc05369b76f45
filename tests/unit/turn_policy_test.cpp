// What a running server is given anew (Server::use): it holds for what is asked from then on, and
// for nothing that stands.
#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

class PolicyOfTurn : public TurnServer {
 protected:
  static std::vector<std::uint8_t> algorithms_in(const Answer& answer) {
    const auto found = answer.view.find(Attribute::kPasswordAlgorithms);
    if (!found) return {};
    return {found->value.begin(), found->value.end()};
  }
  template <typename Flows>
  static std::uint32_t latest(const Flows& flows) {
    return flows.rbegin()->second.expires_s;
  }

  const Endpoint peer_{kPeer, 7000};
};

TEST_F(PolicyOfTurn, GivesItsLifetimesAndTakesNoneBack) {
  ASSERT_EQ(allocate(1000).code(), 0);
  ASSERT_EQ(bind(1000, 0x4000, peer_).code(), 0);
  ServerPolicy next = config_;
  next.software = "Next";
  next.lifetime_min_s = 700;
  next.lifetime_max_s = 800;
  next.permission_lifetime_s = 310;
  next.channel_lifetime_s = 620;
  server_->use(next);
  EXPECT_EQ(latest(world_.sink.permissions), expiry_s(now_, 300));
  EXPECT_EQ(latest(world_.sink.channels), expiry_s(now_, 600));

  const Answer made = allocate(1001);
  EXPECT_EQ(made.view.u32(Attribute::kLifetime), 700U);
  EXPECT_EQ(made.view.text(Attribute::kSoftware), "Next");
  EXPECT_EQ(refresh(1000, 5000).view.u32(Attribute::kLifetime), 800U);
  ASSERT_EQ(permit(1001, {kPublic}).code(), 0);
  EXPECT_EQ(latest(world_.sink.permissions), expiry_s(now_, 310));
  ASSERT_EQ(bind(1001, 0x4000, peer_).code(), 0);
  EXPECT_EQ(latest(world_.sink.permissions), expiry_s(now_, 310));
  EXPECT_EQ(latest(world_.sink.channels), expiry_s(now_, 620));
  ASSERT_EQ(bind(1000, 0x4000, peer_).code(), 0);
  EXPECT_EQ(world_.sink.permissions.begin()->second.expires_s, expiry_s(now_, 310));
  EXPECT_EQ(world_.sink.channels.begin()->second.expires_s, expiry_s(now_, 620));
}

TEST_F(PolicyOfTurn, OpensAndClosesChannelNumbers) {
  ASSERT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(bind(1000, 0x5000, peer_).code(), 400);
  ServerPolicy next = config_;
  next.channel_max = 0x7FFF;
  server_->use(next);
  EXPECT_EQ(bind(1000, 0x5000, peer_).code(), 0);
  server_->use(config_);
  EXPECT_EQ(bind(1000, 0x5000, peer_).code(), 400);
  EXPECT_EQ(world_.sink.channels.size(), 1U) << "it stays until its time is over";
}

TEST_F(PolicyOfTurn, SendsAwayAndNoLonger) {
  ServerPolicy next = config_;
  next.redirects = {{{kServer, 3478}, {{kPeer, 3478}}}};
  server_->use(next);
  EXPECT_EQ(allocate(1000).code(), 300);
  server_->use(config_);
  EXPECT_EQ(allocate(1000).code(), 0);
}

TEST_F(PolicyOfTurn, OffersItsAlgorithmsAndChecksThem) {
  user_ = "mallory";
  EXPECT_EQ(algorithms_in(allocate(1000)), kBoth);
  ServerPolicy next = config_;
  next.realms[0].sha256_offered = server_realm_.sha256_offered = false;
  server_->use(next);
  EXPECT_EQ(algorithms_in(allocate(1000)), kMd5);
  user_ = "alice";
  algorithm_ = kMd5;
  algorithms_ = kBoth;
  EXPECT_EQ(allocate(1000).code(), 400);
  algorithms_ = kMd5;
  EXPECT_EQ(allocate(1000).code(), 0);
}

TEST_F(PolicyOfTurn, BeginsToAskForKeysAtARefresh) {
  ASSERT_EQ(allocate(1000).code(), 0);
  const int asked = world_.asked_for_keys;
  ASSERT_EQ(refresh(1000, 600).code(), 0);
  EXPECT_EQ(world_.asked_for_keys, asked);
  ServerPolicy next = config_;
  next.realms[0].strict_expiry = true;
  server_->use(next);
  world_.unknown = KeyState::kExpired;
  world_.users.clear();
  EXPECT_EQ(refresh(1000, 600).code(), 401);
  EXPECT_EQ(world_.asked_for_keys, asked + 1);
}

}  // namespace
}  // namespace turnpike

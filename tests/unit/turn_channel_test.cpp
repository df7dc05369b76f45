// ChannelBind: number and peer for each other, with the permission that goes along.
#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

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

}  // namespace
}  // namespace turnpike

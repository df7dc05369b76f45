// CreatePermission: all or nothing, by address, and for 300 seconds.
#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

TEST_F(TurnServer, PermissionExpiresAfter300Seconds) {
  allocate(1000);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 0);
  pass(299);
  EXPECT_EQ(world_.sink.permissions.size(), 1U);
  pass(2);
  EXPECT_TRUE(world_.sink.permissions.empty());
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

TEST_F(TurnServer, ARelayedAddressAsAPeerIsKnownByItsPublicAddress) {
  allocate(1000);
  EXPECT_EQ(permit(1000, {kRelay4}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kRelay4, 50000}).code(), 0);
  ASSERT_EQ(world_.sink.permissions.size(), 1U);
  EXPECT_EQ(world_.sink.permissions.begin()->second.peer, kPublic);
  EXPECT_EQ(world_.sink.channels.begin()->second.peer.address, kPublic);
  EXPECT_EQ(bind(1000, 0x4000, {kPublic, 50000}).code(), 0) << "the same peer";
}

}  // namespace
}  // namespace turnpike

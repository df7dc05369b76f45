// How many requests of one allocation, and of one stranger, a worker hands to the engine.
#include <gtest/gtest.h>

#include <array>

#include "flow_world.h"
#include "turnpike/stun.h"

namespace turnpike::flow {
namespace {

using namespace test;
using stun::Attribute;

class RequestLimit : public testing::Test {
 protected:
  // A worker's answer to a request with a nonce that is ours and an integrity that only a shard can
  // judge.
  Packet ask(const ClientEndpoint& client) {
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size =
        world_.nonces_.mint(world_.now_, world_.realm_, client, world_.server_, nonce);
    std::array<std::uint8_t, 512> buffer{};
    stun::MessageWriter writer(buffer, stun::Class::kRequest, stun::Method::kRefresh, {1});
    writer.add_text(Attribute::kUsername, "user");
    writer.add_text(Attribute::kRealm, "example.org");
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
    writer.add_message_integrity(std::array<std::uint8_t, 16>{1});
    const stun::Bytes bytes = writer.finish();
    Datagram datagram;
    datagram.source = client;
    datagram.destination = world_.server_;
    datagram.payload.assign(bytes.begin(), bytes.end());
    return world_.run(frame_of(datagram));
  }
  // How many of so many reach the engine.
  unsigned admitted(const ClientEndpoint& client, unsigned asked) {
    unsigned n = 0;
    for (unsigned i = 0; i < asked; ++i)
      n += ask(client).verdict == Verdict::kEngine ? 1 : 0;
    return n;
  }
  static ClientEndpoint stranger(std::uint8_t host, std::uint16_t port = 5000) {
    return ClientEndpoint{{Address::v4(198, 51, 100, host), port}};
  }

  FlowWorld world_{Family::kIpv4};
};

TEST_F(RequestLimit, AnAllocationHas64AtOnceAnd20ASecond) {
  EXPECT_EQ(admitted(world_.client_, 100), 64U);
  EXPECT_EQ(world_.drops(Drop::kRequestLimit), 36U);
  world_.now_.ms += 1000;
  EXPECT_EQ(admitted(world_.client_, 100), 20U);
  world_.now_.ms += 3'600'000;
  EXPECT_EQ(admitted(world_.client_, 100), 64U);
}

TEST_F(RequestLimit, OneAllocationUsesUpNothingOfAnothers) {
  const ClientEndpoint other{{kClient4, 40001}};
  world_.add(other, kRelayPort4 + 2, kRelayPort6 + 2);
  admitted(world_.client_, 200);
  EXPECT_EQ(admitted(other, 64), 64U);
  EXPECT_EQ(admitted({{kClient4, 40002}}, 100), 100U) << "nor of strangers at the same address";
}

TEST_F(RequestLimit, ASlotsNextAllocationStartsAnew) {
  EXPECT_EQ(admitted(world_.client_, 64), 64U);
  for (const ChannelSlot channel : world_.channels_)
    world_.writer_->withdraw_channel(channel);
  for (const PermissionSlot permission : world_.permissions_)
    world_.writer_->withdraw_permission(permission);
  world_.writer_->withdraw_allocation(world_.allocation_);
  world_.writer_->housekeeping();
  const ClientEndpoint next{{kClient4, 40001}};
  ASSERT_EQ(world_.add(next, kRelayPort4, kRelayPort6), world_.allocation_) << "the slot again";
  EXPECT_EQ(admitted(next, 64), 64U);
}

TEST_F(RequestLimit, AStrangersAddressHas2000AtOnceAnd500ASecond) {
  unsigned n = 0;
  for (std::uint16_t port = 1; port <= 2500; ++port)
    n += admitted(stranger(7, port), 1);
  EXPECT_EQ(n, 2000U);
  EXPECT_EQ(world_.drops(Drop::kRequestSourceLimit), 500U);
  EXPECT_EQ(admitted(stranger(8), 10), 10U) << "others are heard";
  world_.now_.ms += 1000;
  EXPECT_EQ(admitted(stranger(7), 1000), 500U);
}

TEST_F(RequestLimit, IsOffWhereItIsZero) {
  world_.policy_.requests = {.per_allocation = {0}, .per_source = {0}};
  EXPECT_EQ(admitted(world_.client_, 5000), 5000U);
  EXPECT_EQ(admitted(stranger(7), 5000), 5000U);
}

}  // namespace
}  // namespace turnpike::flow

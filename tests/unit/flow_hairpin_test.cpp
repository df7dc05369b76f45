// A client whose peer is another client's relayed address.
#include <gtest/gtest.h>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

class Hairpin : public testing::Test {
 protected:
  Hairpin() {
    theirs_ = world_.add(other_, 50002, 50003);
    for (const AllocationSlot allocation : {world_.allocation_, theirs_}) {
      world_.writer_->publish_permission({allocation, kPublic, FlowWorld::kExpires});
    }
  }
  FlowWorld world_{Family::kIpv4, true, kPublic};
  const ClientEndpoint other_{{kClient4, 40001}};
  AllocationSlot theirs_{};
};

TEST_F(Hairpin, ShowsPublicAddressesHoweverThePeerIsNamed) {
  for (const Address& name : {kPublic, kRelay4}) {
    const Packet packet = world_.run(frame_of(send_to(world_, {name, 50002}, 21)));
    ASSERT_EQ(packet.verdict, Verdict::kTransmit);
    EXPECT_EQ(read(packet)->destination, static_cast<const Endpoint&>(other_));
    EXPECT_EQ(peer_told(packet), (Endpoint{kPublic, kRelayPort4}));
    EXPECT_EQ(value_of(packet, Attribute::kData), std::vector<std::uint8_t>(21, 0x55));
  }
  EXPECT_EQ(world_.counters_.hairpin.get(), 2U);
}

TEST_F(Hairpin, ArrivesAsChannelDataWhereTheOtherHasAChannel) {
  const auto permission = *world_.tables_->find_permission(theirs_, kPublic);
  world_.writer_->publish_channel(
      {theirs_, permission, 0x4ABC, PeerEndpoint{{kPublic, kRelayPort4}}, FlowWorld::kExpires});
  const Packet packet = world_.run(frame_of(send_to(world_, {kPublic, 50002}, 21)));
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  ASSERT_EQ(out->payload.size(), 25U) << "unpadded over UDP";
  EXPECT_EQ(get16(out->payload.data()), 0x4ABC);
}

TEST_F(Hairpin, ToAPortNobodyHasIsDropped) {
  EXPECT_EQ(world_.run(frame_of(send_to(world_, {kPublic, 50004}, 21))).drop, Drop::kNoRelay);
}

// A socket of this host's, which has our relayed address, by whichever name.
TEST_F(Hairpin, GoesToTheHostWhereAPortIsNoClients) {
  Doors doors;
  world_.hop_.door = &doors;
  const auto at = *world_.tables_->find_permission(world_.allocation_, kPublic);
  world_.writer_->withdraw_permission(at);
  world_.writer_->publish_permission({world_.allocation_, kPublic, FlowWorld::kExpires});
  for (const Address& name : {kPublic, kRelay4}) {
    const Packet packet = world_.run(frame_of(send_to(world_, {name, 10000}, 21)));
    ASSERT_EQ(packet.verdict, Verdict::kTransmit);
    EXPECT_EQ(read(packet)->destination, (Endpoint{kRelay4, 10000}));
    EXPECT_EQ(read(packet)->source, (Endpoint{kRelay4, kRelayPort4}));
  }
  EXPECT_EQ(world_.counters_.hairpin.get(), 0U);
  EXPECT_EQ(world_.run(frame_of(send_to(world_, {kPublic, 50002}, 21))).verdict, Verdict::kTransmit)
      << "another client's, as ever";
  EXPECT_EQ(world_.counters_.hairpin.get(), 1U);
}

TEST_F(Hairpin, CountsAsAHop) {
  Datagram datagram = send_to(world_, {kPublic, 50002}, 21);
  datagram.ttl = 2;
  EXPECT_EQ(world_.run(frame_of(datagram)).verdict, Verdict::kTransmitBack) << "time exceeded";
  datagram.ttl = 3;
  EXPECT_EQ(read(world_.run(frame_of(datagram)))->ttl, 1);
}

}  // namespace
}  // namespace turnpike::flow::test

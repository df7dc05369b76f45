// Requests on their way to a shard, and the answers that leave without one; a burst of every kind
// of packet.
#include <gtest/gtest.h>

#include <algorithm>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

class Requests : public testing::Test {
 protected:
  // With a nonce that is ours and an integrity that only a shard can judge.
  Datagram authenticated(const ClientEndpoint& client, std::span<const std::uint8_t> token = {}) {
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size =
        world_.nonces_.mint(world_.now_, world_.realm_, client, world_.server_, nonce);
    Datagram datagram =
        message(world_, stun::Class::kRequest, stun::Method::kAllocate, [&](MessageWriter& writer) {
          if (!token.empty()) writer.add(Attribute::kReservationToken, token);
          writer.add_text(Attribute::kUsername, "user");
          writer.add_text(Attribute::kRealm, "example.org");
          writer.add_text(Attribute::kNonce, {nonce.data(), size});
          writer.add_message_integrity(std::array<std::uint8_t, 16>{1});
        });
    datagram.source = client;
    return datagram;
  }
  FlowWorld world_{Family::kIpv4};
};

TEST_F(Requests, OfAStrangerGoToItsHomeShard) {
  const ClientEndpoint stranger{{kClient4, 41000}};
  const auto frame = frame_of(authenticated(stranger));
  const Packet packet = world_.run(frame);
  ASSERT_EQ(packet.verdict, Verdict::kEngine);
  EXPECT_EQ(packet.shard, world_.tables_->home_shard(0, stranger));
  EXPECT_FALSE(packet.has_allocation);
  EXPECT_EQ(std::memcmp(packet.data, frame.data(), frame.size()), 0) << "the frame is untouched";
}

TEST_F(Requests, OfAnAllocationGoToItsShard) {
  const Packet packet = world_.run(frame_of(authenticated(world_.client_)));
  ASSERT_EQ(packet.verdict, Verdict::kEngine);
  EXPECT_TRUE(packet.has_allocation);
  EXPECT_EQ(packet.shard, 0);
}

TEST_F(Requests, WithAReservationTokenGoToTheShardThatSealedIt) {
  const ClientEndpoint stranger{{kClient4, 41000}};
  world_.setup_.shard_count = 3;
  EXPECT_EQ(world_.run(frame_of(authenticated(stranger, world_.tokens_.seal({2, 7})))).shard, 2);
  auto forged = world_.tokens_.seal({2, 7});
  forged[7] ^= 1;
  EXPECT_EQ(world_.run(frame_of(authenticated(stranger, forged))).shard, 0);
}

TEST_F(Requests, WithoutCredentialsAreChallengedInPlace) {
  const auto allocate = message(world_, stun::Class::kRequest, stun::Method::kAllocate,
                                [](MessageWriter& writer) { writer.add_fingerprint(); });
  const Packet packet = world_.run(frame_of(allocate), 3);
  ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->source, world_.server_);
  EXPECT_EQ(out->ttl, 64);
  MessageView view;
  ASSERT_EQ(MessageView::parse(out->payload, view), stun::ParseError::kNone);
  EXPECT_EQ(view.error_code(), 401);
  EXPECT_EQ(view.transaction_id(), kId);
  EXPECT_TRUE(view.has_fingerprint());
  EXPECT_EQ(world_.counters_.answered_401.get(), 1U);
}

TEST_F(Requests, GetTheEnginesReplyInTheirOwnFrame) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    FlowWorld world(family);
    const Datagram asked = channel_data(world, 0x4000, 40);
    const auto frame = frame_of(asked);
    Packet packet = world.run(frame_of(
        message(world, stun::Class::kIndication, stun::Method::kBinding, [](MessageWriter&) {})));
    ASSERT_EQ(packet.drop, Drop::kBindingIndication) << "parsed, and nothing written";
    std::vector<std::uint8_t> reply(101, 0x42);
    std::memcpy(packet.data + packet.payload, reply.data(), reply.size());
    world.pipeline_->finish_reply(packet, reply.size());
    ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
    const auto out = read(packet);
    ASSERT_TRUE(out);
    EXPECT_EQ(out->payload, reply);
    EXPECT_EQ(out->source, world.server_);
    EXPECT_EQ(out->destination, static_cast<const Endpoint&>(world.client_));
    EXPECT_EQ(std::memcmp(packet.data, frame.data() + 6, 6), 0);
  }
}

TEST(Burst, OfEveryLaneIsJudgedPacketByPacket) {
  FlowWorld world(Family::kIpv4);
  const std::vector<std::vector<std::uint8_t>> frames{
      frame_of(channel_data(world, 0x4000, 10)),
      frame_of(channel_data(world, 0x4777, 10)),
      frame_of(from_peer(Family::kIpv6, 10)),
      frame_of(send_to(world, {kPeer4, 9}, 10)),
      icmp_about({kRelay4, kRelayPort4}, {kPeer4, 1}, 3, 3),
      frame_of(from_peer(Family::kIpv4, 11)),
  };
  std::vector<std::vector<std::uint8_t>> buffers;
  std::array<Packet, Pipeline::kMaxBurst> burst;
  for (std::size_t i = 0; i < burst.size(); ++i) {
    buffers.emplace_back(512, 0);
    const auto& frame = frames[i % frames.size()];
    std::copy(frame.begin(), frame.end(), buffers[i].begin() + 128);
    burst[i].data = buffers[i].data() + 128;
    burst[i].length = static_cast<std::uint32_t>(frame.size());
    burst[i].headroom = 128;
    burst[i].tailroom = static_cast<std::uint16_t>(384 - frame.size());
  }
  world.pipeline_->process(world.now_, burst);
  for (std::size_t i = 0; i < burst.size(); ++i) {
    const bool bad = i % frames.size() == 1;
    EXPECT_EQ(burst[i].verdict, bad ? Verdict::kDrop : Verdict::kTransmit) << i;
    EXPECT_TRUE(bad || read(burst[i])) << i;
  }
  EXPECT_EQ(world.drops(Drop::kNoChannel), 11U);
  EXPECT_EQ(world.counters_.peer_in[1].packets.get(), 11U);
  EXPECT_EQ(world.counters_.peer_in[1].bytes.get(), 110U);
}

}  // namespace
}  // namespace turnpike::flow::test

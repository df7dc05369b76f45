// What a worker does with packets of clients that move (RFC 8016): data pass by both five-tuples,
// those of peers go where the client is, the shard is told once, and tickets choose their shard.
#include <gtest/gtest.h>

#include <utility>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

const ClientEndpoint kNew4{{Address::v4(198, 51, 100, 77), 41000}};
const ClientEndpoint kNew6{{*Address::parse("2001:db8:1::77"), 41000}};

// Whether with the fast lane, and the families of the client before and after.
class ClientMoves : public testing::TestWithParam<std::tuple<bool, Family, Family>> {
 protected:
  ClientMoves()
      : world_(std::get<1>(GetParam()), true, std::nullopt, std::get<0>(GetParam())),
        to_(std::get<2>(GetParam()) == Family::kIpv4 ? kNew4 : kNew6),
        to_server_{std::get<2>(GetParam()) == Family::kIpv4 ? kServer4 : kServer6, kPort} {
    world_.qsbr_.quiescent(0);
  }

  bool begin(std::uint16_t number = 1) {
    return world_.writer_->begin_move(
        {world_.allocation_, {to_, to_server_, Transport::kUdp}, number});
  }
  void go_round() {
    world_.qsbr_.quiescent(0);
    world_.writer_->housekeeping();
  }
  // What becomes of ChannelData of the client's, and of a Send.
  bool pass(const Endpoint& client, const Endpoint& server) {
    for (Datagram datagram :
         {channel_data(world_, 0x4000, 8), send_to(world_, {kPeer4, kPeerPort}, 8)}) {
      datagram.source = client;
      datagram.destination = server;
      const Packet packet = world_.run(frame_of(datagram));
      if (packet.verdict != Verdict::kTransmit) return false;
      const auto out = read(packet);
      EXPECT_TRUE(out && out->payload.size() == 8 && out->source.port == kRelayPort4);
    }
    return true;
  }
  // Whether what a peer sends goes there, by its channel and by a permission alone.
  bool peers_reach(const Endpoint& client, const Endpoint& server) {
    for (const std::uint16_t port : {kPeerPort, std::uint16_t{kPeerPort + 1}}) {
      Datagram datagram = from_peer(Family::kIpv4, 8);
      datagram.source.port = port;
      const Packet packet = world_.run(frame_of(datagram));
      if (packet.verdict != Verdict::kTransmit) return false;
      const auto out = read(packet);
      if (!out || out->destination != client || out->source != server) return false;
    }
    return true;
  }
  std::span<const Police::Untold> untold() { return world_.pipeline_->police().untold(); }

  FlowWorld world_;
  const ClientEndpoint to_;
  const Endpoint to_server_;
};

INSTANTIATE_TEST_SUITE_P(Ways, ClientMoves,
                         testing::Combine(testing::Bool(),
                                          testing::Values(Family::kIpv4, Family::kIpv6),
                                          testing::Values(Family::kIpv4, Family::kIpv6)));

TEST_P(ClientMoves, LosesNothing) {
  EXPECT_FALSE(pass(to_, to_server_)) << "nobody has said that it is there";
  ASSERT_TRUE(begin());
  EXPECT_TRUE(pass(world_.client_, world_.server_));
  EXPECT_TRUE(peers_reach(world_.client_, world_.server_));
  EXPECT_TRUE(pass(to_, to_server_));
  EXPECT_TRUE(peers_reach(world_.client_, world_.server_)) << "until its shard says otherwise";
  world_.writer_->complete_move(world_.allocation_);
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(pass(world_.client_, world_.server_)) << i;
    EXPECT_TRUE(pass(to_, to_server_)) << i;
    EXPECT_TRUE(peers_reach(to_, to_server_)) << i;
    go_round();
  }
}

TEST_P(ClientMoves, TellsItsShardOnce) {
  ASSERT_TRUE(begin(9));
  EXPECT_TRUE(pass(world_.client_, world_.server_));
  EXPECT_TRUE(untold().empty()) << "it is where it was";
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(pass(to_, to_server_));
  ASSERT_EQ(untold().size(), 1U);
  const Notice& notice = untold()[0].notice;
  EXPECT_EQ(notice.kind, Notice::Kind::kMoved);
  EXPECT_EQ(notice.slot, world_.allocation_);
  EXPECT_EQ(notice.generation, world_.tables_->allocation(world_.allocation_).generation);
  EXPECT_EQ(notice.move, 9);
  ASSERT_TRUE(begin(10));
  EXPECT_TRUE(pass(to_, to_server_));
  ASSERT_EQ(untold().size(), 2U) << "of each";
  EXPECT_EQ(untold()[1].notice.move, 10);
}

// Whatever becomes of the data themselves (RFC 8016 §3.2.2 asks for no more than that they come).
TEST_P(ClientMoves, TellsOfDataWithoutAWayToo) {
  ASSERT_TRUE(begin());
  Datagram datagram = channel_data(world_, 0x4FFF, 8);
  datagram.source = to_;
  datagram.destination = to_server_;
  EXPECT_EQ(world_.run(frame_of(datagram)).drop, Drop::kNoChannel);
  EXPECT_EQ(untold().size(), 1U);
}

TEST_P(ClientMoves, SaysWhichStreamHasEnded) {
  ASSERT_TRUE(begin(9));
  const auto listener = [&](const Endpoint& server) {
    return static_cast<ListenerIndex>(server.address.family == Family::kIpv4 ? 0 : 1);
  };
  EXPECT_TRUE(world_.pipeline_->stream_closed(listener(to_server_), to_));
  EXPECT_TRUE(world_.pipeline_->stream_closed(listener(world_.server_), world_.client_));
  ASSERT_EQ(untold().size(), 2U);
  EXPECT_EQ(untold()[0].notice.kind, Notice::Kind::kClosed);
  EXPECT_EQ(untold()[0].notice.move, 9);
  EXPECT_EQ(untold()[1].notice.move, 0);
}

TEST_P(ClientMoves, IcmpIsToldWhereItIs) {
  ASSERT_TRUE(begin());
  world_.writer_->complete_move(world_.allocation_);
  const Packet packet = world_.run(icmp_about({kRelay4, kRelayPort4}, {kPeer4, kPeerPort}, 3, 3));
  ASSERT_EQ(packet.verdict, Verdict::kTransmit);
  const auto out = read(packet);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->destination, to_);
  EXPECT_EQ(out->source, to_server_);
}

// A Refresh of the world's client with this ticket; of an address that has none: with a nonce of
// its own.
class Tickets : public testing::Test {
 protected:
  Packet run(const ClientEndpoint& client, stun::Method method,
             std::span<const std::uint8_t> ticket) {
    const ClientEndpoint own = world_.client_;
    world_.client_ = client;
    const auto frame = frame_of(authenticated(world_, method, [&](MessageWriter& writer) {
      writer.add(Attribute::kMobilityTicket, ticket);
    }));
    world_.client_ = own;
    return world_.run(frame);
  }
  TokenSealer::Ticket ticket_of(std::uint8_t shard) const {
    return world_.tokens_.seal_ticket({.shard = shard, .serial = 1, .slot = 2, .allocation = 3});
  }

  FlowWorld world_{Family::kIpv4};
};

TEST_F(Tickets, ChooseTheirShardWhoeverBringsThem) {
  world_.setup_.shard_count = 3;
  const Packet stranger = run(kNew4, stun::Method::kRefresh, ticket_of(2));
  ASSERT_EQ(stranger.verdict, Verdict::kEngine);
  EXPECT_EQ(stranger.shard, 2);
  EXPECT_FALSE(stranger.has_allocation);
  const Packet known = run(world_.client_, stun::Method::kRefresh, ticket_of(1));
  EXPECT_EQ(known.shard, 1);
  EXPECT_TRUE(known.has_allocation) << "and is known by it, for what it may ask";
}

// Of a ConnectionBind (RFC 6062), which comes from another five-tuple than the allocation's.
TEST_F(Tickets, ConnectionIdsChooseTheirShardToo) {
  world_.setup_.shard_count = 3;
  const auto run_id = [&](std::uint8_t shard, stun::Method method) {
    const auto id = world_.tokens_.seal_connection({shard, 77});
    const ClientEndpoint own = world_.client_;
    world_.client_ = kNew4;
    const auto frame = frame_of(authenticated(
        world_, method, [&](MessageWriter& writer) { writer.add(Attribute::kConnectionId, id); }));
    world_.client_ = own;
    return world_.run(frame).shard;
  };
  for (const std::uint8_t shard : {0, 1, 2})
    EXPECT_EQ(run_id(shard, stun::Method::kConnectionBind), shard);
  EXPECT_EQ(run_id(3, stun::Method::kConnectionBind), 0) << "there is no such shard";
  EXPECT_EQ(run_id(2, stun::Method::kConnect), 0) << "it means nothing there";
}

TEST_F(Tickets, OfNobodysMakingChooseNone) {
  world_.setup_.shard_count = 3;
  auto forged = ticket_of(2);
  forged[20] ^= 1;
  EXPECT_EQ(run(kNew4, stun::Method::kRefresh, forged).shard, 0);
  EXPECT_EQ(run(kNew4, stun::Method::kRefresh, ticket_of(3)).shard, 0) << "there is no such shard";
  EXPECT_EQ(run(kNew4, stun::Method::kRefresh, {}).shard, 0);
  EXPECT_EQ(run(kNew4, stun::Method::kAllocate, ticket_of(2)).shard, 0);
}

// Without a nonce for where it comes from, nothing of it reaches a shard.
TEST_F(Tickets, NeedANonceOfTheirPlace) {
  const auto ticket = ticket_of(0);
  Datagram replayed = authenticated(world_, stun::Method::kRefresh, [&](MessageWriter& writer) {
    writer.add(Attribute::kMobilityTicket, ticket);
  });
  replayed.source = kNew4;
  const Packet packet = world_.run(frame_of(replayed));
  ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
  EXPECT_EQ(world_.counters_.answered_438.get(), 1U);
}

TEST_P(ClientMoves, RequestsGoToTheShardOfTheAllocation) {
  ASSERT_TRUE(begin());
  const ClientEndpoint own = std::exchange(world_.client_, to_);
  const Endpoint server = std::exchange(world_.server_, to_server_);
  const auto request =
      frame_of(authenticated(world_, stun::Method::kCreatePermission, [](MessageWriter& writer) {
        writer.add_xor_address(Attribute::kXorPeerAddress, {kPeer4, 0});
      }));
  world_.client_ = own;
  world_.server_ = server;
  const Packet packet = world_.run(request);
  ASSERT_EQ(packet.verdict, Verdict::kEngine);
  EXPECT_TRUE(packet.has_allocation);
  EXPECT_EQ(packet.allocation, world_.allocation_);
  EXPECT_TRUE(packet.opens_way);
}

}  // namespace
}  // namespace turnpike::flow::test

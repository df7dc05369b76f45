// TCP allocations (RFC 6062 §5): what is asked for, what comes, and what ends with what.
#include "stream_world.h"

namespace turnpike {
namespace {

using namespace test;
using Event = PeerStreamEvent::Kind;

const Endpoint kPeerA{kPeer, 80};
const Endpoint kPeerB{kPeer, 81};

TEST_F(StreamServer, AnAllocateIsAnsweredWhenPeersCanConnect) {
  const Answer early = ask_by(stream(1000), Method::kAllocate, tcp);
  EXPECT_TRUE(early.bytes.empty());
  ASSERT_EQ(streams_.relays.size(), 1U);
  const auto [relay, at] = *streams_.relays.begin();
  server_->heed(now_, {Event::kOpened, relay, {}, {}});
  const Answer answer = said();
  EXPECT_EQ(answer.code(), 0);
  const auto relayed = answer.view.xor_address(Attribute::kXorRelayedAddress);
  ASSERT_TRUE(relayed);
  EXPECT_EQ(relayed->address, kPublic);
  EXPECT_EQ(relayed->port, at.port);
  EXPECT_EQ(at.address, kRelay4);
  EXPECT_EQ(answer.view.xor_address(Attribute::kXorMappedAddress), stream(1000).client);
  EXPECT_EQ(answer.view.u32(Attribute::kLifetime), 600U);
  EXPECT_TRUE(
      stun::check_message_integrity(answer.view, client_key(stun::PasswordAlgorithm::kMd5).view()));
  // Workers relay nothing for it.
  ASSERT_EQ(world_.sink.allocations.size(), 1U);
  EXPECT_FALSE(world_.sink.allocations.begin()->second.relayed[0]);
}

TEST_F(StreamServer, BothFamiliesOrNone) {
  const auto both = [&](MessageWriter& writer) {
    tcp(writer);
    writer.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2);
  };
  ask_by(stream(1000), Method::kAllocate, both);
  ASSERT_EQ(streams_.relays.size(), 2U);
  const StreamRelay first = streams_.relays.begin()->first;
  const StreamRelay second = streams_.relays.rbegin()->first;
  server_->heed(now_, {Event::kOpened, first, {}, {}});
  EXPECT_TRUE(streams_.said.empty());
  server_->heed(now_, {Event::kOpened, second, {}, {}});
  EXPECT_EQ(said().code(), 0);
  refresh_stream(1000, 0);
  EXPECT_TRUE(streams_.relays.empty());

  ask_by(stream(1001), Method::kAllocate, both);
  server_->heed(now_, {Event::kOpened, streams_.relays.begin()->first, {}, {}});
  server_->heed(now_, {Event::kNotOpened, streams_.relays.rbegin()->first, {}, {}});
  EXPECT_EQ(said().code(), 508);
  EXPECT_TRUE(streams_.relays.empty());
  EXPECT_EQ(server_->counters().allocations.get(), 0U);
}

TEST_F(StreamServer, WhatOnlyUdpHasIsRefused) {
  const auto refused = [&](const Fill& more) { return open(1000, more).code(); };
  EXPECT_EQ(refused([](auto& w) { w.add(Attribute::kDontFragment, {}); }), 400);
  EXPECT_EQ(refused(even_pair), 400);
  EXPECT_EQ(refused([](auto& w) { w.add(Attribute::kReservationToken, TokenSealer::Token{}); }),
            400);
  EXPECT_EQ(refused([](auto& w) { w.add(Attribute::kMobilityTicket, {}); }), 405);
  EXPECT_EQ(ask(Method::kAllocate, 1000, tcp).code(), 400) << "over UDP";
  world_.streams = nullptr;
  EXPECT_EQ(refused({}), 442);
  EXPECT_EQ(server_->counters().allocations.get(), 0U);
}

TEST_F(StreamServer, APortThatIsNotFreeIs508) {
  ask_by(stream(1000), Method::kAllocate, tcp);
  server_->heed(now_, {Event::kNotOpened, streams_.relays.begin()->first, {}, {}});
  EXPECT_EQ(said().code(), 508);
  EXPECT_EQ(server_->counters().allocations.get(), 0U);
  EXPECT_EQ(quotas_.count({"alice"}), 0U);
  streams_.full = true;
  EXPECT_EQ(open(1001).code(), 508);
  EXPECT_EQ(server_->counters().allocations.get(), 0U);
  EXPECT_EQ(quotas_.count({"alice"}), 0U);
}

TEST_F(StreamServer, AnAllocateThatIsRepeatedBeforeItsAnswerGetsOne) {
  const auto request = build(Method::kAllocate, stream(1000), tcp);
  for (const std::uint64_t token : {101, 102})
    server_->handle(now_, stream(1000), request, RequestToken{token});
  EXPECT_EQ(world_.discards.count(RequestToken{102}), 1U);
  server_->heed(now_, {Event::kOpened, streams_.relays.begin()->first, {}, {}});
  EXPECT_EQ(streams_.said.size(), 1U);
}

TEST_F(StreamServer, HasNoChannels) {
  open(1000);
  const Answer answer = ask_by(stream(1000), Method::kChannelBind, [](MessageWriter& writer) {
    writer.add_channel_number(0x4000);
    writer.add_xor_address(Attribute::kXorPeerAddress, kPeerA);
  });
  EXPECT_EQ(answer.code(), 400);
  EXPECT_EQ(permit_stream(1000, kPeer).code(), 0);
  EXPECT_TRUE(world_.sink.permissions.empty()) << "no datagram passes";
  EXPECT_EQ(server_->counters().permissions.get(), 1U);
  EXPECT_EQ(refresh_stream(1000, 0).code(), 0);
  EXPECT_EQ(server_->counters().permissions.get(), 0U);
}

TEST_F(StreamServer, ConnectsAndBinds) {
  open(1000);
  const Answer connected = connect(1000, kPeerA);
  EXPECT_EQ(connected.code(), 0);
  EXPECT_TRUE(stun::check_message_integrity(connected.view,
                                            client_key(stun::PasswordAlgorithm::kMd5).view()));
  EXPECT_EQ(streams_.streams.at(streams_.last), kPeerA);
  const Answer bound = bind_stream(1001, id_of(connected));
  EXPECT_EQ(bound.code(), 0);
  EXPECT_EQ(streams_.bound.at(streams_.last), stream(1001));
  EXPECT_EQ(bind_stream(1002, id_of(connected)).code(), 400) << "bound already";
  pass(100);
  EXPECT_EQ(streams_.streams.size(), 1U) << "no time-out of what is bound";
  tell(Event::kClosed, streams_.last);
  EXPECT_EQ(server_->counters().peer_connections.get(), 0U);
  EXPECT_EQ(connect(1000, kPeerA).code(), 0) << "its peer is free again";
}

TEST_F(StreamServer, ConnectRefuses) {
  EXPECT_EQ(begin_connect(1000, kPeerA).code(), 437);
  allocate(999);
  EXPECT_EQ(ask(Method::kConnect, 999,
                [](auto& w) { w.add_xor_address(Attribute::kXorPeerAddress, kPeerA); })
                .code(),
            400);
  open(1000);
  EXPECT_EQ(ask_by(stream(1000), Method::kConnect).code(), 400);
  EXPECT_EQ(
      ask_by(stream(1000), Method::kConnect,
             [](auto& w) { w.add(Attribute::kXorPeerAddress, std::array<std::uint8_t, 5>{}); })
          .code(),
      400);
  EXPECT_EQ(begin_connect(1000, {kPeer, 0}).code(), 400);
  EXPECT_EQ(begin_connect(1000, {kForbidden, 80}).code(), 403);
  EXPECT_EQ(begin_connect(1000, {kPeer6, 80}).code(), 443);
  user_ = "bob";
  EXPECT_EQ(begin_connect(1000, kPeerA).code(), 441);
  user_ = "alice";
  EXPECT_TRUE(begin_connect(1000, kPeerA).bytes.empty());
  EXPECT_EQ(begin_connect(1000, kPeerA).code(), 446) << "under way";
  tell(Event::kConnected, streams_.last);
  EXPECT_EQ(begin_connect(1000, kPeerA).code(), 446) << "waits to be bound";
  bind_stream(1001, id_of(said()));
  EXPECT_EQ(begin_connect(1000, kPeerA).code(), 446) << "is bound";
  EXPECT_EQ(connect(1000, kPeerB).code(), 0) << "another port is another peer";
  EXPECT_EQ(streams_.streams.size(), 2U);
}

TEST_F(StreamServer, FailuresHaveTheirCodes) {
  open(1000);
  const std::pair<Event, int> failures[] = {
      {Event::kFailed, 447}, {Event::kOwnHost, 403}, {Event::kNoRoom, 508}, {Event::kClosed, 447}};
  for (const auto& [event, code] : failures) {
    EXPECT_TRUE(begin_connect(1000, kPeerA).bytes.empty());
    streams_.streams.erase(streams_.last);  // who tells has none any more
    tell(event, streams_.last);
    EXPECT_EQ(said().code(), code);
    tell(event, streams_.last);  // of what is over
  }
  EXPECT_EQ(streams_.said.size(), 1 + std::size(failures));
  EXPECT_EQ(quotas_.count({"alice"}, QuotaLedger::Thing::kConnection), 0U);
}

TEST_F(StreamServer, AConnectIsGivenUpAfterThirtySeconds) {
  open(1000);
  EXPECT_TRUE(begin_connect(1000, kPeerA).bytes.empty());
  pass(29);
  EXPECT_EQ(streams_.said.size(), 1U) << "at least 30 s";
  pass(1);
  EXPECT_EQ(said().code(), 447);
  EXPECT_TRUE(streams_.streams.empty());
  tell(Event::kConnected, streams_.last);  // too late
  EXPECT_EQ(streams_.said.size(), 2U);
  EXPECT_EQ(server_->counters().unbound.get(), 0U);
}

TEST_F(StreamServer, UnboundOnesEndAfterThirtySeconds) {
  open(1000);
  permit_stream(1000, kPeer);
  const auto id = id_of(connect(1000, kPeerA));
  EXPECT_TRUE(arrive(kPeerB));
  const auto other = id_of(said());
  pass(29);
  EXPECT_EQ(streams_.streams.size(), 2U);
  pass(2);
  EXPECT_TRUE(streams_.streams.empty());
  EXPECT_EQ(server_->counters().unbound.get(), 2U);
  EXPECT_EQ(bind_stream(1001, id).code(), 400);
  EXPECT_EQ(bind_stream(1001, other).code(), 400);
  EXPECT_EQ(connect(1000, kPeerA).code(), 0);
}

TEST_F(StreamServer, PeersComeWithAPermission) {
  open(1000);
  EXPECT_FALSE(arrive(kPeerA));
  EXPECT_EQ(arrivals_told(PeerArrival::kNoPermission), 1U);
  EXPECT_EQ(streams_.said.size(), 1U) << "its client isn't told";
  permit_stream(1000, kPeer);
  EXPECT_TRUE(arrive(kPeerA));
  const Answer attempt = said();
  EXPECT_EQ(attempt.view.message_class(), Class::kIndication);
  EXPECT_EQ(attempt.view.method(), Method::kConnectionAttempt);
  EXPECT_TRUE(attempt.view.complete());
  EXPECT_EQ(attempt.view.xor_address(Attribute::kXorPeerAddress), kPeerA);
  EXPECT_EQ(streams_.said.back().client, stream(1000));
  EXPECT_EQ(begin_connect(1000, kPeerA).code(), 446) << "the other way round it is the same";
  EXPECT_EQ(bind_stream(1001, id_of(attempt)).code(), 0);
  EXPECT_EQ(arrivals_told(PeerArrival::kOffered), 1U);
  pass(301);
  EXPECT_FALSE(arrive(kPeerB)) << "the permission is over";
  EXPECT_EQ(streams_.bound.size(), 1U) << "and what it let in stays";
}

TEST_F(StreamServer, OurOwnRelayedAddressesArePeersByTheirPublicFace) {
  open(1000);
  EXPECT_TRUE(begin_connect(1000, {kPublic, 50000}).bytes.empty());
  EXPECT_EQ(streams_.streams.at(streams_.last), (Endpoint{kRelay4, 50000}));
  permit_stream(1000, kRelay4);
  EXPECT_TRUE(arrive({kRelay4, 50002}));
  EXPECT_EQ(said().view.xor_address(Attribute::kXorPeerAddress), (Endpoint{kPublic, 50002}));
}

TEST_F(StreamServer, OnlyTheSameUserBinds) {
  open(1000);
  const auto id = id_of(connect(1000, kPeerA));
  user_ = "bob";
  EXPECT_EQ(bind_stream(1001, id).code(), 400);
  password_ = "wrong";
  EXPECT_EQ(bind_stream(1001, id).code(), 401);
  user_ = "alice";
  EXPECT_EQ(bind_stream(1001, id).code(), 401);
  password_ = "secret";
  EXPECT_EQ(bind_stream(1000, id).code(), 400) << "on the control connection";
  EXPECT_EQ(ask_by(stream(1001), Method::kConnectionBind).code(), 400);
  EXPECT_EQ(
      ask(Method::kConnectionBind, 1001, [&](auto& w) { w.add(Attribute::kConnectionId, id); })
          .code(),
      400)
      << "over UDP";
  TokenSealer::ConnectionId wrong = id;
  for (int i = 0; i < 256; ++i) {
    wrong[3] = static_cast<std::uint8_t>(i);
    if (wrong == id) continue;
    EXPECT_EQ(bind_stream(1001, wrong).code(), 400);
  }
  EXPECT_EQ(bind_stream(1001, id).code(), 0);
}

TEST_F(StreamServer, TheUserKeepsHisKeysForBinding) {
  open(1000);
  const auto id = id_of(connect(1000, kPeerA));
  world_.users.clear();
  EXPECT_EQ(bind_stream(1001, id).code(), 0);
}

TEST_F(StreamServer, AllEndsWithTheAllocation) {
  const auto begin = [&](std::uint16_t port) {
    open(port);
    permit_stream(port, kPeer);
    bind_stream(static_cast<std::uint16_t>(port + 100), id_of(connect(port, kPeerA)));
    connect(port, kPeerB);
    EXPECT_TRUE(begin_connect(port, {kPeer, 82}).bytes.empty());
    EXPECT_TRUE(arrive({kPeer, 83}));
    EXPECT_EQ(streams_.streams.size(), 4U);
  };
  const auto all_gone = [&] {
    EXPECT_TRUE(streams_.streams.empty());
    EXPECT_TRUE(streams_.relays.empty());
    EXPECT_EQ(server_->counters().peer_connections.get(), 0U);
    EXPECT_EQ(server_->counters().permissions.get(), 0U);
    EXPECT_EQ(quotas_.count({"alice"}), 0U);
    EXPECT_EQ(quotas_.count({"alice"}, QuotaLedger::Thing::kConnection), 0U);
    opened_ = 0;
  };
  begin(1000);
  EXPECT_EQ(refresh_stream(1000, 0).code(), 0);
  all_gone();
  begin(1001);
  server_->stream_ended(now_, AllocationSlot{world_.sink.allocations.begin()->first}, 0);
  all_gone();
  begin(1002);
  pass(601);
  all_gone();
  // Of what is over nothing is believed.
  tell(Event::kConnected, streams_.last);
  tell(Event::kClosed, streams_.last);
  server_->heed(now_, {Event::kOpened, relay_, {}, {}});
  EXPECT_FALSE(arrive(kPeerA));
}

TEST_F(StreamServer, AnAllocationThatEndsBeforeItIsOpenLeavesNothing) {
  ask_by(stream(1000), Method::kAllocate, tcp);
  const StreamRelay relay = streams_.relays.begin()->first;
  server_->stream_ended(now_, AllocationSlot{world_.sink.allocations.begin()->first}, 0);
  EXPECT_TRUE(streams_.relays.empty());
  server_->heed(now_, {Event::kOpened, relay, {}, {}});
  EXPECT_TRUE(streams_.said.empty());
}

// Whoever has the sockets is told nothing that he has no room for, and nothing stays behind.
TEST_F(StreamServer, NothingStaysOfWhatCouldNotBeSaid) {
  open(1000);
  permit_stream(1000, kPeer);
  EXPECT_TRUE(begin_connect(1000, kPeerA).bytes.empty());
  streams_.full = true;
  tell(Event::kConnected, streams_.last);
  EXPECT_TRUE(streams_.streams.empty());
  EXPECT_FALSE(arrive(kPeerB));
  EXPECT_EQ(begin_connect(1000, kPeerA).code(), 508);
  streams_.full = false;
  const auto id = id_of(connect(1000, kPeerA));
  streams_.full = true;
  EXPECT_EQ(bind_stream(1001, id).code(), 508);
  streams_.full = false;
  EXPECT_EQ(bind_stream(1001, id).code(), 0) << "it still waits";
}

class ThirdShard : public StreamServer {
 protected:
  ThirdShard() : StreamServer(config_with(2, 3)) {}
};

TEST_F(ThirdShard, NamesItself) {
  open(1000);
  const auto id = id_of(connect(1000, kPeerA));
  const auto content = tokens_.open_connection(id);
  ASSERT_TRUE(content);
  EXPECT_EQ(content->shard, 2);
  EXPECT_EQ(static_cast<std::uint64_t>(streams_.last) >> kStreamShardShift, 3U);
  for (const std::uint8_t shard : {0, 1})
    EXPECT_EQ(bind_stream(1001, tokens_.seal_connection({shard, content->id})).code(), 400);
  EXPECT_EQ(bind_stream(1001, id).code(), 0);
}

}  // namespace
}  // namespace turnpike

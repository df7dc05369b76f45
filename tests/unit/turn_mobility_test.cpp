// Mobility (RFC 8016) at the server: who gets a ticket, what it opens and to whom, how long an old
// one is good, and what becomes of the two five-tuples.
#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

class Mobility : public TurnServer {
 protected:
  using Ticket = std::vector<std::uint8_t>;

  static void wants(MessageWriter& writer) { writer.add(Attribute::kMobilityTicket, {}); }
  static Ticket ticket_in(const Answer& answer) {
    const auto found = answer.view.find(Attribute::kMobilityTicket);
    return found ? Ticket(found->value.begin(), found->value.end()) : Ticket{};
  }
  std::vector<std::uint8_t> moving(const FiveTuple& to, const Ticket& ticket,
                                   std::optional<std::uint32_t> lifetime = std::nullopt) {
    return build(Method::kRefresh, to, [&](MessageWriter& writer) {
      if (lifetime) writer.add_u32(Attribute::kLifetime, *lifetime);
      writer.add(Attribute::kMobilityTicket, ticket);
    });
  }
  Answer move(std::uint16_t port, const Ticket& ticket,
              std::optional<std::uint32_t> lifetime = std::nullopt) {
    return say(from(port), moving(from(port), ticket, lifetime));
  }
  // As a worker tells.
  void data_come() {
    const auto& [slot, flow] = *world_.sink.moves.begin();
    server_->data_came(now_, AllocationSlot{slot}, flow.number);
  }
  FiveTuple published() const { return world_.sink.allocations.begin()->second.five_tuple; }
  std::uint32_t slot() const { return world_.sink.allocations.begin()->first; }
  FiveTuple by_stream(std::uint16_t port) const {
    FiveTuple five_tuple = from(port);
    five_tuple.transport = Transport::kTcp;
    return five_tuple;
  }
};

TEST_F(Mobility, OnlyWhoAsksGetsATicket) {
  EXPECT_TRUE(ticket_in(allocate(1000)).empty());
  const Answer answer = allocate(1001, wants);
  ASSERT_EQ(answer.code(), 0);
  const Ticket ticket = ticket_in(answer);
  const auto content = tokens_.open_ticket(ticket);
  ASSERT_TRUE(content);
  EXPECT_EQ(content->shard, 0);
  EXPECT_TRUE(ticket_in(refresh(1001, 600)).empty()) << "it has one";
}

TEST_F(Mobility, OfAnAllocateIsEmpty) {
  const auto ticket = [](MessageWriter& w) { w.add(Attribute::kMobilityTicket, Ticket(32)); };
  EXPECT_EQ(allocate(1000, ticket).code(), 400);
}

TEST_F(Mobility, ForbiddenIs405) {
  const Ticket before = ticket_in(allocate(1000, wants));
  ServerPolicy policy = config_;
  policy.mobility = false;
  server_->use(policy);
  EXPECT_EQ(allocate(1001, wants).code(), 405);
  EXPECT_EQ(move(1002, before).code(), 405) << "the policy has changed since";
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  server_->use(config_);
  EXPECT_EQ(move(1002, before).code(), 0);
}

// The answer to a retransmission is what the first one was.
TEST_F(Mobility, ARetransmittedAllocateGetsTheSameTicket) {
  const auto request = build(Method::kAllocate, from(1000), [](MessageWriter& writer) {
    udp(writer);
    wants(writer);
  });
  const Ticket first = ticket_in(say(from(1000), request));
  EXPECT_EQ(ticket_in(say(from(1000), request)), first);
  EXPECT_EQ(move(1001, first).code(), 0);
  EXPECT_EQ(ticket_in(say(from(1000), request)), first);
}

TEST_F(Mobility, BothFiveTuplesLiveUntilDataCome) {
  const Ticket first = ticket_in(allocate(1000, wants));
  permit(1000, {kPeer});
  const Answer moved = move(1001, first, 1200);
  ASSERT_EQ(moved.code(), 0);
  EXPECT_EQ(moved.view.u32(Attribute::kLifetime), 1200U);
  const Ticket second = ticket_in(moved);
  EXPECT_TRUE(tokens_.open_ticket(second));
  EXPECT_NE(second, first);
  EXPECT_EQ(published(), from(1000));
  ASSERT_EQ(world_.sink.moves.size(), 1U);
  EXPECT_EQ(world_.sink.moves.begin()->second.five_tuple, from(1001));
  for (const std::uint16_t port : {1000, 1001}) {
    EXPECT_EQ(permit(port, {kPeer}).code(), 0) << port;
    EXPECT_EQ(bind(port, 0x4000, {kPeer, 7}).code(), 0) << port;
    EXPECT_EQ(refresh(port, 600).code(), 0) << port;
    EXPECT_EQ(allocate(port).code(), 437) << port;
  }
  EXPECT_EQ(world_.sink.permissions.size(), 1U);
  data_come();
  EXPECT_EQ(published(), from(1001));
  EXPECT_TRUE(world_.sink.moves.empty());
  EXPECT_EQ(refresh(1001, 600).code(), 0);
  const Answer gone = refresh(1000, 600);
  EXPECT_EQ(gone.code(), 437);
  EXPECT_TRUE(gone.view.has(Attribute::kMessageIntegrity)) << "its client is to believe it";
  EXPECT_EQ(server_->counters().moves.get(), 1U);
  EXPECT_EQ(server_->counters().allocations.get(), 1U);
  EXPECT_EQ(quotas_.count({"alice"}), 1U);
}

TEST_F(Mobility, TicketsAreForOneMoveEach) {
  Ticket ticket = ticket_in(allocate(1000, wants));
  std::set<Ticket> all{ticket};
  for (std::uint16_t port = 1001; port < 1010; ++port) {
    const Ticket used = ticket;
    ticket = ticket_in(move(port, ticket));
    EXPECT_TRUE(all.insert(ticket).second);
    data_come();
    EXPECT_EQ(move(static_cast<std::uint16_t>(port + 100), used).code(), 400);
    EXPECT_EQ(published(), from(port));
  }
}

// Of a place that the client has left as of one it never was at, if it says something new.
TEST_F(Mobility, GoesBackWhereItWas) {
  const Ticket second = ticket_in(move(1001, ticket_in(allocate(1000, wants))));
  data_come();
  EXPECT_EQ(move(1000, second).code(), 0);
  data_come();
  EXPECT_EQ(published(), from(1000));
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  EXPECT_EQ(refresh(1001, 600).code(), 437);
}

TEST_F(Mobility, ALostAnswerIsGivenAgain) {
  const Ticket first = ticket_in(allocate(1000, wants));
  const auto request = moving(from(1001), first, 900);
  const Answer once = say(from(1001), request);
  pass(29);
  const Answer twice = say(from(1001), request);
  EXPECT_EQ(twice.bytes, once.bytes);
  data_come();
  EXPECT_EQ(say(from(1001), request).bytes, once.bytes) << "overtaken by its data";
  pass(2);
  EXPECT_EQ(say(from(1001), request).code(), 400) << "not for ever";
}

// By another request, its client having given the first one up; from yet another place, having lost
// that one too.
TEST_F(Mobility, ALostAnswerIsAskedForAnew) {
  const Ticket first = ticket_in(allocate(1000, wants));
  const auto before = moving(from(1001), first);
  const Answer once = say(from(1001), before);
  const Ticket second = ticket_in(move(1001, first));
  EXPECT_EQ(second, ticket_in(once));
  EXPECT_EQ(ticket_in(move(1002, first)), second);
  EXPECT_EQ(world_.sink.moves.begin()->second.five_tuple, from(1002));
  EXPECT_EQ(say(from(1001), before).code(), 400) << "a late duplicate moves nothing back";
  EXPECT_EQ(world_.sink.moves.begin()->second.five_tuple, from(1002));
  data_come();
  EXPECT_EQ(published(), from(1002));
  EXPECT_EQ(move(1003, first).code(), 400) << "it has the new one";
  EXPECT_EQ(move(1003, second).code(), 0);
}

TEST_F(Mobility, ThePlaceItHasIsNoNewOne) {
  const Ticket first = ticket_in(allocate(1000, wants));
  EXPECT_EQ(move(1000, first).code(), 400);
  const Ticket second = ticket_in(move(1001, first));
  EXPECT_EQ(move(1000, first).code(), 400);
  EXPECT_EQ(move(1000, second).code(), 400);
  EXPECT_EQ(move(1001, second).code(), 400);
  EXPECT_EQ(published(), from(1000));
  EXPECT_EQ(world_.sink.moves.size(), 1U);
}

TEST_F(Mobility, OneMoveAtATime) {
  Ticket ticket = ticket_in(allocate(1000, wants));
  for (std::uint16_t port = 1001; port < 1100; ++port) {
    ticket = ticket_in(move(port, ticket));
    ASSERT_EQ(world_.sink.moves.size(), 1U);
    EXPECT_EQ(refresh(static_cast<std::uint16_t>(port - 1), 600).code(), port == 1001 ? 0 : 437);
  }
  EXPECT_EQ(quotas_.count({"alice"}), 1U);
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  const auto& [slot, flow] = *world_.sink.moves.begin();
  server_->data_came(now_, AllocationSlot{slot}, static_cast<std::uint16_t>(flow.number - 1));
  EXPECT_EQ(published(), from(1000)) << "data of a place that it has left";
}

TEST_F(Mobility, OtherUsersGet441) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  user_ = "bob";
  const Answer refused = move(1001, ticket);
  EXPECT_EQ(refused.code(), 441);
  EXPECT_TRUE(world_.sink.moves.empty());
  user_ = "alice";
  EXPECT_EQ(move(1001, ticket).code(), 0);
}

// Users of one name in two realms are two.
TEST_F(Mobility, AnotherRealmsUserGets441) {
  config_.realms.push_back({.name = "example.net"});
  restart();
  const Ticket ticket = ticket_in(allocate(1000, wants));
  realm_ = "example.net";
  server_realm_.name = realm_;
  came_to_ = 1;
  EXPECT_EQ(move(1001, ticket).code(), 441);
}

TEST_F(Mobility, AnUnknownUserGets401) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  password_ = "guess";
  EXPECT_EQ(move(1001, ticket).code(), 401);
  EXPECT_TRUE(world_.sink.moves.empty());
}

// What has been overheard is of use nowhere else.
TEST_F(Mobility, TheNonceIsOfOneAddress) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  const auto request = moving(from(1001), ticket);
  EXPECT_EQ(say(from(1002), request).code(), 438);
  EXPECT_TRUE(world_.sink.moves.empty());
}

TEST_F(Mobility, BadTicketsGet400) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  Ticket forged = ticket;
  forged[31] ^= 0x80;
  EXPECT_EQ(move(1001, forged).code(), 400);
  EXPECT_EQ(move(1001, {}).code(), 400);
  EXPECT_EQ(move(1001, Ticket(32, 0xFF)).code(), 400);
  EXPECT_EQ(move(1001, Ticket(500, 0x80)).code(), 400);
  const auto others = TokenSealer({3}).seal_ticket(*tokens_.open_ticket(ticket));
  EXPECT_EQ(move(1001, {others.begin(), others.end()}).code(), 400);
  auto content = *tokens_.open_ticket(ticket);
  content.shard = 1;
  const auto elsewhere = tokens_.seal_ticket(content);
  EXPECT_EQ(move(1001, {elsewhere.begin(), elsewhere.end()}).code(), 400);
  EXPECT_TRUE(world_.sink.moves.empty());
}

TEST_F(Mobility, OfAnAllocationThatHasEndedGets437) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  refresh(1000, 0);
  EXPECT_EQ(move(1001, ticket).code(), 437);
  world_.sink.next = tokens_.open_ticket(ticket)->slot;
  ASSERT_EQ(allocate(1000, wants).code(), 0);
  ASSERT_EQ(slot(), tokens_.open_ticket(ticket)->slot);
  EXPECT_EQ(move(1001, ticket).code(), 437) << "its slot is another's";
  pass(601);
  EXPECT_EQ(move(1001, ticket).code(), 437);
}

TEST_F(Mobility, WithoutATicketNothingMoves) {
  allocate(1000);
  auto content = TokenSealer::TicketContent{.shard = 0, .serial = 1, .slot = slot()};
  const auto sealed = tokens_.seal_ticket(content);
  EXPECT_EQ(move(1001, {sealed.begin(), sealed.end()}).code(), 437);
}

TEST_F(Mobility, NoFiveTupleHasTwoAllocations) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  allocate(1001);
  EXPECT_EQ(move(1001, ticket).code(), 437);
  refresh(1001, 0);
  EXPECT_EQ(move(1001, ticket).code(), 0);
}

TEST_F(Mobility, NorOfTwoShards) {
  config_ = config_with(0, 2);
  restart();
  World other_world;
  Server other(config_with(1, 2), other_world, nonces_, tokens_, quotas_);
  const Ticket ticket = ticket_in(allocate(1000, wants));
  other.handle(now_, from(1001), build(Method::kAllocate, from(1001), udp), RequestToken{1});
  ASSERT_EQ(other_world.code_of(RequestToken{1}), 0);
  EXPECT_EQ(move(1001, ticket).code(), 437);
  EXPECT_EQ(move(1002, ticket).code(), 0);
  other.handle(now_, from(1002), build(Method::kAllocate, from(1002), udp), RequestToken{2});
  EXPECT_EQ(other_world.code_of(RequestToken{2}), 437) << "it is being moved to";
  data_come();
  refresh(1002, 0);
  user_ = "bob";
  for (const std::uint16_t port : {1000, 1002}) {
    other.handle(now_, from(port), build(Method::kAllocate, from(port), udp), RequestToken{port});
    EXPECT_EQ(other_world.code_of(RequestToken{port}), 0) << "free again: " << port;
    refresh(port, 0);
    user_ = "alice";
  }
}

TEST_F(Mobility, ARefreshIsRightBeforeAnythingMoves) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  const auto with = [&](Attribute type, std::uint32_t value) {
    return say(from(1001), build(Method::kRefresh, from(1001), [&](MessageWriter& writer) {
                 writer.add_u32(type, value);
                 writer.add(Attribute::kMobilityTicket, ticket);
               }));
  };
  EXPECT_EQ(with(Attribute::kRequestedAddressFamily, 0x0200'0000).code(), 443);
  const std::array<std::uint8_t, 2> odd{1, 2};
  EXPECT_EQ(say(from(1001), build(Method::kRefresh, from(1001),
                                  [&](MessageWriter& writer) {
                                    writer.add(Attribute::kLifetime, odd);
                                    writer.add(Attribute::kMobilityTicket, ticket);
                                  }))
                .code(),
            400);
  EXPECT_TRUE(world_.sink.moves.empty());
  EXPECT_EQ(move(1001, ticket).code(), 0);
}

TEST_F(Mobility, IsDeletedFromElsewhere) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  const Answer answer = move(1001, ticket, 0);
  EXPECT_EQ(answer.code(), 0);
  EXPECT_EQ(answer.view.u32(Attribute::kLifetime), 0U);
  EXPECT_TRUE(ticket_in(answer).empty());
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(quotas_.count({"alice"}), 0U);
}

TEST_F(Mobility, EndsWithAMoveUnderWay) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  const Ticket second = ticket_in(move(1001, ticket));
  EXPECT_EQ(refresh(1001, 0).code(), 0);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_TRUE(world_.sink.moves.empty());
  EXPECT_EQ(move(1002, second).code(), 437);
  EXPECT_EQ(allocate(1001).code(), 0) << "the five-tuple is free again";
  EXPECT_EQ(allocate(1000).code(), 0);
}

TEST_F(Mobility, ExpiresWithAMoveUnderWay) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  move(1001, ticket);
  pass(601);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_TRUE(world_.sink.moves.empty());
  EXPECT_EQ(refresh(1001, 600).code(), 437);
}

// A late duplicate of the Allocate makes no second one, where the first has moved away from.
TEST_F(Mobility, LeavesATombstoneWhereItWas) {
  const auto request = build(Method::kAllocate, from(1000), [](MessageWriter& writer) {
    udp(writer);
    wants(writer);
  });
  const Ticket ticket = ticket_in(say(from(1000), request));
  move(1001, ticket);
  data_come();
  EXPECT_EQ(say(from(1000), request).code(), 437);
  EXPECT_EQ(server_->counters().allocations.get(), 1U);
  EXPECT_EQ(allocate(1000).code(), 0) << "a new one is another matter";
}

TEST_F(Mobility, ATunnelledAddressIsNoPlaceToMoveTo) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  const FiveTuple tunnelled{ClientEndpoint{{*Address::parse("2001::1"), 1000}}, {kServer, 3478}};
  EXPECT_EQ(say(tunnelled, moving(tunnelled, ticket)).code(), 403);
  EXPECT_TRUE(world_.sink.moves.empty());
}

TEST_F(Mobility, FullTablesRefuseAndAllIsAsBefore) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  world_.sink.full = true;
  EXPECT_EQ(move(1001, ticket).code(), 508);
  world_.sink.full = false;
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  EXPECT_EQ(refresh(1001, 600).code(), 437);
  EXPECT_EQ(move(1001, ticket).code(), 0) << "the ticket is as good as it was";
}

// A source has what comes from it, wherever it came from first.
TEST_F(Mobility, CountsForItsSource) {
  QuotaLedger quotas({10}, 0, true, 1);
  server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, quotas);
  std::uint16_t port = 1000;
  const auto at = [&port](std::uint8_t host) {
    return FiveTuple{ClientEndpoint{{Address::v4(198, 51, 100, host), ++port}}, {kServer, 3478}};
  };
  const auto allocate_at = [&](std::uint8_t host) {
    const FiveTuple who = at(host);
    return say(who, build(Method::kAllocate, who, [](MessageWriter& writer) {
                 udp(writer);
                 wants(writer);
               }));
  };
  const auto move_to = [&](std::uint8_t host, const Ticket& ticket) {
    const FiveTuple who = at(host);
    return say(who, moving(who, ticket));
  };
  const Ticket one = ticket_in(allocate_at(1));
  const Ticket two = ticket_in(allocate_at(2));
  EXPECT_EQ(move_to(2, one).code(), 486);
  const Ticket three = ticket_in(move_to(3, one));
  EXPECT_EQ(allocate_at(3).code(), 486);
  EXPECT_EQ(allocate_at(1).code(), 486) << "until data come, it has both";
  const Ticket four = ticket_in(move_to(4, three));
  EXPECT_EQ(quotas.count_of_source(at(3).client.address), 0U);
  EXPECT_EQ(move_to(2, four).code(), 486);
  EXPECT_EQ(quotas.count_of_source(at(4).client.address), 1U) << "the move before still stands";
  data_come();
  EXPECT_EQ(quotas.count_of_source(at(1).client.address), 0U);
  EXPECT_EQ(quotas.count_of_source(at(4).client.address), 1U);
  pass(601);
  for (const std::uint8_t host : {1, 2, 3, 4})
    EXPECT_EQ(quotas.count_of_source(at(host).client.address), 0U) << int{host};
}

TEST_F(Mobility, WaitsForKeysLikeAnyOther) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  world_.pending = true;
  password_ = "another";  // so that the remembered keys don't do
  server_->handle(now_, from(1001), moving(from(1001), ticket), RequestToken{++token_});
  EXPECT_TRUE(world_.sink.moves.empty());
  UserKeys keys;
  keys.username = keys.quota_name = "alice";
  keys.md5 = {client_key(stun::PasswordAlgorithm::kMd5)};
  server_->keys_arrived(now_, {.username = "alice"}, 0, &keys);
  EXPECT_EQ(world_.code_of(RequestToken{token_}), 0);
  EXPECT_EQ(world_.sink.moves.size(), 1U);
}

TEST_F(Mobility, AStreamsEndEndsOnlyWhatCannotMove) {
  const auto allocate_by_stream = [&](std::uint16_t port, bool mobile) {
    return say(by_stream(port), build(Method::kAllocate, by_stream(port), [&](auto& writer) {
                 udp(writer);
                 if (mobile) wants(writer);
               }));
  };
  allocate_by_stream(1000, false);
  server_->stream_ended(now_, AllocationSlot{slot()}, 0);
  EXPECT_TRUE(world_.sink.allocations.empty());

  const Ticket ticket = ticket_in(allocate_by_stream(1001, true));
  server_->stream_ended(now_, AllocationSlot{slot()}, 0);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
  EXPECT_EQ(quotas_.count({"alice"}), 1U);
  EXPECT_EQ(move(1002, ticket).code(), 0);
  server_->stream_ended(now_, AllocationSlot{slot()}, 0);
  EXPECT_EQ(published(), from(1002)) << "nothing else is left";
  server_->stream_ended(now_, AllocationSlot{slot()}, 0);
  EXPECT_EQ(published(), from(1002)) << "said of the stream that it had";
  pass(601);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(quotas_.count({"alice"}), 0U);
}

TEST_F(Mobility, AStreamThatEndsBeforeItsDataIsNoPlace) {
  const Ticket ticket = ticket_in(allocate(1000, wants));
  const auto by = [&](std::uint16_t port, const Ticket& with) {
    return say(by_stream(port), moving(by_stream(port), with));
  };
  const Ticket second = ticket_in(by(1001, ticket));
  const std::uint16_t number = world_.sink.moves.begin()->second.number;
  server_->stream_ended(now_, AllocationSlot{slot()}, number);
  EXPECT_TRUE(world_.sink.moves.empty());
  EXPECT_EQ(published(), from(1000));
  EXPECT_EQ(ticket_in(by(1002, ticket)), second) << "its answer may not have come";
  server_->stream_ended(now_, AllocationSlot{slot()}, number);
  EXPECT_EQ(world_.sink.moves.size(), 1U) << "said of the one before";
  const auto& speaking = server_->counters().transport_allocations;
  EXPECT_EQ(speaking[static_cast<std::size_t>(Transport::kUdp)].get(), 1U);
  data_come();
  EXPECT_EQ(published(), by_stream(1002));
  EXPECT_EQ(speaking[static_cast<std::size_t>(Transport::kUdp)].get(), 0U);
  EXPECT_EQ(speaking[static_cast<std::size_t>(Transport::kTcp)].get(), 1U);
}

// docs/protocol.md 35: in IP packets of 576 bytes, whatever else an answer says.
TEST_F(Mobility, AnswersStayShort) {
  config_.software = "Turnpike 99.99.99 (a description of some sixty-four characters)";
  restart();
  fingerprint_ = true;
  algorithm_ = kSha256;
  algorithms_ = kBoth;
  const Answer answer = allocate(1000, [](MessageWriter& writer) {
    wants(writer);
    writer.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2);
  });
  EXPECT_EQ(answer.code(), 0);
  EXPECT_LE(answer.bytes.size(), 548U);
  EXPECT_LE(move(1001, ticket_in(answer)).bytes.size(), 548U);
}

}  // namespace
}  // namespace turnpike

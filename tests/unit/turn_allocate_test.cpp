// Allocate: what is given, what is refused, and that no five-tuple gets two.
#include <array>

#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

TEST_F(TurnServer, AllocatesAndShowsThePublicAddress) {
  const Answer answer = allocate(1000);
  ASSERT_EQ(answer.code(), 0);
  const auto relayed = answer.view.xor_address(Attribute::kXorRelayedAddress);
  ASSERT_TRUE(relayed);
  EXPECT_EQ(relayed->address, kPublic);
  EXPECT_GE(relayed->port, 49152);
  EXPECT_EQ(answer.view.u32(Attribute::kLifetime), 600U);
  EXPECT_EQ(answer.view.xor_address(Attribute::kXorMappedAddress), Endpoint(from(1000).client));
  const auto key =
      stun::long_term_key(stun::PasswordAlgorithm::kMd5, "alice", "example.org", "secret");
  EXPECT_TRUE(stun::check_message_integrity(answer.view, key.view()));
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
}

TEST_F(TurnServer, AnswersARetransmittedAllocateAlike) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  const Answer first = say(from(1000), bytes);
  const Answer again = say(from(1000), bytes);
  EXPECT_EQ(first.bytes, again.bytes);
  EXPECT_EQ(world_.sink.allocations.size(), 1U);
  EXPECT_EQ(allocate(1000).code(), 437);
}

TEST_F(TurnServer, LateDuplicateAllocateMakesNoGhost) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  say(from(1000), bytes);
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  EXPECT_EQ(say(from(1000), bytes).code(), 437);
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(refresh(1000, 0).code(), 437);
  EXPECT_EQ(allocate(1000).code(), 0) << "a new Allocate works at once";
}

TEST_F(TurnServer, RefusesWhatTheRfcRefuses) {
  EXPECT_EQ(ask(Method::kAllocate, 1000).code(), 400);
  EXPECT_EQ(ask(Method::kAllocate, 1000,
                [](auto& w) { w.add_u8_rfffu(Attribute::kRequestedTransport, 6); })
                .code(),
            442);
  EXPECT_EQ(
      allocate(1000, [](auto& w) { w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 9); }).code(),
      440);
  EXPECT_EQ(allocate(1000, [](auto& w) { w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 1); })
                .code(),
            400);
  EXPECT_EQ(allocate(1000, [](auto& w) { w.add(static_cast<Attribute>(0x7001), {}); }).code(), 420);
  const std::array<std::uint8_t, 8> junk{};
  EXPECT_EQ(allocate(1000, [&](auto& w) { w.add(Attribute::kReservationToken, junk); }).code(),
            508);
  EXPECT_EQ(ask(Method::kRefresh, 1000).code(), 437);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 437);
  EXPECT_TRUE(world_.sink.allocations.empty());
}

TEST_F(TurnServer, UserQuotaGets486) {
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(allocate(1002).code(), 486);
  refresh(1000, 0);
  EXPECT_EQ(allocate(1002).code(), 0);
}

TEST_F(TurnServer, AFullSinkGets508AndLeaksNothing) {
  world_.sink.full = true;
  EXPECT_EQ(allocate(1000).code(), 508);
  EXPECT_EQ(quotas_.count({"alice"}), 0U);
}

TEST_F(TurnServer, RefusesMalformedAttributesWith400) {
  const std::array<std::uint8_t, 3> three{17, 0, 0};
  const auto with = [&](Attribute attribute) {
    return [&three, attribute](MessageWriter& w) { w.add(attribute, three); };
  };
  EXPECT_EQ(ask(Method::kAllocate, 1000, with(Attribute::kRequestedTransport)).code(), 400);
  for (const Attribute attribute : {Attribute::kLifetime, Attribute::kRequestedAddressFamily,
                                    Attribute::kAdditionalAddressFamily, Attribute::kEvenPort}) {
    EXPECT_EQ(allocate(1000, with(attribute)).code(), 400);
  }
  allocate(1000);
  EXPECT_EQ(ask(Method::kRefresh, 1000, with(Attribute::kLifetime)).code(), 400);
  EXPECT_EQ(ask(Method::kRefresh, 1000, with(Attribute::kRequestedAddressFamily)).code(), 400);
  for (const Method method : {Method::kCreatePermission, Method::kChannelBind}) {
    const Answer answer = ask(method, 1000, [&](auto& w) {
      w.add_channel_number(0x4000);
      w.add(Attribute::kXorPeerAddress, three);
    });
    EXPECT_EQ(answer.code(), 400);
  }
}

TEST_F(TurnServer, RefusesContradictionsWith400) {
  const std::array<std::uint8_t, 8> token{};
  const std::array<std::uint8_t, 1> pair{0x80};
  const Fill even = [&](MessageWriter& w) { w.add(Attribute::kEvenPort, pair); };
  const Fill reserved = [&](MessageWriter& w) { w.add(Attribute::kReservationToken, token); };
  const Fill requested = [](MessageWriter& w) {
    w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 1);
  };
  const Fill additional = [](MessageWriter& w) {
    w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2);
  };
  const std::vector<std::pair<Fill, Fill>> contradictions{{reserved, even},
                                                          {reserved, requested},
                                                          {reserved, additional},
                                                          {additional, even},
                                                          {additional, requested}};
  for (const auto& contradiction : contradictions) {
    const Answer answer = allocate(1000, [&](auto& w) {
      contradiction.first(w);
      contradiction.second(w);
    });
    EXPECT_EQ(answer.code(), 400);
  }
}

TEST_F(TurnServer, GivesTheFamilyThatIsAskedFor) {
  const auto v6 = [](auto& w) { w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 2); };
  const Answer answer = allocate(1000, v6);
  ASSERT_EQ(answer.code(), 0);
  EXPECT_EQ(answer.view.xor_address(Attribute::kXorRelayedAddress)->address, kRelay6);
  config_.relayed.pop_back();
  restart();
  EXPECT_EQ(allocate(1001, v6).code(), 440);
  config_.relayed = {{kRelay6, std::nullopt}};
  restart();
  EXPECT_EQ(allocate(1001).code(), 440) << "without a wish it is IPv4 or nothing";
}

TEST_F(TurnServer, SaysWhichOfTwoFamiliesIsMissing) {
  const auto dual = [](auto& w) { w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2); };
  const auto error_of = [](const Answer& answer) {
    const auto error = answer.view.find(Attribute::kAddressErrorCode);
    if (!error || error->value.size() < 4) return std::pair(0, 0);
    return std::pair<int, int>(error->value[0], error->value[2] * 100 + error->value[3]);
  };
  config_.relayed = {{kRelay4, std::nullopt}};
  restart();
  const Answer unsupported = allocate(1000, dual);
  EXPECT_EQ(unsupported.code(), 0);
  EXPECT_EQ(error_of(unsupported), std::pair(2, 440));

  config_ = config_with();
  config_.port_min = 50000;
  config_.port_max = 50001;
  restart();
  user_ = "bob";
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(allocate(1002).code(), 0);
  user_ = "alice";
  const Answer exhausted = allocate(1003, dual);
  EXPECT_EQ(exhausted.code(), 0);
  EXPECT_EQ(error_of(exhausted), std::pair(1, 508));
  EXPECT_EQ(exhausted.view.xor_address(Attribute::kXorRelayedAddress)->address, kRelay6);
}

TEST_F(TurnServer, TakesDontFragmentAsAQuestionOfCapability) {
  EXPECT_EQ(allocate(1000, [](auto& w) { w.add(Attribute::kDontFragment, {}); }).code(), 0);
}

TEST_F(TurnServer, RefusesClientsBehindTeredoAnd6to4With403) {
  const auto client = [](const char* address) {
    return FiveTuple{
        ClientEndpoint{{*Address::parse(address), 1000}}, {kServer, 3478}, Transport::kUdp};
  };
  for (const char* address : {"2001:0:1::1", "2002:c000:201::1"}) {
    const FiveTuple who = client(address);
    EXPECT_EQ(say(who, build(Method::kAllocate, who, udp)).code(), 403);
    EXPECT_EQ(say(who, build(Method::kChannelBind, who, {})).code(), 403);
  }
  const FiveTuple near = client("2001:1::1");
  EXPECT_EQ(say(near, build(Method::kAllocate, near, udp)).code(), 0);
}

TEST_F(TurnServer, AllocationsAreCapped) {
  config_.max_allocations = 1;
  restart();
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 508);
  EXPECT_EQ(quotas_.count({"alice"}), 1U);
  refresh(1000, 0);
  EXPECT_EQ(allocate(1001).code(), 0);
}

TEST_F(TurnServer, PublishesAndWithdrawsBeforeItAnswers) {
  allocate(1000);
  EXPECT_EQ(world_.open_at_reply, 1U);
  refresh(1000, 0);
  EXPECT_EQ(world_.open_at_reply, 0U);
}

TEST_F(TurnServer, AFiveTupleHasOneAllocationOverAllShards) {
  config_ = config_with(0, 2);
  restart();
  World other_world;
  Server other(config_with(1, 2), other_world, nonces_, tokens_, quotas_);
  ASSERT_EQ(allocate(1000).code(), 0);
  other.handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{1});
  EXPECT_EQ(other_world.code_of(RequestToken{1}), 437);
  EXPECT_EQ(quotas_.count({"alice"}), 1U);
  refresh(1000, 0);
  other.handle(now_, from(1000), build(Method::kAllocate, from(1000), udp), RequestToken{2});
  EXPECT_EQ(other_world.code_of(RequestToken{2}), 0);
}

}  // namespace
}  // namespace turnpike

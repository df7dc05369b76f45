// Payload rules on packets' way: who is dropped, counted, limited and ended, by which schedule
// ever.
#include <gtest/gtest.h>

#include <string>

#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

using policy::PayloadRules;
using policy::RuleAction;

constexpr policy::RuleNumber kDropped = 1, kCounted = 2, kLimited = 3, kEnded = 4, kPeersOnly = 5;

std::shared_ptr<const PayloadRules> make_rules(std::uint8_t scanned, std::uint16_t epoch = 1,
                                               bool drops_unknown = false) {
  PayloadRules::Config config;
  config.rules = {
      {.name = "dropped", .patterns = {{"^drop"}}, .action = RuleAction::kDrop},
      {.name = "counted", .patterns = {{"^count"}}, .action = RuleAction::kCount},
      {.name = "limited",
       .patterns = {{"^limit"}},
       .action = RuleAction::kLimit,
       .bits_per_second = 80'000},
      {.name = "ended", .patterns = {{"^end"}}, .action = RuleAction::kEnd},
      {.name = "peers", .patterns = {{"^peer"}}, .from_client = false, .action = RuleAction::kDrop},
      {.name = "known", .patterns = {{"^ok"}}, .action = RuleAction::kAllow},
  };
  config.scanned = scanned;
  config.epoch = epoch;
  config.drops_unknown = drops_unknown;
  auto made = PayloadRules::make(std::move(config));
  return std::get<std::shared_ptr<const PayloadRules>>(made);
}

// Over channels of IPv4 and IPv6 peers and without; by the fast lane and without.
struct Shape {
  Family peer;
  bool channels;
  bool fast_lane;
};

class Payload : public testing::TestWithParam<Shape> {
 protected:
  Payload() { use(make_rules(4)); }

  void use(std::shared_ptr<const PayloadRules> rules) {
    rules_ = rules;
    world_.policy_.payload = std::move(rules);
    world_.pipeline_->use(world_.policy_);
  }

  Packet from_client(std::string_view body) {
    const bool v4 = GetParam().peer == Family::kIpv4;
    const std::vector<std::uint8_t> bytes(body.begin(), body.end());
    if (GetParam().channels) {
      std::vector<std::uint8_t> payload(4);
      put16(payload.data(), v4 ? 0x4000 : 0x4001);
      put16(payload.data() + 2, static_cast<std::uint16_t>(body.size()));
      payload.insert(payload.end(), bytes.begin(), bytes.end());
      return world_.run(frame_of(to_server(world_, payload)));
    }
    return world_.run(frame_of(send(world_, [&](MessageWriter& writer) {
      writer.add_xor_address(Attribute::kXorPeerAddress, {v4 ? kPeer4 : kPeer6, kPeerPort});
      writer.add(Attribute::kData, bytes);
    })));
  }
  Packet from_peer(std::string_view body) {
    Datagram datagram = test::from_peer(GetParam().peer, 0);
    datagram.payload.assign(body.begin(), body.end());
    return world_.run(frame_of(datagram));
  }
  const policy::RuleCounts& counts(policy::RuleNumber rule) { return rules_->counts(0, rule); }

  std::shared_ptr<const PayloadRules> rules_;
  FlowWorld world_{Family::kIpv4, GetParam().channels, std::nullopt, GetParam().fast_lane};
};

INSTANTIATE_TEST_SUITE_P(
    All, Payload,
    testing::Values(Shape{Family::kIpv4, true, true}, Shape{Family::kIpv4, false, true},
                    Shape{Family::kIpv6, true, true}, Shape{Family::kIpv6, false, true},
                    Shape{Family::kIpv4, true, false}, Shape{Family::kIpv6, false, false}),
    [](const auto& shape) {
      return std::string(shape.param.peer == Family::kIpv4 ? "V4" : "V6") +
             (shape.param.channels ? "Channel" : "Send") + (shape.param.fast_lane ? "" : "General");
    });

TEST_P(Payload, OfNoRulePasses) {
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(from_client("media").verdict, Verdict::kTransmit);
    EXPECT_EQ(from_peer("media").verdict, Verdict::kTransmit);
  }
  EXPECT_EQ(from_client("drop").verdict, Verdict::kTransmit) << "not looked into any more";
  EXPECT_EQ(counts(kDropped).packets.get(), 0U);
}

TEST_P(Payload, OfTheClientThatIsRefusedStopsItsDirectionAlone) {
  EXPECT_EQ(from_client("media").verdict, Verdict::kTransmit);
  EXPECT_EQ(from_client("drop this").drop, Drop::kPayloadRule);
  EXPECT_EQ(from_client("media").drop, Drop::kPayloadRule);
  EXPECT_EQ(from_peer("media").verdict, Verdict::kTransmit);
  EXPECT_EQ(counts(kDropped).packets.get(), 2U);
  EXPECT_EQ(counts(kDropped).bytes.get(), 14U);
  EXPECT_EQ(counts(kDropped).flows.get(), 1U);
  EXPECT_EQ(world_.drops(Drop::kPayloadRule), 2U);
  EXPECT_TRUE(world_.pipeline_->police().untold().empty());
}

TEST_P(Payload, OneForgedDatagramOfAPeersStopsNobody) {
  EXPECT_EQ(from_peer("drop this").drop, Drop::kPayloadRule);
  EXPECT_EQ(from_peer("end this").drop, Drop::kPayloadRule);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(from_peer("media").verdict, Verdict::kTransmit);
    EXPECT_EQ(from_client("media").verdict, Verdict::kTransmit);
  }
  EXPECT_TRUE(world_.pipeline_->police().untold().empty());
}

TEST_P(Payload, OfAPeerThatIsAllUnwelcomeStopsItsDirectionAlone) {
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(from_peer("peer").drop, Drop::kPayloadRule);
  EXPECT_EQ(from_peer("media").drop, Drop::kPayloadRule);
  EXPECT_EQ(from_client("peer").verdict, Verdict::kTransmit) << "the rule isn't for clients";
  EXPECT_EQ(counts(kPeersOnly).flows.get(), 1U);
}

TEST_P(Payload, ThatIsCountedPassesAndGoesOnBeingCounted) {
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(from_client("count me").verdict, Verdict::kTransmit);
  EXPECT_EQ(counts(kCounted).packets.get(), 10U);
  EXPECT_EQ(counts(kCounted).bytes.get(), 80U);
  EXPECT_EQ(counts(kCounted).flows.get(), 1U);
}

TEST_P(Payload, AboveItsRulesRateIsDropped) {
  int passed = 0;
  for (int i = 0; i < 100; ++i)
    passed += from_client("limit" + std::string(195, '.')).verdict == Verdict::kTransmit ? 1 : 0;
  EXPECT_EQ(passed, 10) << "a burst of 2,000 bytes";
  EXPECT_EQ(world_.drops(Drop::kPayloadLimit), 90U);
  world_.now_ = world_.now_ + 100;  // 1,000 bytes more
  for (int i = 0; i < 100; ++i)
    passed += from_client("limit" + std::string(195, '.')).verdict == Verdict::kTransmit ? 1 : 0;
  EXPECT_EQ(passed, 15);
  EXPECT_EQ(counts(kLimited).packets.get(), 200U);
}

TEST_P(Payload, OfAPeerIsLimitedPacketByPacketWhileItIsNotDecided) {
  EXPECT_EQ(from_peer("media").verdict, Verdict::kTransmit);
  EXPECT_EQ(from_peer("limit" + std::string(1000, '.')).verdict, Verdict::kTransmit);
  EXPECT_EQ(from_peer("limit" + std::string(1000, '.')).drop, Drop::kPayloadLimit);
  EXPECT_EQ(from_peer("media").verdict, Verdict::kTransmit);
  EXPECT_EQ(from_peer("limit" + std::string(1000, '.')).verdict, Verdict::kTransmit) << "decided";
}

TEST_P(Payload, ThatEndsItsAllocationIsToldToTheShardOnce) {
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(from_client("end").drop, Drop::kPayloadRule);
  const auto ended = world_.pipeline_->police().untold();
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended[0].notice.slot, world_.allocation_);
  EXPECT_EQ(ended[0].notice.generation, world_.tables_->allocation(world_.allocation_).generation);
  EXPECT_EQ(ended[0].notice.rule, kEnded);
}

TEST_P(Payload, IsLookedIntoAgainByANewSet) {
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(from_client("media").verdict, Verdict::kTransmit);
  const auto before = rules_;
  use(make_rules(4, 2));
  EXPECT_EQ(from_client("drop").drop, Drop::kPayloadRule);
  use(make_rules(4, 3));
  EXPECT_EQ(from_client("media").verdict, Verdict::kTransmit) << "and a refusal is forgotten";
}

TEST_P(Payload, OfASlotsNextOwnerIsLookedIntoAgain) {
  EXPECT_EQ(from_client("drop").drop, Drop::kPayloadRule);
  const Address peer = GetParam().peer == Family::kIpv4 ? kPeer4 : kPeer6;
  const std::size_t which = family_index(GetParam().peer);
  const auto reuse = [&] {
    for (int i = 0; i < 3; ++i)
      world_.writer_->housekeeping();
  };
  if (GetParam().channels) {
    world_.writer_->withdraw_channel(world_.channels_[which]);
    reuse();
    const ChannelNumber number = which == 0 ? 0x4000 : 0x4001;
    EXPECT_EQ(
        *world_.writer_->publish_channel({world_.allocation_, world_.permissions_[which], number,
                                          PeerEndpoint{{peer, kPeerPort}}, FlowWorld::kExpires}),
        world_.channels_[which]);
  } else {
    world_.writer_->withdraw_permission(world_.permissions_[which]);
    reuse();
    EXPECT_EQ(*world_.writer_->publish_permission({world_.allocation_, peer, FlowWorld::kExpires}),
              world_.permissions_[which]);
  }
  EXPECT_EQ(from_client("media").verdict, Verdict::kTransmit);
}

TEST_P(Payload, ThatNoRuleKnowsIsDroppedWhereOnlyKnownMayPass) {
  use(make_rules(4, 2, true));
  EXPECT_EQ(from_client("hm").drop, Drop::kPayloadRule) << "by itself";
  EXPECT_EQ(from_client("ok").verdict, Verdict::kTransmit);
  EXPECT_EQ(from_client("ok").verdict, Verdict::kTransmit);
  EXPECT_EQ(from_client("hm").drop, Drop::kPayloadRule);
  EXPECT_EQ(from_client("hm").verdict, Verdict::kTransmit) << "one of the first was known";
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(from_peer("hm").drop, Drop::kPayloadRule);
  EXPECT_EQ(from_peer("ok").drop, Drop::kPayloadRule) << "none of the first was";
}

// Both are judged, the one's direction to his peer and the other's from his.
TEST(PayloadOfAHairpin, IsJudgedForBoth) {
  FlowWorld world(Family::kIpv4, true, Address::v4(203, 0, 113, 77));
  const Address external = Address::v4(203, 0, 113, 77);
  const AllocationSlot theirs = world.add(ClientEndpoint{{kClient4, 40001}}, 50002, 50003);
  for (const AllocationSlot allocation : {world.allocation_, theirs})
    world.writer_->publish_permission({allocation, external, FlowWorld::kExpires});
  const auto rules = make_rules(4);
  world.policy_.payload = rules;
  world.pipeline_->use(world.policy_);
  const auto run = [&](std::string_view body) {
    return world.run(frame_of(send(world, [&](MessageWriter& writer) {
      writer.add_xor_address(Attribute::kXorPeerAddress, {external, 50002});
      writer.add(Attribute::kData, std::vector<std::uint8_t>(body.begin(), body.end()));
    })));
  };
  EXPECT_EQ(run("media").verdict, Verdict::kTransmit);
  EXPECT_EQ(run("peer").drop, Drop::kPayloadRule) << "as the other's peer's";
  EXPECT_EQ(run("count").verdict, Verdict::kTransmit);
  EXPECT_EQ(rules->counts(0, kCounted).packets.get(), 2U);
  EXPECT_EQ(run("drop").drop, Drop::kPayloadRule) << "as the one's";
  EXPECT_EQ(rules->counts(0, kDropped).packets.get(), 1U);
}

}  // namespace
}  // namespace turnpike::flow::test

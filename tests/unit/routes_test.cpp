// Routes and rules without a kernel: which way packets from one address to another take.
#include "kernel/routes.h"

#include <gtest/gtest.h>

#include <string>

namespace turnpike::kernel {
namespace {

using Kind = RouteChange::Kind;

Prefix prefix(const std::string& text) {
  const auto slash = text.find('/');
  const Address address = *Address::parse(text.substr(0, slash));
  const auto length =
      slash == std::string::npos ? 8 * address.size() : std::stoul(text.substr(slash + 1));
  return {masked(address, static_cast<unsigned>(length)), static_cast<std::uint8_t>(length)};
}

RouteTarget through(std::uint32_t interface) {
  RouteTarget target;
  target.interface = interface;
  return target;
}

RouteTarget that(RouteTarget::Kind kind) {
  RouteTarget target;
  target.kind = kind;
  return target;
}

class RoutesTest : public testing::Test {
 protected:
  RoutesTest() { routes_.set_ways({1, 2, 3, 4, 5, 6, 7}); }

  bool tell(const std::string& destination, RouteTarget target, std::uint32_t metric = 0,
            std::uint32_t table = kTableMain, Kind kind = Kind::kAdds) {
    return routes_.take({kind, {table, prefix(destination), metric, {std::move(target)}}},
                        doubtful_);
  }
  void rule(std::uint32_t priority, std::uint32_t table, const std::string& from = "0.0.0.0/0",
            void (*change)(Rule&) = nullptr) {
    Rule rule;
    rule.priority = priority;
    rule.argument = table;
    rule.source = prefix(from);
    if (change != nullptr) change(rule);
    routes_.add(rule.source.address.family, rule);
  }
  // The interface, 0 for a way that is forbidden, -1 for none.
  int way(const std::string& destination, const std::string& source = {}) const {
    const Address to = *Address::parse(destination);
    Address from;
    from.family = to.family;
    if (!source.empty()) from = *Address::parse(source);
    const RouteTarget* target = routes_.find(from, to);
    if (target == nullptr) return -1;
    return static_cast<int>(target->interface);
  }

  RouteTables routes_;
  bool doubtful_ = false;
};

TEST_F(RoutesTest, ThatAreLongerAndThenCheaperComeFirst) {
  tell("0.0.0.0/0", through(1), 50);
  tell("0.0.0.0/0", through(2), 60);
  tell("192.0.2.0/24", through(3));
  tell("192.0.2.128/25", through(4), 900);
  tell("192.0.2.130/32", through(5));
  tell("::/0", through(6));
  tell("2001:db8::/61", through(7));
  EXPECT_EQ(way("198.51.100.1"), 1);
  EXPECT_EQ(way("192.0.2.1"), 3);
  EXPECT_EQ(way("192.0.2.129"), 4);
  EXPECT_EQ(way("192.0.2.130"), 5);
  EXPECT_EQ(way("2001:db8:0:7::1"), 7);
  EXPECT_EQ(way("2001:db8:0:8::1"), 6);
}

TEST_F(RoutesTest, TellWhenTheBestOfAPrefixChanges) {
  EXPECT_TRUE(tell("192.0.2.0/24", through(1), 50));
  EXPECT_FALSE(tell("192.0.2.0/24", through(1), 50)) << "known";
  EXPECT_FALSE(tell("192.0.2.0/24", through(2), 60)) << "worse";
  EXPECT_FALSE(tell("192.0.2.0/24", through(2), 60, kTableMain, Kind::kRemoves));
  EXPECT_TRUE(tell("192.0.2.0/24", through(2), 40)) << "better";
  EXPECT_TRUE(tell("192.0.2.0/24", through(2), 40, kTableMain, Kind::kRemoves));
  EXPECT_TRUE(tell("192.0.2.0/24", through(3), 50, kTableMain, Kind::kReplaces));
  EXPECT_EQ(way("192.0.2.1"), 3);
  EXPECT_FALSE(tell("192.0.2.0/24", through(4), 50, kTableMain, Kind::kAppends));
  EXPECT_FALSE(doubtful_);
  tell("192.0.2.0/24", through(5), 50, kTableMain, Kind::kReplaces);
  EXPECT_TRUE(doubtful_) << "which of two was replaced is not said";
  EXPECT_FALSE(tell("192.0.2.0/24", through(1), 0, 100)) << "a table that no rule names";
  RouteTarget narrow = through(1);
  EXPECT_TRUE(tell("203.0.113.0/24", narrow));
  tell("203.0.113.0/24", narrow, 0, kTableMain, Kind::kRemoves);
  narrow.mtu = 1280;
  EXPECT_TRUE(tell("203.0.113.0/24", narrow));
}

// The host's own default route goes by a network that isn't the relay's.
TEST_F(RoutesTest, ThatLeadToNoPortArePassedOverForAnotherToTheSamePrefix) {
  tell("0.0.0.0/0", through(40), 100);
  EXPECT_EQ(way("192.0.2.1"), 40);
  EXPECT_TRUE(tell("0.0.0.0/0", through(1), 1000));
  EXPECT_EQ(way("192.0.2.1"), 1);
  EXPECT_FALSE(tell("0.0.0.0/0", through(41), 50));
  EXPECT_TRUE(tell("0.0.0.0/0", that(RouteTarget::Kind::kForbids), 10));
  EXPECT_EQ(way("192.0.2.1"), 0);
  tell("192.0.2.0/24", through(40));
  EXPECT_EQ(way("192.0.2.1"), 40) << "but only for the same prefix";
}

TEST_F(RoutesTest, OfATableAreForSourcesWithARule) {
  tell("0.0.0.0/0", through(1));
  tell("0.0.0.0/0", through(2), 0, 100);
  rule(100, 100, "198.51.100.0/24");
  rule(0, kTableLocal);
  rule(32766, kTableMain);
  EXPECT_EQ(way("203.0.113.2", "198.51.100.1"), 2);
  EXPECT_EQ(way("203.0.113.2", "192.0.2.1"), 1);
  Rule gone;
  gone.priority = 100;
  gone.argument = 100;
  gone.source = prefix("198.51.100.0/24");
  EXPECT_TRUE(routes_.remove(Family::kIpv4, gone));
  EXPECT_FALSE(routes_.remove(Family::kIpv4, gone));
  EXPECT_EQ(way("203.0.113.2", "198.51.100.1"), 1);
}

TEST_F(RoutesTest, AreLookedForInTheNextTableWhereOneHasNoneOrThrows) {
  tell("0.0.0.0/0", through(1));
  tell("192.0.2.0/24", that(RouteTarget::Kind::kThrows), 0, 100);
  tell("198.51.100.0/24", that(RouteTarget::Kind::kForbids), 0, 100);
  tell("203.0.113.0/24", through(2), 0, 100);
  rule(100, 100);
  rule(32766, kTableMain);
  EXPECT_EQ(way("192.0.2.1"), 1);
  EXPECT_EQ(way("198.51.100.1"), 0);
  EXPECT_EQ(way("203.0.113.1"), 2);
  EXPECT_EQ(way("10.0.0.1"), 1);
}

TEST_F(RoutesTest, ObeyWhatRulesSayBesides) {
  tell("0.0.0.0/0", through(1));
  tell("192.0.2.0/24", through(2));
  tell("0.0.0.0/0", through(3), 0, 100);
  // As wg-quick does: the main table but for its default route, then a tunnel's.
  rule(10, kTableMain, "0.0.0.0/0", [](Rule& one) { one.suppressed_length = 0; });
  rule(20, 100, "0.0.0.0/0", [](Rule& one) {
    one.others_hold = false;  // a mark that our packets don't have
    one.inverted = true;
  });
  rule(32766, kTableMain);
  EXPECT_EQ(way("192.0.2.1"), 2);
  EXPECT_EQ(way("198.51.100.1"), 3);
  rule(5, 15, "10.0.0.1/32", [](Rule& one) { one.action = Rule::Action::kGoto; });
  rule(7, 0, "10.0.0.0/24", [](Rule& one) { one.action = Rule::Action::kForbids; });
  rule(8, 100, "0.0.0.0/0", [](Rule& one) { one.others_hold = false; });
  EXPECT_EQ(way("192.0.2.1", "10.0.0.1"), 3) << "from 5 to 15, and there to the tunnel";
  EXPECT_EQ(way("192.0.2.1", "10.0.0.2"), 0);
  EXPECT_EQ(way("192.0.2.1", "10.0.1.2"), 2);
}

TEST_F(RoutesTest, OfAVrfAreForTheAddressesInIt) {
  tell("0.0.0.0/0", through(1));
  tell("0.0.0.0/0", through(2), 0, 10);
  tell("198.51.100.1/32", that(RouteTarget::Kind::kHere), 0, 10);
  rule(1000, 0, "0.0.0.0/0", [](Rule& one) { one.by_device = true; });
  rule(32766, kTableMain);
  EXPECT_EQ(way("203.0.113.2", "198.51.100.1"), 1) << "no VRF is known";
  routes_.set_device_tables({9, 10});
  EXPECT_EQ(way("203.0.113.2", "198.51.100.1"), 2);
  EXPECT_EQ(way("203.0.113.2", "192.0.2.1"), 1);
}

TEST_F(RoutesTest, MayBeForSomeSourcesOnly) {
  RouteTarget first = through(1), second = through(2);
  first.source = prefix("2001:db8:1::/48");
  second.source = prefix("2001:db8:2::/48");
  EXPECT_TRUE(tell("::/0", first, 100));
  EXPECT_TRUE(tell("::/0", second, 100));
  EXPECT_EQ(way("2001:db8:ffff::1", "2001:db8:1::1"), 1);
  EXPECT_EQ(way("2001:db8:ffff::1", "2001:db8:2::1"), 2);
  EXPECT_EQ(way("2001:db8:ffff::1", "2001:db8:3::1"), -1);
  tell("::/0", through(3), 50);
  EXPECT_EQ(way("2001:db8:ffff::1", "2001:db8:3::1"), 3);
  EXPECT_EQ(way("2001:db8:ffff::1", "2001:db8:1::1"), 1);
}

TEST_F(RoutesTest, ToTheHostItselfComeFirst) {
  tell("0.0.0.0/0", through(1));
  tell("192.0.2.1/32", that(RouteTarget::Kind::kHere), 0, kTableLocal);
  const RouteTarget* here = routes_.find(Address{}, *Address::parse("192.0.2.1"));
  ASSERT_NE(here, nullptr);
  EXPECT_EQ(here->kind, RouteTarget::Kind::kHere);
}

TEST(Masked, KeepsTheFirstBits) {
  EXPECT_EQ(masked(*Address::parse("255.255.255.255"), 0).to_string(), "0.0.0.0");
  EXPECT_EQ(masked(*Address::parse("255.255.255.255"), 13).to_string(), "255.248.0.0");
  EXPECT_EQ(masked(*Address::parse("255.255.255.255"), 32).to_string(), "255.255.255.255");
  EXPECT_EQ(masked(*Address::parse("ffff:ffff::1"), 31).to_string(), "ffff:fffe::");
}

}  // namespace
}  // namespace turnpike::kernel

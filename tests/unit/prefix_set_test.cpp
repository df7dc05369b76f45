// Sets of prefixes at the edges of their families, and of the size that blocklists have.
#include "policy/prefix_set.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace turnpike::policy {
namespace {

Address at(const std::string& text) {
  return Address::parse(text).value();
}
PrefixSet set_of(const std::vector<std::string>& texts) {
  std::vector<Prefix> prefixes;
  for (const std::string& text : texts)
    prefixes.push_back(Prefix::parse(text).value());
  return PrefixSet(prefixes);
}

TEST(PrefixSet, OfNoPrefixHoldsNothing) {
  for (const PrefixSet& set : {PrefixSet(), set_of({})}) {
    EXPECT_TRUE(set.empty());
    EXPECT_FALSE(set.contains(at("0.0.0.0")));
    EXPECT_FALSE(set.contains(at("::")));
    EXPECT_EQ(set.ranges(), 0u);
  }
}

TEST(PrefixSet, OfAWholeFamilyHoldsAllOfItAndNothingOfTheOther) {
  const PrefixSet v4 = set_of({"0.0.0.0/0"});
  const PrefixSet v6 = set_of({"::/0"});
  for (const char* text : {"0.0.0.0", "127.255.255.255", "128.0.0.0", "255.255.255.255"}) {
    EXPECT_TRUE(v4.contains(at(text))) << text;
    EXPECT_FALSE(v6.contains(at(text))) << text;
  }
  for (const char* text : {"::", "::ffff:1.2.3.4", "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}) {
    EXPECT_TRUE(v6.contains(at(text))) << text;
    EXPECT_FALSE(v4.contains(at(text))) << text;
  }
}

TEST(PrefixSet, HoldsSingleAddressesAtTheEndsOfTheirFamily) {
  const PrefixSet set = set_of({"0.0.0.0", "255.255.255.255", "::", "2001:db8::1",
                                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"});
  for (const char* text : {"0.0.0.0", "255.255.255.255", "::", "2001:db8::1",
                           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"})
    EXPECT_TRUE(set.contains(at(text))) << text;
  for (const char* text : {"0.0.0.1", "255.255.255.254", "::1", "2001:db8::", "2001:db8::2",
                           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"})
    EXPECT_FALSE(set.contains(at(text))) << text;
}

TEST(PrefixSet, JoinsWhatOverlapsOrTouches) {
  const PrefixSet set =
      set_of({"11.0.1.0/24", "11.0.0.0/24", "11.0.0.0/25", "11.0.1.7", "11.0.1.7", "11.0.3.0/24"});
  EXPECT_EQ(set.ranges(), 2u);
  EXPECT_TRUE(set.contains(at("11.0.0.0")));
  EXPECT_TRUE(set.contains(at("11.0.1.255")));
  EXPECT_FALSE(set.contains(at("11.0.2.0")));
}

// Each second address of a block, so that none can be joined, and the same in the lowest bits of
// IPv6, behind 96 bits that tell nothing.
TEST(PrefixSet, TellsHundredsOfThousandsApart) {
  constexpr std::uint32_t kCount = 200'000;
  const auto number = [](Family family, std::uint32_t n) {
    Address address;
    address.family = family;
    if (family == Family::kIpv6) address.bytes[0] = 0x20;
    for (std::size_t i = 0; i < 4; ++i)
      address.bytes[address.size() - 1 - i] = static_cast<std::uint8_t>(n >> 8 * i);
    return address;
  };
  std::vector<Prefix> prefixes;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    prefixes.push_back({number(Family::kIpv4, 2 * i), 32});
    prefixes.push_back({number(Family::kIpv6, 2 * i), 128});
  }
  const PrefixSet set(prefixes);
  EXPECT_EQ(set.ranges(), 2 * kCount);
  EXPECT_LE(set.bytes(), 2 * kCount * 64u);
  for (std::uint32_t i = 0; i < 2 * kCount + 2; ++i) {
    const bool inside = i % 2 == 0 && i < 2 * kCount;
    ASSERT_EQ(set.contains(number(Family::kIpv4, i)), inside) << i;
    ASSERT_EQ(set.contains(number(Family::kIpv6, i)), inside) << i;
  }
}

}  // namespace
}  // namespace turnpike::policy

// Addresses as text, prefixes, and the keyed hashes.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>

#include "base/keyed_hash.h"
#include "turnpike/address.h"
#include "turnpike/listener.h"

namespace turnpike {
namespace {

TEST(Address, ReadsAndWritesBothFamilies) {
  const auto v4 = Address::parse("192.0.2.1");
  ASSERT_TRUE(v4);
  EXPECT_EQ(*v4, Address::v4(192, 0, 2, 1));
  EXPECT_EQ(v4->to_string(), "192.0.2.1");
  const auto v6 = Address::parse("2001:DB8:0:0:0:0:0:1");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->family, Family::kIpv6);
  EXPECT_EQ(v6->to_string(), "2001:db8::1");
}

TEST(Address, RefusesWhatCouldBeReadTwoWays) {
  for (const char* text : {"", "1", "10.1", "010.0.0.1", "0x7f.0.0.1", "1.2.3.4.5", "256.0.0.1",
                           "1.2.3.4 ", " 1.2.3.4", "fe80::1%eth0", "[::1]", "::1/128", "1::2::3",
                           "12345::", "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb"}) {
    EXPECT_FALSE(Address::parse(text)) << text;
  }
  EXPECT_FALSE(Address::parse(std::string_view("1.2.3.4\0x", 9)));
}

TEST(Address, MappedAddressStaysIpv6) {
  const auto mapped = Address::parse("::ffff:192.0.2.1");
  ASSERT_TRUE(mapped);
  EXPECT_EQ(mapped->family, Family::kIpv6);
  EXPECT_NE(*mapped, Address::v4(192, 0, 2, 1));
}

TEST(Address, KnowsTheUnspecifiedOfBothFamilies) {
  EXPECT_TRUE(Address::parse("0.0.0.0")->is_unspecified());
  EXPECT_TRUE(Address::parse("::")->is_unspecified());
  EXPECT_FALSE(Address::parse("::1")->is_unspecified());
  EXPECT_FALSE(Address::parse("0.0.0.1")->is_unspecified());
}

TEST(Endpoint, ReadsAndWritesBothFamilies) {
  for (const char* text : {"192.0.2.1:3478", "[2001:db8::1]:3478", "0.0.0.0:0", "[::]:65535"}) {
    const auto endpoint = Endpoint::parse(text);
    ASSERT_TRUE(endpoint) << text;
    EXPECT_EQ(endpoint->to_string(), text);
  }
}

TEST(Endpoint, RefusesMissingBracketsAndBadPorts) {
  for (const char* text : {"", "192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:-1",
                           "192.0.2.1:+1", "192.0.2.1:080", "192.0.2.1:80 ", "2001:db8::1:80",
                           "[192.0.2.1]:80", "[::1]", "[::1:80", "::1]:80", ":80"}) {
    EXPECT_FALSE(Endpoint::parse(text)) << text;
  }
}

TEST(Listener, MakesFiveTuplesOfItsEndpointAndTransport) {
  const Listener listener{{Address::v4(192, 0, 2, 1), 3478}, static_cast<Transport>(6)};
  const ClientEndpoint client{{Address::v4(198, 51, 100, 1), 40000}};
  const FiveTuple made = listener.five_tuple(client);
  EXPECT_EQ(made, (FiveTuple{client, listener.endpoint, listener.transport}));
  EXPECT_NE(made, (FiveTuple{client, listener.endpoint, Transport::kUdp}));
}

TEST(Prefix, RefusesBitsBeyondItsLength) {
  EXPECT_TRUE(Prefix::parse("192.0.2.0/24"));
  EXPECT_FALSE(Prefix::parse("192.0.2.1/24"));
  EXPECT_TRUE(Prefix::parse("192.0.2.128/25"));
  EXPECT_FALSE(Prefix::parse("192.0.2.128/24"));
  EXPECT_TRUE(Prefix::parse("2001:db8::/32"));
  EXPECT_FALSE(Prefix::parse("2001:db8::1/127"));
  EXPECT_FALSE(Prefix::parse("192.0.2.0/33"));
  EXPECT_FALSE(Prefix::parse("::/129"));
  EXPECT_FALSE(Prefix::parse("192.0.2.0/"));
  EXPECT_FALSE(Prefix::parse("192.0.2.0/024"));
}

TEST(Prefix, BareAddressIsASingleOne) {
  EXPECT_EQ(Prefix::parse("192.0.2.7")->length, 32);
  EXPECT_EQ(Prefix::parse("2001:db8::7")->length, 128);
  EXPECT_TRUE(Prefix::parse("192.0.2.7")->contains(Address::v4(192, 0, 2, 7)));
  EXPECT_FALSE(Prefix::parse("192.0.2.7")->contains(Address::v4(192, 0, 2, 6)));
}

TEST(Prefix, ContainsExactlyItsRange) {
  const auto odd = *Prefix::parse("10.32.0.0/11");
  EXPECT_TRUE(odd.contains(Address::v4(10, 32, 0, 0)));
  EXPECT_TRUE(odd.contains(Address::v4(10, 63, 255, 255)));
  EXPECT_FALSE(odd.contains(Address::v4(10, 31, 255, 255)));
  EXPECT_FALSE(odd.contains(Address::v4(10, 64, 0, 0)));
  EXPECT_TRUE(Prefix::parse("0.0.0.0/0")->contains(Address::v4(255, 1, 2, 3)));
  EXPECT_FALSE(Prefix::parse("0.0.0.0/0")->contains(*Address::parse("::1")));
}

// The reference implementation's vectors: key 00 01 … 0f, input 00 01 … (n-1).
TEST(SipHash, MatchesItsAuthorsVectors) {
  std::array<std::uint8_t, 64> input;
  for (std::size_t i = 0; i < input.size(); ++i)
    input[i] = static_cast<std::uint8_t>(i);
  const auto hash = [&](std::size_t size) {
    return siphash24(0x0706050403020100, 0x0f0e0d0c0b0a0908, std::span(input).first(size));
  };
  EXPECT_EQ(hash(0), 0x726fdb47dd0e0e31U);
  EXPECT_EQ(hash(1), 0x74f839c593dc67fdU);
  EXPECT_EQ(hash(2), 0x0d6c8009d9a94f5aU);
  EXPECT_EQ(hash(7), 0xab0200f58b01d137U);
  EXPECT_EQ(hash(8), 0x93f5f5799a932462U);
  EXPECT_EQ(hash(15), 0xa129ca6149be45e5U);  // the paper's appendix A
  EXPECT_EQ(hash(63), 0x958a324ceb064572U);
}

TEST(TableHash, DependsOnEveryWordAndOnTheKey) {
  const HashKey key{1, 2, 3, 4};
  const auto base = table_hash(key, 10, 20, 30);
  EXPECT_NE(base, table_hash(key, 11, 20, 30));
  EXPECT_NE(base, table_hash(key, 10, 21, 30));
  EXPECT_NE(base, table_hash(key, 10, 20, 31));
  EXPECT_NE(base, table_hash(HashKey{9, 2, 3, 4}, 10, 20, 30));
}

}  // namespace
}  // namespace turnpike

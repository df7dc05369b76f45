// Fragments that come before their first: some may wait, nobody's flood may.
#include "flow/fragment_gate.h"

#include <gtest/gtest.h>

#include <set>

namespace turnpike::flow {
namespace {

constexpr HashKey kKey{0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0,
                       0x082efa98ec4e6c89};
const Address kSomebody = Address::v4(198, 51, 100, 1);
const Address kOther = Address::v4(198, 51, 100, 2);
constexpr Instant kNow{1'000'000};

FragmentOf piece(std::uint64_t datagram, bool first = false) {
  return {datagram * 0x9E37'79B9'7F4A'7C15, first};
}

TEST(FragmentGate, LetsPassWhatComesInOrder) {
  FragmentGate gate(kKey);
  for (std::uint64_t datagram = 1; datagram < 10'000; ++datagram) {
    ASSERT_TRUE(gate.admit(kNow, piece(datagram, true), kSomebody));
    for (int later = 0; later < 7; ++later)
      ASSERT_TRUE(gate.admit(kNow, piece(datagram), kSomebody));
  }
}

TEST(FragmentGate, LetsSomeOfEachSourceWaitForTheirFirst) {
  FragmentGate gate(kKey);
  std::uint64_t datagram = 0;
  for (std::uint32_t i = 0; i < FragmentGate::kOfSource; ++i)
    EXPECT_TRUE(gate.admit(kNow, piece(++datagram), kSomebody));
  EXPECT_FALSE(gate.admit(kNow, piece(++datagram), kSomebody));
  EXPECT_TRUE(gate.admit(kNow, piece(++datagram), kOther)) << "another's are none the worse";
  EXPECT_TRUE(gate.admit(kNow, piece(++datagram, true), kSomebody));
  EXPECT_TRUE(gate.admit(kNow, piece(datagram), kSomebody)) << "in order";
  EXPECT_TRUE(gate.admit(kNow + 1000, piece(++datagram), kSomebody)) << "a second later";
}

TEST(FragmentGate, LetsSomeOfAllWait) {
  FragmentGate gate(kKey);
  std::uint32_t waiting = 0;
  for (std::uint32_t i = 0; i < 4000; ++i) {
    const Address source =
        Address::v4(10, 1, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i));
    waiting += gate.admit(kNow, piece(i + 1), source) ? 1 : 0;
  }
  EXPECT_EQ(waiting, FragmentGate::kOfAll);
}

TEST(FragmentOf, TellsDatagramsApart) {
  std::set<std::uint64_t> seen;
  for (const bool v4 : {true, false}) {
    for (const std::uint8_t from : {1, 2}) {
      for (const std::uint8_t to : {1, 2}) {
        for (const std::uint8_t id : {1, 2}) {
          std::array<std::uint8_t, 80> frame{};
          Packet packet;
          packet.data = frame.data();
          packet.l3 = 14;
          packet.l4 = v4 ? 34 : 54;
          packet.family = v4 ? Family::kIpv4 : Family::kIpv6;
          packet.source.address = v4 ? Address::v4(10, 0, 0, from) : *Address::parse("fd00::1");
          packet.destination.address = v4 ? Address::v4(10, 0, 1, to) : *Address::parse("fd00::2");
          if (!v4) {
            packet.source.address.bytes[15] = from;
            packet.destination.address.bytes[15] = static_cast<std::uint8_t>(to + 16);
          }
          frame[v4 ? 14 + 5 : 54 + 7] = id;
          const FragmentOf first = fragment_of(kKey, packet);
          EXPECT_TRUE(first.first);
          frame[v4 ? 14 + 7 : 54 + 3] = 8;
          const FragmentOf later = fragment_of(kKey, packet);
          EXPECT_FALSE(later.first);
          EXPECT_EQ(first.datagram, later.datagram);
          seen.insert(first.datagram);
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), 16U);
}

}  // namespace
}  // namespace turnpike::flow

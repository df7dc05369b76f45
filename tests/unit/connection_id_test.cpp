// CONNECTION-IDs name their shard, and look like nothing.
#include <gtest/gtest.h>

#include <bit>
#include <set>

#include "turnpike/reservation_token.h"
#include "wire/headers.h"

namespace turnpike {
namespace {

TEST(ConnectionId, SaysWhatWasSealed) {
  const TokenSealer sealer({1, 2, 3});
  for (const std::uint8_t shard : {0, 1, 2, 255}) {
    for (const std::uint32_t id : {0U, 1U, 0xFFFFU, 0x10000U, 0xFFFFFFU}) {
      const auto content = sealer.open_connection(sealer.seal_connection({shard, id}));
      ASSERT_TRUE(content);
      EXPECT_EQ(content->shard, shard);
      EXPECT_EQ(content->id, id);
    }
  }
}

TEST(ConnectionId, IsFourBytes) {
  const TokenSealer sealer({1});
  const std::array<std::uint8_t, 8> bytes{};
  for (const std::size_t size : {0, 1, 3, 5, 8})
    EXPECT_FALSE(sealer.open_connection(std::span(bytes).first(size)));
}

TEST(ConnectionId, NoTwoAreOneAndNeighboursHaveNothingInCommon) {
  const TokenSealer sealer({9});
  std::set<TokenSealer::ConnectionId> seen;
  std::uint64_t bits = 0;
  constexpr std::uint32_t kMany = 20'000;
  for (std::uint32_t id = 0; id < kMany; ++id) {
    const auto one = sealer.seal_connection({0, id});
    EXPECT_TRUE(seen.insert(one).second);
    const auto next = sealer.seal_connection({0, id + 1});
    bits += static_cast<std::uint64_t>(
        std::popcount(wire::load_be32(one.data()) ^ wire::load_be32(next.data())));
  }
  EXPECT_NEAR(static_cast<double>(bits) / kMany, 16, 0.2);
}

TEST(ConnectionId, DependsOnTheKey) {
  unsigned same = 0;
  for (std::uint32_t id = 0; id < 1000; ++id)
    same += TokenSealer({1}).seal_connection({0, id}) == TokenSealer({2}).seal_connection({0, id});
  EXPECT_LE(same, 1U);
}

}  // namespace
}  // namespace turnpike

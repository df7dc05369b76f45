// Token buckets, alone and by source: what comes at once, what comes after, and what forged sources
// can't do.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>

#include "flow/source_buckets.h"
#include "flow/token_bucket.h"

namespace turnpike::flow {
namespace {

const HashKey kKey{0x0123456789abcdef, 0xfedcba9876543210, 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f};
constexpr Instant kStart{1'000'000};
const Address kClient = Address::v4(198, 51, 100, 7);

Address random_source(std::mt19937& random) {
  const std::uint32_t word = random();
  return Address::from_bytes(Family::kIpv4, reinterpret_cast<const std::uint8_t*>(&word));
}

// How many tokens come in a row.
template <typename Take>
unsigned taken(Take take, unsigned tries) {
  unsigned count = 0;
  for (unsigned i = 0; i < tries; ++i)
    count += take() ? 1 : 0;
  return count;
}

TEST(TokenBucket, GivesABurstAndThenItsRate) {
  TokenBucket bucket;
  const TokenRate rate(500, 2000);
  EXPECT_EQ(taken([&] { return bucket.take(kStart, rate); }, 3000), 2000U);
  EXPECT_EQ(taken([&] { return bucket.take(kStart + 1000, rate); }, 3000), 500U);
  EXPECT_EQ(taken([&] { return bucket.take(kStart + 1002, rate); }, 10), 1U);
  EXPECT_EQ(taken([&] { return bucket.take(kStart + 3'600'000, rate); }, 3000), 2000U);
}

TEST(TokenBucket, RefusedTriesCostNothing) {
  TokenBucket bucket;
  const TokenRate rate(10, 10);
  EXPECT_EQ(taken([&] { return bucket.take(kStart, rate); }, 1'000'000), 10U);
  EXPECT_TRUE(bucket.take(kStart + 100, rate));
}

TEST(TokenBucket, HoldsASecondsWorthIfNothingElseIsSaid) {
  TokenBucket bucket;
  const TokenRate rate(50'000);
  EXPECT_EQ(taken([&] { return bucket.take(kStart, rate); }, 60'000), 50'000U);
}

TEST(TokenBucket, WithoutARateIsWithoutLimit) {
  TokenBucket bucket;
  const TokenRate rate(0, 5);
  EXPECT_EQ(taken([&] { return bucket.take(kStart, rate); }, 1000), 1000U);
  SourceBuckets sources(1 << 20, kKey);
  EXPECT_EQ(taken([&] { return sources.take(kStart, kClient, rate); }, 1000), 1000U);
}

// The fastest rate there is must not lose its interval to rounding.
TEST(TokenBucket, TakesExtremeRates) {
  TokenBucket fast, slow;
  const TokenRate fastest(1'000'000'000, 1), slowest(1, 0xFFFF'FFFF);
  EXPECT_EQ(taken([&] { return fast.take(kStart, fastest); }, 10), 1U);
  EXPECT_EQ(taken([&] { return slow.take(kStart, slowest); }, 1000), 1000U);
}

TEST(TokenBucket, KeepsWhatHasBeenTakenWhenItsRateChanges) {
  TokenBucket bucket;
  SourceBuckets sources(64, kKey);
  const auto both = [&](const TokenRate& rate, unsigned tries) {
    const unsigned count = taken([&] { return bucket.take(kStart, rate); }, tries);
    EXPECT_EQ(taken([&] { return sources.take(kStart, kClient, rate); }, tries), count);
    return count;
  };
  EXPECT_EQ(both({1, 5}, 10), 5U);
  EXPECT_EQ(both({1, 8}, 10), 3U);
  EXPECT_EQ(both({1, 5}, 10), 0U);
  EXPECT_EQ(both({0}, 10), 10U) << "without limit for a while";
  EXPECT_EQ(both({1, 8}, 10), 0U);
}

TEST(TokenBucket, TakesBackNoMoreThanItGave) {
  const TokenRate rate(10, 5);
  std::uint64_t full_at_ns = 0;
  const auto take = [&](Instant now) { return rate.take(now, full_at_ns); };
  rate.give_back(kStart, full_at_ns);
  EXPECT_EQ(taken([&] { return take(kStart); }, 10), 5U);
  rate.give_back(kStart, full_at_ns);
  rate.give_back(kStart, full_at_ns);
  EXPECT_EQ(taken([&] { return take(kStart); }, 10), 2U);
  for (int i = 0; i < 100; ++i)
    rate.give_back(kStart + 50, full_at_ns);
  EXPECT_EQ(taken([&] { return take(kStart + 50); }, 10), 5U);
  rate.give_back(kStart + 10'000, full_at_ns);
  EXPECT_EQ(taken([&] { return take(kStart + 10'000); }, 10), 5U);
}

TEST(SourceBuckets, GiveBackToTheSourceAlone) {
  const TokenRate rate(1, 2);
  const Address other = Address::v4(198, 51, 100, 8);
  SourceBuckets sources(4096, kKey);
  sources.give_back(kStart, kClient, rate);
  EXPECT_EQ(taken([&] { return sources.take(kStart, kClient, rate); }, 5), 2U);
  sources.give_back(kStart, other, rate);
  EXPECT_FALSE(sources.take(kStart, kClient, rate));
  sources.give_back(kStart, kClient, rate);
  EXPECT_EQ(taken([&] { return sources.take(kStart, kClient, rate); }, 5), 1U);
  sources.give_back(kStart, kClient, TokenRate(0));
  EXPECT_FALSE(sources.take(kStart, kClient, rate));
  EXPECT_EQ(taken([&] { return sources.take(kStart, other, rate); }, 5), 2U);
}

TEST(SourceBuckets, EachAddressHasItsOwn) {
  const TokenRate rate(500, 2000);
  SourceBuckets sources(4096, kKey);
  EXPECT_EQ(taken([&] { return sources.take(kStart, kClient, rate); }, 3000), 2000U);
  EXPECT_TRUE(sources.take(kStart, Address::v4(198, 51, 100, 8), rate));
  EXPECT_FALSE(sources.take(kStart, kClient, rate));
  EXPECT_TRUE(sources.take(kStart + 2, kClient, rate));
}

TEST(SourceBuckets, AnIpv6SiteHasOne) {
  const TokenRate rate(1, 1);
  SourceBuckets sources(4096, kKey);
  EXPECT_TRUE(sources.take(kStart, *Address::parse("2001:db8:1:2::1"), rate));
  EXPECT_FALSE(sources.take(kStart, *Address::parse("2001:db8:1:2:ffff::9"), rate));
  EXPECT_TRUE(sources.take(kStart, *Address::parse("2001:db8:1:3::1"), rate));
}

// 2001:db8:: begins with the bytes of 32.1.13.184.
TEST(SourceBuckets, FamiliesAreToldApart) {
  const TokenRate rate(1, 1);
  SourceBuckets sources(4096, kKey);
  EXPECT_TRUE(sources.take(kStart, Address::v4(32, 1, 13, 184), rate));
  EXPECT_TRUE(sources.take(kStart, *Address::parse("2001:db8::1"), rate));
}

// A victim whose source is forged stays limited, however many others are forged beside it.
TEST(SourceBuckets, AnEmptyBucketIsNotForgottenInAFloodOfRandomSources) {
  const TokenRate rate(500, 2000);
  SourceBuckets sources(4096, kKey);
  std::mt19937 random(1);
  taken([&] { return sources.take(kStart, kClient, rate); }, 2000);
  unsigned more = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    sources.take(kStart, random_source(random), rate);
    if (i % 100 == 0) more += sources.take(kStart, kClient, rate) ? 1 : 0;
  }
  EXPECT_EQ(more, 0U);
}

TEST(SourceBuckets, AFloodOfRandomSourcesLocksNobodyOut) {
  const TokenRate rate(20, 64);
  SourceBuckets sources(1024, kKey);
  std::mt19937 random(2);
  Instant now = kStart;
  // A million a second for ten seconds; the client asks five times a second.
  for (int i = 0; i < 10'000'000; ++i) {
    now = kStart + static_cast<std::uint64_t>(i) / 1000;
    sources.take(now, random_source(random), rate);
    if (i % 200'000 == 0) {
      EXPECT_TRUE(sources.take(now, kClient, rate)) << i;
    }
  }
}

// Whoever empties every bucket of the table still leaves room for a newcomer.
TEST(SourceBuckets, ATableFullOfEmptyBucketsTakesANewcomer) {
  const TokenRate rate(1, 4);
  SourceBuckets sources(64, kKey);
  std::mt19937 random(3);
  for (int i = 0; i < 10'000; ++i) {
    const Address heavy = random_source(random);
    taken([&] { return sources.take(kStart, heavy, rate); }, 5);
  }
  std::mt19937 others(4);
  for (int i = 0; i < 100; ++i)
    EXPECT_TRUE(sources.take(kStart, random_source(others), rate)) << i;
}

// The kind of reflection that the limit is for: a few victims, each forged as often as can be.
TEST(SourceBuckets, AHundredVictimsGetNoMoreThanTheirRate) {
  const TokenRate rate(500, 2000);
  SourceBuckets sources(4096, kKey);
  std::array<unsigned, 100> answers{};
  for (std::uint64_t ms = 0; ms < 10'000; ++ms) {
    for (std::size_t victim = 0; victim < answers.size(); ++victim) {
      const auto last = static_cast<std::uint8_t>(victim);
      for (int i = 0; i < 5; ++i)
        answers[victim] += sources.take(kStart + ms, Address::v4(203, 0, 113, last), rate) ? 1 : 0;
    }
  }
  for (const unsigned count : answers)
    EXPECT_LE(count, 2000U + 5000U);
}

}  // namespace
}  // namespace turnpike::flow

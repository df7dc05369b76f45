// The index of the flow tables: buckets that overflow, tags that are equal, and nothing lost.
#include "tables/hash_index.h"

#include <gtest/gtest.h>

#include <map>

#include "random.h"

namespace turnpike::flow {
namespace {

TEST(HashIndex, FindsKeysWhoseHashesAreTheSame) {
  HashIndex index(100);
  constexpr std::uint64_t kHash = 0x1234'5678'0000'0000;
  for (std::uint32_t slot = 0; slot < 100; ++slot)
    index.insert(kHash, slot);
  for (std::uint32_t slot = 0; slot < 100; ++slot) {
    EXPECT_EQ(index.find(kHash, [&](std::uint32_t found) { return found == slot; }), slot);
  }
  EXPECT_EQ(index.find(kHash, [](std::uint32_t) { return false; }), HashIndex::kNone);
}

TEST(HashIndex, FindsWhatOverflowedAfterItsHomeHasRoomAgain) {
  HashIndex index(100);
  constexpr std::uint64_t kHash = 7;
  for (std::uint32_t slot = 0; slot < 30; ++slot)
    index.insert(kHash, slot);
  for (std::uint32_t slot = 0; slot < 29; ++slot)
    index.erase(kHash, slot);
  EXPECT_EQ(index.find(kHash, [](std::uint32_t found) { return found == 29; }), 29u);
}

TEST(HashIndex, AsksOnlyAboutEntriesOfTheSameTag) {
  HashIndex index(100);
  index.insert(0xAAAA'AAAA'0000'0001, 1);
  index.insert(0xBBBB'BBBB'0000'0001, 2);
  int asked = 0;
  index.find(0xBBBB'BBBB'0000'0001, [&](std::uint32_t slot) {
    ++asked;
    return slot == 2;
  });
  EXPECT_EQ(asked, 1);
}

TEST(HashIndex, TakesATagOfZeroForNoEmptyPlace) {
  HashIndex index(100);
  EXPECT_EQ(index.find(0, [](std::uint32_t) { return true; }), HashIndex::kNone);
  EXPECT_EQ(index.candidate(0), HashIndex::kNone);
  index.insert(0, 0);
  EXPECT_EQ(index.find(0, [](std::uint32_t) { return true; }), 0u);
}

// Against a model, with hashes so few that buckets overflow and wrap round all the time.
TEST(HashIndex, HoldsExactlyWhatWasInsertedAndNotErased) {
  constexpr std::uint32_t kSlots = 200;
  HashIndex index(kSlots);
  std::map<std::uint32_t, std::uint64_t> model;
  turnpike::test::Random random(1);
  const auto next = [&random] { return random.next(); };
  for (int step = 0; step < 50000; ++step) {
    const auto slot = static_cast<std::uint32_t>(next() % kSlots);
    const auto known = model.find(slot);
    if (known != model.end()) {
      index.erase(known->second, slot);
      model.erase(known);
    } else {
      // Six homes, the last bucket's among them.
      const std::uint64_t hash = (next() % 3) << 32 | (next() % 6) * 0x3333'3333;
      index.insert(hash, slot);
      model.emplace(slot, hash);
    }
    const auto probe = static_cast<std::uint32_t>(next() % kSlots);
    const auto expected = model.find(probe);
    const std::uint64_t hash = expected == model.end() ? 0 : expected->second;
    const std::uint32_t found = index.find(hash, [&](std::uint32_t s) { return s == probe; });
    ASSERT_EQ(found, expected == model.end() ? HashIndex::kNone : probe) << "step " << step;
  }
}

}  // namespace
}  // namespace turnpike::flow

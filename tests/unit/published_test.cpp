// A value that is replaced while others read it: whole, newest once asked for, never under a
// reader's hands, and freed when nobody holds it any more. Runs under ThreadSanitizer as well.
#include "base/published.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

namespace turnpike {
namespace {

constexpr std::uint64_t kPoison = 0xDEAD'DEAD'DEAD'DEAD;

// Says the same number everywhere; once it has ended, nothing.
class Words {
 public:
  explicit Words(std::uint64_t number) { words_.fill(number); }
  ~Words() {
    for (std::uint64_t& word : words_)
      *const_cast<volatile std::uint64_t*>(&word) = kPoison;
  }
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;

  // kPoison: they don't agree.
  std::uint64_t number() const {
    for (const std::uint64_t word : words_) {
      if (word != words_.front()) return kPoison;
    }
    return words_.front();
  }

 private:
  std::array<std::uint64_t, 32> words_{};
};

struct Whole {
  explicit Whole(std::uint64_t number) : one(number), other(number) { ++alive; }
  ~Whole() { --alive; }
  Whole(const Whole&) = delete;
  Whole& operator=(const Whole&) = delete;

  const Words one, other;
  static inline std::atomic<int> alive{0};
};

std::unique_ptr<const Whole> whole(std::uint64_t number) {
  return std::make_unique<const Whole>(number);
}

TEST(Published, StaysAsItIsUntilTheReaderAsks) {
  Published<Whole> value(whole(1));
  const PublishedPart<Words> part = value.part<&Whole::one>();
  const Words& first = part.take(0);
  value.publish(whole(2));
  EXPECT_EQ(first.number(), 1U);
  EXPECT_EQ(part.take(0).number(), 2U);
  value.publish(whole(3));
  EXPECT_EQ(part.take(1).number(), 3U) << "whoever comes later";
}

TEST(Published, EachPartIsOfTheSameValue) {
  Published<Whole> value(whole(1));
  const auto one = value.part<&Whole::one>(), other = value.part<&Whole::other>();
  value.publish(whole(2));
  EXPECT_EQ(one.take(0).number(), 2U);
  EXPECT_EQ(other.take(1).number(), 2U);
  EXPECT_NE(&one.take(0), &other.take(1));
}

TEST(Published, IsFreedWhenNobodyHoldsItAnyMore) {
  {
    Published<Whole> value(whole(1));
    const PublishedPart<Words> part = value.part<&Whole::one>();
    value.publish(whole(2));
    EXPECT_EQ(Whole::alive, 1) << "nobody had taken any";
    part.take(0);
    part.take(7);
    value.publish(whole(3));
    part.take(0);
    EXPECT_EQ(value.reclaim(), 1U);
    EXPECT_EQ(Whole::alive, 2);
    part.leave(7);
    EXPECT_EQ(value.reclaim(), 0U);
    EXPECT_EQ(Whole::alive, 1);
    part.take(7);
    value.publish(whole(4));
    value.publish(whole(5));
    EXPECT_EQ(value.reclaim(), 2U) << "the second may be held by whoever is late";
    part.take(0);
    part.take(7);
    EXPECT_EQ(value.reclaim(), 0U);
  }
  EXPECT_EQ(Whole::alive, 0);
}

// No reader is far behind, so that all of them see hundreds of values come and go.
TEST(Published, IsSeenWholeAndNeverGoesBack) {
  constexpr std::uint64_t kValues = 5000, kMostBehind = 16;
  constexpr std::size_t kReaders = 4;
  Published<Whole> value(whole(0));
  std::array<std::atomic<std::uint64_t>, kReaders> seen{};
  std::vector<std::thread> threads;
  for (std::size_t reader = 0; reader < kReaders; ++reader) {
    const auto part = reader % 2 == 0 ? value.part<&Whole::one>() : value.part<&Whole::other>();
    threads.emplace_back([part, reader, &last = seen[reader]] {
      for (unsigned round = 0; last < kValues; ++round) {
        const Words& words = part.take(reader);
        const std::uint64_t number = words.number();
        EXPECT_NE(number, kPoison);
        EXPECT_GE(number, last);
        if (round % 8 == reader) std::this_thread::yield();
        EXPECT_EQ(words.number(), number) << "in the same round";
        last = number;
        if (round % 32 != 0) continue;
        part.leave(reader);
        std::this_thread::yield();
      }
      part.leave(reader);
    });
  }
  for (std::uint64_t i = 1; i <= kValues; ++i) {
    value.publish(whole(i));
    for (const std::atomic<std::uint64_t>& last : seen) {
      while (last + kMostBehind < i)
        std::this_thread::yield();
    }
    // A reader says that it is quiet before it looks: what it sees may be as much newer again,
    // and one more where it looks between a value's being told and its token's being made.
    EXPECT_LE(value.reclaim(), 2 * kMostBehind + 1);
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(value.reclaim(), 0U);
  EXPECT_EQ(Whole::alive, 1);
}

}  // namespace
}  // namespace turnpike

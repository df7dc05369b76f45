// Letters from many to one: none lost, in order, and no more than there may be.
#include "base/mailbox.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

namespace turnpike {
namespace {

TEST(Mailbox, HoldsSoManyAndNoMore) {
  Mailbox<int> mailbox(3);
  EXPECT_TRUE(mailbox.empty());
  for (int letter = 0; letter < 3; ++letter)
    EXPECT_TRUE(mailbox.put(letter));
  EXPECT_FALSE(mailbox.put(3));
  std::vector<int> letters{9};
  mailbox.take(letters);
  EXPECT_EQ(letters, (std::vector<int>{0, 1, 2}));
  EXPECT_TRUE(mailbox.empty());
  EXPECT_TRUE(mailbox.put(4));
  mailbox.take(letters);
  EXPECT_EQ(letters, std::vector<int>{4});
  mailbox.take(letters);
  EXPECT_TRUE(letters.empty());
}

TEST(Mailbox, KeepsTheOrderOfEachWriter) {
  constexpr int kEach = 20'000;
  struct Letter {
    int writer, number;
  };
  Mailbox<Letter> mailbox(64);
  const auto write = [&mailbox](int writer) {
    for (int number = 0; number < kEach;) {
      if (mailbox.put({writer, number}))
        ++number;
      else
        std::this_thread::yield();
    }
  };
  std::thread first(write, 0), second(write, 1);
  std::array<int, 2> next{};
  std::vector<Letter> letters;
  while (next[0] + next[1] < 2 * kEach) {
    mailbox.take(letters);
    for (const Letter& letter : letters)
      EXPECT_EQ(letter.number, next[static_cast<std::size_t>(letter.writer)]++);
  }
  first.join();
  second.join();
}

}  // namespace
}  // namespace turnpike

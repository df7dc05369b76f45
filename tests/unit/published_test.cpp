// A value that is replaced while others read it: whole, newest once asked for, and never under a
// reader's hands. Runs under ThreadSanitizer as well.
#include "base/published.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace turnpike {
namespace {

TEST(Published, StaysAsItIsUntilTheReaderAsks) {
  Published<int> number(1);
  Published<int>::Reader reader(number);
  number.publish(2);
  EXPECT_EQ(*reader, 1);
  reader.refresh();
  EXPECT_EQ(*reader, 2);
  number.publish(3);
  EXPECT_EQ(*Published<int>::Reader(number), 3);
}

TEST(Published, IsSeenWholeAndNeverGoesBack) {
  constexpr std::size_t kValues = 2000;
  Published<std::vector<std::size_t>> value(std::vector<std::size_t>(64, 0));
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&value] {
      Published<std::vector<std::size_t>>::Reader reader(value);
      std::size_t last = 0;
      while (last < kValues) {
        reader.refresh();
        const std::size_t first = reader->front();
        ASSERT_GE(first, last);
        for (const std::size_t one : *reader)
          ASSERT_EQ(one, first);
        last = first;
      }
    });
  }
  for (std::size_t i = 1; i <= kValues; ++i)
    value.publish(std::vector<std::size_t>(64, i));
  for (std::thread& thread : threads)
    thread.join();
}

}  // namespace
}  // namespace turnpike

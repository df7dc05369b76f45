// What engines have to tell: in order, and how much there was no place for.
#include "engine/notes.h"

#include <gtest/gtest.h>

namespace turnpike::engine {
namespace {

TEST(Notes, AreTakenInOrderAndThoseWithoutAPlaceCounted) {
  EndNotes notes;
  for (std::uint16_t rule = 1; rule <= 100; ++rule)
    notes.put({{}, rule});
  for (std::uint16_t rule = 1; rule <= 64; ++rule) {
    const auto note = notes.take();
    ASSERT_TRUE(note);
    EXPECT_EQ(note->rule, rule);
  }
  EXPECT_FALSE(notes.take());
  EXPECT_EQ(notes.take_lost(), 36U);
  EXPECT_EQ(notes.take_lost(), 0U);
  notes.put({{}, 7});
  EXPECT_EQ(notes.take()->rule, 7);
  EXPECT_EQ(notes.take_lost(), 0U);
}

}  // namespace
}  // namespace turnpike::engine

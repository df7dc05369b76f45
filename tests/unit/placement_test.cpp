// Which threads get which cores.
#include "dataplane/placement.h"

#include <gtest/gtest.h>

namespace turnpike::dataplane {
namespace {

std::vector<int> cores_of(const Placement& placement) {
  std::vector<int> cores;
  for (const Placement::Seat& seat : placement.workers)
    cores.push_back(seat.core);
  return cores;
}

bool any_yields(const Placement& placement) {
  for (const Placement::Seat& seat : placement.workers) {
    if (seat.yields) return true;
  }
  return false;
}

TEST(Placement, KeepsOtherThreadsOffTheWorkersCores) {
  const Placement placement = place_threads({0, 1, 2, 3}, 2, {}, false);
  EXPECT_EQ(cores_of(placement), (std::vector<int>{0, 1}));
  EXPECT_EQ(placement.others, (std::vector<int>{2, 3}));
  EXPECT_FALSE(any_yields(placement));
  EXPECT_TRUE(placement.apart);
}

TEST(Placement, TakesTheChosenCores) {
  const Placement placement = place_threads({0, 1, 2, 3}, 2, {3, 1}, false);
  EXPECT_EQ(cores_of(placement), (std::vector<int>{3, 1}));
  EXPECT_EQ(placement.others, (std::vector<int>{0, 2}));
}

// The mask of a process doesn't hold isolated cores.
TEST(Placement, NeverYieldsOnIsolatedCores) {
  const Placement placement = place_threads({0, 1}, 6, {2, 3, 4, 5, 6, 7}, false);
  EXPECT_FALSE(any_yields(placement));
  EXPECT_EQ(placement.others, (std::vector<int>{0, 1}));
}

TEST(Placement, YieldsWhereNoCoreIsLeft) {
  const Placement placement = place_threads({4, 5}, 2, {}, false);
  EXPECT_EQ(cores_of(placement), (std::vector<int>{4, 5}));
  EXPECT_EQ(placement.others, (std::vector<int>{4, 5}));
  EXPECT_TRUE(placement.workers[0].yields && placement.workers[1].yields);
  EXPECT_FALSE(placement.apart);
}

TEST(Placement, YieldsWhereWorkersShareACore) {
  const Placement placement = place_threads({0, 1, 2}, 3, {1, 2}, false);
  EXPECT_EQ(cores_of(placement), (std::vector<int>{1, 2, 1}));
  EXPECT_TRUE(placement.workers[0].yields && placement.workers[2].yields);
  EXPECT_FALSE(placement.workers[1].yields);
  EXPECT_EQ(placement.others, (std::vector<int>{0}));
}

TEST(Placement, PinsNobodyOnASharedHostUnlessCoresAreChosen) {
  const Placement floating = place_threads({0, 1, 2}, 2, {}, true);
  EXPECT_EQ(cores_of(floating), (std::vector<int>{-1, -1}));
  EXPECT_EQ(floating.others, (std::vector<int>{0, 1, 2}));
  EXPECT_FALSE(floating.apart);
  EXPECT_EQ(cores_of(place_threads({0, 1, 2}, 2, {1, 2}, true)), (std::vector<int>{1, 2}));
}

}  // namespace
}  // namespace turnpike::dataplane

// Next hops that come and go, and whom the kernel is asked for, without a kernel.
#include "kernel/hop_table.h"

#include <gtest/gtest.h>

#include <set>

#include "kernel/solicitations.h"

namespace turnpike::kernel {
namespace {

using flow::kMacResolved;
using flow::kNoNextHop;
using flow::NextHopIndex;
using namespace std::chrono_literals;

constexpr std::size_t kWorker = 0;

class HopTableTest : public testing::Test {
 protected:
  explicit HopTableTest(std::uint32_t size = 1025) : hops_(size, qsbr_), solicitations_(size) {
    qsbr_.quiescent(kWorker);
  }

  static HopTable::Key key(std::uint32_t n, bool on_link = true) {
    HopTable::Key key;
    key.interface = 7;
    key.gateway =
        Address::v4(10, 64, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n));
    key.mtu = 1500;
    key.on_link = on_link;
    return key;
  }
  NextHopIndex peer(std::uint32_t n, std::uint32_t owner = 1) {
    return hops_.acquire(key(n), owner, [] { return flow::MacWord{0}; });
  }
  NextHopIndex gateway(std::uint32_t n) {
    return hops_.acquire(key(n, false), 1, [] { return flow::MacWord{0}; });
  }
  flow::NextHop& at(NextHopIndex hop) { return hops_.data()[static_cast<std::uint32_t>(hop)]; }
  // A round of control and one of the worker. True: there is room again for the refused.
  bool round() {
    const bool room = hops_.sweep(100000);
    qsbr_.quiescent(kWorker);
    return room;
  }
  // How many neighbours are asked for now, and how many the kernel is to forget.
  std::pair<int, int> tend(std::chrono::milliseconds later = 0ms) {
    now_ += later;
    int looks = 0, forgets = 0;
    for (const auto& question : solicitations_.tend(hops_, now_, 100000)) {
      const bool look = question.kind == Solicitations::Question::Kind::kLook;
      ++(look ? looks : forgets);
    }
    return {looks, forgets};
  }
  void want(std::uint32_t first, std::uint32_t count, std::uint32_t owner) {
    for (std::uint32_t n = first; n < first + count; ++n)
      at(peer(n, owner)).wanted.store(1);
  }

  Qsbr qsbr_;
  HopTable hops_;
  Solicitations solicitations_;
  Solicitations::Clock::time_point now_{1h};
};

TEST_F(HopTableTest, GivesOneNeighbourOneHopForAsLongAsItIsHeld) {
  const NextHopIndex hop = peer(1);
  ASSERT_NE(hop, kNoNextHop);
  EXPECT_EQ(peer(1), hop);
  HopTable::Key narrow = key(1);
  narrow.mtu = 1280;
  const NextHopIndex other = hops_.acquire(narrow, 1, [] { return flow::MacWord{0}; });
  EXPECT_NE(other, hop) << "a hop never changes";
  EXPECT_EQ(at(other).mtu, 1280);
  hops_.release(hop);
  for (int i = 0; i < 9; ++i)
    round();
  EXPECT_EQ(peer(1), hop);
  EXPECT_EQ(hops_.in_use(), 2U);
}

// A worker may have read the index before the entry ended, and may keep a frame that waits.
TEST_F(HopTableTest, TakesAHopBackWhenNoWorkerCanUseItsIndex) {
  const NextHopIndex hop = peer(1);
  const std::uint32_t generation = at(hop).generation;
  hops_.release(hop);
  for (int i = 0; i < 9; ++i)
    hops_.sweep(100000);
  EXPECT_EQ(hops_.in_use(), 1U) << "the worker is still in its burst";
  EXPECT_EQ(at(hop).generation, generation);
  EXPECT_EQ(at(hop).gateway, key(1).gateway);
  qsbr_.quiescent(kWorker);
  for (int i = 0; i < 9; ++i)
    hops_.sweep(100000);
  EXPECT_NE(at(hop).generation, generation);
  EXPECT_EQ(hops_.in_use(), 1U) << "it may have compared the generation just before";
  EXPECT_EQ(at(hop).gateway, key(1).gateway);
  qsbr_.quiescent(kWorker);
  hops_.sweep(100000);
  EXPECT_EQ(hops_.in_use(), 0U);
  EXPECT_EQ(peer(2), hop);
}

TEST_F(HopTableTest, MakesAnotherHopWhereTheOldOneIsOnItsWayBack) {
  const NextHopIndex hop = peer(1);
  hops_.release(hop);
  hops_.sweep(100000);
  EXPECT_NE(peer(1), hop);
}

TEST_F(HopTableTest, KeepsAQuarterForGateways) {
  std::uint32_t made = 0;
  for (std::uint32_t n = 0; n < 2000; ++n)
    if (peer(n, n) != kNoNextHop) ++made;
  EXPECT_EQ(made, 768U);
  for (std::uint32_t n = 0; n < 256; ++n)
    EXPECT_NE(gateway(n), kNoNextHop);
  EXPECT_EQ(gateway(999), kNoNextHop);
}

TEST_F(HopTableTest, GivesOneOwnerMoreThanItsShareOnlyWhileThereIsPlenty) {
  std::uint32_t made = 0;
  for (std::uint32_t n = 0; n < 2000; ++n)
    if (peer(n, 1) != kNoNextHop) ++made;
  EXPECT_EQ(made, 384U) << "half of what is for neighbours on the link";
  made = 0;
  for (std::uint32_t n = 2000; n < 4000; ++n)
    if (peer(n, 2) != kNoNextHop) ++made;
  EXPECT_EQ(made, HopTable::kOwnShare);
}

TEST_F(HopTableTest, SaysWhenThereIsRoomAgainForTheRefused) {
  std::vector<NextHopIndex> held;
  for (std::uint32_t n = 0; n < 768; ++n)
    held.push_back(peer(n, n));
  EXPECT_FALSE(round());
  EXPECT_EQ(peer(5000), kNoNextHop);
  EXPECT_FALSE(round()) << "nothing was given back";
  hops_.release(held.front());
  bool room = false;
  for (int i = 0; i < 9; ++i)
    room |= round();
  EXPECT_TRUE(room);
  EXPECT_NE(peer(5000), kNoNextHop);
  EXPECT_FALSE(round());
}

TEST_F(HopTableTest, AsksForNobodyBeforeThereIsAPacket) {
  peer(1);
  gateway(2);
  EXPECT_EQ(tend(), std::pair(0, 0));
  at(peer(1)).wanted.store(1);
  at(gateway(2)).wanted.store(1);
  EXPECT_EQ(tend(), std::pair(2, 0));
  EXPECT_EQ(tend(), std::pair(0, 0));
}

TEST_F(HopTableTest, AsksForAFewOfOneOwnerAndSomeOfAllAtATime) {
  want(0, 200, 1);
  EXPECT_EQ(tend(), std::pair(4, 0));
  for (std::uint32_t owner = 2; owner < 100; ++owner)
    want(1000 + 4 * owner, 4, owner);
  EXPECT_EQ(tend(), std::pair(60, 0));
  EXPECT_EQ(tend(), std::pair(0, 0));
  at(gateway(9)).wanted.store(1);
  EXPECT_EQ(tend(), std::pair(1, 0)) << "gateways come first";
}

TEST_F(HopTableTest, ForgetsWhoDoesNotAnswerAndTakesTheNext) {
  want(0, 200, 1);
  EXPECT_EQ(tend(), std::pair(4, 0));
  EXPECT_EQ(tend(1999ms), std::pair(0, 0));
  EXPECT_EQ(tend(1ms), std::pair(4, 4));
}

TEST_F(HopTableTest, LetsAHonestPeerWaitForOneTurnOfHostileOnes) {
  for (std::uint32_t owner = 2; owner < 66; ++owner)
    want(100 * owner, 11, owner);
  at(peer(1, 1)).wanted.store(1);
  bool asked = false;
  for (int seconds = 0; seconds < 20 && !asked; seconds += 2) {
    for (const auto& question : solicitations_.tend(hops_, now_, 1024))
      asked |= question.address == key(1).gateway;
    now_ += 2s;
  }
  EXPECT_TRUE(asked);
}

TEST_F(HopTableTest, AsksASilentNeighbourEverMoreSeldom) {
  flow::NextHop& hop = at(peer(1));
  int asked = 0;
  for (int i = 0; i < 600; ++i) {  // a minute
    hop.wanted.store(1);
    asked += tend(100ms).first;
  }
  EXPECT_GE(asked, 3);
  EXPECT_LE(asked, 6);
  hop.mac.store(kMacResolved);
  hop.wanted.store(1);
  EXPECT_EQ(tend(100s).first, 1) << "kept alive";
}

TEST_F(HopTableTest, KeepsThoseInUseAliveAndNoOthers) {
  flow::NextHop& hop = at(peer(1));
  hop.mac.store(kMacResolved);
  EXPECT_EQ(tend(10s).first, 0);
  hop.wanted.store(1);
  EXPECT_EQ(tend(10s).first, 1);
  hop.wanted.store(1);
  EXPECT_EQ(tend(1s).first, 0);
  EXPECT_EQ(tend(4s).first, 1);
}

}  // namespace
}  // namespace turnpike::kernel

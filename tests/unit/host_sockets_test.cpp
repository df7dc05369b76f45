// Sockets of the relay's own host: no user has them all.
#include <gtest/gtest.h>

#include <vector>

#include "transport/host_door.h"

namespace turnpike::transport {
namespace {

const Address kHere = Address::v4(127, 0, 0, 1);

class Door : public testing::Test {
 protected:
  bool open(std::uint32_t user) { return door_.open({kHere, 1}, user); }
  std::size_t open_all(std::uint32_t user) {
    std::size_t opened = 0;
    while (open(user))
      ++opened;
    return opened;
  }
  // What the thread does.
  void close_asked() {
    std::vector<HostDoor::Letter> letters;
    door_.take(letters);
    for (const HostDoor::Letter& letter : letters) {
      if (!letter.opens) door_.closed(letter.user);
    }
  }

  dataplane::Doorbell bell_;
  HostDoor door_{bell_};
};

TEST_F(Door, LeavesWhatOneUserHasToOthers) {
  EXPECT_EQ(open_all(1), HostDoor::kMostSockets / 2);
  EXPECT_TRUE(open(2));
  EXPECT_FALSE(open(1));
  EXPECT_EQ(open_all(2), HostDoor::kMostSockets / 4 - 1);
  for (std::uint32_t user = 3; user < 10; ++user)
    EXPECT_TRUE(open(user)) << user;
}

TEST_F(Door, HoldsSoManyAndNoMore) {
  std::size_t opened = 0;
  std::uint32_t user = 0;
  while (open(user++))
    ++opened;
  EXPECT_EQ(opened, HostDoor::kMostSockets);
}

TEST_F(Door, GivesAPlaceBackWhenItIsClosed) {
  ASSERT_GT(open_all(1), 0U);
  close_asked();
  door_.close({kHere, 1}, 1);
  EXPECT_FALSE(open(1)) << "the socket is still there";
  close_asked();
  EXPECT_TRUE(open(1));
  EXPECT_FALSE(open(1));
}

}  // namespace
}  // namespace turnpike::transport

// What the kernel tells while it is asked for everything, piece by piece. In a network namespace of
// its own; needs root.
#include "kernel/dialogue.h"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "kernel/route_messages.h"

namespace turnpike::kernel {
namespace {

using namespace std::chrono_literals;
using Clock = KernelDialogue::Clock;

class KernelDialogueTest : public testing::Test, public KernelDialogue::Listener {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "makes a network namespace: run as root";
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    run("ip link add one type dummy || ip link add one type veth peer name two");
    run("ip addr add 10.9.1.1/24 dev one");
    run("ip link set two up 2>/dev/null; ip link set one up");
  }
  static void run(const std::string& command) {
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  static std::string numbered(int n) {
    return "172." + std::to_string(16 + n / 65536) + "." + std::to_string(n / 256 % 256) + "." +
           std::to_string(n % 256);
  }
  // `verb` for the routes first … last - 1.
  static void routes(const std::string& verb, int first, int last) {
    std::string path = "/tmp/turnpike-routes-XXXXXX";
    const int fd = mkstemp(path.data());
    ASSERT_GE(fd, 0);
    close(fd);
    {
      std::ofstream batch(path);
      for (int n = first; n < last; ++n)
        batch << "route " << verb << " " << numbered(n) << " via 10.9.1.2\n";
    }
    run("ip -batch " + path);
    unlink(path.c_str());
  }

  void begins() override {
    fresh_.clear();
    telling_ = true;
    ++begun_;
  }
  void tells(const nlmsghdr* message) override { take(fresh_, message); }
  void has_told_all() override {
    known_ = fresh_;
    telling_ = false;
    ++ended_;
  }
  void changes(const nlmsghdr* message) override {
    take(known_, message);
    if (telling_) take(fresh_, message);
  }
  static void take(std::set<Address>& routes, const nlmsghdr* message) {
    if (message->nlmsg_type != RTM_NEWROUTE && message->nlmsg_type != RTM_DELROUTE) return;
    const auto change = read_route(message);
    if (!change || change->route.table != kTableMain || change->route.destination.length != 32)
      return;
    if (message->nlmsg_type == RTM_NEWROUTE) {
      routes.insert(change->route.destination.address);
    } else {
      routes.erase(change->route.destination.address);
    }
  }
  // Polls until `condition`, at most `bytes` at a time; how often, or -1.
  template <typename Condition>
  int poll_until(KernelDialogue& dialogue, Condition condition, std::size_t bytes = 262144) {
    const auto deadline = Clock::now() + 20s;
    for (int polls = 1; Clock::now() < deadline; ++polls) {
      dialogue.poll(Clock::now(), bytes);
      if (condition()) return polls;
    }
    return -1;
  }
  bool has(int n) const { return known_.count(*Address::parse(numbered(n))) != 0; }

  std::set<Address> known_, fresh_;
  bool telling_ = false;
  int begun_ = 0, ended_ = 0;
};

TEST_F(KernelDialogueTest, IsToldOfTwentyThousandRoutesPieceByPiece) {
  routes("add", 0, 20000);
  KernelDialogue dialogue(*this);
  const int polls = poll_until(dialogue, [&] { return ended_ == 1; });
  EXPECT_EQ(known_.size(), 20000U);
  EXPECT_GE(polls, 4) << "each poll is bounded";
  EXPECT_EQ(begun_, 1);
}

TEST_F(KernelDialogueTest, LosesNoChangeThatComesWhileAllIsTold) {
  routes("add", 0, 5000);
  KernelDialogue dialogue(*this);
  ASSERT_GT(poll_until(dialogue, [&] { return ended_ == 1; }), 0);
  dialogue.doubt();
  std::this_thread::sleep_for(1ms);
  ASSERT_GT(poll_until(
                dialogue, [&] { return begun_ == 2 && fresh_.size() > 100; }, 1024),
            0);
  ASSERT_LT(fresh_.size(), 5000U) << "in the middle";
  // Of what was told already, of what was not, and new ones.
  routes("del", 0, 10);
  routes("del", 4990, 5000);
  routes("add", 6000, 6010);
  ASSERT_GT(poll_until(
                dialogue, [&] { return ended_ == 2; }, 1024),
            0);
  const auto settled = [&] { return has(6009) && !has(0) && !has(4999) && known_.size() == 4990; };
  EXPECT_GT(poll_until(dialogue, settled), 0) << known_.size();
}

TEST_F(KernelDialogueTest, AsksForAllAnewWhereTheSocketOverflowed) {
  KernelDialogue dialogue(*this);
  ASSERT_GT(poll_until(dialogue, [&] { return ended_ == 1; }), 0);
  int room = 4096;
  setsockopt(dialogue.fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  routes("add", 0, 1000);
  ASSERT_GT(poll_until(dialogue, [&] { return ended_ == 2; }), 0);
  EXPECT_EQ(known_.size(), 1000U);
}

TEST_F(KernelDialogueTest, RestsAfterItHasBeenToldAll) {
  KernelDialogue dialogue(*this);
  ASSERT_GT(poll_until(dialogue, [&] { return ended_ == 1; }), 0);
  const auto then = Clock::now();
  dialogue.doubt();
  dialogue.poll(then);
  EXPECT_EQ(begun_, 1);
  dialogue.poll(then + 10s);
  EXPECT_EQ(begun_, 2);
}

}  // namespace
}  // namespace turnpike::kernel

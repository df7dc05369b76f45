// The exception path's buffers: whatever its rings hold, the kernel can still send. Works in a
// network namespace of its own; it needs root.
#include "dataplane/exception.h"

#include <gtest/gtest.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "dataplane/eal.h"
#include "dataplane/exception_thread.h"

namespace turnpike::dataplane {
namespace {

constexpr unsigned kWorkers = 8;
constexpr std::size_t kPorts = 2;
constexpr unsigned kBurst = 32;

struct PoolDeleter {
  void operator()(rte_mempool* pool) const { rte_mempool_free(pool); }
};
using Pool = std::unique_ptr<rte_mempool, PoolDeleter>;

Pool make_pool(const char* name, unsigned buffers) {
  return Pool(
      rte_pktmbuf_pool_create(name, buffers, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY));
}

// As a worker does: a thread of its own with a cache, if the pool has any.
void as_worker(const std::function<void()>& work) {
  std::thread([&] {
    rte_thread_register();
    work();
    rte_thread_unregister();
  }).join();
}

class ExceptionPathTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) return;
    start_eal({.pci_devices = {}, .hugepages = false, .memory_mb = 128});
    ready_ = true;
  }
  static void TearDownTestSuite() {
    if (ready_) stop_eal();
  }
  void SetUp() override {
    if (!ready_) GTEST_SKIP() << "makes a network namespace: run as root";
    pool_ = make_pool("exceptions", ExceptionPath::buffers(kPorts, kWorkers));
    frames_ = make_pool("frames", 1023);
    for (std::size_t port = 0; port < kPorts; ++port) {
      paths_.push_back(std::make_unique<ExceptionPath>(
          port, "tpk" + std::to_string(port),
          std::array<std::uint8_t, 6>{2, 0, 0, 0, 0, static_cast<std::uint8_t>(port)}, 1500,
          pool_.get(), kWorkers));
    }
  }
  // Until the rings of every worker are full.
  void fill_up_rings() {
    const std::array<std::uint8_t, 60> frame{};
    for (const std::unique_ptr<ExceptionPath>& path : paths_) {
      for (unsigned worker = 0; worker < kWorkers; ++worker) {
        as_worker([&] {
          while (path->to_kernel(worker, frame.data(), frame.size())) {
          }
        });
      }
    }
  }
  unsigned free_buffers() const { return rte_mempool_avail_count(pool_.get()); }

  // A frame of the kernel's for the port: an IPv6 multicast ping makes some.
  static void kernel_sends(const std::string& interface) {
    EXPECT_EQ(std::system(("ip -6 route add ff02::/16 dev " + interface +
                           " table local 2>/dev/null; timeout 5 ping -6 -c 1 -W 0.05 -I " +
                           interface + " ff02::1 >/dev/null 2>&1; true")
                              .c_str()),
              0);
  }

  static void kernel_floods(const std::string& interface, int frames) {
    EXPECT_EQ(std::system(("ip -6 route add ff02::/16 dev " + interface +
                           " table local 2>/dev/null; timeout 20 ping -6 -l " +
                           std::to_string(frames) + " -c " + std::to_string(frames) +
                           " -W 0.05 -I " + interface + " ff02::1 >/dev/null 2>&1; true")
                              .c_str()),
              0);
  }
  static bool soon(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }

  static inline bool ready_ = false;
  Pool pool_, frames_;
  std::vector<std::unique_ptr<ExceptionPath>> paths_;
};

TEST_F(ExceptionPathTest, KernelCanSendWhileAllThatGoesUpWaits) {
  fill_up_rings();
  EXPECT_GE(free_buffers(), kPorts * 512U);
  for (std::size_t port = 0; port < kPorts; ++port) {
    kernel_sends("tpk" + std::to_string(port));
    paths_[port]->move();
    std::array<rte_mbuf*, kBurst> out;
    unsigned lost = 0;
    unsigned n = 0;
    as_worker([&] { n = paths_[port]->from_kernel(frames_.get(), out.data(), kBurst, lost); });
    EXPECT_GT(n, 0U) << port;
    EXPECT_EQ(lost, 0U);
    rte_pktmbuf_free_bulk(out.data(), n);
  }
}

TEST_F(ExceptionPathTest, WhatIsSentIsNotOfThePathsOwnBuffers) {
  const unsigned all = free_buffers();
  kernel_sends("tpk0");
  paths_[0]->move();
  std::array<rte_mbuf*, kBurst> out;
  unsigned lost = 0;
  const unsigned n = paths_[0]->from_kernel(frames_.get(), out.data(), kBurst, lost);
  ASSERT_GT(n, 0U);
  EXPECT_EQ(free_buffers(), all) << "frames that a NIC's ring keeps";
  for (unsigned i = 0; i < n; ++i) {
    EXPECT_EQ(out[i]->pool, frames_.get());
    EXPECT_GE(rte_pktmbuf_data_len(out[i]), 14);
  }
  rte_pktmbuf_free_bulk(out.data(), n);
}

TEST_F(ExceptionPathTest, CountsWhatHasNoBuffer) {
  Pool none = make_pool("none", 1);
  rte_mbuf* only = rte_pktmbuf_alloc(none.get());
  kernel_sends("tpk0");
  paths_[0]->move();
  std::array<rte_mbuf*, kBurst> out;
  unsigned lost = 0;
  EXPECT_EQ(paths_[0]->from_kernel(none.get(), out.data(), kBurst, lost), 0U);
  EXPECT_GT(lost, 0U);
  rte_pktmbuf_free(only);
}

// Without being asked: it is woken by the kernel's frames, and by the worker's bell.
TEST_F(ExceptionPathTest, ItsThreadMovesBothWays) {
  ExceptionThread thread({paths_[0].get(), paths_[1].get()});
  thread.start();
  kernel_sends("tpk1");
  std::array<rte_mbuf*, kBurst> out;
  unsigned n = 0, lost = 0;
  EXPECT_TRUE(soon([&] {
    n = paths_[1]->from_kernel(frames_.get(), out.data(), kBurst, lost);
    return n != 0;
  }));
  rte_pktmbuf_free_bulk(out.data(), n);
  const std::array<std::uint8_t, 60> frame{};
  for (int i = 0; i < 2000; ++i) {
    EXPECT_TRUE(soon([&] { return paths_[0]->to_kernel(0, frame.data(), frame.size()); }));
    thread.bell().ring();
  }
  EXPECT_TRUE(soon([&] { return !paths_[0]->has_work(); }));
  thread.stop();
}

// What the kernel has stays with it, and is nobody's loss, until there is room.
TEST_F(ExceptionPathTest, AFullRingLeavesTheKernelItsFrames) {
  kernel_floods("tpk0", 2000);
  while (paths_[0]->move())
    continue;
  EXPECT_FALSE(paths_[0]->has_room());
  std::array<rte_mbuf*, kBurst> out;
  unsigned lost = 0, got = 0;
  for (unsigned n = 1; n != 0; got += n) {
    n = paths_[0]->from_kernel(frames_.get(), out.data(), kBurst, lost);
    rte_pktmbuf_free_bulk(out.data(), n);
    paths_[0]->move();
  }
  EXPECT_GT(got, 700U) << "all that the interface's queue holds, and the ring";
}

TEST_F(ExceptionPathTest, AnInterfaceThatIsGoneIsNotAskedAgain) {
  EXPECT_GE(paths_[0]->fd(), 0);
  EXPECT_EQ(std::system("ip link del tpk0"), 0);
  EXPECT_FALSE(paths_[0]->move());
  EXPECT_LT(paths_[0]->fd(), 0);
}

TEST_F(ExceptionPathTest, AFullRingTakesNoBuffer) {
  fill_up_rings();
  const unsigned before = free_buffers();
  const std::array<std::uint8_t, 60> frame{};
  EXPECT_FALSE(paths_[0]->to_kernel(0, frame.data(), frame.size()));
  EXPECT_EQ(free_buffers(), before);
}

}  // namespace
}  // namespace turnpike::dataplane

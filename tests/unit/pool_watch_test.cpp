// What a sanitized build says of buffers that are used after they were given back, given back
// twice, overrun or lost: a sanitizer that is blind to a pool looks like a program without faults.
#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include <array>

#include "dataplane/eal.h"
#include "dataplane/pools.h"

namespace turnpike::dataplane {
namespace {

class PoolWatchDeathTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    EalOptions options;
    options.hugepages = false;
    options.memory_mb = 64;
    start_eal(options);
  }
  static void TearDownTestSuite() { stop_eal(); }

  void SetUp() override { pool_ = make_pool("watched", 63, kRoom); }

  rte_mbuf* take() { return rte_pktmbuf_alloc(pool_.get()); }
  static void write(rte_mbuf* frame, std::size_t at) {
    static_cast<volatile std::uint8_t*>(frame->buf_addr)[at] = 1;
  }

  Pool pool_;
};

TEST_F(PoolWatchDeathTest, UseAfterItWasGivenBack) {
  rte_mbuf* const frame = take();
  write(frame, 0);
  auto* const data = rte_pktmbuf_mtod(frame, volatile std::uint8_t*);
  rte_pktmbuf_free(frame);
  EXPECT_DEATH(*data = 1, "use-after-poison");
}

TEST_F(PoolWatchDeathTest, BeyondItsEnd) {
  rte_mbuf* const frame = take();
  write(frame, frame->buf_len - 1U);
  EXPECT_DEATH(write(frame, frame->buf_len), "use-after-poison");
  rte_pktmbuf_free(frame);
}

TEST_F(PoolWatchDeathTest, GivenBackTwice) {
  rte_mbuf* frame = take();
  rte_mempool_put(pool_.get(), frame);
  EXPECT_DEATH(rte_mempool_put(pool_.get(), frame), "given back twice");
}

TEST_F(PoolWatchDeathTest, Lost) {
  rte_mbuf* const frame = take();
  EXPECT_DEATH(pool_.reset(), "1 buffers lost");
  rte_pktmbuf_free(frame);
}

TEST_F(PoolWatchDeathTest, ItsBuffersCanAllBeTakenAgainAndAgain) {
  for (int round = 0; round < 3; ++round) {
    std::array<rte_mbuf*, 63> frames;
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool_.get(), frames.data(), frames.size()), 0);
    EXPECT_EQ(take(), nullptr);
    for (rte_mbuf* frame : frames)
      write(frame, frame->buf_len - 1U);
    rte_pktmbuf_free_bulk(frames.data(), frames.size());
  }
}

}  // namespace
}  // namespace turnpike::dataplane

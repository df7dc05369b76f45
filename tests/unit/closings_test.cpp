// What workers are told of clients who are gone: in order, and once.
#include "transport/closings.h"

#include <gtest/gtest.h>
#include <rte_mempool.h>

#include <array>

#include "dataplane/eal.h"

namespace turnpike::transport {
namespace {

using dataplane::StreamPort;

class ClosingsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dataplane::EalOptions options;
    options.hugepages = false;
    options.memory_mb = 64;
    dataplane::start_eal(options);
    pool_ = pool("frames", 4 * StreamPort::kMostHeld, 256);
    large_ = pool("large", 63, dataplane::kLargeRoom + 128);
  }
  static void TearDownTestSuite() { dataplane::stop_eal(); }
  static rte_mempool* pool(const char* name, unsigned frames, std::uint16_t room) {
    return rte_pktmbuf_pool_create(
        name, frames, 0, RTE_ALIGN(sizeof(dataplane::FrameNotes), RTE_MBUF_PRIV_ALIGN), room, -1);
  }
  void TearDown() override { port_.drain(); }

  static Ends of(std::uint16_t client) {
    return {{Address::v4(198, 51, 100, 1), client}, {Address::v4(192, 0, 2, 1), 3478}, 7};
  }
  void lend() { port_.refill(0, pool_, large_); }
  // The clients that the worker is told of.
  std::vector<std::uint16_t> told() {
    std::array<rte_mbuf*, 32> frames{};
    const unsigned n = port_.receive(0, frames.data(), 32);
    std::vector<std::uint16_t> clients;
    for (unsigned i = 0; i < n; ++i) {
      EXPECT_EQ(frames[i]->data_len, 0);
      const flow::Packet& packet = dataplane::notes_of(frames[i]).packet;
      EXPECT_EQ(packet.listener, 7);
      clients.push_back(packet.source.port);
      rte_pktmbuf_free(frames[i]);
    }
    return clients;
  }

  static inline rte_mempool* pool_ = nullptr;
  static inline rte_mempool* large_ = nullptr;
  StreamPort port_{0, 1};
  Closings closings_{port_, HashKey{}};
};

using Clients = std::vector<std::uint16_t>;

TEST_F(ClosingsTest, AreToldAtOnceWhereThereIsAFrame) {
  lend();
  closings_.say(of(1));
  EXPECT_FALSE(closings_.waits());
  EXPECT_EQ(told(), Clients{1});
}

TEST_F(ClosingsTest, WaitForAFrameOnceEachAndInOrder) {
  for (const std::uint16_t client : {1, 2, 1, 3})
    closings_.say(of(client));
  EXPECT_TRUE(closings_.waits());
  closings_.retry();
  EXPECT_TRUE(closings_.waits(0));
  EXPECT_EQ(told(), Clients{});
  lend();
  // A frame is there, and those who have waited are first.
  EXPECT_TRUE(closings_.waits(0));
  closings_.say(of(4));
  closings_.retry();
  EXPECT_FALSE(closings_.waits());
  EXPECT_EQ(told(), (Clients{1, 2, 3, 4}));
}

}  // namespace
}  // namespace turnpike::transport

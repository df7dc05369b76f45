// Workers and a transport thread with the rings between them, each on its own thread, in a flood
// that the rings can't take: what one side has written the other reads whole and in order, no frame
// is lost, and a thread that sleeps is woken. Made for ThreadSanitizer, as
// engine_ring_race_test.cpp is, with frames of a pool that one thread alone takes from and gives
// back to.
#include <gtest/gtest.h>
#include <poll.h>
#include <rte_mempool.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/eal.h"
#include "dataplane/stream_port.h"
#include "wire/headers.h"

namespace turnpike::dataplane {
namespace {

constexpr std::uint16_t kWorkers = 2;
constexpr unsigned kPool = 4 * StreamPort::kMostHeld;
constexpr unsigned kBurst = 32;
constexpr auto kTime = std::chrono::seconds(2);

std::uint32_t next_random(std::uint32_t& state) {
  state = state * 1664525 + 1013904223;
  return state >> 8;
}

void write_number(rte_mbuf* frame, std::uint32_t number) {
  auto* const data = rte_pktmbuf_mtod(frame, std::uint8_t*);
  wire::store_be32(data, number);
  wire::store_be32(data + 4, ~number);
  frame->data_len = 8;
  frame->pkt_len = 8;
}

// Of numbers that must come in order, each once.
class Sequence {
 public:
  void see(rte_mbuf* frame) {
    const auto* const data = rte_pktmbuf_mtod(frame, const std::uint8_t*);
    const std::uint32_t number = wire::load_be32(data);
    if (number != next || wire::load_be32(data + 4) != ~number) ++wrong;
    ++next;
  }
  std::uint32_t next = 0, wrong = 0;
};

class StreamPortRace : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    EalOptions options;
    options.hugepages = false;
    options.memory_mb = 128;
    start_eal(options);
  }
  static void TearDownTestSuite() { stop_eal(); }

  void SetUp() override {
    for (unsigned worker = 0; worker < kWorkers; ++worker) {
      pools_[worker] =
          rte_pktmbuf_pool_create(("frames-" + std::to_string(worker)).c_str(), kPool, 0,
                                  RTE_ALIGN(sizeof(FrameNotes), RTE_MBUF_PRIV_ALIGN), 256, -1);
      large_[worker] = rte_pktmbuf_pool_create(("large-" + std::to_string(worker)).c_str(), 63, 0,
                                               RTE_ALIGN(sizeof(FrameNotes), RTE_MBUF_PRIV_ALIGN),
                                               kLargeRoom + 128, -1);
      ASSERT_NE(pools_[worker], nullptr);
      ASSERT_NE(large_[worker], nullptr);
    }
    port_ = std::make_unique<StreamPort>(0, kWorkers);
  }
  void TearDown() override {
    port_.reset();
    for (const auto& pools : {pools_, large_}) {
      for (rte_mempool* pool : pools) {
        EXPECT_EQ(rte_mempool_in_use_count(pool), 0U) << "frames were lost";
        rte_mempool_free(pool);
      }
    }
  }

  struct Side {
    Sequence from_thread;
    std::uint32_t sent = 0, refused = 0;
  };
  void work(std::uint16_t worker, Side& side) {
    std::uint32_t random = worker;
    std::array<rte_mbuf*, kBurst> frames;
    while (!stop_.load(std::memory_order_relaxed)) {
      port_->refill(worker, pools_[worker], large_[worker]);
      const unsigned n = port_->receive(worker, frames.data(), kBurst);
      for (unsigned i = 0; i < n; ++i)
        side.from_thread.see(frames[i]);
      rte_pktmbuf_free_bulk(frames.data(), n);
      const unsigned wanted = next_random(random) % kBurst;
      if (rte_pktmbuf_alloc_bulk(pools_[worker], frames.data(), wanted) == 0) {
        for (unsigned i = 0; i < wanted; ++i)
          write_number(frames[i], side.sent + i);
        const unsigned taken = port_->send(worker, frames.data(), wanted);
        side.sent += taken;
        side.refused += wanted - taken;
        rte_pktmbuf_free_bulk(frames.data() + taken, wanted - taken);
      }
      port_->ring(worker);
      if (next_random(random) % 512 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  void transport(std::array<Sequence, kWorkers>& seen, std::array<std::uint32_t, kWorkers>& sent) {
    std::uint32_t random = 77;
    std::array<rte_mbuf*, kBurst> frames;
    while (!stop_.load(std::memory_order_relaxed)) {
      for (std::uint16_t worker = 0; worker < kWorkers; ++worker) {
        const unsigned n = port_->collect(worker, frames.data(), kBurst);
        for (unsigned i = 0; i < n; ++i)
          seen[worker].see(frames[i]);
        port_->give_back(worker, frames.data(), n);
        for (unsigned i = next_random(random) % (2 * kBurst); i > 0; --i) {
          rte_mbuf* const frame = port_->take(worker, next_random(random) % 64 == 0 ? 10'000 : 100);
          if (frame == nullptr) break;
          write_number(frame, sent[worker]++);
          port_->submit(worker, frame);
        }
      }
      port_->bell().wait_by([this] { return port_->has_work(); },
                            [this] {
                              pollfd one{port_->bell().fd(), POLLIN, 0};
                              if (poll(&one, 1, 100) > 0) port_->bell().clear();
                            });
      // Now and then it is slow, and the rings fill up.
      if (next_random(random) % 256 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  std::array<rte_mempool*, kWorkers> pools_{}, large_{};
  std::unique_ptr<StreamPort> port_;
  std::atomic<bool> stop_{false};
};

TEST_F(StreamPortRace, LosesNothingEitherWay) {
  std::array<Side, kWorkers> sides;
  std::array<Sequence, kWorkers> seen;
  std::array<std::uint32_t, kWorkers> sent{};
  std::vector<std::thread> threads;
  for (std::uint16_t worker = 0; worker < kWorkers; ++worker)
    threads.emplace_back([this, worker, &sides] { work(worker, sides[worker]); });
  threads.emplace_back([this, &seen, &sent] { transport(seen, sent); });
  std::this_thread::sleep_for(kTime);
  stop_.store(true);
  for (std::thread& thread : threads)
    thread.join();
  for (std::uint16_t worker = 0; worker < kWorkers; ++worker) {
    EXPECT_EQ(sides[worker].from_thread.wrong + seen[worker].wrong, 0U);
    EXPECT_GT(sides[worker].from_thread.next, 1000U);
    EXPECT_GT(seen[worker].next, 1000U);
    EXPECT_GT(sides[worker].refused, 0U) << "it was no flood";
    EXPECT_LE(sides[worker].from_thread.next, sent[worker]);
    EXPECT_LE(seen[worker].next, sides[worker].sent);
  }
  port_->drain();
}

TEST_F(StreamPortRace, LendsNoMoreThanItsShare) {
  for (int i = 0; i < 10; ++i)
    port_->refill(0, pools_[0], large_[0]);
  unsigned taken = 0;
  std::vector<rte_mbuf*> frames;
  while (rte_mbuf* const frame = port_->take(0, 100))
    frames.push_back(frame), ++taken;
  EXPECT_LE(taken, StreamPort::kFrames);
  EXPECT_GT(taken, StreamPort::kFrames - kBurst);
  port_->refill(0, pools_[0], large_[0]);
  EXPECT_EQ(port_->take(0, 100), nullptr) << "what is lent isn't back";
  rte_mbuf* const large = port_->take(0, StreamPort::kFrameMessage + 1);
  ASSERT_NE(large, nullptr) << "large ones are their own";
  frames.push_back(large);
  for (rte_mbuf* frame : frames)
    port_->submit(0, frame);
  port_->drain();
}

// However many media are sent to clients, and however many requests come from them.
TEST_F(StreamPortRace, AnswersAlwaysHaveRoom) {
  const auto make = [this](std::uint16_t type) {
    rte_mbuf* const frame = rte_pktmbuf_alloc(pools_[0]);
    auto* const data = rte_pktmbuf_mtod(frame, std::uint8_t*);
    data[14] = 0x45;
    wire::store_be16(data + 14 + 20 + 8, type);
    frame->data_len = 14 + 20 + 8 + 20;
    return frame;
  };
  const auto send = [&](std::initializer_list<std::uint16_t> types) {
    std::vector<rte_mbuf*> frames;
    for (const std::uint16_t type : types)
      frames.push_back(make(type));
    const unsigned sent = port_->send(0, frames.data(), static_cast<unsigned>(frames.size()));
    rte_pktmbuf_free_bulk(frames.data() + sent, static_cast<unsigned>(frames.size()) - sent);
    return sent;
  };
  constexpr std::uint16_t kChannel = 0x4000, kData = 0x0017, kSuccess = 0x0101, kError = 0x0113;
  unsigned media = 0;
  for (unsigned sent = 2; sent == 2; media += sent)
    sent = send({kChannel, kData});
  EXPECT_GE(media, StreamPort::kFrames - StreamPort::kForAnswers - 2);
  EXPECT_EQ(send({kChannel, kData}), 0U);
  EXPECT_EQ(send({kChannel, kSuccess, kData, kError}), 2U);
  rte_mbuf* first = nullptr;
  while (port_->collect(0, &first, 1) == 1) {
    const std::uint16_t type = wire::load_be16(rte_pktmbuf_mtod(first, std::uint8_t*) + 42);
    EXPECT_EQ(type == kSuccess || type == kError, media == 0) << "answers were behind all media";
    if (media != 0) --media;
    port_->give_back(0, &first, 1);
  }
  // What asks is left where it is while there is no room for what is answered.
  port_->refill(0, pools_[0], large_[0]);
  rte_mbuf* const question = port_->take(0, 100);
  write_number(question, 1);
  port_->submit(0, question);
  while (send({kSuccess}) == 1)
    continue;
  std::array<rte_mbuf*, kBurst> frames;
  EXPECT_EQ(port_->receive(0, frames.data(), kBurst), 0U);
  while (const unsigned n = port_->collect(0, frames.data(), kBurst))
    port_->give_back(0, frames.data(), n);
  port_->refill(0, pools_[0], large_[0]);
  EXPECT_EQ(port_->receive(0, frames.data(), kBurst), 1U);
  rte_pktmbuf_free(frames[0]);
  port_->drain();
}

TEST_F(StreamPortRace, SendsNoMoreThanCanComeBack) {
  std::array<rte_mbuf*, kBurst> frames;
  unsigned sent = 0;
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pools_[0], frames.data(), kBurst), 0);
    const unsigned taken = port_->send(0, frames.data(), kBurst);
    rte_pktmbuf_free_bulk(frames.data() + taken, kBurst - taken);
    sent += taken;
    // Read at once, but never taken back by the worker.
    while (const unsigned n = port_->collect(0, frames.data(), kBurst))
      port_->give_back(0, frames.data(), n);
  }
  EXPECT_LE(sent, 2 * StreamPort::kFrames + 1);
  EXPECT_GT(sent, StreamPort::kFrames);
  port_->refill(0, pools_[0], large_[0]);
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(pools_[0], frames.data(), 1), 0);
  EXPECT_EQ(port_->send(0, frames.data(), 1), 1U);
  port_->drain();
}

}  // namespace
}  // namespace turnpike::dataplane

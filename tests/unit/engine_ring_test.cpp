// The rings between workers and shards, with frames of a pool but neither: what a flood leaves in
// them, and who is served.
#include "dataplane/engine_ring.h"

#include <gtest/gtest.h>
#include <rte_mempool.h>

#include <array>
#include <memory>
#include <vector>

#include "dataplane/eal.h"

namespace turnpike::dataplane {
namespace {

constexpr unsigned kFrames = 16383;
constexpr unsigned kBurst = 32;

class EngineRing : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    EalOptions options;
    options.hugepages = false;
    options.memory_mb = 96;
    start_eal(options);
    pool_ = rte_pktmbuf_pool_create("frames", kFrames, 0,
                                    RTE_ALIGN(sizeof(FrameNotes), RTE_MBUF_PRIV_ALIGN), 512, -1);
    ASSERT_NE(pool_, nullptr);
  }
  static void TearDownTestSuite() {
    rte_mempool_free(pool_);
    stop_eal();
  }
  void TearDown() override {
    rings_.reset();
    EXPECT_EQ(rte_mempool_in_use_count(pool_), 0U) << "frames were lost";
  }

  void make(std::uint16_t workers) { rings_ = std::make_unique<EngineRings>(0, workers); }

  // A request of `worker`'s, or nullptr if it was refused (and is freed).
  rte_mbuf* submit(std::uint16_t worker, bool known) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
    if (mbuf == nullptr) return nullptr;
    FrameNotes& notes = *new (rte_mbuf_to_priv(mbuf)) FrameNotes;
    notes.worker = worker;
    notes.packet.has_allocation = known;
    notes.packet.data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    notes.packet.length = 64;
    notes.packet.payload = 42;
    notes.packet.payload_size = 22;
    notes.packet.tailroom = 256;
    if (rings_->submit(worker, mbuf)) return mbuf;
    rte_pktmbuf_free(mbuf);
    return nullptr;
  }
  // As many as there is room for.
  unsigned fill(std::uint16_t worker, bool known) {
    unsigned n = 0;
    while (submit(worker, known) != nullptr)
      ++n;
    return n;
  }
  std::vector<EngineRequest> receive() {
    std::vector<EngineRequest> requests(kBurst);
    requests.resize(rings_->receive(requests));
    return requests;
  }
  static const FrameNotes& notes(const EngineRequest& request) {
    return notes_of(reinterpret_cast<rte_mbuf*>(static_cast<std::uintptr_t>(request.token)));
  }
  unsigned answer_all() {
    unsigned n = 0;
    for (auto requests = receive(); !requests.empty(); requests = receive()) {
      for (const EngineRequest& request : requests) {
        if (n++ % 2 == 0) {
          rings_->discard(request.token);
        } else {
          rings_->reply(request.token, std::array<std::uint8_t, 20>{});
        }
      }
    }
    return n;
  }
  unsigned collect(std::uint16_t worker) {
    unsigned all = 0;
    std::array<rte_mbuf*, kBurst> frames;
    while (const unsigned n = rings_->collect(worker, frames.data(), kBurst)) {
      rte_pktmbuf_free_bulk(frames.data(), n);
      all += n;
    }
    return all;
  }

  static rte_mempool* pool_;
  std::unique_ptr<EngineRings> rings_;
};

rte_mempool* EngineRing::pool_ = nullptr;

// A worker that is given more than it takes back: the shard must be able to return everything.
TEST_F(EngineRing, TakesNoMoreThanCanComeBack) {
  make(1);
  unsigned submitted = 0;
  for (int round = 0; round < 10; ++round) {
    submitted += fill(0, false) + fill(0, true);
    answer_all();
  }
  EXPECT_EQ(submitted, EngineRings::kMostInFlight);
  EXPECT_EQ(collect(0), submitted);
}

TEST_F(EngineRing, HasRoomAgainForWhatWasCollected) {
  make(1);
  EXPECT_EQ(fill(0, false), EngineRings::kInFlight);
  answer_all();
  EXPECT_EQ(submit(0, false), nullptr);
  std::array<rte_mbuf*, 5> frames;
  ASSERT_EQ(rings_->collect(0, frames.data(), 5), 5U);
  rte_pktmbuf_free_bulk(frames.data(), 5);
  EXPECT_EQ(fill(0, false), 5U);
  answer_all();
  EXPECT_EQ(collect(0), EngineRings::kInFlight);
}

// What waits for keys counts too.
TEST_F(EngineRing, CountsWhatTheShardKeeps) {
  make(1);
  EXPECT_EQ(fill(0, false), EngineRings::kInFlight);
  const std::vector<EngineRequest> kept = receive();
  answer_all();
  EXPECT_EQ(collect(0), EngineRings::kInFlight - kept.size());
  EXPECT_EQ(fill(0, false), EngineRings::kInFlight - kept.size());
  for (const EngineRequest& request : kept)
    rings_->discard(request.token);
  answer_all();
  EXPECT_EQ(collect(0), EngineRings::kInFlight);
}

TEST_F(EngineRing, ARequestSaysWhoseItIsAndWhichListenersByIndex) {
  make(1);
  FrameNotes& notes = notes_of(submit(0, false));
  const Endpoint client{Address::v4(198, 51, 100, 1), 40000};
  notes.packet.source = client;
  notes.packet.listener = 7;
  const std::vector<EngineRequest> requests = receive();
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(static_cast<const Endpoint&>(requests[0].client), client);
  EXPECT_EQ(requests[0].listener, 7);
  rings_->discard(requests[0].token);
  collect(0);
}

TEST_F(EngineRing, StrangersLeaveRoomForKnownFiveTuplesAndTheseForStrangers) {
  make(1);
  fill(0, false);
  EXPECT_NE(submit(0, true), nullptr);
  fill(0, true);
  answer_all();
  collect(0);
  fill(0, true);
  EXPECT_NE(submit(0, false), nullptr);
  answer_all();
  collect(0);
}

TEST_F(EngineRing, AQuarterIsTheStrangers) {
  make(2);
  for (const std::uint16_t worker : {0, 1}) {
    fill(worker, false);
    fill(worker, true);
  }
  unsigned strangers = 0;
  const auto requests = receive();
  ASSERT_EQ(requests.size(), kBurst);
  for (const EngineRequest& request : requests)
    strangers += notes(request).packet.has_allocation ? 0 : 1;
  EXPECT_EQ(strangers, kBurst / 4);
  for (const EngineRequest& request : requests)
    rings_->discard(request.token);
  answer_all();
  collect(0);
  collect(1);
}

TEST_F(EngineRing, WhatOneKindLeavesIsTheOthers) {
  make(1);
  for (const bool known : {false, true}) {
    fill(0, known);
    const auto requests = receive();
    EXPECT_EQ(requests.size(), kBurst);
    for (const EngineRequest& request : requests)
      rings_->discard(request.token);
    answer_all();
    collect(0);
  }
}

TEST_F(EngineRing, WorkersTakeTurnsAtBeingFirst) {
  make(3);
  for (const std::uint16_t worker : {0, 1, 2}) {
    fill(worker, false);
    fill(worker, true);
  }
  std::array<unsigned, 3> served{};
  for (int round = 0; round < 3; ++round) {
    for (const EngineRequest& request : receive()) {
      ++served[notes(request).worker];
      rings_->discard(request.token);
    }
  }
  EXPECT_EQ(served, (std::array<unsigned, 3>{kBurst, kBurst, kBurst}));
  answer_all();
  for (const std::uint16_t worker : {0, 1, 2})
    collect(worker);
}

// A worker whose shard doesn't come is told so, and nothing of what it said is lost.
TEST_F(EngineRing, NoticesComeInOrderAndNoMoreThanThereIsRoomFor) {
  make(2);
  std::uint32_t told = 0;
  while (rings_->notify(1, {Notice::Kind::kEnd, 7, AllocationSlot{told}}))
    ++told;
  EXPECT_EQ(told, EngineRings::kMostNotices);
  EXPECT_TRUE(rings_->notify(0, {Notice::Kind::kEnd, 8, AllocationSlot{99}}));
  std::vector<Notice> heard;
  std::array<Notice, kBurst> some;
  while (const std::size_t n = rings_->receive(some))
    heard.insert(heard.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(n));
  ASSERT_EQ(heard.size(), told + 1);
  std::uint32_t next = 0;
  for (const Notice& notice : heard) {
    if (notice.generation == 8) continue;
    EXPECT_EQ(notice.slot, AllocationSlot{next++});
  }
  EXPECT_EQ(next, told);
  EXPECT_TRUE(rings_->notify(1, {Notice::Kind::kEnd, 7, AllocationSlot{0}}));
}

}  // namespace
}  // namespace turnpike::dataplane

// Workers and a shard with the rings between them, each on its own thread, in a flood that the
// rings can't take: frames are submitted, refused, answered, discarded, kept for keys, given back
// and counted while somebody else rings the bell; and notices go beside them. Made for
// ThreadSanitizer, but what it asserts needs none: each frame that was let in comes back once, to
// its worker, with the answer to what stood in it.
//
// The rings are DPDK's, whose code is inlined and so seen by ThreadSanitizer; meson.build asks for
// that with C11's atomics, for the other one on this processor orders plain loads and stores by
// barriers of the compiler, which look like races. The frames are the test's own memory: a pool's
// code is not inlined.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "dataplane/eal.h"
#include "dataplane/engine_ring.h"
#include "wire/headers.h"

namespace turnpike::dataplane {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint16_t kWorkers = 2;
constexpr unsigned kFrames = 3000;  // of a worker: more than may be in flight
static_assert(kFrames > EngineRings::kMostInFlight);
constexpr unsigned kBurst = 32;
constexpr std::uint32_t kHeaders = 42, kRequest = 24, kTailroom = 64;
constexpr std::size_t kMostKept = 300;
constexpr double kSeconds = 3;

struct Frame {
  // As memory, for an mbuf ends with an array of no size.
  alignas(rte_mbuf) std::array<std::uint8_t, sizeof(rte_mbuf)> head;
  std::array<std::uint8_t, sizeof(FrameNotes)> notes;
  std::array<std::uint8_t, kHeaders + kRequest + kTailroom> bytes;

  rte_mbuf* mbuf() { return reinterpret_cast<rte_mbuf*>(head.data()); }
};

// What the shard does with a request, as the request says.
enum class Fate : std::uint8_t { kReply, kDiscard, kKeep, kTooLong };

double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

std::uint32_t next_random(std::uint32_t& state) {
  state = state * 1664525 + 1013904223;
  return state >> 8;
}

class Worker {
 public:
  Worker(EngineRings& rings, std::uint16_t number)
      : rings_(rings), number_(number), random_(number), frames_(kFrames) {
    for (Frame& frame : frames_)
      free_.push_back(&frame);
  }

  void run() {
    const Clock::time_point began = Clock::now();
    while (seconds_since(began) < kSeconds) {
      submit_some();
      notify_some();
      rings_.ring(number_);
      // Now and then nothing comes in for a while, and the shard falls asleep.
      const bool pause = next_random(random_) % 64 == 0;
      for (int i = 0; i < (pause ? 200 : 1); ++i)
        collect();
      if (pause) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    while (free_.size() < kFrames && seconds_since(began) < kSeconds + 20) {
      collect();
      std::this_thread::yield();
    }
  }

  std::uint64_t told = 0, submitted = 0, refused = 0, answered = 0, discarded = 0, wrong = 0;
  bool all_back() const { return free_.size() == kFrames; }

 private:
  static bool is_known(std::uint32_t serial) { return serial % 3 == 0; }

  void submit_some() {
    // More than it ever takes back in a round: a flood.
    for (unsigned i = next_random(random_) % (2 * kBurst); i > 0 && !free_.empty(); --i) {
      Frame& frame = *free_.back();
      const std::uint32_t serial = ++serial_;
      write(frame, serial);
      if (!rings_.submit(number_, frame.mbuf())) {
        ++refused;
        continue;
      }
      ++submitted;
      free_.pop_back();
    }
  }

  // As many as there is room for, by number.
  void notify_some() {
    for (unsigned i = next_random(random_) % kBurst; i > 0; --i) {
      const auto number = static_cast<std::uint32_t>(told);
      told += rings_.notify(number_, {Notice::Kind::kEnd, number_, AllocationSlot{number}}) ? 1 : 0;
    }
  }

  void write(Frame& frame, std::uint32_t serial) const {
    frame.bytes.fill(static_cast<std::uint8_t>(serial));
    std::uint8_t* message = frame.bytes.data() + kHeaders;
    wire::store_be32(message, serial);
    message[4] = static_cast<std::uint8_t>(serial % 7 < 4 ? serial % 7 : 0);
    FrameNotes& notes = *new (rte_mbuf_to_priv(frame.mbuf())) FrameNotes;
    notes.worker = number_;
    notes.reply_size = 0xFFFFFFFF;
    notes.packet.has_allocation = is_known(serial);
    notes.packet.data = frame.bytes.data();
    notes.packet.length = kHeaders + kRequest;
    notes.packet.payload = kHeaders;
    notes.packet.payload_size = kRequest;
    notes.packet.tailroom = kTailroom;
  }

  void collect() {
    std::array<rte_mbuf*, kBurst> in;
    const unsigned n = rings_.collect(number_, in.data(), kBurst);
    for (unsigned i = 0; i < n; ++i) {
      auto* frame = reinterpret_cast<Frame*>(in[i]);
      check(*frame);
      free_.push_back(frame);
    }
  }

  void check(Frame& frame) {
    const FrameNotes& notes = notes_of(frame.mbuf());
    const std::uint8_t* message = frame.bytes.data() + kHeaders;
    if (notes.worker != number_) ++wrong;
    if (notes.reply_size == 0) {
      const auto fate = static_cast<Fate>(message[4]);
      ++discarded;
      wrong += fate == Fate::kDiscard || fate == Fate::kTooLong ? 0U : 1U;
      return;
    }
    // An answer is as long as its request says, and inverts its serial number.
    ++answered;
    const std::uint32_t serial = ~wire::load_be32(message);
    wrong += notes.reply_size == kRequest + serial % kTailroom ? 0U : 1U;
    for (std::uint32_t i = 4; i < notes.reply_size && i < kRequest + kTailroom; ++i)
      wrong += message[i] == static_cast<std::uint8_t>(~serial) ? 0U : 1U;
  }

  EngineRings& rings_;
  const std::uint16_t number_;
  std::uint32_t random_, serial_ = 0;
  std::vector<Frame> frames_;
  std::vector<Frame*> free_;
};

class Shard {
 public:
  explicit Shard(EngineRings& rings) : rings_(rings) {}

  void run(const std::atomic<bool>& stop) {
    while (!stop.load(std::memory_order_acquire)) {
      std::array<EngineRequest, kBurst> requests;
      const std::size_t n = rings_.receive(requests);
      for (std::size_t i = 0; i < n; ++i)
        serve(requests[i]);
      if (n == 0 && heed() == 0) {
        for (const Kept& kept : kept_)
          reply(kept);
        kept_.clear();
        ++sleeps;
        rings_.wait(1'000'000'000);
      }
    }
  }

  // Each worker's, in their order.
  std::size_t heed() {
    std::array<Notice, kBurst> notices;
    const std::size_t n = rings_.receive(notices);
    for (std::size_t i = 0; i < n; ++i) {
      if (notices[i].slot != AllocationSlot{heard[notices[i].generation]++}) ++wrong;
    }
    return n;
  }

  std::uint64_t served = 0, sleeps = 0, wrong = 0;
  std::array<std::uint32_t, kWorkers> heard{};

 private:
  struct Kept {
    RequestToken token;
    std::uint32_t serial;
  };

  void serve(const EngineRequest& request) {
    ++served;
    const std::uint8_t* message = request.message.data();
    const std::uint32_t serial = wire::load_be32(message);
    if (request.message.size() != kRequest || message[5] != static_cast<std::uint8_t>(serial))
      ++wrong;
    switch (static_cast<Fate>(message[4])) {
      case Fate::kDiscard:
        return rings_.discard(request.token);
      case Fate::kTooLong:
        return rings_.reply(request.token, std::array<std::uint8_t, kRequest + kTailroom + 1>{});
      case Fate::kKeep:
        if (kept_.size() < kMostKept) {
          kept_.push_back({request.token, serial});
          return;
        }
        [[fallthrough]];
      default:
        return reply({request.token, serial});
    }
  }

  void reply(const Kept& kept) {
    std::array<std::uint8_t, kRequest + kTailroom> answer;
    answer.fill(static_cast<std::uint8_t>(~kept.serial));
    wire::store_be32(answer.data(), ~kept.serial);
    rings_.reply(kept.token,
                 std::span<const std::uint8_t>(answer).first(kRequest + kept.serial % kTailroom));
  }

  EngineRings& rings_;
  std::vector<Kept> kept_;
};

class EngineRingRace : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    EalOptions options;
    options.hugepages = false;
    options.memory_mb = 32;
    start_eal(options);
  }
  static void TearDownTestSuite() { stop_eal(); }
};

TEST_F(EngineRingRace, WhatIsLetInComesBackAnswered) {
  EngineRings rings(0, kWorkers);
  std::vector<std::unique_ptr<Worker>> workers;
  for (std::uint16_t i = 0; i < kWorkers; ++i)
    workers.push_back(std::make_unique<Worker>(rings, i));
  Shard shard(rings);
  std::atomic<bool> stop{false};

  std::thread serving([&] { shard.run(stop); });
  std::thread waking([&] {
    while (!stop.load(std::memory_order_acquire)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      rings.wake();
    }
  });
  std::vector<std::thread> working;
  working.reserve(workers.size());
  for (auto& worker : workers)
    working.emplace_back([&] { worker->run(); });
  for (std::thread& thread : working)
    thread.join();
  stop.store(true, std::memory_order_release);
  rings.wake();
  serving.join();
  waking.join();
  while (shard.heed() != 0) {
  }

  std::uint64_t submitted = 0, refused = 0;
  for (const auto& worker : workers) {
    EXPECT_TRUE(worker->all_back()) << "frames were lost";
    EXPECT_EQ(worker->wrong, 0u);
    EXPECT_EQ(worker->submitted, worker->answered + worker->discarded);
    EXPECT_GT(worker->answered, 1000u);
    EXPECT_GT(worker->discarded, 1000u);
    EXPECT_GT(worker->told, 1000u);
    EXPECT_EQ(shard.heard[static_cast<std::size_t>(&worker - workers.data())], worker->told);
    submitted += worker->submitted;
    refused += worker->refused;
  }
  EXPECT_EQ(shard.served, submitted);
  EXPECT_EQ(shard.wrong, 0u);
  EXPECT_GT(refused, 100u) << "it was no flood";
  EXPECT_GT(shard.sleeps, 10u) << "the bell was never needed";
}

}  // namespace
}  // namespace turnpike::dataplane

// Engines, flow tables and pipelines together, each on its own thread: shards answer signed
// requests of their own clients and of some that are all shards', and heed notices that end
// allocations, timely ones and such that come when the slot has a new owner, while two readers send
// the clients' and their peers' packets through real pipelines. Made for ThreadSanitizer, but what
// it asserts needs none: no packet reaches another's client or peer, none is lost between the
// success that opened its way and the request that closes it, and none passes before or after.
//
// What a client knows of its allocation is one word, written before a request that closes and when
// the success comes that opens. A packet whose word is the same before and after the pipeline has
// seen it must fare as the word says. Time is virtual: it goes on when every shard has written down
// what will have ended by then, and every reader has brought its packets home since the last time.
// So a packet is in flight for two steps at most, and a relay port, which rests longer than that,
// must not bring it to the port's next owner.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "race_reader.h"
#include "race_shard.h"

namespace turnpike::flow::test::race {
namespace {

void race(std::uint32_t shard_count) {
  Common common(shard_count);
  std::vector<std::unique_ptr<Shard>> shards;
  for (std::uint8_t i = 0; i < shard_count; ++i)
    shards.push_back(std::make_unique<Shard>(common, i));
  std::vector<std::unique_ptr<Reader>> readers;
  for (std::size_t i = 0; i < kReaders; ++i)
    readers.push_back(std::make_unique<Reader>(common, i));

  std::atomic<bool> stop{false};
  std::vector<std::thread> reading;
  reading.reserve(readers.size());
  for (auto& reader : readers)
    reading.emplace_back([&] { reader->run(stop); });
  std::vector<std::thread> serving;
  serving.reserve(shards.size());
  for (auto& shard : shards)
    serving.emplace_back([&] { shard->run(); });
  for (std::thread& thread : serving)
    thread.join();
  stop.store(true, std::memory_order_relaxed);
  for (std::thread& thread : reading)
    thread.join();

  std::uint64_t successes = 0, over_quota = 0, taken = 0, expired = 0, ended_by_notice = 0;
  for (const auto& shard : shards) {
    shard->end();
    EXPECT_EQ(shard->unexpected, 0u);
    EXPECT_EQ(shard->beyond_quota, 0u);
    EXPECT_EQ(shard->owned_twice, 0u);
    successes += shard->answers[0];
    over_quota += shard->answers[486];
    taken += shard->answers[437];
    expired += shard->expired;
    ended_by_notice += shard->ended_by_notice;
  }
  EXPECT_EQ(common.quotas.count({"all"}), 0u);
  EXPECT_GT(successes, 1000u);
  EXPECT_GT(over_quota, 10u);
  EXPECT_GT(expired, 100u);
  EXPECT_GT(ended_by_notice, 20u);
  EXPECT_TRUE(shard_count == 1 || taken > 10);
  for (const auto& reader : readers) {
    EXPECT_EQ(reader->astray, 0u);
    EXPECT_EQ(reader->lost, 0u);
    EXPECT_EQ(reader->let_through, 0u);
    EXPECT_GT(reader->to_peer, 100u) << "the readers hardly ran";
    EXPECT_GT(reader->by_channel, 100u);
    EXPECT_GT(reader->by_data, 10u);
    EXPECT_GT(reader->stopped, 100u);
    EXPECT_GT(reader->overtaken, 10u);
  }
}

TEST(EngineRace, PacketsFareAsTheirClientsWereToldWithOneShard) {
  race(1);
}

TEST(EngineRace, PacketsFareAsTheirClientsWereToldWithThreeShards) {
  race(3);
}

}  // namespace
}  // namespace turnpike::flow::test::race

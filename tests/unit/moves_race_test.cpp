// A client that moves on and on while two workers relay for it: whatever they read of it at the
// same time, what comes from its peer goes to where it is or was a moment ago, whole, and is never
// lost; and what it sends itself is never lost. Under ThreadSanitizer it says more.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "flow_frames.h"
#include "random.h"

namespace turnpike::flow::test {
namespace {

using turnpike::test::Random;

constexpr std::size_t kReaders = 2;
constexpr std::uint8_t kPlaces = 8;

// Of both families; its address and its port tell of each other.
ClientEndpoint place(std::uint8_t n) {
  const Address address = n % 2 == 0 ? Address::v4(198, 51, 100, n)
                                     : *Address::parse("2001:db8:1::" + std::to_string(n));
  return {{address, static_cast<std::uint16_t>(42000 + n)}};
}
Endpoint server_of(const Endpoint& client) {
  return {client.address.family == Family::kIpv4 ? kServer4 : kServer6, kPort};
}

class MovesRace : public testing::TestWithParam<bool> {
 protected:
  MovesRace() : world_(Family::kIpv4, true, std::nullopt, GetParam()) {}

  void move() {
    const auto next = static_cast<std::uint8_t>((at_ + 1) % kPlaces);
    const ClientEndpoint to = place(next);
    ASSERT_TRUE(world_.writer_->begin_move(
        {world_.allocation_, {to, server_of(to), Transport::kUdp}, number_++}));
    // From here on its data pass from there, and no longer from where it was.
    at_.store(next, std::memory_order_release);
    world_.writer_->complete_move(world_.allocation_);
  }

  void read_on(std::size_t reader) {
    WorkerCounters counters;
    Pipeline pipeline(world_.setup_, *world_.tables_, world_.hop_, world_.policy_, world_.tokens_,
                      counters, static_cast<std::uint16_t>(reader));
    std::vector<std::uint8_t> buffer;
    const auto from_the_peer = frame_of(from_peer(Family::kIpv4, 20));
    while (!over_.load(std::memory_order_acquire)) {
      world_.qsbr_.quiescent(reader);
      Packet packet = arrived(buffer, from_the_peer, FlowWorld::kRoom);
      pipeline.process(world_.now_, {&packet, 1});
      const auto out =
          packet.verdict == Verdict::kTransmit ? flow::test::read(packet) : std::nullopt;
      const auto n = out ? static_cast<std::uint8_t>(out->destination.port - 42000) : kPlaces;
      // Where it began is none of the places.
      const bool at_start = out && out->destination == world_.client_;
      if (!at_start && (n >= kPlaces || out->destination != place(n) ||
                        out->source != server_of(out->destination)))
        ++astray_;
      ++relayed_;

      world_.qsbr_.quiescent(reader);
      const std::uint8_t at = at_.load(std::memory_order_acquire);
      if (at == kPlaces) continue;
      Datagram said = channel_data(world_, 0x4000, 20);
      said.source = place(at);
      said.destination = server_of(place(at));
      packet = arrived(buffer, frame_of(said), FlowWorld::kRoom);
      pipeline.process(world_.now_, {&packet, 1});
      // Unless it has moved on meanwhile.
      if (packet.verdict != Verdict::kTransmit && at_.load(std::memory_order_acquire) == at)
        ++lost_;
    }
    world_.qsbr_.offline(reader);
  }

  FlowWorld world_;
  std::uint16_t number_ = 1;
  std::atomic<std::uint8_t> at_{kPlaces};
  std::atomic<bool> over_{false};
  std::atomic<std::uint64_t> relayed_{0}, astray_{0}, lost_{0};
};

INSTANTIATE_TEST_SUITE_P(Lanes, MovesRace, testing::Bool());

TEST_P(MovesRace, NothingIsLostOrTorn) {
  std::vector<std::thread> readers;
  for (std::size_t i = 0; i < kReaders; ++i)
    readers.emplace_back([this, i] { read_on(i); });
  Random random(7);
  int moves = 0;
  for (std::uint64_t steps = 0; moves < 300 || relayed_.load() < 20'000; ++steps) {
    // At any distance from the one before.
    if (random.below(1 + random.below(40)) == 0 && world_.writer_->retired() < 8) {
      move();
      ++moves;
    }
    world_.writer_->housekeeping();
    if (random.below(4) == 0) std::this_thread::yield();
  }
  over_.store(true, std::memory_order_release);
  for (std::thread& reader : readers)
    reader.join();
  EXPECT_EQ(astray_.load(), 0U);
  EXPECT_EQ(lost_.load(), 0U);
  for (int i = 0; i < 4; ++i)
    world_.writer_->housekeeping();
  EXPECT_EQ(world_.writer_->retired(), 0U);
}

}  // namespace
}  // namespace turnpike::flow::test

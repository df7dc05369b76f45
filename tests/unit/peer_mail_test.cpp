// Letters of shards to several transport threads, and back: each to whom it is for, in its order.
#include "transport/peer_mail.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

namespace turnpike::transport {
namespace {

using Kind = PeerCommand::Kind;

struct Engine final : EnginePort {
  std::size_t receive(std::span<EngineRequest>) override { return 0; }
  std::size_t receive(std::span<Notice>) override { return 0; }
  void reply(RequestToken, stun::Bytes) override {}
  void discard(RequestToken) override {}
  void wait(std::uint64_t) override {}
  void wake() override { ++woken; }
  int woken = 0;
};

constexpr std::size_t kThreads = 3;
constexpr std::uint64_t kOfFirstShard = std::uint64_t{1} << kStreamShardShift;

class PeerMailTest : public testing::Test {
 protected:
  FiveTuple client_of(std::size_t thread) const {
    FiveTuple client;
    client.client = ClientEndpoint{Endpoint::parse("192.0.2.1:1").value()};
    while (mail_.thread_of(client) != thread && client.client.port < 1000)
      ++client.client.port;
    return client;
  }
  std::vector<PeerCommand> of(std::size_t thread) {
    std::vector<PeerCommand> commands;
    mail_.receive(thread, commands);
    return commands;
  }

  Engine engine_;
  std::array<dataplane::Doorbell, kThreads> bells_;
  PeerMail mail_{
      {&engine_},
      {&bells_[0], &bells_[1], &bells_[2]},
      {{0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93}}};
};

TEST_F(PeerMailTest, WhatIsSaidGoesToWhoHasTheClientAndAllElseToTheFirst) {
  PeerStreamPort& shard = mail_.port(0);
  EXPECT_TRUE(shard.say(client_of(2), {}));
  EXPECT_TRUE(shard.bind(PeerStream{kOfFirstShard + 1}, client_of(2), {}));
  shard.close(PeerStream{kOfFirstShard + 1});
  EXPECT_FALSE(mail_.has_commands(1));
  const std::vector<PeerCommand> first = of(0), third = of(2);
  ASSERT_EQ(first.size(), 2U);
  EXPECT_EQ(first[0].kind, Kind::kBind);
  EXPECT_EQ(first[1].kind, Kind::kCloseStream);
  ASSERT_EQ(third.size(), 1U);
  EXPECT_EQ(third[0].kind, Kind::kSay);
}

TEST_F(PeerMailTest, WhatIsPassedOnIsNeverLostAndStaysInOrder) {
  constexpr std::uint64_t kCommands = 10'000;  // more than a box holds
  for (std::uint64_t number = 0; number < kCommands; ++number)
    mail_.pass_on(1, {.kind = Kind::kCloseStream, .relay = {}, .stream = PeerStream{number}});
  std::uint64_t got = 0;
  while (got < kCommands) {
    const std::vector<PeerCommand> commands = of(1);
    ASSERT_FALSE(commands.empty());
    for (const PeerCommand& command : commands)
      EXPECT_EQ(static_cast<std::uint64_t>(command.stream), got++);
    mail_.flush(0);
  }
}

TEST_F(PeerMailTest, EachThreadsEventsStayInOrder) {
  constexpr std::uint64_t kEvents = 3000;  // more than a box holds
  for (std::uint64_t number = 0; number < kEvents; ++number) {
    for (const std::size_t thread : {1U, 2U})
      mail_.tell(thread, {.kind = PeerStreamEvent::Kind::kClosed,
                          .relay = StreamRelay{kOfFirstShard},
                          .stream = PeerStream{number << 8 | thread},
                          .peer = {}});
  }
  EXPECT_FALSE(mail_.try_tell(
      1, {.kind = PeerStreamEvent::Kind::kArrived, .relay = StreamRelay{kOfFirstShard}}));
  std::array<std::uint64_t, kThreads> next{};
  std::vector<PeerStreamEvent> events;
  while (next[1] + next[2] < 2 * kEvents) {
    mail_.port(0).receive(events);
    ASSERT_FALSE(events.empty());
    for (const PeerStreamEvent& event : events) {
      const auto number = static_cast<std::uint64_t>(event.stream);
      EXPECT_EQ(number >> 8, next.at(number & 0xFF)++);
    }
    mail_.flush(1);
    mail_.flush(2);
  }
  EXPECT_GE(engine_.woken, 2);
}

TEST(PeerMail, ClosesSocketsThatNobodyHasTaken) {
  Engine engine;
  dataplane::Doorbell first, second;
  const int fd = open("/dev/null", O_RDONLY);
  {
    PeerMail mail({&engine}, {&first, &second}, {});
    mail.pass_on(1, {.kind = Kind::kBind, .relay = {}, .stream = {}, .peer_fd = fd});
  }
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

}  // namespace
}  // namespace turnpike::transport

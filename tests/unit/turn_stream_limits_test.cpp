// How many connections with peers an allocation and a user may have, and how fast they may be asked
// for: a relay is nobody's port scanner.
#include "stream_world.h"

namespace turnpike {
namespace {

using namespace test;
using Event = PeerStreamEvent::Kind;

Endpoint peer(int port) {
  return {kPeer, static_cast<std::uint16_t>(port)};
}

class StreamLimits : public StreamServer {
 protected:
  std::uint64_t refused(Limit limit) const {
    return server_->counters().limits[static_cast<std::size_t>(limit)].get();
  }
  void restart_with(const UserLimits& limits) {
    ledger_.emplace(limits, 0, true);
    server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, *ledger_);
  }
  std::optional<QuotaLedger> ledger_;
};

TEST_F(StreamLimits, OfAnAllocation) {
  config_.max_connections_per_allocation = 3;
  restart();
  open(1000);
  permit_stream(1000, kPeer);
  for (int i = 1; i <= 3; ++i)
    EXPECT_EQ(connect(1000, peer(i)).code(), 0);
  EXPECT_EQ(begin_connect(1000, peer(4)).code(), 508);
  EXPECT_FALSE(arrive(peer(5)));
  EXPECT_EQ(refused(Limit::kConnectionsPerAllocation), 2U);
  EXPECT_EQ(arrivals_told(PeerArrival::kNoRoom), 1U);
  tell(Event::kClosed, streams_.last);
}

TEST_F(StreamLimits, OfAUserInAllHisAllocations) {
  restart_with({0, 0, 0, 2});
  open(1000);
  open(1001);
  EXPECT_EQ(connect(1000, peer(1)).code(), 0);
  EXPECT_EQ(connect(1001, peer(1)).code(), 0);
  EXPECT_EQ(begin_connect(1001, peer(2)).code(), 508);
  EXPECT_EQ(refused(Limit::kConnectionsPerUser), 1U);
  user_ = "bob";
  open(1002);
  EXPECT_EQ(connect(1002, peer(1)).code(), 0) << "another user has his own";
}

TEST_F(StreamLimits, OfThoseUnderWay) {
  config_.max_connecting_per_allocation = 2;
  restart();
  open(1000);
  for (int i = 1; i <= 2; ++i)
    EXPECT_TRUE(begin_connect(1000, peer(i)).bytes.empty());
  EXPECT_EQ(begin_connect(1000, peer(3)).code(), 508);
  EXPECT_EQ(refused(Limit::kConnecting), 1U);
  tell(Event::kConnected, streams_.last);
  EXPECT_TRUE(begin_connect(1000, peer(3)).bytes.empty());
  tell(Event::kFailed, streams_.last);
  EXPECT_TRUE(begin_connect(1000, peer(4)).bytes.empty());
}

TEST_F(StreamLimits, OfConnectsInATime) {
  config_.connects_burst = 3;
  config_.connects_per_second = 2;
  restart();
  open(1000);
  const auto try_one = [&](int port) {
    const bool begun = begin_connect(1000, peer(port)).bytes.empty();
    if (begun) tell(Event::kFailed, streams_.last);
    return begun;
  };
  int port = 1, begun = 0;
  for (int i = 0; i < 100; ++i)
    begun += try_one(port++);
  EXPECT_EQ(begun, 3);
  EXPECT_EQ(refused(Limit::kConnects), 97U);
  for (int second = 0; second < 10; ++second) {
    now_.ms += 1000;
    for (int i = 0; i < 100; ++i)
      begun += try_one(port++);
  }
  EXPECT_EQ(begun, 3 + 20);
}

// Whoever comes again has not his burst anew.
TEST_F(StreamLimits, OfConnectsOutliveTheAllocation) {
  config_.connects_burst = 3;
  config_.connects_per_second = 1;
  restart();
  int begun = 0;
  for (std::uint16_t client = 1000; client < 1010; ++client) {
    open(client);
    for (int i = 1; i <= 5; ++i)
      begun += begin_connect(client, peer(i)).bytes.empty();
    refresh_stream(client, 0);
    known_.clear();
    opened_ = 0;
  }
  EXPECT_EQ(begun, 3);
  user_ = "bob";
  open(2000);
  EXPECT_TRUE(begin_connect(2000, peer(1)).bytes.empty()) << "another user's are his own";
}

TEST_F(StreamLimits, OfWhoeverHasTheSockets) {
  open(1000);
  EXPECT_TRUE(begin_connect(1000, peer(1)).bytes.empty());
  tell(Event::kNoRoom, streams_.last);
  EXPECT_EQ(said().code(), 508);
  EXPECT_EQ(refused(Limit::kStreams), 1U);
}

}  // namespace
}  // namespace turnpike

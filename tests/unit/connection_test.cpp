// When a connection is read again, and when its socket is left to tell of what comes.
#include "transport/connection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <vector>

namespace turnpike::transport {
namespace {

class ConnectionOfAClient : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends_.data()), 0);
    const Connection::Ends ends{*Endpoint::parse("192.0.2.1:1000"),
                                *Endpoint::parse("192.0.2.2:3478"), 0};
    connection_ =
        std::make_unique<Connection>(ends_[0], ends, std::make_unique<PlainStream>(ends_[0]), false,
                                     Connection::Bounds{1500, 65536}, 0, counters_);
  }
  void TearDown() override { close(ends_[1]); }

  void send_requests(std::size_t count) {
    std::vector<std::uint8_t> all;
    std::array<std::uint8_t, stun::kHeaderSize> buffer;
    for (std::size_t i = 0; i < count; ++i) {
      stun::MessageWriter writer(buffer, stun::Class::kRequest, stun::Method::kBinding, {});
      const stun::Bytes bytes = writer.finish();
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    ASSERT_EQ(send(ends_[1], all.data(), all.size(), 0), all.size());
  }
  Connection::State receive() {
    return connection_->receive(room_, 0, [this](const Connection&, stun::Bytes) {
      if (room_for_ == 0) return false;
      --room_for_;
      return true;
    });
  }

  std::array<int, 2> ends_{};
  StreamCounters counters_;
  std::unique_ptr<Connection> connection_;
  std::vector<std::uint8_t> room_ = std::vector<std::uint8_t>(4096);
  int room_for_ = 100;  // messages
};

TEST_F(ConnectionOfAClient, IsLeftAloneWhenItsSocketIsEmpty) {
  send_requests(3);
  EXPECT_EQ(receive(), Connection::State::kOpen);
  EXPECT_EQ(counters_.messages_in.get(), 3U);
}

TEST_F(ConnectionOfAClient, IsReadAgainWhereASocketMayHaveMore) {
  send_requests(1000);
  room_for_ = 10'000;
  EXPECT_EQ(receive(), Connection::State::kAgain) << "four times as much as there is room for";
  EXPECT_EQ(receive(), Connection::State::kOpen);
  EXPECT_EQ(counters_.messages_in.get(), 1000U);
}

// The end is told together with the last bytes, and not again.
TEST_F(ConnectionOfAClient, IsReadToItsEndOnceThatIsKnown) {
  send_requests(1);
  shutdown(ends_[1], SHUT_WR);
  connection_->reads_to_end = true;
  EXPECT_EQ(receive(), Connection::State::kOver);
  EXPECT_EQ(connection_->end(), StreamEnd::kByClient);
  EXPECT_EQ(counters_.messages_in.get(), 1U);
}

// What has come while it was stopped was told of then.
TEST_F(ConnectionOfAClient, IsReadAgainAfterAStop) {
  send_requests(2);
  room_for_ = 1;
  EXPECT_EQ(receive(), Connection::State::kAgain);
  send_requests(1);
  EXPECT_EQ(receive(), Connection::State::kAgain);
  room_for_ = 100;
  EXPECT_EQ(receive(), Connection::State::kOpen);
  EXPECT_EQ(counters_.messages_in.get(), 3U);
}

}  // namespace
}  // namespace turnpike::transport

// TLS over a pair of sockets: what a client can do to it.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "transport/stream.h"

namespace turnpike::transport {
namespace {

class TlsOfAClient : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "turnpike-tls-XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    const std::string command =
        "cd " + folder +
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "
        "/CN=own -keyout own.key -out own.pem 2>/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0);
    context_ = std::make_shared<const TlsContext>(
        std::vector<CertificateFiles>{{folder + "/own.pem", folder + "/own.key"}}, tickets_);
    std::filesystem::remove_all(folder);
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends_.data()), 0);
    stream_ = std::make_unique<TlsStream>(ends_[0], context_, counters_);
    client_context_ = SSL_CTX_new(TLS_client_method());
    client_ = SSL_new(client_context_);
    SSL_set_fd(client_, ends_[1]);
    SSL_set_connect_state(client_);
  }
  void TearDown() override {
    SSL_free(client_);
    SSL_CTX_free(client_context_);
    stream_.reset();
    for (const int end : ends_)
      close(end);
  }
  void shake_hands() {
    auto result = Stream::Result::kAgain;
    for (int i = 0; i < 10 && (result != Stream::Result::kDone || SSL_in_init(client_) != 0); ++i) {
      SSL_do_handshake(client_);
      result = stream_->shake_hands();
    }
    ASSERT_EQ(result, Stream::Result::kDone);
    char byte = 0;
    SSL_read(client_, &byte, 1);  // tickets
  }
  Stream::Result read(std::string& text) {
    std::array<std::uint8_t, 100> room{};
    std::size_t got = 0;
    const Stream::Result result = stream_->read(room, got);
    text.assign(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(got));
    return result;
  }

  TicketKeys tickets_;
  StreamCounters counters_;
  std::shared_ptr<const TlsContext> context_;
  std::array<int, 2> ends_{};
  std::unique_ptr<TlsStream> stream_;
  SSL_CTX* client_context_ = nullptr;
  SSL* client_ = nullptr;
};

TEST_F(TlsOfAClient, CarriesWhatIsSentEachWay) {
  shake_hands();
  ASSERT_EQ(SSL_write(client_, "hello", 5), 5);
  std::string text;
  EXPECT_EQ(read(text), Stream::Result::kDone);
  EXPECT_EQ(text, "hello");
  EXPECT_EQ(read(text), Stream::Result::kAgain);
  const std::array<std::uint8_t, 3> answer{'y', 'e', 's'};
  std::size_t put = 0;
  EXPECT_EQ(stream_->write(answer, put), Stream::Result::kDone);
  EXPECT_EQ(put, 3U);
  std::array<char, 3> got{};
  EXPECT_EQ(SSL_read(client_, got.data(), got.size()), 3);
  EXPECT_EQ(std::string_view(got.data(), got.size()), "yes");
  SSL_shutdown(client_);
  EXPECT_EQ(read(text), Stream::Result::kClosed);
}

TEST_F(TlsOfAClient, IsReadAllAtOnceAndKnowsThatThereIsNoMore) {
  shake_hands();
  for (const std::string_view word : {"one ", "two ", "three"})
    ASSERT_EQ(SSL_write(client_, word.data(), static_cast<int>(word.size())), word.size());
  std::string text;
  EXPECT_EQ(read(text), Stream::Result::kDone);
  EXPECT_EQ(text, "one two three");
  EXPECT_FALSE(stream_->may_have_more());
  for (int i = 0; i < 100; ++i)
    ASSERT_EQ(SSL_write(client_, "x", 1), 1);
  EXPECT_EQ(read(text), Stream::Result::kDone);
  EXPECT_LT(text.size(), 100U) << "who sends a byte in each record lets others have their turn";
  EXPECT_TRUE(stream_->may_have_more());
  const std::size_t had = text.size();
  EXPECT_EQ(read(text), Stream::Result::kDone);
  EXPECT_EQ(had + text.size(), 100U);
}

TEST_F(TlsOfAClient, SaysWhatCameBeforeItsEndFirst) {
  shake_hands();
  ASSERT_EQ(SSL_write(client_, "hello", 5), 5);
  SSL_shutdown(client_);
  std::string text;
  EXPECT_EQ(read(text), Stream::Result::kDone);
  EXPECT_EQ(text, "hello");
  EXPECT_TRUE(stream_->may_have_more());
  EXPECT_EQ(read(text), Stream::Result::kClosed);
}

TEST_F(TlsOfAClient, EndsWhereKeysAreChangedForSport) {
  shake_hands();
  std::string text;
  const auto change_keys = [this](int times) {
    for (int i = 0; i < times; ++i) {
      ASSERT_EQ(SSL_key_update(client_, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
      ASSERT_EQ(SSL_do_handshake(client_), 1);
    }
  };
  change_keys(10);
  ASSERT_EQ(SSL_write(client_, "hello", 5), 5);
  EXPECT_EQ(read(text), Stream::Result::kDone);
  EXPECT_EQ(text, "hello");
  change_keys(60);
  read(text);
  EXPECT_EQ(read(text), Stream::Result::kFailed);
}

TEST_F(TlsOfAClient, IsToldOfAlertsByName) {
  ASSERT_EQ(send(ends_[1], "\x16\x03\x01\x00\x05hello", 10, 0), 10);
  EXPECT_EQ(stream_->shake_hands(), Stream::Result::kFailed);
  std::uint64_t sent = 0;
  for (const Counter& alert : counters_.alerts[1])
    sent += alert.get();
  EXPECT_EQ(sent, 1U);
}

TEST_F(TlsOfAClient, EndsWithTheConnection) {
  shake_hands();
  shutdown(ends_[1], SHUT_WR);
  std::string text;
  EXPECT_EQ(read(text), Stream::Result::kReset)
      << "without a word, which may be an attacker's doing";
}

}  // namespace
}  // namespace turnpike::transport

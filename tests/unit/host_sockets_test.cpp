// Sockets of the relay's own host: what the kernel had no room for is counted, one that couldn't be
// had is tried again, and no user has them all.
#include "transport/host_sockets.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "dataplane/eal.h"

namespace turnpike::transport {
namespace {

const Address kHere = Address::v4(127, 0, 0, 1);

std::atomic<std::uint64_t> now_ms{5000};

Endpoint endpoint_of(const Socket& socket) {
  SocketAddress address{};
  socklen_t size = sizeof address;
  EXPECT_EQ(getsockname(socket.fd(), &address.any, &size), 0);
  return read_address(address);
}

Endpoint free_endpoint() {
  return endpoint_of(Socket(bind_datagrams({kHere, 0})));
}

void send_from(const Socket& socket, const Endpoint& to, unsigned count = 1) {
  const std::array<std::uint8_t, 1000> datagram{};
  SocketAddress address;
  const socklen_t size = write_address(to, address);
  for (unsigned i = 0; i < count; ++i)
    EXPECT_GT(sendto(socket.fd(), datagram.data(), datagram.size(), 0, &address.any, size), 0);
}

bool soon(const std::function<bool()>& holds) {
  for (int i = 0; i < 3000 && !holds(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return holds();
}

class OwnHost : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dataplane::EalOptions options;
    options.hugepages = false;
    options.memory_mb = 64;
    dataplane::start_eal(options);
  }
  static void TearDownTestSuite() { dataplane::stop_eal(); }

  HostSockets& make(const std::vector<Endpoint>& listeners) {
    return host_.emplace(
        listeners, HashKey{1, 2}, port_, door_, +[] { return now_ms.load(); });
  }

  dataplane::StreamPort port_{0, 1};
  HostDoor door_{port_.bell()};
  std::optional<HostSockets> host_;
};

// As many as a test wants of what a thread that can't keep up leaves in the kernel: it isn't
// started.
TEST_F(OwnHost, CountsWhatTheKernelHadNoRoomFor) {
  constexpr unsigned kFlood = 20'000;
  const Endpoint listener = free_endpoint();
  HostSockets& host = make({listener});
  const Socket client(bind_datagrams({kHere, 0}));
  send_from(client, listener, kFlood);
  host.start();
  const HostCounters& counted = host.counters();
  std::uint64_t sent = kFlood;
  EXPECT_TRUE(soon([&] {
    send_from(client, listener);  // which tells
    ++sent;
    return counted.lost_overflow.get() > 0;
  }));
  EXPECT_GT(counted.lost_overflow.get(), kFlood / 2);
  EXPECT_TRUE(soon([&] { return counted.in.get() + counted.lost_overflow.get() >= sent; }));
  host.stop();
  EXPECT_EQ(counted.in.get() + counted.lost_overflow.get(), sent) << "each once";
}

TEST(Datagrams, HaveTheirLossesToldWhenTheyEnd) {
  const Socket server(bind_datagrams({kHere, 0})), client(bind_datagrams({kHere, 0}));
  EXPECT_EQ(overflows_of(server.fd()), 0U);
  send_from(client, endpoint_of(server), 10'000);
  EXPECT_GT(overflows_of(server.fd()), 1000U);
}

TEST_F(OwnHost, TriesSocketsAgainThatCouldNotBeHad) {
  Socket other(bind_datagrams({kHere, 0}));
  const Endpoint taken = endpoint_of(other), relayed = free_endpoint();
  HostSockets& host = make({taken});
  EXPECT_EQ(host.warnings().size(), 1U);
  const HostCounters& counted = host.counters();
  EXPECT_EQ(counted.missing.get(), 1U);
  host.start();
  rlimit all{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &all), 0);
  const rlimit none{3, all.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  ASSERT_TRUE(door_.open(relayed, 0));
  EXPECT_TRUE(soon([&] { return counted.no_socket.get() == 1; }));
  EXPECT_EQ(counted.missing.get(), 2U);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &all), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(counted.missing.get(), 2U) << "once in a second";
  now_ms += 1000;
  EXPECT_TRUE(soon([&] { return counted.missing.get() == 1; })) << "another's port stays its own";
  EXPECT_EQ(counted.sockets.get(), 1U);
  const Socket peer(bind_datagrams({kHere, 0}));
  send_from(peer, relayed);
  EXPECT_TRUE(soon([&] { return counted.in.get() == 1; }));
  other = Socket(-1);
  now_ms += 1000;
  EXPECT_TRUE(soon([&] { return counted.missing.get() == 0; })) << "a listener's, too";
  EXPECT_EQ(counted.no_socket.get(), 1U);
  EXPECT_EQ(counted.sockets.get(), 1U);
}

TEST_F(OwnHost, ForgetsAMissingSocketWithItsAllocation) {
  const Socket other(bind_datagrams({kHere, 0}));
  HostSockets& host = make({});
  host.start();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(door_.open(endpoint_of(other), 0));
    EXPECT_TRUE(soon([&] { return host.counters().missing.get() == 1; }));
    door_.close(endpoint_of(other), 0);
    EXPECT_TRUE(soon([&] { return host.counters().missing.get() == 0; }));
    now_ms += 1000;
  }
  EXPECT_EQ(host.counters().sockets.get(), 0U);
}

class Door : public testing::Test {
 protected:
  bool open(std::uint32_t user) { return door_.open({kHere, 1}, user); }
  std::size_t open_all(std::uint32_t user) {
    std::size_t opened = 0;
    while (open(user))
      ++opened;
    return opened;
  }
  // What the thread does.
  void close_asked() {
    std::vector<HostDoor::Letter> letters;
    door_.take(letters);
    for (const HostDoor::Letter& letter : letters) {
      if (!letter.opens) door_.closed(letter.user);
    }
  }

  dataplane::Doorbell bell_;
  HostDoor door_{bell_};
};

TEST_F(Door, LeavesWhatOneUserHasToOthers) {
  EXPECT_EQ(open_all(1), HostDoor::kMostSockets / 2);
  EXPECT_TRUE(open(2));
  EXPECT_FALSE(open(1));
  EXPECT_EQ(open_all(2), HostDoor::kMostSockets / 4 - 1);
  for (std::uint32_t user = 3; user < 10; ++user)
    EXPECT_TRUE(open(user)) << user;
}

TEST_F(Door, HoldsSoManyAndNoMore) {
  std::size_t opened = 0;
  std::uint32_t user = 0;
  while (open(user++))
    ++opened;
  EXPECT_EQ(opened, HostDoor::kMostSockets);
}

TEST_F(Door, GivesAPlaceBackWhenItIsClosed) {
  ASSERT_GT(open_all(1), 0U);
  close_asked();
  door_.close({kHere, 1}, 1);
  EXPECT_FALSE(open(1)) << "the socket is still there";
  close_asked();
  EXPECT_TRUE(open(1));
  EXPECT_FALSE(open(1));
}

}  // namespace
}  // namespace turnpike::transport

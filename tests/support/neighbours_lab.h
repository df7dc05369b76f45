// A network for tests that hold the mirror of the kernel's tables against a kernel: each works in a
// network namespace of its own, with two interfaces that lead to another one; it needs root.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernel/next_hops.h"

namespace turnpike::kernel {

using flow::kMacResolved;
using flow::kNoNextHop;
using flow::MacWord;
using flow::NextHop;
using flow::NextHopIndex;

inline Address address(const char* text) {
  return *Address::parse(text);
}

inline MacWord mac_word(const std::string& text) {
  MacWord mac = kMacResolved;
  for (std::size_t i = 0; i < 6; ++i)
    mac |= std::stoull(text.substr(3 * i, 2), nullptr, 16) << 8 * i;
  return mac;
}

// Here are `north` (10.9.1.1/24, fd09:1::1/64) and `south` (10.9.2.1/24, fd09:2::1/64), there, in
// the namespace of a process that sleeps, their other ends with addresses ending in 2.
class NeighboursTest : public testing::Test {
 protected:
  static constexpr const char* kNorthMac = "02:00:00:00:01:02";
  static constexpr const char* kSouthMac = "02:00:00:00:02:02";

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "makes network namespaces: run as root";
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    there_ = fork();
    if (there_ == 0) {
      if (unshare(CLONE_NEWNET) == 0) pause();
      _exit(1);
    }
    const auto space = [](const std::string& whose) {
      std::array<char, 64> name{};
      return readlink(("/proc/" + whose + "/ns/net").c_str(), name.data(), name.size() - 1) > 0
                 ? std::string(name.data())
                 : std::string();
    };
    for (int i = 0; i < 500 && space(std::to_string(there_)) == space("self"); ++i)
      usleep(10000);
    for (const char* side : {"north", "south"}) {
      const std::string name(side), number = name == "north" ? "1" : "2";
      run("ip link add " + name + " type veth peer name " + name + " address " +
          (name == "north" ? kNorthMac : kSouthMac) + " netns " + std::to_string(there_));
      for (const std::string where : {"", "there "}) {
        const std::string last = where.empty() ? "1" : "2";
        const std::string ip = where.empty() ? "ip" : there() + "ip";
        run(ip + " addr add 10.9." + number + "." + last + "/24 dev " + name);
        run(ip + " addr add fd09:" + number + "::" + last + "/64 nodad dev " + name);
        run(ip + " link set " + name + " up");
      }
    }
  }

  void TearDown() override {
    if (there_ <= 0) return;
    kill(there_, SIGKILL);
    waitpid(there_, nullptr, 0);
  }

  static void run(const std::string& command) {
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  std::string there() const { return "nsenter -t " + std::to_string(there_) + " -n "; }

  // A NextHops with a worker that is never in the middle of a burst.
  class Mirrored : public NextHops {
   public:
    Mirrored(std::vector<Port> ports, std::uint32_t hops)
        : NextHops(std::move(ports), hops, qsbr_) {}

   private:
    inline static Qsbr qsbr_;
  };
  static std::vector<NextHops::Port> both_ports() {
    return {{"north", 1500, std::nullopt}, {"south", 1400, std::nullopt}};
  }

  // Polls as control does, until `condition` or for five seconds.
  static bool soon(NextHops& neighbours, const std::function<bool()>& condition,
                   std::chrono::milliseconds patience = std::chrono::seconds(5)) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
      neighbours.poll();
      if (condition()) return true;
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  static NextHopIndex resolve(NextHops& neighbours, const char* destination,
                              const char* source = "0.0.0.0", std::uint32_t allocation = 1) {
    return neighbours.resolve({address(source), address(destination), allocation});
  }
  // "port gateway", or "none".
  static std::string way(NextHops& neighbours, const char* destination,
                         const char* source = "0.0.0.0") {
    const NextHopIndex index = resolve(neighbours, destination, source);
    if (index == kNoNextHop) return "none";
    neighbours.release(index);
    const NextHop& hop = neighbours.table()[static_cast<std::uint32_t>(index)];
    return std::to_string(hop.port) + " " + hop.gateway.to_string();
  }
  static std::string way_soon(NextHops& neighbours, const char* destination,
                              const std::string& expected, const char* source = "0.0.0.0") {
    soon(neighbours, [&] { return way(neighbours, destination, source) == expected; });
    return way(neighbours, destination, source);
  }

  // Held for good.
  static NextHop& hop_to(NextHops& neighbours, const char* destination) {
    return neighbours.table()[static_cast<std::uint32_t>(resolve(neighbours, destination))];
  }

  pid_t there_ = -1;
};

}  // namespace turnpike::kernel

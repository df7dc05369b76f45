// What a shared interface does to its network namespace, and that nothing of it stays. Each test
// works in a namespace of its own, which ends with the process; it needs root.
#include "dataplane/shared_nic.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "kernel/port_reservation.h"

namespace turnpike::dataplane {
namespace {

constexpr PortRange kPorts{50000, 50099};
constexpr const char* kReserved = "/proc/sys/net/ipv4/ip_local_reserved_ports";

int shell(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str());
}

std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return text;
  std::array<char, 4096> part{};
  for (std::size_t got = 0; (got = fread(part.data(), 1, part.size(), pipe)) > 0;)
    text.append(part.data(), got);
  pclose(pipe);
  return text;
}

// Two interfaces joined to each other, here and in a namespace beside: `near` is 10.9.0.1, `far`
// 10.9.0.2 in a child namespace kept by a process that sleeps.
class SharedNicTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "makes network namespaces: run as root";
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    far_ = fork();
    if (far_ == 0) {
      _exit(unshare(CLONE_NEWNET) == 0 && pause() != 0 ? 0 : 1);
    }
    const std::string pid = std::to_string(far_);
    // The child has its namespace once an interface can be made there that is not seen here.
    const std::string other = "test \"$(readlink /proc/" + pid +
                              "/ns/net)\" != \"$(readlink /proc/" + std::to_string(getpid()) +
                              "/task/" + std::to_string(gettid()) + "/ns/net)\"";
    for (int i = 0; i < 100 && shell(other) != 0; ++i)
      usleep(10000);
    ASSERT_EQ(shell("ip link add near type veth peer name far netns " + pid), 0);
    ASSERT_EQ(
        shell(
            "ip addr add 10.9.0.1/24 dev near && ip addr add fd09::1/64 dev near nodad && "
            "ip link set near up && sysctl -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0"),
        0);
    ASSERT_EQ(shell("nsenter -t " + pid +
                    " -n sh -c 'ip addr add 10.9.0.2/24 dev far;"
                    "ip addr add fd09::2/64 dev far nodad;"
                    "ip link set far up'"),
              0);
  }
  void TearDown() override {
    if (far_ <= 0) return;
    kill(far_, SIGKILL);
    waitpid(far_, nullptr, 0);
  }

  // Whether the kernel here gets a datagram that `far` sends to `port`.
  bool kernel_gets(std::uint16_t port) {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_port = htons(port);
    EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&here), sizeof here), 0);
    send_from_far(port);
    pollfd wait{fd, POLLIN, 0};
    const bool got = poll(&wait, 1, 300) == 1;
    close(fd);
    return got;
  }

  // To which of these ports a sender at `far` is told that nobody listens there: "53 50000 ".
  std::string refused(const std::string& address, const std::string& ports) const {
    const std::string script =
        "import socket\n"
        "for port in (" +
        ports +
        "):\n"
        "  s = socket.socket(socket.AF_INET6 if ':' in '" +
        address +
        "' else socket.AF_INET,"
        " socket.SOCK_DGRAM)\n"
        "  s.settimeout(0.3)\n"
        "  s.connect(('" +
        address +
        "', port))\n"
        "  s.send(b'x')\n"
        "  try: s.recv(1)\n"
        "  except ConnectionRefusedError: print(port, end=' ')\n"
        "  except TimeoutError: pass\n";
    return output_of("nsenter -t " + std::to_string(far_) + " -n python3 -c \"" + script + "\"");
  }

  void send_from_far(std::uint16_t port) const {
    EXPECT_EQ(shell("nsenter -t " + std::to_string(far_) +
                    " -n bash -c 'echo x >/dev/udp/10.9.0.1/" + std::to_string(port) + "'"),
              0);
  }

  static std::vector<Endpoint> listeners() {
    return {{Address::v4(10, 9, 0, 1), 3478}, {*Address::parse("fd09::1"), 3478}};
  }
  static std::vector<RelayedAddress> relayed() {
    return {{Address::v4(10, 9, 0, 1), std::nullopt}, {*Address::parse("fd09::1"), std::nullopt}};
  }

  pid_t far_ = -1;
};

// An XDP program that passes everything; `name` is its own and its map's `map_name`.
std::optional<int> attach_xdp(const char* name, const char* map_name) {
  const int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, map_name, 4, 8, 1, nullptr);
  const bpf_insn code[] = {
      {BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map},
      {0, 0, 0, 0, 0},
      {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 2},  // XDP_PASS
      {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
  };
  const int program = bpf_prog_load(BPF_PROG_TYPE_XDP, name, "BSD", code, std::size(code), nullptr);
  const int index = static_cast<int>(if_nametoindex("near"));
  const bool attached = program >= 0 && bpf_xdp_attach(index, program, 0, nullptr) == 0;
  if (map >= 0) close(map);
  if (program >= 0) close(program);
  return attached ? std::optional(index) : std::nullopt;
}

std::uint32_t attached(int index) {
  std::uint32_t id = 0;
  return bpf_xdp_query_id(index, 0, &id) == 0 ? id : 0;
}

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST_F(SharedNicTest, KeepsRelaysUdpFromTheKernelAndNothingElse) {
  ASSERT_TRUE(kernel_gets(3478));
  {
    const SharedNic nic("near", SharedNic::Mode::kPacket, listeners(), relayed(), kPorts);
    EXPECT_FALSE(kernel_gets(3478));
    EXPECT_FALSE(kernel_gets(50000));
    EXPECT_FALSE(kernel_gets(50099));
    EXPECT_TRUE(kernel_gets(49999));
    EXPECT_TRUE(kernel_gets(50100));
    EXPECT_TRUE(kernel_gets(53));
  }
  EXPECT_TRUE(kernel_gets(3478));
  EXPECT_EQ(output_of("nft list ruleset"), "");
}

TEST_F(SharedNicTest, LetsPacketSocketsSeeWhatTheKernelDoesNotGet) {
  const SharedNic nic("near", SharedNic::Mode::kPacket, listeners(), relayed(), kPorts);
  const int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
  ASSERT_GE(fd, 0);
  send_from_far(3478);
  pollfd wait{fd, POLLIN, 0};
  EXPECT_EQ(poll(&wait, 1, 2000), 1);
  close(fd);
}

TEST_F(SharedNicTest, RefusesAnInterfaceThatHasARelay) {
  const SharedNic first("near", SharedNic::Mode::kPacket, listeners(), relayed(), kPorts);
  const std::string why = refusal([] {
    const SharedNic second("near", SharedNic::Mode::kXdp, listeners(), relayed(), kPorts);
  });
  EXPECT_NE(why.find("another Turnpike works on it"), std::string::npos) << why;
  EXPECT_NE(output_of("nft list ruleset").find("turnpike_"), std::string::npos)
      << "the first one's rules went";
}

TEST_F(SharedNicTest, RemovesRulesAndProgramsOfAKilledRelay) {
  ASSERT_EQ(shell("nft add table inet turnpike_77"), 0);
  ASSERT_EQ(shell("nft add table inet operators_own"), 0);
  const auto index = attach_xdp("turnpike_filter", "tpk_live_ports");
  ASSERT_TRUE(index);
  { const SharedNic nic("near", SharedNic::Mode::kXdp, listeners(), relayed(), kPorts); }
  EXPECT_EQ(attached(*index), 0U);
  EXPECT_EQ(output_of("nft list tables"), "table inet operators_own\n");
}

TEST_F(SharedNicTest, RefusesAnInterfaceWithSomebodyElsesProgram) {
  for (const auto& [name, map] :
       {std::pair{"another_one", "tpk_live_ports"}, std::pair{"turnpike_filter", "another_map"}}) {
    const auto index = attach_xdp(name, map);
    ASSERT_TRUE(index) << name;
    const std::uint32_t program = attached(*index);
    const std::string why = refusal(
        [] { const SharedNic nic("near", SharedNic::Mode::kXdp, listeners(), relayed(), kPorts); });
    EXPECT_NE(why.find("id " + std::to_string(program)), std::string::npos) << why;
    EXPECT_NE(why.find("ip link set dev near xdp off"), std::string::npos) << why;
    EXPECT_EQ(attached(*index), program) << "it was removed";
    bpf_xdp_detach(*index, 0, nullptr);
  }
}

TEST_F(SharedNicTest, WorksBesideSomebodyElsesProgramByPacketSockets) {
  const auto index = attach_xdp("another_one", "another_map");
  ASSERT_TRUE(index);
  const std::uint32_t program = attached(*index);
  { const SharedNic nic("near", SharedNic::Mode::kPacket, listeners(), relayed(), kPorts); }
  EXPECT_EQ(attached(*index), program);
}

TEST_F(SharedNicTest, SaysWhichInterfaceIsMissing) {
  const std::string why = refusal([] {
    const SharedNic nic("nowhere", SharedNic::Mode::kXdp, listeners(), relayed(), kPorts);
  });
  EXPECT_NE(why.find("nowhere"), std::string::npos) << why;
}

TEST_F(SharedNicTest, KernelDoesNotTellWhichRelayPortsNobodyHas) {
  ASSERT_EQ(refused("10.9.0.1", "3478, 50000"), "3478 50000 ");
  for (const auto mode : {SharedNic::Mode::kXdp, SharedNic::Mode::kPacket}) {
    const SharedNic nic("near", mode, listeners(), relayed(), kPorts);
    EXPECT_TRUE(nic.is_silent());
    for (const char* address : {"10.9.0.1", "fd09::1"}) {
      EXPECT_EQ(refused(address, "53, 3478, 49999, 50000, 50099, 50100"), "53 49999 50100 ")
          << address;
    }
  }
  EXPECT_EQ(refused("10.9.0.1", "3478, 50000"), "3478 50000 ");
  EXPECT_EQ(output_of("nft list ruleset"), "");
}

TEST_F(SharedNicTest, SocketsOfTheHostsOwnAmongRelayPortsStillHear) {
  const SharedNic nic("near", SharedNic::Mode::kXdp, listeners(), relayed(), kPorts);
  EXPECT_TRUE(kernel_gets(50000));
}

// As what comes by a VLAN's interface on the port.
TEST_F(SharedNicTest, KernelIsSilentAboutWhatComesByOtherInterfacesToo) {
  ASSERT_EQ(shell("ip link add other type veth peer name beside && ip link set other up"), 0);
  const SharedNic nic("other", SharedNic::Mode::kPacket, listeners(), relayed(), kPorts);
  EXPECT_EQ(refused("10.9.0.1", "53, 3478, 50000"), "53 ");
}

class PortReservationTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "makes network namespaces: run as root";
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
  }
  static std::string reserved() {
    std::string line;
    std::getline(std::ifstream(kReserved), line);
    return line;
  }
  static void reserve(const std::string& ports) { std::ofstream(kReserved) << ports << "\n"; }
};

TEST_F(PortReservationTest, AddsToWhatIsThereAndPutsItBack) {
  for (const std::string before : {"", "8080,9000-9010", "49152-65535"}) {
    reserve(before);
    {
      const kernel::PortReservation reservation(50000, 50099);
      EXPECT_TRUE(reservation.holds());
      EXPECT_NE(reserved(), "");
    }
    EXPECT_EQ(reserved(), before);
  }
}

TEST_F(PortReservationTest, MergesRangesThatTouch) {
  reserve("49999,60000");
  const kernel::PortReservation reservation(50000, 50099);
  EXPECT_EQ(reserved(), "49999-50099,60000");
}

TEST_F(PortReservationTest, KeepsWhatTheOperatorSetMeanwhile) {
  {
    const kernel::PortReservation reservation(50000, 50099);
    reserve("1234");
  }
  EXPECT_EQ(reserved(), "1234");
}

TEST_F(PortReservationTest, LeavesToAnotherRelayWhatThatStillNeeds) {
  auto first = std::make_unique<kernel::PortReservation>(50000, 50099);
  const kernel::PortReservation second(60000, 60099);
  EXPECT_TRUE(second.holds());
  EXPECT_EQ(reserved(), "50000-50099,60000-60099");
  first.reset();
  EXPECT_EQ(reserved(), "50000-50099,60000-60099");
}

TEST_F(PortReservationTest, OfTwoRelaysWithOneRangeTheSecondToEndLosesNothing) {
  const kernel::PortReservation first(50000, 50099);
  { const kernel::PortReservation second(50000, 50099); }
  EXPECT_EQ(reserved(), "50000-50099");
}

TEST_F(PortReservationTest, PutsBackWhatAKilledRunFound) {
  reserve("8080");
  const pid_t child = fork();
  if (child == 0) {
    const kernel::PortReservation reservation(50000, 50099);
    kill(getpid(), SIGKILL);
  }
  waitpid(child, nullptr, 0);
  ASSERT_EQ(reserved(), "8080,50000-50099");
  { const kernel::PortReservation reservation(40000, 40001); }
  EXPECT_EQ(reserved(), "8080");
}

}  // namespace
}  // namespace turnpike::dataplane

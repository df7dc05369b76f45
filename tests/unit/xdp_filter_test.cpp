// Which frames the XDP filter takes from the kernel: the program
// itself runs, by the kernel's test facility, with one AF_XDP socket in its map. It loads as root
// only.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "turnpike/address.h"
#include "xdp_filter_object.h"

namespace turnpike {
namespace {

using Frame = std::vector<std::uint8_t>;

constexpr std::uint8_t kIcmp = 1, kTcp = 6, kUdp = 17, kFragment = 44, kIcmpv6 = 58;
constexpr std::uint16_t kMore = 0x2000;

const Address kListener4 = Address::v4(192, 0, 2, 1);
const Address kRelay4 = Address::v4(192, 0, 2, 2);
const Address kOther4 = Address::v4(198, 51, 100, 9);
const Address kListener6 = *Address::parse("2001:db8::1");
const Address kRelay6 = *Address::parse("2001:db8::2");
const Address kOther6 = *Address::parse("2001:db8:9::9");
constexpr std::uint16_t kStun = 3478, kLive = 50001, kDead = 50002;

void put16(Frame& frame, unsigned value) {
  frame.push_back(static_cast<std::uint8_t>(value >> 8));
  frame.push_back(static_cast<std::uint8_t>(value));
}

Frame operator+(Frame a, const Frame& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Frame ethernet(unsigned type, const Frame& payload, const Frame& tags = {}) {
  Frame frame{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
  frame = frame + tags;
  put16(frame, type);
  return frame + payload;
}

Frame udp(std::uint16_t source, std::uint16_t destination) {
  Frame frame;
  for (const unsigned value : {unsigned{source}, unsigned{destination}, 8U + 4U, 0U})
    put16(frame, value);
  return frame + Frame{1, 2, 3, 4};
}

Frame ipv4(const Address& from, const Address& to, std::uint8_t protocol, const Frame& payload,
           unsigned fragment = 0, std::uint16_t id = 7, std::uint8_t words = 5) {
  Frame frame{static_cast<std::uint8_t>(0x40 | words), 0};
  put16(frame, static_cast<unsigned>(words * 4 + payload.size()));
  put16(frame, id);
  put16(frame, fragment);
  frame = frame + Frame{64, protocol, 0, 0};
  frame.insert(frame.end(), from.bytes.begin(), from.bytes.begin() + 4);
  frame.insert(frame.end(), to.bytes.begin(), to.bytes.begin() + 4);
  frame.resize(std::max<std::size_t>(20, words * 4U), 1);
  return frame + payload;
}

Frame ipv6(const Address& from, const Address& to, std::uint8_t next, const Frame& payload) {
  Frame frame{0x60, 0, 0, 0};
  put16(frame, static_cast<unsigned>(payload.size()));
  frame.push_back(next);
  frame.push_back(64);
  frame.insert(frame.end(), from.bytes.begin(), from.bytes.end());
  frame.insert(frame.end(), to.bytes.begin(), to.bytes.end());
  return frame + payload;
}

Frame fragment6(std::uint8_t next, unsigned offset_and_more, std::uint8_t id,
                const Frame& payload) {
  Frame frame{next, 0};
  put16(frame, offset_and_more);
  return frame + Frame{0, 0, 0, id} + payload;
}

Frame icmp(std::uint8_t type, std::uint8_t code, const Frame& quoted) {
  return Frame{type, code, 0, 0, 0, 0, 0, 0} + quoted;
}

Frame v4(const Frame& packet) {
  return ethernet(0x0800, packet);
}
Frame v6(const Frame& packet) {
  return ethernet(0x86DD, packet);
}
Frame udp4(const Address& to, std::uint16_t port) {
  return v4(ipv4(kOther4, to, kUdp, udp(4000, port)));
}
Frame udp6(const Address& to, std::uint16_t port) {
  return v6(ipv6(kOther6, to, kUdp, udp(4000, port)));
}

// As in the filter.
struct MapAddress {
  std::array<std::uint8_t, 16> bytes;
  std::uint32_t family;
};
struct MapListener {
  MapAddress address;
  std::uint32_t port;
};
MapAddress to_map(const Address& address) {
  return {address.bytes, address.family == Family::kIpv4 ? 4U : 6U};
}

class XdpFilter : public testing::Test {
 protected:
  static constexpr std::size_t kBitmapBytes = 256 * 65536 / 8;

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "loads a program into the kernel: run as root";
    object_ = bpf_object__open_mem(kXdpFilterObject, sizeof kXdpFilterObject, nullptr);
    ASSERT_NE(object_, nullptr);
    ASSERT_EQ(bpf_object__load(object_), 0);
    program_ = bpf_program__fd(bpf_object__find_program_by_name(object_, "turnpike_filter"));
    for (const auto& [address, port] :
         {std::pair{kListener4, kStun}, std::pair{kListener6, kStun}}) {
      const MapListener key{to_map(address), port};
      const std::uint8_t yes = 1;
      ASSERT_EQ(bpf_map_update_elem(map("tpk_listeners"), &key, &yes, BPF_ANY), 0);
    }
    for (const Address& address : {kListener4, kListener6, kRelay4, kRelay6}) {
      const MapAddress key = to_map(address);
      const std::uint8_t yes = 1;
      ASSERT_EQ(bpf_map_update_elem(map("tpk_addresses"), &key, &yes, BPF_ANY), 0);
    }
    std::uint32_t index = 0;
    for (const Address& address : {kRelay4, kRelay6}) {
      const MapAddress key = to_map(address);
      ASSERT_EQ(bpf_map_update_elem(map("tpk_relayed"), &key, &index, BPF_ANY), 0);
      ++index;
    }
    bits_ = static_cast<std::uint64_t*>(
        mmap(nullptr, kBitmapBytes, PROT_READ | PROT_WRITE, MAP_SHARED, map("tpk_live_ports"), 0));
    ASSERT_NE(bits_, MAP_FAILED);
    set_live(0, true);
    set_live(1, true);
    put_socket();
  }

  void TearDown() override {
    if (bits_ != nullptr && bits_ != MAP_FAILED) munmap(bits_, kBitmapBytes);
    if (socket_ >= 0) close(socket_);
    bpf_object__close(object_);
  }

  int map(const char* name) { return bpf_map__fd(bpf_object__find_map_by_name(object_, name)); }

  void set_live(std::size_t relayed, bool live) {
    std::uint64_t& word = bits_[relayed * 1024 + kLive / 64];
    word = live ? word | std::uint64_t{1} << kLive % 64 : 0;
  }

  // The map of sockets takes one that has a ring; it needs no interface.
  void put_socket() {
    socket_ = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    const int ring = 64;
    ASSERT_EQ(setsockopt(socket_, SOL_XDP, XDP_RX_RING, &ring, sizeof ring), 0);
    const std::uint32_t queue = 0;
    ASSERT_EQ(bpf_map_update_elem(map("xsks_map"), &queue, &socket_, BPF_ANY), 0);
  }

  // Whether the relay gets `frame`; otherwise the kernel does.
  bool takes(const Frame& frame) {
    Frame after(frame.size() + 64);
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.data_out = after.data();
    options.data_size_out = static_cast<std::uint32_t>(after.size());
    options.repeat = 1;
    EXPECT_EQ(bpf_prog_test_run_opts(program_, &options), 0) << frame.size();
    after.resize(options.data_size_out);
    EXPECT_EQ(after, frame) << "the filter changed a frame";
    EXPECT_TRUE(options.retval == XDP_REDIRECT || options.retval == XDP_PASS) << options.retval;
    return options.retval == XDP_REDIRECT;
  }

  bpf_object* object_ = nullptr;
  std::uint64_t* bits_ = nullptr;
  int program_ = -1;
  int socket_ = -1;
};

TEST_F(XdpFilter, TakesUdpToAListener) {
  EXPECT_TRUE(takes(udp4(kListener4, kStun)));
  EXPECT_TRUE(takes(udp6(kListener6, kStun)));
}

TEST_F(XdpFilter, TakesUdpToALiveRelayPort) {
  EXPECT_TRUE(takes(udp4(kRelay4, kLive)));
  EXPECT_TRUE(takes(udp6(kRelay6, kLive)));
}

TEST_F(XdpFilter, FollowsTheBitmapAtOnce) {
  set_live(0, false);
  EXPECT_FALSE(takes(udp4(kRelay4, kLive)));
  EXPECT_TRUE(takes(udp6(kRelay6, kLive))) << "each relayed address has ports of its own";
  set_live(0, true);
  EXPECT_TRUE(takes(udp4(kRelay4, kLive)));
}

TEST_F(XdpFilter, LeavesOtherUdpToTheKernel) {
  EXPECT_FALSE(takes(udp4(kListener4, kStun + 1)));
  EXPECT_FALSE(takes(udp4(kListener4, kLive)));
  EXPECT_FALSE(takes(udp4(kRelay4, kStun)));
  EXPECT_FALSE(takes(udp4(kRelay4, kDead)));
  EXPECT_FALSE(takes(udp4(kOther4, kStun)));
  EXPECT_FALSE(takes(udp6(kListener6, kStun + 1)));
  EXPECT_FALSE(takes(udp6(kRelay6, kDead)));
  EXPECT_FALSE(takes(udp6(kOther6, kLive)));
}

TEST_F(XdpFilter, LooksAtTheDestinationPortOfUdpAlone) {
  EXPECT_FALSE(takes(v4(ipv4(kRelay4, kOther4, kUdp, udp(kLive, 4000)))));
}

TEST_F(XdpFilter, LeavesOtherProtocolsToTheKernel) {
  EXPECT_FALSE(takes(v4(ipv4(kOther4, kListener4, kTcp, udp(4000, kStun)))));
  EXPECT_FALSE(takes(v6(ipv6(kOther6, kListener6, kTcp, udp(4000, kStun)))));
  EXPECT_FALSE(takes(ethernet(0x0806, Frame(28, 1))));
  EXPECT_FALSE(takes(v4(ipv4(kOther4, kListener4, kIcmp, icmp(8, 0, Frame(56, 0))))));
  EXPECT_FALSE(takes(v6(ipv6(kOther6, kListener6, kIcmpv6, icmp(135, 0, Frame(24, 0))))));
}

TEST_F(XdpFilter, LooksBehindTwoTagsAtMost) {
  const Frame packet = ipv4(kOther4, kListener4, kUdp, udp(4000, kStun));
  const Frame other = ipv4(kOther4, kOther4, kUdp, udp(4000, kStun));
  for (const Frame& tags :
       {Frame{0x81, 0, 0, 5}, Frame{0x88, 0xA8, 0, 5}, Frame{0x88, 0xA8, 0, 5, 0x81, 0, 0, 6}}) {
    EXPECT_TRUE(takes(ethernet(0x0800, packet, tags)));
    EXPECT_TRUE(takes(ethernet(0x86DD, ipv6(kOther6, kListener6, kUdp, udp(4000, kStun)), tags)));
    EXPECT_FALSE(takes(ethernet(0x0800, other, tags)));
    EXPECT_FALSE(takes(ethernet(0x0806, Frame(28, 1), tags)));
  }
  EXPECT_FALSE(takes(ethernet(0x0800, packet, {0x81, 0, 0, 5, 0x81, 0, 0, 6, 0x81, 0, 0, 7})));
}

TEST_F(XdpFilter, SkipsIpv4Options) {
  EXPECT_TRUE(takes(v4(ipv4(kOther4, kListener4, kUdp, udp(4000, kStun), 0, 7, 15))));
  EXPECT_FALSE(takes(v4(ipv4(kOther4, kListener4, kUdp, udp(4000, kStun), 0, 7, 4))))
      << "a header of less than 20 bytes";
}

TEST_F(XdpFilter, TakesIcmpErrorsAboutTheRelaysPackets) {
  for (const std::uint8_t type : {3, 11}) {
    for (const auto& [from, port] : {std::pair{kListener4, kStun}, std::pair{kRelay4, kLive}}) {
      const Frame quoted = ipv4(from, kOther4, kUdp, udp(port, 4000));
      EXPECT_TRUE(takes(v4(ipv4(kOther4, from, kIcmp, icmp(type, 1, quoted))))) << int{type};
    }
  }
  for (const std::uint8_t type : {1, 2, 3}) {
    for (const auto& [from, port] : {std::pair{kListener6, kStun}, std::pair{kRelay6, kLive}}) {
      const Frame quoted = ipv6(from, kOther6, kUdp, udp(port, 4000));
      EXPECT_TRUE(takes(v6(ipv6(kOther6, from, kIcmpv6, icmp(type, 0, quoted))))) << int{type};
    }
  }
}

TEST_F(XdpFilter, LeavesOtherIcmpToTheKernel) {
  const Frame ours4 = ipv4(kRelay4, kOther4, kUdp, udp(kLive, 4000));
  const Frame ours6 = ipv6(kRelay6, kOther6, kUdp, udp(kLive, 4000));
  for (const std::uint8_t type : {0, 4, 5, 8, 12})
    EXPECT_FALSE(takes(v4(ipv4(kOther4, kRelay4, kIcmp, icmp(type, 0, ours4))))) << int{type};
  for (const std::uint8_t type : {0, 4, 128, 133, 137})
    EXPECT_FALSE(takes(v6(ipv6(kOther6, kRelay6, kIcmpv6, icmp(type, 0, ours6))))) << int{type};
  const auto about4 = [&](const Frame& quoted) {
    return takes(v4(ipv4(kOther4, kRelay4, kIcmp, icmp(3, 3, quoted))));
  };
  EXPECT_FALSE(about4(ipv4(kRelay4, kOther4, kUdp, udp(kDead, 4000))));
  EXPECT_FALSE(about4(ipv4(kRelay4, kOther4, kUdp, udp(4000, kLive))));
  EXPECT_FALSE(about4(ipv4(kRelay4, kOther4, kTcp, udp(kLive, 4000))));
  EXPECT_FALSE(about4(ipv4(kRelay4, kOther4, kUdp, udp(kLive, 4000), 100)))
      << "a later fragment has no ports";
  const auto about6 = [&](const Frame& quoted) {
    return takes(v6(ipv6(kOther6, kRelay6, kIcmpv6, icmp(1, 4, quoted))));
  };
  EXPECT_FALSE(about6(ipv6(kRelay6, kOther6, kUdp, udp(kDead, 4000))));
  EXPECT_FALSE(about6(ipv6(kRelay6, kOther6, kTcp, udp(kLive, 4000))));
  const auto piece = [](unsigned offset, std::uint16_t port) {
    return ipv6(kRelay6, kOther6, kFragment, fragment6(kUdp, offset, 9, udp(port, 4000)));
  };
  EXPECT_TRUE(about6(piece(1, kLive))) << "our first fragment";
  EXPECT_FALSE(about6(piece(1, kDead)));
  EXPECT_FALSE(about6(piece(801, kLive))) << "a later one";
}

TEST_F(XdpFilter, TakesFragmentsOfWhatIsOursInAnyOrder) {
  const auto piece4 = [](const Address& from, const Address& to, unsigned fragment,
                         std::uint16_t id, std::uint16_t port) {
    return v4(ipv4(from, to, kUdp, udp(4000, port), fragment, id));
  };
  EXPECT_TRUE(takes(piece4(kOther4, kRelay4, 100, 9, kDead))) << "before its first fragment";
  EXPECT_TRUE(takes(piece4(kOther4, kRelay4, kMore, 9, kLive)));
  EXPECT_TRUE(takes(piece4(kOther4, kRelay4, kMore | 100, 9, kLive)));
  EXPECT_TRUE(takes(piece4(kOther4, kRelay4, 200, 9, kDead))) << "what looks like a port is data";
  EXPECT_TRUE(takes(piece4(kOther4, kListener4, 100, 9, kDead)));
  EXPECT_FALSE(takes(piece4(kOther4, kOther4, 100, 9, kLive))) << "to another address";
  EXPECT_FALSE(takes(v4(ipv4(kOther4, kRelay4, kTcp, udp(4000, kLive), 100, 9)))) << "no UDP";
}

TEST_F(XdpFilter, LeavesFragmentsBehindAFirstThatIsNotOursToTheKernel) {
  const auto piece4 = [](const Address& from, unsigned fragment, std::uint16_t id) {
    return v4(ipv4(from, kRelay4, kUdp, udp(4000, kDead), fragment, id));
  };
  EXPECT_FALSE(takes(piece4(kOther4, kMore, 11)));
  EXPECT_FALSE(takes(piece4(kOther4, kMore | 100, 11)));
  EXPECT_FALSE(takes(piece4(kOther4, 200, 11)));
  EXPECT_TRUE(takes(piece4(kOther4, 200, 12))) << "another datagram";
  EXPECT_TRUE(takes(piece4(kListener4, 200, 11))) << "another sender";
}

TEST_F(XdpFilter, TreatsIpv6FragmentsLikewiseAndAtomicOnesAsWhole) {
  const auto piece6 = [](std::uint8_t next, unsigned offset, std::uint8_t id, std::uint16_t port) {
    return v6(ipv6(kOther6, kRelay6, kFragment, fragment6(next, offset, id, udp(4000, port))));
  };
  EXPECT_TRUE(takes(piece6(kUdp, 800, 9, kDead)));
  EXPECT_TRUE(takes(piece6(kUdp, 1, 9, kLive)));
  EXPECT_TRUE(takes(piece6(kUdp, 801, 9, kDead)));
  EXPECT_FALSE(takes(piece6(kUdp, 1, 11, kDead)));
  EXPECT_FALSE(takes(piece6(kUdp, 800, 11, kLive)));
  EXPECT_FALSE(takes(piece6(kTcp, 800, 12, kLive)));
  EXPECT_TRUE(takes(piece6(kUdp, 0, 13, kLive)));
  EXPECT_TRUE(takes(piece6(kUdp, 0, 13, kLive))) << "the same identification says nothing";
  EXPECT_FALSE(takes(piece6(kUdp, 0, 13, kDead)));
  EXPECT_TRUE(takes(piece6(kUdp, 800, 13, kDead))) << "an atomic fragment is no first one";
}

TEST_F(XdpFilter, LeavesFramesThatAreCutShortToTheKernel) {
  const Frame quoted4 = ipv4(kRelay4, kOther4, kUdp, udp(kLive, 4000));
  const Frame quoted6 = ipv6(kRelay6, kOther6, kUdp, udp(kLive, 4000));
  const Frame whole[] = {udp4(kListener4, kStun), udp6(kListener6, kStun),
                         v4(ipv4(kOther4, kRelay4, kIcmp, icmp(3, 3, quoted4))),
                         v6(ipv6(kOther6, kRelay6, kIcmpv6, icmp(1, 4, quoted6)))};
  constexpr std::size_t kPayload = 4;
  for (const Frame& frame : whole) {
    for (std::size_t size = 14; size < frame.size() - kPayload; ++size)
      EXPECT_FALSE(takes(Frame(frame.begin(), frame.begin() + static_cast<long>(size)))) << size;
    EXPECT_TRUE(takes(Frame(frame.begin(), frame.end() - kPayload)));
  }
}

TEST_F(XdpFilter, LeavesEverythingToTheKernelWithoutASocket) {
  const std::uint32_t queue = 0;
  ASSERT_EQ(bpf_map_delete_elem(map("xsks_map"), &queue), 0);
  EXPECT_FALSE(takes(udp4(kListener4, kStun)));
}

}  // namespace
}  // namespace turnpike

// The frames in which messages of streams travel: what a worker's own parser makes of them, and
// what comes back.
#include "transport/frames.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::transport {
namespace {

const Endpoint kClient4{Address::v4(198, 51, 100, 1), 1234},
    kServer4{Address::v4(192, 0, 2, 1), 3478};
const Endpoint kClient6{*Address::parse("2001:db8::1"), 1234},
    kServer6{*Address::parse("2001:db8::2"), 443};

std::vector<std::uint8_t> frame_of(const Endpoint& client, const Endpoint& server,
                                   std::size_t size) {
  const FrameHeader header(client, server);
  std::vector<std::uint8_t> frame(header.size() + size);
  std::iota(frame.begin() + static_cast<std::ptrdiff_t>(header.size()), frame.end(), 7);
  header.write(frame.data(), size);
  return frame;
}

TEST(Frames, HaveTheHeadersOfUdp) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{160}, std::size_t{1984}}) {
    const auto four = frame_of(kClient4, kServer4, size);
    const std::uint8_t* ip = four.data() + 14;
    EXPECT_TRUE(wire::ipv4_header_checksum_good(ip, 20));
    EXPECT_EQ(wire::load_be16(ip + wire::ipv4::kTotalLength), 28 + size);
    EXPECT_TRUE(wire::udp_checksum_good(
        wire::pseudo_header_sum_v4(ip + 12, ip + 16, 17, static_cast<std::uint32_t>(8 + size)),
        ip + 20, 8 + size));
    const auto six = frame_of(kClient6, kServer6, size);
    ip = six.data() + 14;
    EXPECT_EQ(wire::load_be16(ip + wire::ipv6::kPayloadLength), 8 + size);
    EXPECT_TRUE(wire::udp_checksum_good(
        wire::pseudo_header_sum_v6(ip + 8, ip + 24, 17, static_cast<std::uint32_t>(8 + size)),
        ip + 40, 8 + size));
  }
}

TEST(Frames, ComeBackWithTheirEndsExchanged) {
  for (const auto& [client, server] :
       {std::pair{kClient4, kServer4}, std::pair{kClient6, kServer6}}) {
    const auto frame = frame_of(server, client, 100);
    Outgoing outgoing;
    ASSERT_TRUE(read_outgoing(frame, outgoing));
    EXPECT_EQ(outgoing.client, client);
    EXPECT_EQ(outgoing.server, server);
    ASSERT_EQ(outgoing.message.size(), 100U);
    EXPECT_EQ(outgoing.message[99], static_cast<std::uint8_t>(7 + 99));
  }
}

TEST(Frames, OfAnythingButUdpAreNone) {
  auto frame = frame_of(kClient4, kServer4, 100);
  frame[14 + wire::ipv4::kProtocol] = wire::ip_protocol::kIcmp;
  Outgoing outgoing;
  EXPECT_FALSE(read_outgoing(frame, outgoing));
}

TEST(Frames, ThatAreShorterThanTheySayAreNone) {
  const auto whole = frame_of(kClient6, kServer6, 10);
  Outgoing outgoing;
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(read_outgoing(stun::Bytes(whole).first(size), outgoing)) << size;
}

}  // namespace
}  // namespace turnpike::transport

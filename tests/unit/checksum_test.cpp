// Sums over bytes: the Internet checksum, CRC-32, and the header fields they cover.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "stun_bytes.h"
#include "turnpike/address.h"
#include "wire/checksum.h"
#include "wire/crc32.h"
#include "wire/headers.h"

namespace turnpike::wire {
namespace {

using stun::test::bytes_of;
using Buffer = std::vector<std::uint8_t>;

// RFC 1071 §3's example.
TEST(Checksum, SumsRfc1071sExample) {
  const Buffer bytes{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(sum_bytes(bytes), 0xddf2);
}

std::uint16_t slow_sum(const std::uint8_t* data, std::size_t size) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < size; ++i)
    sum += i % 2 == 0 ? data[i] << 8 : data[i];
  while (sum > 0xFFFF)
    sum = (sum & 0xFFFF) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

TEST(Checksum, SumsEveryAlignmentAndLength) {
  Buffer bytes(300);
  std::uint32_t state = 1;
  for (auto& byte : bytes)
    byte = static_cast<std::uint8_t>((state = state * 1664525 + 1) >> 24);
  for (std::size_t from = 0; from < 8; ++from) {
    for (std::size_t size = 0; size + from <= 200; ++size) {
      EXPECT_EQ(sum_bytes(bytes.data() + from, size), slow_sum(bytes.data() + from, size));
    }
  }
  const Buffer ones(65535, 0xFF);
  EXPECT_EQ(sum_bytes(ones), slow_sum(ones.data(), ones.size()));
}

TEST(Checksum, OddOffsetSwapsTheSum) {
  const Buffer bytes{0x12, 0x34, 0x56, 0x78, 0x9a};
  const std::uint32_t split =
      std::uint32_t{sum_bytes(bytes.data(), 1)} + at_odd_offset(sum_bytes(bytes.data() + 1, 4));
  EXPECT_EQ(fold(split), sum_bytes(bytes));
}

// RFC 1624 §4: the case where RFC 1141's equation gives 0xFFFF instead of 0.
TEST(Checksum, DifferenceGivesRfc1624sCornerCase) {
  EXPECT_EQ(ChecksumDifference().replace(0x5555, 0x3285).apply(0xdd2f), 0x0000);
}

TEST(Checksum, DifferenceAgreesWithComputingAnew) {
  Buffer bytes{0x45, 0x00, 0x00, 0x54, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11,
               0x00, 0x00, 0xc0, 0x00, 0x02, 0x01, 0xc6, 0x33, 0x64, 0x07};
  store_be16(bytes.data() + ipv4::kChecksum, ipv4_header_checksum(bytes.data(), 20));
  EXPECT_TRUE(ipv4_header_checksum_good(bytes.data(), 20));
  for (std::uint32_t ttl = 0; ttl < 256; ++ttl) {
    const std::uint16_t before = load_be16(bytes.data() + ipv4::kTtl);
    const std::uint16_t old = load_be16(bytes.data() + ipv4::kChecksum);
    bytes[ipv4::kTtl] = static_cast<std::uint8_t>(ttl * 7);
    const std::uint16_t updated =
        ChecksumDifference().replace(before, load_be16(bytes.data() + ipv4::kTtl)).apply(old);
    EXPECT_EQ(updated, ipv4_header_checksum(bytes.data(), 20));
    store_be16(bytes.data() + ipv4::kChecksum, updated);
    EXPECT_TRUE(ipv4_header_checksum_good(bytes.data(), 20));
  }
  bytes[0] ^= 1;
  EXPECT_FALSE(ipv4_header_checksum_good(bytes.data(), 20));
}

// The words are added one by one here, as RFC 768 names them.
TEST(Checksum, UdpOverIpv4MatchesAHandComputedOne) {
  const Buffer source{192, 0, 2, 1};
  const Buffer destination{198, 51, 100, 7};
  Buffer udp{0x13, 0x88, 0x00, 0x35, 0x00, 0x0b, 0xAA, 0xAA, 'h', 'i', '!'};
  std::uint32_t sum = 0xc000 + 0x0201 + 0xc633 + 0x6407 + 0x0011 + 0x000b;
  sum += 0x1388 + 0x0035 + 0x000b + 0x6869 + 0x2100;
  sum = (sum & 0xFFFF) + (sum >> 16);
  sum = (sum & 0xFFFF) + (sum >> 16);
  const std::uint16_t expected = static_cast<std::uint16_t>(~sum);
  EXPECT_EQ(udp_checksum_v4(source.data(), destination.data(), udp.data(), udp.size()), expected);
  store_be16(udp.data() + udp::kChecksum, expected);
  const std::uint16_t pseudo = pseudo_header_sum_v4(source.data(), destination.data(), 17, 11);
  EXPECT_TRUE(udp_checksum_good(pseudo, udp.data(), udp.size()));
  udp.back() ^= 1;
  EXPECT_FALSE(udp_checksum_good(pseudo, udp.data(), udp.size()));
}

TEST(Checksum, UdpOverIpv6VerifiesWhatItComputes) {
  Buffer addresses(32, 0x5A);
  for (std::size_t size = 8; size < 64; ++size) {
    Buffer udp(size, static_cast<std::uint8_t>(size));
    const std::uint16_t checksum =
        udp_checksum_v6(addresses.data(), addresses.data() + 16, udp.data(), size);
    store_be16(udp.data() + udp::kChecksum, checksum);
    EXPECT_TRUE(udp_checksum_good(pseudo_header_sum_v6(addresses.data(), addresses.data() + 16, 17,
                                                       static_cast<std::uint32_t>(size)),
                                  udp.data(), size));
  }
}

TEST(Checksum, UdpResultOfZeroIsSentAsAllOnes) {
  const Buffer zero(4);
  // Pseudo header 0x0011 + 0x000a, header 0x000a, payload the rest to 0xFFFF.
  Buffer udp{0, 0, 0, 0, 0, 10, 0, 0, 0xFF, 0xDA};
  EXPECT_EQ(udp_checksum_v4(zero.data(), zero.data(), udp.data(), udp.size()), 0xFFFF);
  EXPECT_EQ(udp_on_wire(0), 0xFFFF);
  EXPECT_EQ(udp_on_wire(1), 1);
}

TEST(Headers, LoadsAndStoresAreBigEndianAtAnyAlignment) {
  Buffer bytes(16);
  for (std::size_t at = 0; at < 8; ++at) {
    store_be64(bytes.data() + at, 0x0102030405060708);
    EXPECT_EQ(bytes[at], 1);
    EXPECT_EQ(bytes[at + 7], 8);
    EXPECT_EQ(load_be16(bytes.data() + at), 0x0102);
    EXPECT_EQ(load_be32(bytes.data() + at), 0x01020304U);
    EXPECT_EQ(load_be64(bytes.data() + at), 0x0102030405060708U);
  }
}

TEST(Headers, Ipv6ClassAndFlowShareTheFirstWord) {
  Buffer header(40);
  ipv6::set_class_and_flow(header.data(), 0xB8, 0xABCDE);
  EXPECT_EQ(ipv6::version(header.data()), 6);
  EXPECT_EQ(ipv6::traffic_class(header.data()), 0xB8);
  EXPECT_EQ(ipv6::flow_label(header.data()), 0xABCDEU);
}

TEST(Crc32, MatchesTheCheckValueAtEverySplit) {
  EXPECT_EQ(wire::crc32(bytes_of("123456789")), 0xCBF43926U);
  EXPECT_EQ(wire::crc32({}), 0U);
  EXPECT_EQ(wire::crc32(bytes_of("The quick brown fox jumps over the lazy dog")), 0x414FA339U);
}

}  // namespace
}  // namespace turnpike::wire

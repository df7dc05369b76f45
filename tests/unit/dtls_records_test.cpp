// DTLS's records as they are read without state, and cookies.
#include "wire/dtls_records.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "wire/dtls_cookie.h"

namespace turnpike::wire {
namespace {

using Datagram = std::vector<std::uint8_t>;

Datagram hello(const Datagram& cookie) {
  Datagram body{0xFE, 0xFD};
  for (std::uint8_t i = 0; i < 32; ++i)
    body.push_back(i);
  body.push_back(0);  // session
  body.push_back(static_cast<std::uint8_t>(cookie.size()));
  body.insert(body.end(), cookie.begin(), cookie.end());
  for (const std::uint8_t byte : {0, 2, 0xC0, 0x2B, 1, 0})
    body.push_back(byte);
  const auto size = static_cast<std::uint8_t>(body.size());
  Datagram made{22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 7, 0, static_cast<std::uint8_t>(12 + size)};
  for (const std::uint8_t byte :
       {std::uint8_t{1}, std::uint8_t{0}, std::uint8_t{0}, size, std::uint8_t{0}, std::uint8_t{0},
        std::uint8_t{0}, std::uint8_t{0}, std::uint8_t{0}, std::uint8_t{0}, std::uint8_t{0}, size})
    made.push_back(byte);
  made.insert(made.end(), body.begin(), body.end());
  return made;
}

HelloState read(const Datagram& datagram) {
  ClientHello out;
  return read_client_hello(datagram, out);
}

TEST(DtlsHello, IsReadWithItsCookie) {
  ClientHello out;
  const Datagram with = hello({1, 2, 3});
  ASSERT_EQ(read_client_hello(with, out), HelloState::kWhole);
  EXPECT_EQ(out.cookie.size(), 3U);
  EXPECT_EQ(out.cookie[2], 3);
  EXPECT_EQ(out.random[31], 31);
  EXPECT_EQ(out.sequence[5], 7);
  const Datagram without = hello({});
  ASSERT_EQ(read_client_hello(without, out), HelloState::kWhole);
  EXPECT_TRUE(out.cookie.empty());
}

TEST(DtlsHello, CutAnywhereIsNone) {
  const Datagram whole = hello(Datagram(20, 9));
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_NE(read({whole.begin(), whole.begin() + static_cast<int>(size)}), HelloState::kWhole);
}

TEST(DtlsHello, OfALaterEpochOrInFragmentsIsNoneToBegin) {
  Datagram later = hello({});
  later[4] = 1;
  EXPECT_EQ(read(later), HelloState::kNone);
  Datagram fragment = hello({});
  fragment[13 + 11] -= 1;
  EXPECT_EQ(read(fragment), HelloState::kBroken);
  Datagram second = hello({});
  second[13 + 8] = 1;
  EXPECT_EQ(read(second), HelloState::kBroken);
  Datagram tls = hello({});
  tls[1] = 3;
  EXPECT_EQ(read(tls), HelloState::kNone);
  Datagram session = hello({});
  session[13 + 12 + 34] = 33;
  EXPECT_EQ(read(session), HelloState::kBroken);
}

TEST(DtlsHello, IsAnsweredInItsOwnSequence) {
  ClientHello of;
  const Datagram asked = hello({});
  ASSERT_EQ(read_client_hello(asked, of), HelloState::kWhole);
  std::array<std::uint8_t, kMostVerifyRequest> out;
  const std::size_t size = write_hello_verify_request(of, Datagram(12, 0xAB), out);
  const Datagram expected{22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 7,  0,    27,   3,
                          0,  0,    15,   0, 0, 0, 0, 0, 0, 0, 15, 0xFE, 0xFF, 12};
  EXPECT_EQ(size, expected.size() + 12);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), out.begin()));
  EXPECT_EQ(out[size - 1], 0xAB);
  EXPECT_LT(size, asked.size()) << "nobody is hit with more than he has sent";
}

TEST(DtlsFirstByte, SaysWhatIsDtls) {
  EXPECT_FALSE(may_be_dtls(19));
  EXPECT_TRUE(may_be_dtls(20));
  EXPECT_TRUE(may_be_dtls(63));
  EXPECT_FALSE(may_be_dtls(64));
}

TEST(DtlsGlance, TellsOfRecordsOfLaterEpochsAndOfLongMessages) {
  Datagram datagram = hello({});
  EXPECT_EQ(glance_at_dtls(datagram).longest_message, datagram.size() - 25);
  EXPECT_EQ(glance_at_dtls(datagram).encrypted, 0U);
  for (const std::uint8_t size : {5, 3, 4}) {
    const Datagram finished{22, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 0, size};
    datagram.insert(datagram.end(), finished.begin(), finished.end());
    datagram.resize(datagram.size() + size);
  }
  EXPECT_EQ(glance_at_dtls(datagram).encrypted, 3U);
  EXPECT_EQ(glance_at_dtls(datagram).least_encrypted, 3U);
  datagram.pop_back();
  EXPECT_EQ(glance_at_dtls(datagram).encrypted, 2U) << "the last isn't all there";
  datagram[13 + 1] = 1;
  EXPECT_GT(glance_at_dtls(datagram).longest_message, 65536U);
  // Two messages in one record, the second of them long.
  Datagram two{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24};
  for (int i = 0; i < 2; ++i)
    two.insert(two.end(), {16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(glance_at_dtls(two).longest_message, 0U);
  two[13 + 12 + 2] = 0x20;
  EXPECT_EQ(glance_at_dtls(two).longest_message, 0x2000U);
  two[13 + 11] = 1;
  EXPECT_EQ(glance_at_dtls(two).longest_message, SIZE_MAX) << "the second is cut short";
  EXPECT_EQ(glance_at_dtls(Datagram(200, 0)).longest_message, 0U);
}

constexpr Endpoint kClient{Address::v4(192, 0, 2, 1), 1000};
constexpr Endpoint kServer{Address::v4(192, 0, 2, 2), 5349};

TEST(DtlsCookie, IsGoodForAMinuteToItsOwnClientAndHello) {
  const DtlsCookies cookies({1, 2});
  const Instant now{100'000};
  const Datagram random(32, 7);
  const auto cookie = cookies.mint(now, kClient, kServer, random);
  EXPECT_TRUE(cookies.holds(now, kClient, kServer, random, cookie));
  EXPECT_TRUE(cookies.holds(now + 59'000, kClient, kServer, random, cookie));
  EXPECT_FALSE(cookies.holds(now + 60'000, kClient, kServer, random, cookie));
  EXPECT_TRUE(cookies.holds({98'000}, kClient, kServer, random, cookie)) << "another's clock";
  EXPECT_FALSE(cookies.holds({97'000}, kClient, kServer, random, cookie));
  Endpoint other = kClient;
  other.port = 1001;
  EXPECT_FALSE(cookies.holds(now, other, kServer, random, cookie));
  other = kClient;
  other.address.bytes[3] = 9;
  EXPECT_FALSE(cookies.holds(now, other, kServer, random, cookie));
  other = kServer;
  other.port = 443;
  EXPECT_FALSE(cookies.holds(now, kClient, other, random, cookie));
  EXPECT_FALSE(cookies.holds(now, kClient, kServer, Datagram(32, 8), cookie));
  EXPECT_FALSE(DtlsCookies({1, 3}).holds(now, kClient, kServer, random, cookie));
  auto later = cookie;
  later[3] ^= 1;
  EXPECT_FALSE(cookies.holds(now, kClient, kServer, random, later));
  EXPECT_FALSE(cookies.holds(now, kClient, kServer, random, {}));
}

}  // namespace
}  // namespace turnpike::wire

// Headers of proxies, whole, in part, and wrong.
#include "transport/proxy_header.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace turnpike::transport {
namespace {

using State = ProxyHeader::State;
using Bytes = std::vector<std::uint8_t>;

Bytes text(const std::string& line) {
  return {line.begin(), line.end()};
}

Bytes binary(std::uint8_t command, std::uint8_t family, const Bytes& behind) {
  Bytes made{0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D,    0x0A,
             0x51, 0x55, 0x49, 0x54, 0x0A, command, family};
  made.push_back(static_cast<std::uint8_t>(behind.size() >> 8));
  made.push_back(static_cast<std::uint8_t>(behind.size()));
  made.insert(made.end(), behind.begin(), behind.end());
  return made;
}

const Bytes kFour{198, 51, 100, 7, 192, 0, 2, 1, 0x30, 0x39, 0x0D, 0x96};

Bytes six() {
  Bytes made(36);
  const Address client = *Address::parse("2001:db8::7");
  std::copy(client.bytes.begin(), client.bytes.end(), made.begin());
  made[32] = 0x30, made[33] = 0x39;
  return made;
}

void expect_whole(const Bytes& header, const std::optional<Endpoint>& client) {
  Bytes with_more = header;
  with_more.push_back(0);
  const ProxyHeader read = read_proxy_header(with_more);
  EXPECT_EQ(read.state, State::kWhole);
  EXPECT_EQ(read.size, header.size());
  EXPECT_EQ(read.client, client);
  for (std::size_t size = 0; size < header.size(); ++size)
    EXPECT_EQ(read_proxy_header(std::span(header).first(size)).state, State::kMore) << size;
}

TEST(ProxyHeaders, OfALineSayForWhom) {
  expect_whole(text("PROXY TCP4 198.51.100.7 192.0.2.1 12345 3478\r\n"),
               Endpoint{Address::v4(198, 51, 100, 7), 12345});
  expect_whole(text("PROXY TCP6 2001:db8::7 2001:db8::1 12345 3478\r\n"),
               Endpoint{*Address::parse("2001:db8::7"), 12345});
  expect_whole(text("PROXY UNKNOWN\r\n"), std::nullopt);
  expect_whole(text("PROXY UNKNOWN ffff:: whatever 1 2\r\n"), std::nullopt);
}

TEST(ProxyHeaders, OfTheSecondVersionSayForWhom) {
  expect_whole(binary(0x21, 0x11, kFour), Endpoint{Address::v4(198, 51, 100, 7), 12345});
  expect_whole(binary(0x21, 0x21, six()), Endpoint{*Address::parse("2001:db8::7"), 12345});
  expect_whole(binary(0x20, 0x00, {}), std::nullopt);
  expect_whole(binary(0x21, 0x00, {1, 2, 3}), std::nullopt);
  Bytes more = kFour;
  more.resize(more.size() + 100);  // TLVs
  expect_whole(binary(0x21, 0x11, more), Endpoint{Address::v4(198, 51, 100, 7), 12345});
}

// A load balancer's check of its own: a family, and no addresses of it.
TEST(ProxyHeaders, OfAProxyItselfSayNothingElse) {
  Bytes tlvs{0x03, 0x00, 0x04, 1, 2, 3, 4, 0x04, 0x00, 0x4A};
  tlvs.resize(84);
  expect_whole(binary(0x20, 0x11, tlvs), std::nullopt);
}

TEST(ProxyHeaders, ThatAreWrongAreNone) {
  for (const char* line :
       {"GET / HTTP/1.1\r\n", "PROXY TCP4 198.51.100.7 192.0.2.1 12345\r\n", "PROXY TCP4\r\n",
        "PROXY TCP4 2001:db8::7 192.0.2.1 1 2\r\n", "PROXY TCP6 198.51.100.7 192.0.2.1 1 2\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 1 2 3\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 70000 2\r\n",
        "PROXY TCP4  198.51.100.7 192.0.2.1 1 2\r\n", "PROXY UDP4 198.51.100.7 192.0.2.1 1 2\r\n"})
    EXPECT_EQ(read_proxy_header(text(line)).state, State::kNone) << line;
  EXPECT_EQ(read_proxy_header(text("PROXY TCP4 " + std::string(200, '1'))).state, State::kNone);
  EXPECT_EQ(read_proxy_header(Bytes{0x16, 0x03, 0x01}).state, State::kNone);
  EXPECT_EQ(read_proxy_header(binary(0x11, 0x11, kFour)).state, State::kNone);
  EXPECT_EQ(read_proxy_header(binary(0x22, 0x11, kFour)).state, State::kNone);
  EXPECT_EQ(read_proxy_header(binary(0x21, 0x12, kFour)).state, State::kNone) << "UDP";
  EXPECT_EQ(read_proxy_header(binary(0x21, 0x31, kFour)).state, State::kNone) << "a path";
  EXPECT_EQ(read_proxy_header(binary(0x21, 0x21, kFour)).state, State::kNone) << "too short";
  EXPECT_EQ(read_proxy_header(binary(0x21, 0x11, Bytes(4000))).state, State::kNone) << "too long";
}

}  // namespace
}  // namespace turnpike::transport

// What the load generator attacks with is what it is called: a relay that throws it away for
// another reason would look good for nothing.
#include "attack_messages.h"

#include <gtest/gtest.h>

#include <vector>

#include "frames.h"
#include "turnpike/integrity.h"
#include "wire/checksum.h"
#include "wire/headers.h"

namespace turnpike::pktgen {
namespace {

using stun::Attribute;
using stun::MessageView;

constexpr int kTimes = 200;

class AttackMessages : public testing::Test {
 protected:
  Bytes strangers(Attack attack) {
    return Bytes(buffer_).first(write_strangers(attack, buffer_, random_));
  }
  stun::ParseError parse(Bytes bytes) { return MessageView::parse(bytes, view_); }

  AttackRandom random_{1};
  AttackBuffer buffer_{};
  MessageView view_;
};

TEST_F(AttackMessages, BombsAreReadToTheEndOrHaveMoreThanThreeHundredAttributes) {
  int read = 0, refused = 0, peers = 0;
  for (int i = 0; i < kTimes; ++i) {
    const Bytes bomb = strangers(Attack::kBombs);
    const stun::ParseError error = parse(bomb);
    if (error == stun::ParseError::kNone) {
      ++read;
      peers += view_.find(Attribute::kXorPeerAddress) && bomb.size() > 1400 ? 1 : 0;
    } else {
      EXPECT_EQ(error, stun::ParseError::kTooManyAttributes);
      EXPECT_GE((bomb.size() - stun::kHeaderSize) / 4, 300U);
      ++refused;
    }
  }
  EXPECT_GT(read, kTimes / 4);
  EXPECT_GT(refused, kTimes / 4);
  EXPECT_GT(peers, 0);
}

TEST_F(AttackMessages, StrangersRequestsAreLegal) {
  for (int i = 0; i < kTimes; ++i) {
    for (const auto& [attack, method] : {std::pair(Attack::kBindings, stun::Method::kBinding),
                                         {Attack::kAllocate, stun::Method::kAllocate}}) {
      ASSERT_EQ(parse(strangers(attack)), stun::ParseError::kNone);
      EXPECT_EQ(view_.method(), method);
    }
  }
}

TEST_F(AttackMessages, ChannelDataAreWhole) {
  for (int i = 0; i < kTimes; ++i) {
    const Bytes data = strangers(Attack::kChannels);
    EXPECT_EQ(data[0] >> 4, 4);
    EXPECT_EQ(wire::load_be16(data.data() + 2) + stun::kChannelDataHeaderSize, data.size());
  }
}

TEST_F(AttackMessages, UsersAreWhoTheySayAndForgersAreNot) {
  const stun::Key key =
      stun::long_term_key(stun::PasswordAlgorithm::kMd5, "alice", "here", "secret");
  const Endpoint peer = *Endpoint::parse("10.205.0.1:5000");
  for (int i = 0; i < kTimes; ++i) {
    stun::MessageWriter writer = begin_users_request(buffer_, peer, random_);
    writer.add_text(Attribute::kUsername, "alice");
    writer.add_message_integrity(key.view());
    const std::size_t size = writer.finish().size();
    ASSERT_EQ(parse(Bytes(buffer_).first(size)), stun::ParseError::kNone);
    EXPECT_TRUE(stun::check_message_integrity(view_, key.view()));
    forge(std::span(buffer_).first(size));
    ASSERT_EQ(parse(Bytes(buffer_).first(size)), stun::ParseError::kNone);
    EXPECT_FALSE(stun::check_message_integrity(view_, key.view()));
  }
}

TEST_F(AttackMessages, FragmentsWaitForMore) {
  for (const auto& [from, to] : {std::pair("10.206.0.1:1024", "10.203.0.1:3478"),
                                 {"[fd00:206::1]:1024", "[fd00:203::1]:3478"}}) {
    const Endpoint source = *Endpoint::parse(from), destination = *Endpoint::parse(to);
    const Family family = source.address.family;
    const std::size_t headers = headers_size(family);
    bool first = false, later = false;
    for (int i = 0; i < kTimes; ++i) {
      const Bytes message = strangers(Attack::kFragments);
      std::vector<std::uint8_t> frame(headers + message.size() + kFragmentHeader);
      write_headers(frame.data(), {}, source, destination, message.size());
      std::copy(message.begin(), message.end(),
                frame.begin() + static_cast<std::ptrdiff_t>(headers));
      const std::size_t size =
          make_fragment(frame.data(), headers + message.size(), family, random_);
      ASSERT_LE(size, frame.size());
      const std::uint8_t* ip = frame.data() + wire::ethernet::kSize;
      std::size_t carried = 0;
      std::uint16_t offset = 0;
      if (family == Family::kIpv4) {
        carried = wire::load_be16(ip + wire::ipv4::kTotalLength) - wire::ipv4::kMinSize;
        const std::uint16_t flags = wire::load_be16(ip + wire::ipv4::kFlagsFragment);
        EXPECT_NE(flags & wire::ipv4::kMoreFragments, 0);
        EXPECT_TRUE(wire::ipv4_header_checksum_good(ip, wire::ipv4::kMinSize));
        EXPECT_EQ(size, wire::ethernet::kSize + wire::ipv4::kMinSize + carried);
        offset = flags & wire::ipv4::kOffsetMask;
      } else {
        const std::uint8_t* header = ip + wire::ipv6::kSize;
        carried = wire::load_be16(ip + wire::ipv6::kPayloadLength) - kFragmentHeader;
        EXPECT_EQ(ip[wire::ipv6::kNextHeader], wire::ip_protocol::kFragment);
        EXPECT_EQ(header[wire::ipv6_fragment::kNextHeader], wire::ip_protocol::kUdp);
        const std::uint16_t flags = wire::load_be16(header + wire::ipv6_fragment::kOffsetFlags);
        EXPECT_NE(flags & wire::ipv6_fragment::kMoreFragments, 0);
        EXPECT_EQ(wire::load_be16(header + kFragmentHeader + 2), destination.port);
        EXPECT_EQ(size, wire::ethernet::kSize + wire::ipv6::kSize + kFragmentHeader + carried);
        offset = flags >> 3;
      }
      EXPECT_EQ(carried % 8, 0U);
      (offset == 0 ? first : later) = true;
    }
    EXPECT_TRUE(first && later);
  }
}

}  // namespace
}  // namespace turnpike::pktgen

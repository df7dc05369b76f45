// Where answers of a node with two addresses leave from and go to (RFC 5780, RFC 3489), and how
// many of them there are.
#include <gtest/gtest.h>

#include <vector>

#include "flow/fragment.h"
#include "flow_frames.h"

namespace turnpike::flow::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint16_t kOtherPort = 3479;

// By the family, and whether there is a fast lane.
class FlowDiscovery : public testing::TestWithParam<std::tuple<Family, bool>> {
 protected:
  FlowDiscovery() : world_(family(), true, std::nullopt, std::get<1>(GetParam())) {
    for (const Origin origin : {Origin{0}, kChangePort, kChangeAddress, kChangeBoth}) {
      Listener* listener = nullptr;
      for (Listener& one : world_.setup_.listeners) {
        if (one.endpoint == place(origin) && one.transport == Transport::kUdp) listener = &one;
      }
      if (listener == nullptr)
        listener = &world_.setup_.listeners.emplace_back(
            Listener{.endpoint = place(origin), .stun_only = true});
      listener->discovery.emplace();
      for (const Origin change : {Origin{0}, kChangePort, kChangeAddress, kChangeBoth}) {
        const Endpoint from = place(static_cast<Origin>(origin ^ change));
        listener->discovery->origins[change] = {from, from};
      }
    }
    restart();
  }
  void restart() {
    world_.pipeline_ = std::make_unique<Pipeline>(world_.setup_, *world_.tables_, world_.hop_,
                                                  world_.policy_, world_.tokens_, world_.counters_);
  }

  static Family family() { return std::get<0>(GetParam()); }
  static bool v4() { return family() == Family::kIpv4; }
  static Endpoint place(Origin origin) {
    const bool second = (origin & kChangeAddress) != 0;
    return {second ? *Address::parse(v4() ? "192.0.2.77" : "2001:db8::77")
            : v4() ? kServer4
                   : kServer6,
            (origin & kChangePort) != 0 ? kOtherPort : kPort};
  }
  static Endpoint client() { return {v4() ? kClient4 : kClient6, 777}; }

  template <typename Fill>
  Packet ask(Origin at, Fill fill) {
    Bytes buffer(4096);
    MessageWriter writer(buffer, stun::Class::kRequest, stun::Method::kBinding, kId);
    fill(writer);
    const auto bytes = writer.finish();
    return send_to_place(at, Bytes(bytes.begin(), bytes.end()));
  }
  Packet send_to_place(Origin at, const Bytes& payload) {
    const std::uint16_t room = payload.size() > 500 ? 300 : 2000;
    return world_.run(frame_of({client(), place(at), payload}), 0, Checksum::kVerify, false, room);
  }
  Packet ask_change(Origin at, std::uint32_t flags) {
    return ask(at,
               [&](MessageWriter& writer) { writer.add_u32(Attribute::kChangeRequest, flags); });
  }
  static Bytes classic(std::uint8_t flags) {
    Bytes bytes(20, 1);
    bytes[0] = bytes[2] = 0;
    bytes[3] = 8;
    for (const std::uint8_t byte :
         {std::uint8_t{0}, std::uint8_t{3}, std::uint8_t{0}, std::uint8_t{4}, std::uint8_t{0},
          std::uint8_t{0}, std::uint8_t{0}, flags})
      bytes.push_back(byte);
    return bytes;
  }
  bool is_whole(const Packet& packet) {
    const auto out = read(packet);
    MessageView view;
    EXPECT_TRUE(out);
    EXPECT_EQ(MessageView::parse(out->payload, view), stun::ParseError::kNone);
    return view.has(Attribute::kOtherAddress);
  }

  FlowWorld world_;
};

INSTANTIATE_TEST_SUITE_P(Families, FlowDiscovery,
                         testing::Combine(testing::Values(Family::kIpv4, Family::kIpv6),
                                          testing::Bool()),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param) == Family::kIpv4 ? "Ipv4"
                                                                                       : "Ipv6") +
                                  (std::get<1>(test.param) ? "" : "General");
                         });

TEST_P(FlowDiscovery, AnswersLeaveFromWhereTheyAreAskedToLeave) {
  for (const Origin at : {Origin{0}, kChangePort, kChangeAddress, kChangeBoth}) {
    for (const Origin change : {Origin{0}, kChangePort, kChangeAddress, kChangeBoth}) {
      for (const bool old : {false, true}) {
        const auto flags = static_cast<std::uint8_t>(change << 1);
        const Packet packet = old ? send_to_place(at, classic(flags)) : ask_change(at, flags);
        ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
        const auto out = read(packet);  // checksums, too
        ASSERT_TRUE(out);
        EXPECT_EQ(out->source, place(static_cast<Origin>(at ^ change)));
        EXPECT_EQ(out->destination, client());
        EXPECT_EQ(std::memcmp(packet.data, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01", 12),
                  0);
      }
    }
  }
  EXPECT_EQ(world_.counters_.from_elsewhere.get(), 24U);
  EXPECT_EQ(world_.counters_.binding_success.get(), 32U);
}

TEST_P(FlowDiscovery, AnswersGoToTheResponsePort) {
  const auto out = read(ask(kChangePort, [](MessageWriter& writer) {
    writer.add_u32(Attribute::kResponsePort, 0x12340000);
    writer.add_u32(Attribute::kChangeRequest, 4);
  }));
  ASSERT_TRUE(out);
  EXPECT_EQ(out->source, place(kChangeBoth));
  EXPECT_EQ(out->destination, (Endpoint{client().address, 0x1234}));
  EXPECT_EQ(world_.counters_.to_elsewhere.get(), 1U);
}

TEST_P(FlowDiscovery, ErrorsGoBackWhereTheRequestCameFrom) {
  const auto out = read(ask(0, [](MessageWriter& writer) {
    writer.add_u32(Attribute::kResponsePort, 0x12340000);
    writer.add_u32(Attribute::kChangeRequest, 6);
    writer.add(Attribute::kPadding, Bytes(4));
  }));
  ASSERT_TRUE(out);
  EXPECT_EQ(out->source, place(0));
  EXPECT_EQ(out->destination, client());
  EXPECT_EQ(world_.counters_.answered_400.get(), 1U);
}

// Keeps what is cut.
class Pieces : public FragmentSink {
 public:
  std::span<std::uint8_t> take(std::size_t size) override {
    pieces.emplace_back(size);
    return pieces.back();
  }
  void done(std::size_t size) override { pieces.back().resize(size); }
  std::vector<Bytes> pieces;
};

TEST_P(FlowDiscovery, PaddingComesInFragments) {
  const auto padded = [&] {
    return ask(0, [](MessageWriter& writer) { writer.add(Attribute::kPadding, Bytes(1500)); });
  };
  const Packet packet = padded();
  ASSERT_EQ(packet.verdict, Verdict::kTransmitBack);
  EXPECT_GT(packet.length - packet.l3, packet.path_mtu) << "for the transmit stage to cut";
  const auto out = read(packet);
  ASSERT_TRUE(out);
  MessageView view;
  ASSERT_EQ(MessageView::parse(out->payload, view), stun::ParseError::kNone);
  EXPECT_EQ(view.find(Attribute::kPadding)->value.size(), kPaddingMost);
  EXPECT_EQ(world_.counters_.padded.get(), 1U);
  if (!v4()) return;
  // Of two datagrams with one identification a receiver would make one.
  const std::uint16_t id = get16(packet.data + 18);
  EXPECT_NE(get16(padded().data + 18), id);
}

TEST_P(FlowDiscovery, PaddingOfARequestWithOptionsIsCutRight) {
  if (!v4()) GTEST_SKIP() << "IPv4's options";
  Packet packet =
      ask(0, [](MessageWriter& writer) { writer.add(Attribute::kPadding, Bytes(1500)); });
  // As if four bytes of options had stood behind the header.
  packet.data -= 4;
  packet.length += 4;
  packet.l4 = static_cast<std::uint16_t>(packet.l4 + 4);
  std::memmove(packet.data, packet.data + 4, 14 + 20);
  packet.data[14] = 0x46;
  Pieces sink;
  ASSERT_TRUE(fragment(packet, 1500, 1, sink));
  ASSERT_EQ(sink.pieces.size(), 2U);
  for (const Bytes& piece : sink.pieces) {
    EXPECT_EQ(piece[14], 0x45);
    EXPECT_EQ(plain_sum(piece.data() + 14, 20), 0xFFFFU);
  }
}

// --- How many there are.

TEST_P(FlowDiscovery, ABareBindingGetsLessWhereItsSourceHasHadMuch) {
  unsigned whole = 0;
  for (int i = 0; i < 2100; ++i)
    whole += is_whole(ask(0, [](MessageWriter&) {})) ? 1 : 0;
  EXPECT_EQ(whole, 2000U);
  EXPECT_EQ(world_.counters_.brief.get(), 100U);
  EXPECT_EQ(world_.counters_.binding_success.get(), 2100U) << "and always an answer";
  EXPECT_EQ(ask_change(0, 0).drop, Drop::kChallengeSourceLimit);
  EXPECT_EQ(send_to_place(0, classic(6)).drop, Drop::kChallengeSourceLimit);
}

TEST_P(FlowDiscovery, PaddingAndResponsePortAreRationed) {
  const auto answered = [&](Attribute type, unsigned tries) {
    unsigned count = 0;
    for (unsigned i = 0; i < tries; ++i) {
      const Packet packet =
          ask(0, [&](MessageWriter& writer) { writer.add_u32(type, 0x12340000); });
      count += packet.verdict == Verdict::kTransmitBack ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(answered(Attribute::kPadding, 30) + answered(Attribute::kResponsePort, 100), 50U);
  EXPECT_EQ(world_.drops(Drop::kDiscoverySourceLimit), 80U);
  EXPECT_EQ(ask_change(0, 6).verdict, Verdict::kTransmitBack) << "others aren't";
  world_.now_ = world_.now_ + 1000;
  EXPECT_EQ(answered(Attribute::kResponsePort, 100), 10U);
}

TEST_P(FlowDiscovery, NobodyIsAnsweredInOurOwnName) {
  for (const Origin as : {Origin{0}, kChangePort, kChangeAddress, kChangeBoth}) {
    Bytes buffer(64);
    MessageWriter writer(buffer, stun::Class::kRequest, stun::Method::kBinding, kId);
    writer.add_u32(Attribute::kChangeRequest, 6);
    const auto bytes = writer.finish();
    EXPECT_EQ(world_.run(frame_of({place(as), place(0), Bytes(bytes.begin(), bytes.end())})).drop,
              Drop::kUnanswerable);
  }
}

}  // namespace
}  // namespace turnpike::flow::test

// What a worker does with DTLS: a hello is answered, the rest goes to the thread that has the keys,
// and what that one sends to a client leaves as its path takes it.
#include <gtest/gtest.h>

#include "flow_frames.h"
#include "flow_world.h"
#include "wire/dtls_records.h"

namespace turnpike::flow::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes hello(const Bytes& cookie = {}) {
  Bytes body{0xFE, 0xFD};
  body.resize(2 + 32 + 1, 7);
  body.back() = 0;
  body.push_back(static_cast<std::uint8_t>(cookie.size()));
  body.insert(body.end(), cookie.begin(), cookie.end());
  for (const std::uint8_t byte : {0, 2, 0xC0, 0x2B, 1, 0})
    body.push_back(byte);
  const auto size = static_cast<std::uint8_t>(body.size());
  Bytes made(13 + 12 + body.size());
  made[0] = 22;
  made[1] = 0xFE;
  made[2] = 0xFF;
  made[12] = static_cast<std::uint8_t>(12 + size);
  made[13] = 1;
  made[13 + 3] = made[13 + 11] = size;
  std::copy(body.begin(), body.end(), made.begin() + 13 + 12);
  return made;
}

class DtlsOf : public testing::TestWithParam<Family> {
 protected:
  Packet run(const Bytes& payload, std::uint16_t port = kDtlsPort,
             Datagram::Sum sum = Datagram::Sum::kRight) {
    Datagram datagram{world_.client_, {world_.server_.address, port}, payload};
    datagram.sum = sum;
    return world_.run(frame_of(datagram));
  }
  // A cookie that the worker has handed out.
  Bytes cookie(std::uint16_t port = kDtlsPort) {
    const auto answer = read(run(hello(), port));
    EXPECT_TRUE(answer.has_value());
    return {answer->payload.begin() + 13 + 12 + 3, answer->payload.end()};
  }
  void allocate() {
    AllocationFlow flow;
    flow.five_tuple = {world_.client_, {world_.server_.address, kDtlsPort}, Transport::kDtls};
    flow.relayed = {RelayEndpoint{{kRelay4, 51000}}, RelayEndpoint{{kRelay6, 51000}}};
    flow.expires_s = {FlowWorld::kExpires, FlowWorld::kExpires};
    slot_ = *world_.writer_->publish_allocation(flow);
  }

  FlowWorld world_{GetParam()};
  AllocationSlot slot_{};
};
INSTANTIATE_TEST_SUITE_P(All, DtlsOf, testing::Values(Family::kIpv4, Family::kIpv6));

TEST_P(DtlsOf, AHelloIsAnsweredWithACookieAndLess) {
  const Bytes asked = hello();
  const Packet packet = run(asked);
  EXPECT_EQ(packet.verdict, Verdict::kTransmitBack);
  const auto answer = read(packet);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->destination, world_.client_);
  EXPECT_EQ(answer->source.port, kDtlsPort);
  EXPECT_LT(answer->payload.size(), asked.size());
  EXPECT_EQ(answer->payload[13], 3) << "HelloVerifyRequest";
  EXPECT_EQ(world_.counters_.cookies_sent.get(), 1U);
  EXPECT_EQ(world_.counters_.cookies_shown.get(), 0U);
}

TEST_P(DtlsOf, AHelloWithItsCookieGoesOn) {
  const Packet packet = run(hello(cookie()));
  EXPECT_EQ(packet.verdict, Verdict::kSession);
  EXPECT_EQ(world_.setup_.listeners[packet.listener].transport, Transport::kDtls);
  EXPECT_EQ(world_.setup_.listeners[packet.listener].endpoint.port, kDtlsPort);
  EXPECT_FALSE(packet.has_allocation);
  EXPECT_EQ(world_.counters_.cookies_shown.get(), 1U);
}

TEST_P(DtlsOf, ACookieOfAnotherListenerOrTooOldOneIsNone) {
  const Bytes other = cookie(kPort);
  EXPECT_EQ(run(hello(other)).verdict, Verdict::kTransmitBack);
  const Bytes own = cookie();
  world_.now_.ms += 61'000;
  EXPECT_EQ(run(hello(own)).verdict, Verdict::kTransmitBack);
}

TEST_P(DtlsOf, IsToldFromPlainUdpByItsFirstByte) {
  for (int first = 0; first < 256; ++first) {
    Bytes payload(30, 0);
    payload[0] = static_cast<std::uint8_t>(first);
    const bool dtls = first >= 20 && first <= 63;
    const Packet shared = run(payload, kPort);
    EXPECT_EQ(shared.verdict == Verdict::kSession, dtls) << first;
    const Packet alone = run(payload);
    EXPECT_EQ(alone.verdict == Verdict::kSession, dtls) << first;
    if (!dtls) {
      EXPECT_EQ(alone.drop, Drop::kNotDtls);
    }
  }
  EXPECT_EQ(run({}).drop, Drop::kNotDtls);
  EXPECT_EQ(run({}, kPort).drop, Drop::kKeepalive);
}

TEST_P(DtlsOf, WhoHasAnAllocationIsKnown) {
  const Bytes data(60, 23);
  EXPECT_FALSE(run(data).has_allocation);
  allocate();
  EXPECT_TRUE(run(data).has_allocation);
  EXPECT_FALSE(run(data, kPort).has_allocation) << "that of UDP is another five-tuple's";
  EXPECT_EQ(run(hello()).verdict, Verdict::kTransmitBack) << "and may be another's hello";
}

TEST_P(DtlsOf, WhatIsBrokenGoesNoFurther) {
  Bytes half = hello();
  half.pop_back();
  EXPECT_EQ(run(half).drop, Drop::kBadHello);
  Bytes wrong = hello();
  const Packet packet = [&] {
    Datagram datagram{world_.client_, {world_.server_.address, kDtlsPort}, wrong};
    auto frame = frame_of(datagram);
    frame.back() ^= 1;
    return world_.run(frame);
  }();
  EXPECT_EQ(packet.drop, Drop::kBadUdpChecksum);
  Datagram handshake{world_.client_, {world_.server_.address, kDtlsPort}, Bytes(40, 22)};
  auto frame = frame_of(handshake);
  frame.back() ^= 1;
  EXPECT_EQ(world_.run(frame).drop, Drop::kBadUdpChecksum);
}

TEST_P(DtlsOf, MessagesOfItsPortAreOfItsListeners) {
  world_.setup_.ports.push_back(
      {.mac = {2, 0, 0, 0, 0, 1}, .mtu = UINT16_MAX, .messages_of = Transport::kDtls});
  Pipeline pipeline(world_.setup_, *world_.tables_, world_.hop_, world_.policy_, world_.tokens_,
                    world_.counters_);
  allocate();
  std::vector<std::uint8_t> buffer;
  std::array<std::uint8_t, 64> room{};
  const auto bytes =
      stun::MessageWriter(room, stun::Class::kRequest, stun::Method::kBinding, {9, 9}).finish();
  const auto frame =
      frame_of({world_.client_, {world_.server_.address, kDtlsPort}, {bytes.begin(), bytes.end()}});
  Packet packet = arrived(buffer, frame, FlowWorld::kRoom);
  packet.port = 1;
  pipeline.process(world_.now_, {&packet, 1});
  EXPECT_EQ(packet.verdict, Verdict::kTransmitBack);
  EXPECT_EQ(world_.setup_.listeners[packet.listener].transport, Transport::kDtls);
}

TEST_P(DtlsOf, WhatLeavesHasAnIdentificationAndItsPathsLimit) {
  allocate();
  const bool v4 = GetParam() == Family::kIpv4;
  const auto complete = [&](std::size_t size) {
    const auto frame =
        frame_of({{world_.server_.address, kDtlsPort}, world_.client_, Bytes(size, 23)});
    Packet packet = arrived(world_.buffer_, frame, FlowWorld::kRoom);
    packet.family = GetParam();
    packet.l3 = 14;
    packet.l4 = v4 ? 34 : 54;
    world_.pipeline_->complete_datagram(world_.now_, packet);
    EXPECT_TRUE(read(packet).has_value()) << "its checksums are right";
    return packet;
  };
  const std::uint16_t first = get16(complete(100).data + 18);
  EXPECT_EQ(complete(1400).path_mtu, PathMtu::kNone);
  if (v4) {
    EXPECT_NE(get16(complete(100).data + 18), first);
    return;  // routers cut what may be cut
  }
  const auto quoted =
      icmp_about({world_.server_.address, kDtlsPort}, world_.client_, 2, 0, 1300, 1400);
  EXPECT_EQ(world_.run(quoted).drop, Drop::kPathMtu);
  EXPECT_EQ(complete(1400).path_mtu, 1300);
  EXPECT_EQ(complete(100).path_mtu, PathMtu::kNone) << "which any link takes";
}

}  // namespace
}  // namespace turnpike::flow::test

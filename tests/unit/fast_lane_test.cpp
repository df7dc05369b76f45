// What takes the fast lane: that it comes to the same result as the general stages is a property's
// (tests/property/fast_lane_property.cpp), which would hold for a lane that takes nothing.
#include <gtest/gtest.h>

#include <array>
#include <tuple>
#include <vector>

#include "flow_world.h"
#include "tables/arrivals.h"
#include "turnpike/stun.h"

namespace turnpike::flow::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

class Lane : public FlowWorld {
 public:
  explicit Lane(Family client) : FlowWorld(client) {
    arrivals_.mac = mac_word(setup_.ports[0].mac);
  }

  // What the lane alone makes of it: kContinue if it leaves it.
  Verdict of(const Datagram& datagram) {
    const Bytes bytes = frame_of(datagram);
    frame_.assign(kRoom + bytes.size() + kRoom, 0);
    std::copy(bytes.begin(), bytes.end(), frame_.begin() + kRoom);
    packet_ = {};
    packet_.data = frame_.data() + kRoom;
    packet_.length = static_cast<std::uint32_t>(bytes.size());
    packet_.headroom = packet_.tailroom = kRoom;
    const std::size_t taken = lane_.process(policy_, 1000, {&packet_, 1});
    EXPECT_EQ(taken, packet_.verdict == Verdict::kContinue ? 0U : 1U);
    return packet_.verdict;
  }
  bool takes(const Datagram& datagram) { return of(datagram) == Verdict::kTransmit; }

  Endpoint peer(Family family) const {
    return {family == Family::kIpv4 ? kPeer4 : kPeer6, kPeerPort};
  }
  Endpoint relay(Family family) const {
    return family == Family::kIpv4 ? Endpoint{kRelay4, kRelayPort4}
                                   : Endpoint{kRelay6, kRelayPort6};
  }
  Packet packet_;

 private:
  Here here_{setup_};
  Arrivals arrivals_;
  IpIds ip_ids_;
  TransactionIds ids_{{}, 0};
  Police police_;
  FastLane lane_{setup_, here_, *tables_, hop_, &arrivals_, counters_, ip_ids_, ids_, police_};
  Bytes frame_;
};

// By client and peer.
class FastLaneOf : public testing::TestWithParam<std::tuple<Family, Family>> {
 protected:
  const Family client_ = std::get<0>(GetParam());
  const Family peer_ = std::get<1>(GetParam());
  Lane lane_{client_};

  Bytes channel_data(std::size_t size) const {
    Bytes payload(4 + size, 7);
    put16(payload.data(), peer_ == Family::kIpv4 ? 0x4000 : 0x4001);
    put16(payload.data() + 2, static_cast<std::uint16_t>(size));
    return payload;
  }
  struct Shape {
    bool data_first = false;
    bool fingerprint = false;
    bool dont_fragment = false;
    bool software = false;
  };
  Datagram send(const Shape& shape, std::size_t size = 161) const {
    std::array<std::uint8_t, 2048> buffer{};
    stun::MessageWriter writer(buffer, stun::Class::kIndication, stun::Method::kSend, {1, 2, 3});
    const Bytes body(size, 7);
    if (shape.data_first) writer.add(stun::Attribute::kData, body);
    writer.add_xor_address(stun::Attribute::kXorPeerAddress, lane_.peer(peer_));
    if (!shape.data_first) writer.add(stun::Attribute::kData, body);
    if (shape.dont_fragment) writer.add(stun::Attribute::kDontFragment, {});
    if (shape.software) writer.add_text(stun::Attribute::kSoftware, "soft");
    if (shape.fingerprint) writer.add_fingerprint();
    const auto bytes = writer.finish();
    return {lane_.client_, lane_.server_, {bytes.begin(), bytes.end()}};
  }
  std::optional<Datagram> sent() const { return read(lane_.packet_); }
};

TEST_P(FastLaneOf, TakesChannelData) {
  for (const std::size_t size : {0, 1, 160, 1200}) {
    ASSERT_TRUE(lane_.takes({lane_.client_, lane_.server_, channel_data(size)}));
    EXPECT_EQ(sent()->payload, Bytes(size, 7));
    EXPECT_EQ(sent()->destination, lane_.peer(peer_));
  }
}

TEST_P(FastLaneOf, TakesSendInEitherOrderAndWithAFingerprint) {
  for (const bool data_first : {false, true}) {
    for (const bool fingerprint : {false, true}) {
      for (const std::size_t size : {0, 1, 2, 3, 160, 1200}) {
        ASSERT_TRUE(lane_.takes(send({data_first, fingerprint}, size)));
        ASSERT_TRUE(sent());
        EXPECT_EQ(sent()->payload, Bytes(size, 7));
      }
    }
  }
}

TEST_P(FastLaneOf, TakesWhatComesByChannel) {
  ASSERT_TRUE(lane_.takes({lane_.peer(peer_), lane_.relay(peer_), Bytes(160, 7)}));
  EXPECT_EQ(sent()->payload, channel_data(160));
  EXPECT_EQ(sent()->destination, static_cast<const Endpoint&>(lane_.client_));
}

TEST_P(FastLaneOf, TakesWhatComesByPermission) {
  Endpoint peer = lane_.peer(peer_);
  ++peer.port;
  for (const std::size_t size : {0, 1, 160, 1100})
    ASSERT_TRUE(lane_.takes({peer, lane_.relay(peer_), Bytes(size, 7)}));
}

TEST_P(FastLaneOf, LeavesWhatIsUnusual) {
  Datagram plain{lane_.client_, lane_.server_, channel_data(160)};
  Datagram last_hop = plain;
  last_hop.ttl = 1;
  EXPECT_EQ(lane_.of(last_hop), Verdict::kContinue);
  EXPECT_EQ(lane_.of({lane_.client_, lane_.server_, channel_data(1480)}), Verdict::kContinue);
  EXPECT_EQ(lane_.of(send({.dont_fragment = true})), Verdict::kContinue);
  EXPECT_EQ(lane_.of(send({.software = true})), Verdict::kContinue);
  Datagram broken = send({.fingerprint = true});
  broken.payload.back() ^= 1;
  EXPECT_EQ(lane_.of(broken), Verdict::kContinue);
  Datagram without_sum = plain;
  without_sum.sum = Datagram::Sum::kZero;
  const bool both4 = client_ == Family::kIpv4 && peer_ == Family::kIpv4;
  EXPECT_EQ(lane_.of(without_sum), both4 ? Verdict::kTransmit : Verdict::kContinue);
}

INSTANTIATE_TEST_SUITE_P(Families, FastLaneOf,
                         testing::Combine(testing::Values(Family::kIpv4, Family::kIpv6),
                                          testing::Values(Family::kIpv4, Family::kIpv6)));

TEST(FastLane, AnswersABareBindingOverIpv4) {
  Lane lane(Family::kIpv4);
  std::array<std::uint8_t, 64> buffer{};
  stun::MessageWriter writer(buffer, stun::Class::kRequest, stun::Method::kBinding, {1});
  const auto request = writer.finish();
  EXPECT_EQ(lane.of({lane.client_, lane.server_, {request.begin(), request.end()}}),
            Verdict::kTransmitBack);
}

}  // namespace
}  // namespace turnpike::flow::test

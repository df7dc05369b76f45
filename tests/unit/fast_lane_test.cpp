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

constexpr std::uint32_t kUntil = 5000;  // s: after all that happens here

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
    const std::size_t taken = lane_.process(policy_, Instant{1'000'000}, {&packet_, 1});
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
  Police police_{setup_, *tables_, 0};
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

// To another client of this node, by its relayed address: as ChannelData and as Data.
TEST_P(FastLaneOf, TakesWhatGoesToAnotherClientOfOurs) {
  const ClientEndpoint other{
      {client_ == Family::kIpv4 ? Address::v4(198, 51, 100, 99) : kPeer6, 40001}};
  const AllocationSlot theirs = lane_.add(other, 50002, 50003);
  const Endpoint ours = lane_.relay(peer_);
  const Endpoint to{ours.address,
                    static_cast<std::uint16_t>(peer_ == Family::kIpv4 ? 50002 : 50003)};
  const auto permission =
      *lane_.writer_->publish_permission({lane_.allocation_, to.address, kUntil});
  lane_.writer_->publish_channel({lane_.allocation_, permission, 0x4777, PeerEndpoint{to}, kUntil});
  const auto back = *lane_.writer_->publish_permission({theirs, ours.address, kUntil});
  Bytes payload = channel_data(160);
  put16(payload.data(), 0x4777);
  Datagram datagram{lane_.client_, lane_.server_, payload};
  ASSERT_TRUE(lane_.takes(datagram));
  EXPECT_EQ(sent()->destination, static_cast<const Endpoint&>(other));
  EXPECT_EQ(lane_.counters_.hairpin.get(), 1U);
  lane_.writer_->publish_channel({theirs, back, 0x4ABC, PeerEndpoint{ours}, kUntil});
  datagram.ttl = 3;
  ASSERT_TRUE(lane_.takes(datagram));
  EXPECT_EQ(sent()->payload.size(), 164U);
  EXPECT_EQ(get16(sent()->payload.data()), 0x4ABC);
  EXPECT_EQ(sent()->ttl, 1);
  datagram.ttl = 2;
  EXPECT_FALSE(lane_.takes(datagram)) << "the general stages tell its sender";
}

// Two of the six are the world's own: one peer of each family.
TEST(FastLane, TakesSixPermissionsAndAFurtherOneOnceAPlaceIsFree) {
  Lane lane(Family::kIpv4);
  std::vector<PermissionSlot> slots;
  const auto peer = [](std::uint8_t i) { return Address::v4(203, 0, 113, 100 + i); };
  for (std::uint8_t i = 0; i < 5; ++i)
    slots.push_back(*lane.writer_->publish_permission({lane.allocation_, peer(i), kUntil}));
  const auto takes = [&](std::uint8_t i) {
    return lane.takes({{peer(i), 9}, lane.relay(Family::kIpv4), Bytes(160, 7)});
  };
  for (std::uint8_t i = 0; i < 4; ++i)
    EXPECT_TRUE(takes(i)) << int{i};
  EXPECT_FALSE(takes(4));
  lane.writer_->withdraw_permission(slots[1]);
  EXPECT_FALSE(takes(1));
  EXPECT_FALSE(takes(4));
  lane.writer_->extend_permission(slots[4], kUntil);
  EXPECT_TRUE(takes(4));
  lane.writer_->withdraw_permission(slots[4]);
  EXPECT_FALSE(takes(4));
}

// A channel beyond the third sends all that comes from peers without one the general way: its own
// packets would else go out as Data.
TEST(FastLane, TakesThreeChannelsAndAFurtherOneOnceAPlaceIsFree) {
  Lane lane(Family::kIpv4);
  const auto permission =
      *lane.writer_->publish_permission({lane.allocation_, Address::v4(203, 0, 113, 100), kUntil});
  std::vector<ChannelSlot> slots;
  const auto peer = [](std::uint16_t i) {
    return Endpoint{Address::v4(203, 0, 113, 100), static_cast<std::uint16_t>(1000 + i)};
  };
  const auto add = [&](std::uint16_t i) {
    return *lane.writer_->publish_channel({lane.allocation_, permission,
                                           static_cast<ChannelNumber>(0x4100 + i),
                                           PeerEndpoint{peer(i)}, kUntil});
  };
  const auto takes = [&](const Endpoint& from) {
    return lane.takes({from, lane.relay(Family::kIpv4), Bytes(160, 7)});
  };
  slots.push_back(add(0));  // the third
  EXPECT_TRUE(takes(peer(0)));
  EXPECT_TRUE(takes(peer(7)));
  slots.push_back(add(1));
  EXPECT_FALSE(takes(peer(1)));
  EXPECT_FALSE(takes(peer(7)));
  lane.writer_->withdraw_channel(slots[0]);
  EXPECT_FALSE(takes(peer(1)));
  lane.writer_->extend_channel(slots[1], kUntil);
  EXPECT_TRUE(takes(peer(1)));
  EXPECT_EQ(read(lane.packet_)->payload.size(), 164U);
  EXPECT_TRUE(takes(peer(7)));
}

TEST(FastLane, AnswersABareBindingOverIpv4) {
  Lane lane(Family::kIpv4);
  std::array<std::uint8_t, 64> buffer{};
  stun::MessageWriter writer(buffer, stun::Class::kRequest, stun::Method::kBinding, {1});
  const auto request = writer.finish();
  const auto of = [&](std::uint16_t port) {
    return lane.of({lane.client_, {lane.server_.address, port}, {request.begin(), request.end()}});
  };
  EXPECT_EQ(of(kPort), Verdict::kTransmitBack);
  EXPECT_EQ(of(kStunOnlyPort), Verdict::kTransmitBack);
  EXPECT_EQ(of(kTurnOnlyPort), Verdict::kContinue);
}

}  // namespace
}  // namespace turnpike::flow::test

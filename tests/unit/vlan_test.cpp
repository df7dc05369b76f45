// VLAN tags of frames: off and on again.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "dataplane/vlan_tags.h"

namespace turnpike {
namespace {

using Frame = std::vector<std::uint8_t>;
constexpr std::size_t kRoom = 16;
const Frame kMacs{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
const Frame kBody{0x08, 0x00, 0x45, 1, 2, 3, 4, 5};

Frame tagged(const Frame& tags, const Frame& body = kBody) {
  Frame frame = kMacs;
  frame.insert(frame.end(), tags.begin(), tags.end());
  frame.insert(frame.end(), body.begin(), body.end());
  return frame;
}

// A packet of a frame with room before it.
struct Held {
  explicit Held(const Frame& frame) : bytes(kRoom + frame.size()) {
    std::copy(frame.begin(), frame.end(), bytes.begin() + kRoom);
    packet.data = bytes.data() + kRoom;
    packet.length = static_cast<std::uint32_t>(frame.size());
    packet.headroom = kRoom;
  }
  Frame now() const { return {packet.data, packet.data + packet.length}; }

  Frame bytes;
  flow::Packet packet;
  dataplane::FrameNotes notes;
};

class Tags : public testing::TestWithParam<Frame> {};
TEST_P(Tags, ComeOffAndGoBack) {
  Held held(tagged(GetParam()));
  dataplane::take_tags_off(held.packet, held.notes);
  EXPECT_EQ(held.packet.tag_bytes, GetParam().size());
  EXPECT_EQ(held.now(), tagged({}));
  EXPECT_EQ(held.packet.headroom, kRoom + GetParam().size());
  dataplane::put_tags_back(held.packet, held.notes);
  EXPECT_EQ(held.now(), tagged(GetParam()));
  EXPECT_EQ(held.packet.headroom, kRoom);
}

TEST_P(Tags, GoOnAFrameWithRoom) {
  Held held(tagged({}));
  rte_mbuf mbuf{};
  mbuf.buf_addr = held.bytes.data();
  mbuf.buf_len = static_cast<std::uint16_t>(held.bytes.size());
  mbuf.data_off = kRoom;
  mbuf.data_len = static_cast<std::uint16_t>(held.packet.length);
  mbuf.pkt_len = held.packet.length;
  mbuf.nb_segs = 1;
  mbuf.refcnt = 1;
  flow::VlanTags tags;
  std::copy(GetParam().begin(), GetParam().end(), tags.bytes.begin());
  tags.size = static_cast<std::uint8_t>(GetParam().size());
  ASSERT_TRUE(dataplane::put_tags_on(&mbuf, tags));
  const auto* data = rte_pktmbuf_mtod(&mbuf, const std::uint8_t*);
  EXPECT_EQ(Frame(data, data + mbuf.data_len), tagged(GetParam()));
  mbuf.data_off = 3;
  EXPECT_FALSE(dataplane::put_tags_on(&mbuf, tags));
}
INSTANTIATE_TEST_SUITE_P(OneAndTwo, Tags,
                         testing::Values(Frame{0x81, 0, 0x20, 5}, Frame{0x88, 0xA8, 0, 9},
                                         Frame{0x88, 0xA8, 0, 200, 0x81, 0, 1, 44}));

TEST(Tags, OfAFrameThatIsCutShortStay) {
  for (const Frame& frame : {tagged({0x81, 0}, {}), tagged({0x81, 0, 0, 5}, {}), tagged({})}) {
    Held held(frame);
    dataplane::take_tags_off(held.packet, held.notes);
    EXPECT_EQ(held.packet.tag_bytes, 0);
    EXPECT_EQ(held.now(), frame);
  }
}

}  // namespace
}  // namespace turnpike

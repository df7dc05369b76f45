// Fragments that wait for their datagrams, and floods beside them.
#include "flow/fragment_table.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>

#include "flow_world.h"

namespace turnpike::flow {
namespace {

using namespace test;

constexpr Instant kNow{1'000'000};
constexpr AllocationSlot kKnown{7};
const std::optional<AllocationSlot> kNobody;

std::uint64_t spread(std::uint64_t number) {
  return (number + 1) * 0x9E37'79B9'7F4A'7C15 | 1;
}

// Frames are numbers.
class Bench {
 public:
  // How many pieces made a whole; 0: none did.
  std::size_t add(const Fragment& fragment, std::optional<AllocationSlot> owner,
                  Instant now = kNow) {
    ++frame_;
    held_.insert(frame_);
    const auto whole = table_->add(now, fragment, owner, reinterpret_cast<void*>(frame_));
    take_given_up();
    std::uint32_t end = 0;
    for (const FragmentTable::Piece& piece : whole) {
      EXPECT_EQ(piece.offset, end);
      end += piece.size;
      give_back(piece.frame);
    }
    return whole.size();
  }
  std::size_t first(std::uint64_t datagram, std::uint64_t source,
                    std::optional<AllocationSlot> owner = kNobody, Instant now = kNow) {
    return add({spread(datagram), spread(source), 0, 800, true}, owner, now);
  }
  std::size_t last(std::uint64_t datagram, std::uint64_t source, Instant now = kNow) {
    return add({spread(datagram), spread(source), 800, 100, false}, kNobody, now);
  }
  std::size_t lost(Drop reason) { return lost_[reason]; }
  std::size_t held() const { return held_.size(); }
  void end() {
    while (table_->give_up_all())
      take_given_up();
  }

 private:
  void take_given_up() {
    for (const FragmentTable::GivenUp& one : table_->given_up()) {
      ++lost_[one.reason];
      give_back(one.frame);
    }
  }
  void give_back(void* frame) {
    EXPECT_EQ(held_.erase(reinterpret_cast<std::uintptr_t>(frame)), 1U) << "given back twice";
  }

  std::unique_ptr<FragmentTable> table_ = std::make_unique<FragmentTable>();
  std::set<std::uintptr_t> held_;
  std::uintptr_t frame_ = 0;
  std::map<Drop, std::size_t> lost_;
};

TEST(FragmentTable, PutsTogetherInAnyOrder) {
  std::mt19937 random(1);
  Bench bench;
  for (std::uint64_t datagram = 0; datagram < 500; ++datagram) {
    std::vector<Fragment> pieces;
    const std::size_t n = 2 + random() % (FragmentTable::kPieces - 1);
    std::uint32_t offset = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const bool more = i + 1 < n;
      const auto size =
          static_cast<std::uint32_t>(more ? 8 * (1 + random() % 180) : 1 + random() % 1400);
      pieces.push_back({spread(datagram), 1, offset, size, more});
      offset += size;
    }
    std::shuffle(pieces.begin(), pieces.end(), random);
    for (std::size_t i = 0; i < n; ++i)
      ASSERT_EQ(bench.add(pieces[i], kNobody), i + 1 == n ? n : 0);
    ASSERT_EQ(bench.held(), 0U);
  }
}

TEST(FragmentTable, RefusesWhatCanBeNoPiece) {
  Bench bench;
  const Fragment wrong[] = {
      {spread(1), 1, 0, 0, true},         // of nothing
      {spread(1), 1, 0, 801, true},       // no eights
      {spread(1), 1, 65528, 8, true},     // beyond the longest
      {spread(1), 1, 65528, 100, false},  // likewise
  };
  for (const Fragment& fragment : wrong)
    EXPECT_EQ(bench.add(fragment, kNobody), 0U);
  EXPECT_EQ(bench.held(), 0U);
  EXPECT_EQ(bench.lost(Drop::kFragmentRejected), 4U);
}

// RFC 8200 §4.5, RFC 5722.
TEST(FragmentTable, OverlapsMakeADatagramVoidAndRepetitionsDont) {
  const Fragment wrong[] = {
      {spread(1), 1, 792, 16, true},   // over the first's end
      {spread(1), 1, 0, 400, true},    // within the first
      {spread(1), 1, 1592, 16, true},  // over the end
      {spread(1), 1, 2400, 8, true},   // behind it
      {spread(1), 1, 1600, 8, false},  // another end
      {spread(1), 1, 800, 8, false},   // an end before what is there
  };
  for (const Fragment& fragment : wrong) {
    Bench bench;
    bench.add({spread(1), 1, 0, 800, true}, kNobody);
    bench.add({spread(1), 1, 1592, 8, false}, kNobody);
    bench.add({spread(1), 1, 0, 800, true}, kNobody);
    EXPECT_EQ(bench.held(), 2U) << "the same once more is nothing";
    EXPECT_EQ(bench.add(fragment, kNobody), 0U);
    EXPECT_EQ(bench.held(), 0U) << fragment.offset << ' ' << fragment.size;
  }
  Bench bench;
  for (std::uint32_t i = 0; i <= FragmentTable::kPieces; ++i)
    bench.add({spread(1), 1, 8 * i, 8, true}, kNobody);
  EXPECT_EQ(bench.held(), 0U) << "too many pieces";
}

TEST(FragmentTable, WaitsForASecond) {
  Bench bench;
  bench.first(1, 1);
  EXPECT_EQ(bench.last(1, 1, kNow + (FragmentTable::kPatienceMs - 1)), 2U);
  bench.first(2, 1);
  EXPECT_EQ(bench.last(2, 1, kNow + FragmentTable::kPatienceMs), 0U) << "a new datagram";
  EXPECT_EQ(bench.lost(Drop::kFragmentRejected), 1U);
  for (std::uint64_t i = 0; i < FragmentTable::kDatagrams; ++i)
    bench.add({spread(3), 1, 0, 0, false}, kNobody, kNow + 10'000);
  EXPECT_EQ(bench.held(), 0U) << "what is old goes when others come";
}

// A datagram's pieces with a flood between them.
template <typename Flood>
void expect_undisturbed(Bench& bench, std::optional<AllocationSlot> owner, Flood flood) {
  for (std::uint64_t round = 0; round < 20; ++round) {
    const std::uint64_t datagram = 1'000'000 + round;
    ASSERT_EQ(bench.first(datagram, 4711, owner), 0U);
    flood(round);
    ASSERT_EQ(bench.last(datagram, 4711), 2U) << round;
  }
  bench.end();
  EXPECT_EQ(bench.held(), 0U);
}

TEST(FragmentTable, AFloodOfOneStrangerTakesNobodysPlace) {
  for (const auto& owner : {kNobody, std::optional(kKnown)}) {
    Bench bench;
    expect_undisturbed(bench, owner, [&](std::uint64_t round) {
      for (std::uint64_t i = 0; i < 1000; ++i)
        bench.first(round * 1000 + i, 1);
    });
    EXPECT_GT(bench.lost(Drop::kFragmentCrowded), 0U);
  }
}

TEST(FragmentTable, AFloodOfManyStrangersTakesNoPlaceOfTheKnown) {
  Bench bench;
  expect_undisturbed(bench, kKnown, [&](std::uint64_t round) {
    for (std::uint64_t i = 0; i < 1000; ++i)
      bench.first(round * 1000 + i, 10 + i);
  });
}

TEST(FragmentTable, AStrangersDatagramOutlivesFewerOthersThanThereArePlaces) {
  Bench bench;
  for (std::uint64_t i = 0; i < 1000; ++i)
    bench.first(i, 10 + i);
  expect_undisturbed(bench, kNobody, [&](std::uint64_t round) {
    for (std::uint64_t i = 0; i < FragmentTable::kDatagrams / 2; ++i)
      bench.first(20'000 + round * 1000 + i, 100'000 + i);
  });
}

TEST(FragmentTable, TheKnownArentCrowdedByOneOfThem) {
  Bench bench;
  expect_undisturbed(bench, kKnown, [&](std::uint64_t round) {
    for (std::uint64_t i = 0; i < 1000; ++i)
      bench.first(round * 1000 + i, 10 + i, AllocationSlot{8});
    for (std::uint64_t i = 0; i < 1000; ++i)
      bench.first(50'000 + round * 1000 + i, 10 + i);
  });
}

TEST(FragmentTable, StrangersGetNoPlaceWhereAllAreOfTheKnown) {
  Bench bench;
  for (std::uint32_t i = 0; i < FragmentTable::kDatagrams; ++i)
    bench.first(i, 1, AllocationSlot{i});
  bench.first(5000, 1);
  EXPECT_EQ(bench.lost(Drop::kFragmentCrowded), 1U);
  for (std::uint32_t i = 0; i < FragmentTable::kDatagrams; ++i)
    EXPECT_EQ(bench.last(i, 1), 2U);
  EXPECT_EQ(bench.first(5000, 1), 0U);
  EXPECT_EQ(bench.last(5000, 1), 2U);
}

// Until its first fragment is there a datagram is a stranger's, then it isn't any more.
TEST(FragmentTable, TheFirstFragmentMakesWhatCameBeforeItKnown) {
  Bench bench;
  bench.last(1, 4711);
  bench.add({spread(1), spread(4711), 0, 400, true}, kKnown);
  for (std::uint64_t i = 0; i < 1000; ++i)
    bench.first(100 + i, 10 + i);
  EXPECT_EQ(bench.add({spread(1), spread(4711), 400, 400, true}, kNobody), 3U);
}

// A datagram's first fragment, or a later one.
std::vector<std::uint8_t> fragment_of(const Datagram& datagram, std::uint8_t id, bool first) {
  std::vector<std::uint8_t> frame = frame_of(datagram);
  std::uint8_t* ip = frame.data() + 14;
  if (datagram.source.address.family == Family::kIpv4) {
    ip[5] = id;
    put16(ip + 6, first ? 0x2000 : 0x2001);
    put16(ip + 10, 0);
    put16(ip + 10, static_cast<std::uint16_t>(~plain_sum(ip, 20)));
    return frame;
  }
  put16(ip + 4, static_cast<std::uint16_t>(get16(ip + 4) + 8));
  ip[6] = 44;
  const std::vector<std::uint8_t> header{17, 0, 0, static_cast<std::uint8_t>(first ? 1 : 9),
                                         0,  0, 0, id};
  frame.insert(frame.begin() + 54, header.begin(), header.end());
  return frame;
}

class Fragments : public testing::TestWithParam<Family> {
 protected:
  bool v4() const { return GetParam() == Family::kIpv4; }
  Endpoint peer(std::uint16_t port = 9) const { return {v4() ? kPeer4 : kPeer6, port}; }
  Endpoint relayed() const { return {v4() ? kRelay4 : kRelay6, v4() ? kRelayPort4 : kRelayPort6}; }
  std::optional<AllocationSlot> owner(const Endpoint& from, const Endpoint& to, bool cut = false) {
    std::vector<std::uint8_t> frame = fragment_of({from, to, {1, 2, 3, 4, 5, 6, 7, 8}}, 1, true);
    if (cut) {  // within UDP's header
      frame.resize(frame.size() - 12);
      std::uint8_t* ip = frame.data() + 14;
      std::uint8_t* length = ip + (v4() ? 2 : 4);
      put16(length, static_cast<std::uint16_t>(get16(length) - 12));
      if (v4()) {
        put16(ip + 10, 0);
        put16(ip + 10, static_cast<std::uint16_t>(~plain_sum(ip, 20)));
      }
    }
    const Packet packet = world_.run(frame);
    EXPECT_EQ(packet.verdict, Verdict::kReassemble);
    return world_.pipeline_->owner_of_fragment(world_.now_, packet);
  }

  FlowWorld world_{GetParam()};
};

TEST_P(Fragments, AreToldApartByTheirDatagrams) {
  std::set<std::uint64_t> seen, sources;
  for (const std::uint16_t from : {1, 2}) {
    for (const Endpoint& to : {relayed(), Endpoint{v4() ? kServer4 : kServer6, kPort}}) {
      for (const std::uint8_t id : {1, 2}) {
        Endpoint source = peer();
        source.address.bytes[3] = static_cast<std::uint8_t>(from);
        const Packet one = world_.run(fragment_of({source, to, {1, 2, 3, 4}}, id, true));
        const Fragment first = read_fragment(kHashKey, one);
        EXPECT_TRUE(first.first());
        EXPECT_TRUE(first.more);
        EXPECT_EQ(first.size, 12U);
        const Packet other = world_.run(fragment_of({source, to, {1, 2, 3, 4}}, id, false));
        const Fragment later = read_fragment(kHashKey, other);
        EXPECT_FALSE(later.first());
        EXPECT_EQ(later.offset, 8U);
        EXPECT_EQ(first.datagram, later.datagram);
        EXPECT_EQ(first.source, later.source);
        seen.insert(first.datagram);
        sources.insert(first.source);
      }
    }
  }
  EXPECT_EQ(seen.size(), 8U);
  EXPECT_EQ(sources.size(), 2U);
}

TEST_P(Fragments, AreKnownByFiveTuplePermissionAndChannel) {
  EXPECT_EQ(owner(world_.client_, world_.server_), world_.allocation_);
  EXPECT_EQ(owner({world_.client_.address, 1}, world_.server_), kNobody);
  EXPECT_EQ(owner(peer(), relayed()), world_.allocation_);
  Endpoint other = relayed();
  ++other.port;
  EXPECT_EQ(owner(peer(), other), kNobody) << "no relay port of anybody's";
  Endpoint stranger = peer();
  stranger.address.bytes[3] ^= 1;
  EXPECT_EQ(owner(stranger, relayed()), kNobody);
  EXPECT_EQ(owner(world_.client_, world_.server_, true), kNobody) << "cut short";
  world_.now_ = {FlowWorld::kExpires * std::uint64_t{1000}};
  EXPECT_EQ(owner(peer(), relayed()), kNobody) << "expired";
}
INSTANTIATE_TEST_SUITE_P(Families, Fragments, testing::Values(Family::kIpv4, Family::kIpv6));

}  // namespace
}  // namespace turnpike::flow

// One user, or one host, who takes all it can get: others must have theirs.
#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

// Peers that are all allowed.
std::vector<Address> peers(std::size_t count, std::uint8_t network = 113) {
  std::vector<Address> result;
  for (std::size_t i = 0; i < count; ++i) {
    result.push_back(
        Address::v4(203, network, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)));
  }
  return result;
}

class Fairness : public TurnServer {
 protected:
  // Many peers don't fit the fixture's own buffer.
  Answer permit_many(std::uint16_t port, const std::vector<Address>& many) {
    std::vector<std::uint8_t> buffer(64 + 12 * many.size() + 512);
    stun::TransactionId id{};
    ++transaction_;
    std::memcpy(id.data(), &transaction_, sizeof transaction_);
    MessageWriter writer(buffer, Class::kRequest, Method::kCreatePermission, id);
    for (const Address& peer : many)
      writer.add_xor_address(Attribute::kXorPeerAddress, {peer, 0});
    sign(writer, from(port));
    const auto bytes = writer.finish();
    return say(from(port), {bytes.begin(), bytes.end()});
  }
};

TEST_F(Fairness, MorePeersThanAnAllocationMayHaveAreNotEvenJudged) {
  config_.max_permissions_per_allocation = 10;
  restart();
  allocate(1000);
  EXPECT_EQ(permit_many(1000, peers(11)).code(), 508);
  EXPECT_EQ(world_.judged, 0);
  EXPECT_EQ(permit_many(1000, peers(10)).code(), 0);
}

TEST_F(Fairness, MoreNewPeersThanThereIsRoomForAreNotPublished) {
  config_.max_permissions_per_allocation = 10;
  restart();
  allocate(1000);
  ASSERT_EQ(permit_many(1000, peers(4)).code(), 0);
  const std::uint32_t published = world_.sink.next;
  EXPECT_EQ(permit_many(1000, peers(7, 7)).code(), 508);
  EXPECT_EQ(world_.sink.next, published);
  EXPECT_EQ(permit_many(1000, peers(10)).code(), 0) << "four of them are there already";
}

// --- What somebody else has heard

TEST_F(Fairness, AnOverheardAllocateMakesNothingLater) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  ASSERT_EQ(say(from(1000), bytes).code(), 0);
  refresh(1000, 0);
  for (const std::uint32_t seconds : {30U, 20U, 650U}) {
    pass(seconds);
    EXPECT_NE(say(from(1000), bytes).code(), 0);
  }
  EXPECT_TRUE(world_.sink.allocations.empty());
  EXPECT_EQ(allocate(1000).code(), 0) << "with a nonce of now its client is welcome";
}

TEST_F(Fairness, AnOldNonceIsGoodForAllButANewAllocation) {
  nonce_ = nonce_for(from(1000));
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  ASSERT_EQ(say(from(1000), bytes).code(), 0);
  pass(500);
  EXPECT_EQ(say(from(1000), bytes).code(), 0) << "a retransmission, if a late one";
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  EXPECT_EQ(permit(1000, {kPeer}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 1}).code(), 0);
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  EXPECT_EQ(allocate(1000).code(), 438);
}

TEST_F(Fairness, AnothersAllocateOnAFiveTupleInUseGets437) {
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  ASSERT_EQ(say(from(1000), bytes).code(), 0);
  user_ = "bob";
  EXPECT_EQ(allocate(1000).code(), 437);
  --transaction_;
  --transaction_;
  EXPECT_EQ(allocate(1000).code(), 437) << "with the first one's transaction as well";
  for (const Answer& answer :
       {refresh(1000, 600), permit(1000, {kPeer}), bind(1000, 0x4000, {kPeer, 1})})
    EXPECT_EQ(answer.code(), 441);
}

TEST_F(Fairness, AnAllocationsOwnerIsKnownHoweverHeWritesHisName) {
  world_.users = {"a b"};
  user_ = "a b";
  ASSERT_EQ(allocate(1000).code(), 0);
  world_.users.clear();
  by_name_ = false;
  const auto answer = ask(Method::kRefresh, 1000,
                          [](MessageWriter& w) { w.add_text(Attribute::kUsername, "a\u00A0b"); });
  EXPECT_EQ(answer.code(), 0);
}

}  // namespace
}  // namespace turnpike

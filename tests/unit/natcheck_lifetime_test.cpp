// How a row of tries becomes a lifetime, and what messages the tries are made of.
#include "natcheck/lifetime.h"

#include <gtest/gtest.h>

#include <vector>

#include "natcheck/messages.h"
#include "wire/headers.h"

namespace turnpike::natcheck {
namespace {

using Result = Lifetime::Result;

std::vector<Rung> rungs_of(double lifetime_s, double longest_s) {
  std::vector<Rung> rungs;
  for (const double time : rungs_to(longest_s))
    rungs.push_back({time, time < lifetime_s});
  return rungs;
}

TEST(Lifetime, IsFoundWithinATenthWhateverItIs) {
  for (double lifetime_s = 2.1; lifetime_s < 550; lifetime_s *= 1.013) {
    const Lifetime found = conclude_lifetime(rungs_of(lifetime_s, 600));
    ASSERT_EQ(found.result, Result::kFound) << lifetime_s;
    EXPECT_NEAR(found.estimate_s(), lifetime_s, lifetime_s / 10);
    EXPECT_TRUE(found.consistent);
  }
}

TEST(Lifetime, BeyondWhatWasTriedIsOnlyBounded) {
  const Lifetime longer = conclude_lifetime(rungs_of(1000, 60));
  EXPECT_EQ(longer.result, Result::kLonger);
  EXPECT_DOUBLE_EQ(longer.alive_s, 60);
  const Lifetime shorter = conclude_lifetime(rungs_of(1, 60));
  EXPECT_EQ(shorter.result, Result::kShorter);
  EXPECT_DOUBLE_EQ(shorter.dead_s, kShortestLifetime_s);
}

TEST(Lifetime, ThatOneLostPacketWouldShortenIsTheLongerAndCalledInconsistent) {
  const std::vector<Rung> rungs{{2, true}, {3, false}, {4, true}, {5, false}, {6, false}};
  const Lifetime found = conclude_lifetime(rungs);
  EXPECT_EQ(found.result, Result::kFound);
  EXPECT_DOUBLE_EQ(found.alive_s, 4);
  EXPECT_DOUBLE_EQ(found.dead_s, 5);
  EXPECT_FALSE(found.consistent);
}

TEST(Lifetime, IsSettledByTwoInARowThatAreOver) {
  EXPECT_FALSE(is_settled(std::vector<Rung>{{2, true}, {3, false}}));
  EXPECT_FALSE(is_settled(std::vector<Rung>{{2, false}, {3, true}}));
  EXPECT_TRUE(is_settled(std::vector<Rung>{{2, true}, {3, false}, {4, false}}));
}

TEST(Lifetime, OfNothingIsNotTold) {
  EXPECT_EQ(conclude_lifetime({}).result, Result::kCannotTell);
}

TEST(Lifetime, IsLookedForInStepsThatEndWhereItWasSaid) {
  const std::vector<double> times = rungs_to(kLongestLifetime_s);
  EXPECT_LT(times.size(), 120U);
  EXPECT_DOUBLE_EQ(times.back(), kLongestLifetime_s);
  for (std::size_t i = 1; i < times.size(); ++i)
    EXPECT_LE(times[i] / times[i - 1], 1.081);
}

stun::TransactionId id_of(std::uint8_t byte) {
  stun::TransactionId id;
  id.fill(byte);
  return id;
}

TEST(BindingRequest, CarriesWhatRfc5780Has) {
  const auto bytes = binding_request(
      id_of(1), {.change = kChangeAddress | kChangePort, .response_port = 4711, .padding = 1500});
  stun::MessageView view;
  ASSERT_EQ(stun::MessageView::parse(bytes, view), stun::ParseError::kNone);
  std::size_t seen = 0;
  view.for_each([&](const stun::AttributeView& attribute) {
    ++seen;
    if (attribute.type == 0x0003) {
      EXPECT_EQ(wire::load_be32(attribute.value.data()), 6U);
    }
    if (attribute.type == 0x0026) {
      EXPECT_EQ(attribute.value.size(), 1500U);
    }
    if (attribute.type == 0x0027) {
      EXPECT_EQ(attribute.value.size(), 4U);
      EXPECT_EQ(wire::load_be16(attribute.value.data()), 4711U);
    }
    return true;
  });
  EXPECT_EQ(seen, 3U);
  EXPECT_TRUE(is_request(bytes, id_of(1)));
  EXPECT_FALSE(is_request(bytes, id_of(2)));
  EXPECT_FALSE(read_answer(bytes, id_of(1)).has_value());
}

TEST(BindingAnswer, IsReadWithItsOtherAddress) {
  const Endpoint mapped{Address::v4(203, 0, 113, 11), 40000};
  const Endpoint other{Address::v4(203, 0, 113, 2), 3479};
  std::vector<std::uint8_t> room(256);
  stun::MessageWriter writer(room, stun::Class::kSuccess, stun::Method::kBinding, id_of(1));
  writer.add_xor_address(stun::Attribute::kXorMappedAddress, mapped);
  writer.add_address(static_cast<stun::Attribute>(0x802C), other);
  writer.add_text(stun::Attribute::kSoftware, "evil \033[31m");
  const auto answer = read_answer(writer.finish(), id_of(1));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->mapped, mapped);
  EXPECT_EQ(answer->other, other);
  EXPECT_EQ(answer->software, "evil ?[31m");
  EXPECT_FALSE(read_answer(writer.finish(), id_of(2)).has_value());
}

TEST(BindingAnswer, OfAnErrorSaysWhich) {
  std::vector<std::uint8_t> room(256);
  stun::MessageWriter writer(room, stun::Class::kError, stun::Method::kBinding, id_of(1));
  writer.add_error_code(420);
  const auto answer = read_answer(writer.finish(), id_of(1));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->error, 420);
  EXPECT_FALSE(answer->mapped.has_value());
}

}  // namespace
}  // namespace turnpike::natcheck

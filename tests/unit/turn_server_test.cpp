// What becomes of a request before its method is looked at, and where each answer is counted.
#include <algorithm>
#include <array>

#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

TEST_F(TurnServer, RedirectsAfterAuthentication) {
  config_.redirects = {{{kServer, 3478}, {{kPeer6, 3478}, {kPeer, 3478}}}};
  restart();
  const Answer answer = allocate(1000);
  EXPECT_EQ(answer.code(), 300);
  EXPECT_EQ(answer.view.address(Attribute::kAlternateServer)->address, kPeer);
  EXPECT_TRUE(answer.view.has(Attribute::kMessageIntegrity));
}

TEST_F(TurnServer, DropsWhatIsNoRequestOfIts) {
  server_->handle(now_, from(1000), std::array<std::uint8_t, 3>{1, 2, 3}, RequestToken{7});
  std::array<std::uint8_t, 64> buffer{};
  MessageWriter binding(buffer, Class::kRequest, Method::kBinding, {});
  server_->handle(now_, from(1000), binding.finish(), RequestToken{8});
  MessageWriter indication(buffer, Class::kIndication, Method::kAllocate, {});
  server_->handle(now_, from(1000), indication.finish(), RequestToken{9});
  for (const std::uint64_t token : {7U, 8U, 9U})
    EXPECT_EQ(world_.discards.at(RequestToken{token}), Discard::kMalformed);
  EXPECT_TRUE(world_.replies.empty());
}

TEST_F(TurnServer, EveryAnswerIsCountedByMethodAndResult) {
  const auto count = [&](Method method, std::uint16_t result) {
    const auto row = std::find(kMethods.begin(), kMethods.end(), method) - kMethods.begin();
    const auto column = std::find(kResults.begin(), kResults.end(), result) - kResults.begin();
    return server_->counters()
        .requests[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)]
        .get();
  };
  allocate(1000);
  allocate(1000);
  permit(1000, {kForbidden});
  refresh(1000, 0);
  EXPECT_EQ(count(Method::kAllocate, 0), 1U);
  EXPECT_EQ(count(Method::kAllocate, 437), 1U);
  EXPECT_EQ(count(Method::kCreatePermission, 403), 1U);
  EXPECT_EQ(count(Method::kRefresh, 0), 1U);
  EXPECT_EQ(count(Method::kChannelBind, 0), 0U);
}

}  // namespace
}  // namespace turnpike

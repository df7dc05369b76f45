// What the server asks of an Allocate's identity, and what comes of the verdict: a refusal, or a
// quota that is the user's own.
#include "turn_world.h"

namespace turnpike {
namespace {

using namespace test;

struct Asked {
  std::string username, realm, origin, software;

  friend bool operator==(const Asked&, const Asked&) = default;
};

class IdentityOfAllocate : public TurnServer {
 protected:
  IdentityOfAllocate() {
    world_.identity = [this](const IdentityAttributes& asked) {
      asked_.push_back({std::string(asked.username), std::string(asked.realm),
                        std::string(asked.origin), std::string(asked.software)});
      return verdict_;
    };
  }
  static std::string reason_of(const Answer& answer) {
    const auto error = answer.view.find(Attribute::kErrorCode);
    if (!error || error->value.size() < 4) return "";
    return {error->value.begin() + 4, error->value.end()};
  }
  static void says_all(MessageWriter& writer) {
    writer.add_text(Attribute::kSoftware, "Client 1");
    writer.add_text(Attribute::kOrigin, "https://example.com");
  }
  bool signed_for_alice(const Answer& answer) const {
    return stun::check_message_integrity(answer.view,
                                         client_key(stun::PasswordAlgorithm::kMd5).view());
  }

  IdentityVerdict verdict_;
  std::vector<Asked> asked_;
};

TEST_F(IdentityOfAllocate, IsAllThatItSays) {
  EXPECT_EQ(allocate(1000, says_all).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(asked_, (std::vector<Asked>{{"alice", "example.org", "https://example.com", "Client 1"},
                                        {"alice", "example.org", "", ""}}));
}

TEST_F(IdentityOfAllocate, IsTheNameThatAHashStandsFor) {
  config_.realms[0].username_anonymity = true;
  server_realm_.username_anonymity = true;
  restart();
  by_name_ = false;
  by_hash_ = true;
  allocate(1000);
  ASSERT_EQ(asked_.size(), 1U);
  EXPECT_EQ(asked_[0].username, "alice");
}

TEST_F(IdentityOfAllocate, ThatIsRefusedGets403WithIntegrityAndTakesNothing) {
  verdict_.refused = true;
  const Answer answer = allocate(1000);
  EXPECT_EQ(answer.code(), 403);
  EXPECT_EQ(reason_of(answer), "Identity Refused");
  EXPECT_TRUE(signed_for_alice(answer));
  EXPECT_TRUE(world_.sink.ports.empty());
  EXPECT_EQ(quotas_.count({"alice"}), 0U);
  verdict_.refused = false;
  EXPECT_EQ(allocate(1000).code(), 0) << "nothing is remembered of it";
}

TEST_F(IdentityOfAllocate, IsNotLookedAtBeforeItIsProved) {
  password_ = "wrong";
  EXPECT_EQ(allocate(1000).code(), 401);
  password_ = "secret";
  nonce_ = "forged";
  EXPECT_EQ(allocate(1000).code(), 438);
  EXPECT_TRUE(asked_.empty());
}

TEST_F(IdentityOfAllocate, IsNotLookedAtWhereTheRequestIsWrongAnyway) {
  EXPECT_EQ(ask(Method::kAllocate, 1000).code(), 400);
  EXPECT_TRUE(asked_.empty());
}

TEST_F(IdentityOfAllocate, ThatIsRefusedIsNotSentElsewhere) {
  config_.redirects = {{from(1000).server, {{kPublic, 3478}}, Transport::kUdp}};
  restart();
  EXPECT_EQ(allocate(1000).code(), 300);
  verdict_.refused = true;
  EXPECT_EQ(allocate(1000).code(), 403);
}

TEST_F(IdentityOfAllocate, IsNotAskedOfWhatStands) {
  const auto request = build(Method::kAllocate, from(1000), udp);
  ASSERT_EQ(say(from(1000), request).code(), 0);
  ASSERT_EQ(asked_.size(), 1U);
  verdict_.refused = true;
  EXPECT_EQ(say(from(1000), request).code(), 0) << "its retransmission";
  EXPECT_EQ(permit(1000, {kPeer}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 7000}).code(), 0);
  EXPECT_EQ(refresh(1000, 600).code(), 0);
  EXPECT_EQ(allocate(1000).code(), 437);
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  EXPECT_EQ(asked_.size(), 1U);
}

// --- Quotas; everybody else has two allocations.

TEST_F(IdentityOfAllocate, HasItsOwnQuotaToTheLast) {
  verdict_.limits = UserLimits{5};
  for (std::uint16_t port = 1000; port < 1005; ++port)
    EXPECT_EQ(allocate(port).code(), 0) << port;
  EXPECT_EQ(allocate(1005).code(), 486);
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  EXPECT_EQ(allocate(1005).code(), 0);
  EXPECT_EQ(allocate(1006).code(), 486);
}

TEST_F(IdentityOfAllocate, MayHaveASmallerQuotaThanOthers) {
  verdict_.limits = UserLimits{1};
  EXPECT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(allocate(1001).code(), 486);
}

TEST_F(IdentityOfAllocate, WhoseQuotaIsLargerLeavesOthersTheirs) {
  world_.identity = [](const IdentityAttributes& asked) {
    return asked.username == "alice" ? IdentityVerdict{false, UserLimits{5}} : IdentityVerdict{};
  };
  for (std::uint16_t port = 1000; port < 1005; ++port)
    ASSERT_EQ(allocate(port).code(), 0) << port;
  user_ = "bob";
  EXPECT_EQ(allocate(2000).code(), 0);
  EXPECT_EQ(allocate(2001).code(), 0);
  EXPECT_EQ(allocate(2002).code(), 486);
}

TEST_F(IdentityOfAllocate, IsJudgedByTheClassOfThisAllocate) {
  verdict_.limits = UserLimits{3};
  for (std::uint16_t port = 1000; port < 1003; ++port)
    ASSERT_EQ(allocate(port).code(), 0) << port;
  verdict_.limits.reset();
  EXPECT_EQ(allocate(1003).code(), 486);
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  EXPECT_EQ(allocate(1003).code(), 486) << "two are what all may have";
  EXPECT_EQ(refresh(1001, 0).code(), 0);
  EXPECT_EQ(allocate(1003).code(), 0);
}

TEST_F(IdentityOfAllocate, CountsAReservationAgainstItsOwnQuota) {
  verdict_.limits = UserLimits{3};
  ASSERT_EQ(allocate(1000, even_pair).code(), 0);
  EXPECT_EQ(allocate(1001, even_pair).code(), 486) << "a third and a fourth";
  ASSERT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(allocate(1002).code(), 486);
}

TEST_F(IdentityOfAllocate, HasPermissionsAndChannelsOfItsClass) {
  QuotaLedger ledger({2, 1, 1}, 0, false);
  server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, ledger);
  verdict_.limits = UserLimits{2, 3, 2};
  ASSERT_EQ(allocate(1000).code(), 0);
  EXPECT_EQ(bind(1000, 0x4000, {kPeer, 1}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4001, {kPeer, 2}).code(), 0);
  EXPECT_EQ(bind(1000, 0x4002, {kPeer, 3}).code(), 508);
  EXPECT_EQ(permit(1000, {kPublic, kForbiddenElsewhere}).code(), 0);
  EXPECT_EQ(permit(1000, {kServer}).code(), 508);
  user_ = "bob";
  verdict_.limits.reset();
  ASSERT_EQ(allocate(2000).code(), 0);
  EXPECT_EQ(permit(2000, {kPeer, kPublic}).code(), 508);
  EXPECT_EQ(permit(2000, {kPeer}).code(), 0);
}

}  // namespace
}  // namespace turnpike

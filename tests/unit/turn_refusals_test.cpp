// Why a request is refused, in words: a developer of a client reads them in his log. And which of
// several causes is told.
#include "turn_world.h"
#include "turnpike/stateless_answers.h"

namespace turnpike {
namespace {

using namespace test;

class Refusals : public TurnServer {
 protected:
  static std::string cause_of(const Answer& answer) {
    const auto error = answer.view.find(Attribute::kErrorCode);
    if (!error || error->value.size() < 4) return "no error";
    EXPECT_LT(error->value.size(), 4U + 128U);
    EXPECT_LE(answer.bytes.size(), 548U);
    const std::string text(error->value.begin() + 4, error->value.end());
    return std::to_string(answer.code()) + " " + text;
  }
  std::string allocating(const Fill& more) { return cause_of(allocate(1000, more)); }
  std::string asking(Method method, const Fill& fill = {}) {
    return cause_of(ask(method, 1000, fill));
  }
  static Fill octets(Attribute attribute, std::vector<std::uint8_t> value) {
    return [=](MessageWriter& writer) { writer.add(attribute, value); };
  }
  static Fill both(const Fill& first, const Fill& second) {
    return [=](MessageWriter& writer) {
      first(writer);
      second(writer);
    };
  }
  static Fill peer(const Endpoint& endpoint) {
    return [=](MessageWriter& writer) {
      writer.add_xor_address(Attribute::kXorPeerAddress, endpoint);
    };
  }
  static Fill channel(ChannelNumber number) {
    return [=](MessageWriter& writer) { writer.add_channel_number(number); };
  }

  static inline const std::vector<std::uint8_t> kThree{17, 0, 0};
};

TEST_F(Refusals, OfAllocateSayTheirCause) {
  EXPECT_EQ(asking(Method::kAllocate), "400 Requested Transport Missing");
  EXPECT_EQ(asking(Method::kAllocate, octets(Attribute::kRequestedTransport, kThree)),
            "400 Requested Transport Malformed");
  EXPECT_EQ(asking(Method::kAllocate, octets(Attribute::kRequestedTransport, {6, 0, 0, 0})),
            "442 Unsupported Transport Protocol");
  const Fill token = octets(Attribute::kReservationToken, std::vector<std::uint8_t>(8));
  const Fill pair = octets(Attribute::kEvenPort, {0x80});
  const Fill one = octets(Attribute::kRequestedAddressFamily, {1, 0, 0, 0});
  const Fill more = octets(Attribute::kAdditionalAddressFamily, {2, 0, 0, 0});
  EXPECT_EQ(allocating(octets(Attribute::kLifetime, kThree)), "400 Lifetime Malformed");
  EXPECT_EQ(allocating(octets(Attribute::kEvenPort, kThree)), "400 Even Port Malformed");
  EXPECT_EQ(allocating(octets(Attribute::kRequestedAddressFamily, kThree)),
            "400 Requested Address Family Malformed");
  EXPECT_EQ(allocating(octets(Attribute::kRequestedAddressFamily, {3, 0, 0, 0})),
            "440 Address Family not Supported");
  EXPECT_EQ(allocating(octets(Attribute::kAdditionalAddressFamily, {1, 0, 0, 0})),
            "400 Additional Address Family Is Not IPv6");
  EXPECT_EQ(allocating(both(one, more)), "400 Requested And Additional Address Family");
  EXPECT_EQ(allocating(both(pair, more)), "400 Additional Address Family Beside A Pair Of Ports");
  EXPECT_EQ(allocating(both(token, pair)), "400 Reservation Token Beside Even Port Or Family");
  EXPECT_EQ(allocating(token), "508 No Such Reservation");
  EXPECT_TRUE(world_.sink.allocations.empty());
}

TEST_F(Refusals, OfAllocateTellOneLackFromAnother) {
  config_.port_min = 50000;
  config_.port_max = 50003;
  config_.max_allocations = 5;
  config_.relayed = {{kRelay4, std::nullopt}};
  restart();
  const auto bytes = build(Method::kAllocate, from(1000), udp);
  say(from(1000), bytes);
  EXPECT_EQ(allocating({}), "437 Five-Tuple In Use");
  EXPECT_EQ(refresh(1000, 0).code(), 0);
  EXPECT_EQ(cause_of(say(from(1000), bytes)), "437 Allocation Of This Request Has Ended");
  QuotaLedger unlimited(0, 0, true);
  server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, unlimited);
  world_.sink.ports.clear();
  const Fill pair = octets(Attribute::kEvenPort, {0x80});
  EXPECT_EQ(allocate(1001, pair).code(), 0);
  EXPECT_EQ(allocating(pair), "508 Too Many Reservations");
  EXPECT_EQ(allocate(1002, octets(Attribute::kEvenPort, {0})).code(), 0);
  EXPECT_EQ(allocating(octets(Attribute::kEvenPort, {0})), "508 No Such Port Free");
  EXPECT_EQ(allocate(1003).code(), 0);
  EXPECT_EQ(allocating({}), "508 No Port Free");
  config_.max_allocations = 3;
  config_.port_max = 50100;
  server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, quotas_);
  world_.sink.ports.clear();
  EXPECT_EQ(allocate(1001).code(), 0);
  EXPECT_EQ(allocate(1002).code(), 0);
  EXPECT_EQ(allocating({}), "486 Allocation Quota Reached");
  user_ = "bob";
  EXPECT_EQ(allocate(1003).code(), 0);
  EXPECT_EQ(allocating({}), "508 Too Many Allocations");
}

TEST_F(Refusals, OfChannelBindSayTheirCause) {
  config_.max_channels_per_allocation = 1;
  restart();
  EXPECT_EQ(cause_of(bind(1000, 0x4000, {kPeer, 9})), "437 No Allocation Here");
  allocate(1000);
  ASSERT_EQ(bind(1000, 0x4000, {kPeer, 9}).code(), 0);
  const auto binding = [&](const Fill& fill) { return asking(Method::kChannelBind, fill); };
  EXPECT_EQ(binding(peer({kPeer, 9})), "400 Channel Number Missing");
  EXPECT_EQ(binding(both(octets(Attribute::kChannelNumber, kThree), peer({kPeer, 9}))),
            "400 Channel Number Malformed");
  for (const ChannelNumber number : {0x3FFF, 0x5000}) {
    EXPECT_EQ(binding(both(channel(number), peer({kPeer, 9}))), "400 Channel Number Out Of Range");
  }
  EXPECT_EQ(binding(channel(0x4001)), "400 Peer Address Missing");
  EXPECT_EQ(binding(both(channel(0x4001), octets(Attribute::kXorPeerAddress, kThree))),
            "400 Peer Address Malformed");
  EXPECT_EQ(binding(both(channel(0x4001), peer({kPeer, 0}))), "400 Peer Port Is Zero");
  EXPECT_EQ(binding(both(channel(0x4000), peer({kPeer, 10}))),
            "400 Channel Number Bound To Another Peer");
  EXPECT_EQ(binding(both(channel(0x4001), peer({kPeer, 9}))),
            "400 Peer Bound To Another Channel Number");
  EXPECT_EQ(binding(both(channel(0x4001), peer({kPeer, 10}))), "508 Too Many Channels");
  EXPECT_EQ(binding(both(channel(0x4001), peer({kForbidden, 10}))), "403 Forbidden");
  EXPECT_EQ(binding(both(channel(0x4001), peer({kPeer6, 10}))), "443 Peer Address Family Mismatch");
}

TEST_F(Refusals, OfCreatePermissionAndRefreshSayTheirCause) {
  config_.max_permissions_per_allocation = 1;
  restart();
  allocate(1000);
  EXPECT_EQ(asking(Method::kCreatePermission), "400 Peer Address Missing");
  EXPECT_EQ(asking(Method::kCreatePermission, octets(Attribute::kXorPeerAddress, kThree)),
            "400 Peer Address Malformed");
  ASSERT_EQ(permit(1000, {kPeer}).code(), 0);
  EXPECT_EQ(cause_of(permit(1000, {Address::v4(203, 0, 113, 6)})), "508 Too Many Permissions");
  EXPECT_EQ(cause_of(permit(1000, {kPeer, Address::v4(203, 0, 113, 6)})),
            "508 Too Many Permissions");
  EXPECT_EQ(asking(Method::kRefresh, octets(Attribute::kLifetime, kThree)),
            "400 Lifetime Malformed");
  EXPECT_EQ(asking(Method::kRefresh, octets(Attribute::kRequestedAddressFamily, kThree)),
            "400 Requested Address Family Malformed");
  EXPECT_EQ(asking(Method::kRefresh, octets(Attribute::kRequestedAddressFamily, {2, 0, 0, 0})),
            "443 Allocation Has No Such Family");
  user_ = "bob";
  EXPECT_EQ(asking(Method::kRefresh), "441 Allocation Is Another User's");
}

TEST_F(Refusals, OfCredentialsSayTheirCause) {
  by_name_ = false;
  EXPECT_EQ(allocating({}), "400 Credentials Incomplete");
  by_name_ = true;
  algorithms_ = algorithm_ = kMd5;
  EXPECT_EQ(allocating({}), "400 Password Algorithms Altered");
  algorithms_ = algorithm_ = {};
  const FiveTuple who{ClientEndpoint{{*Address::parse("2002:c000:201::1"), 1000}},
                      {kServer, 3478},
                      Transport::kUdp};
  EXPECT_EQ(cause_of(say(who, build(Method::kAllocate, who, udp))),
            "403 Client Address Is A Tunnel's");
}

// StatelessAnswers sees them first; a stranger gets no more than by any other question.
TEST_F(Refusals, OfTheStatelessAnswersSayTheirCauseAndStaySmall) {
  const StatelessAnswers stateless({.realms = {server_realm_}}, nonces_);
  std::array<std::uint8_t, 548> room{};
  const auto ask_door = [&] {
    const auto bytes = build(Method::kRefresh, from(1000), {});
    MessageView view;
    EXPECT_EQ(MessageView::parse(bytes, view), stun::ParseError::kNone);
    const FiveTuple who = from(1000);
    const StatelessResult result =
        stateless.answer(now_, view, who.client, {who.server}, false, room);
    EXPECT_LT(result.size, StatelessAnswers::challenge_size(realm_.size()));
    Answer answer({room.begin(), room.begin() + static_cast<std::ptrdiff_t>(result.size)});
    EXPECT_EQ(MessageView::parse(answer.bytes, answer.view), stun::ParseError::kNone);
    return cause_of(answer);
  };
  by_name_ = false;
  EXPECT_EQ(ask_door(), "400 Credentials Incomplete");
  by_name_ = true;
  algorithms_ = algorithm_ = kMd5;
  EXPECT_EQ(ask_door(), "400 Password Algorithms Altered");
}

// RFC 8656 §10.2: any that is wrong refuses all, wherever it stands.
TEST_F(Refusals, AMalformedPeerBesideAGoodOneLetsNobodyIn) {
  allocate(1000);
  const Fill good = peer({kPeer, 0});
  const Fill bad = octets(Attribute::kXorPeerAddress, kThree);
  for (const Fill& fill : {both(good, bad), both(bad, good), both(both(good, bad), good)}) {
    EXPECT_EQ(asking(Method::kCreatePermission, fill), "400 Peer Address Malformed");
  }
  EXPECT_TRUE(world_.sink.permissions.empty());
}

// RFC 8656 §10.2, §12.2: 443 stands first, and nobody's rules are asked about a peer that can't be.
TEST_F(Refusals, AForbiddenPeerOfTheWrongFamilyIsOfTheWrongFamily) {
  allocate(1000, [](MessageWriter& w) { w.add_u8_rfffu(Attribute::kRequestedAddressFamily, 2); });
  EXPECT_EQ(permit(1000, {kForbidden}).code(), 443);
  EXPECT_EQ(bind(1000, 0x4000, {kForbidden, 9}).code(), 443);
  EXPECT_EQ(world_.judged, 0);
}

// RFC 8656 §7.2 (9).
TEST_F(Refusals, BothFamiliesMissingIs508) {
  config_.port_min = 50000;
  config_.port_max = 50001;
  QuotaLedger quotas(4, 0, true);
  server_ = std::make_unique<Server>(config_, world_, nonces_, tokens_, quotas);
  const Fill dual = [](MessageWriter& w) {
    w.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2);
  };
  EXPECT_EQ(allocate(1000, dual).code(), 0);
  EXPECT_EQ(allocate(1001, dual).code(), 0);
  EXPECT_EQ(cause_of(allocate(1002, dual)), "508 No Port Free");
  EXPECT_EQ(quotas.count({"alice"}), 2U);
}

// RFC 8489 §10 concerns the listener that is redirected, and no other.
TEST_F(Refusals, ARedirectionIsOneListeners) {
  config_.redirects = {{{kPeer, 3478}, {{kServer, 3478}}},
                       {{kServer, 3478}, {{kPeer, 3478}}, static_cast<Transport>(6)}};
  restart();
  EXPECT_EQ(allocate(1000).code(), 0);
}

}  // namespace
}  // namespace turnpike

// Nonces and reservation tokens: what is not ours, or no longer, opens nothing.
#include <gtest/gtest.h>

#include <cctype>
#include <string>

#include "nonces.h"
#include "turnpike/nonce.h"
#include "turnpike/reservation_token.h"

namespace turnpike {
namespace {

using namespace test;

TEST(Nonce, SaysItsSecurityFeaturesCountedFromTheRight) {
  const NonceKeeper keeper(nonce_config());
  const auto cookie = [&](bool algorithms, bool anonymity) {
    Realm realm = kRealm;
    realm.password_algorithms = algorithms;
    realm.username_anonymity = anonymity;
    return mint(keeper, kStart, realm).substr(0, 13);
  };
  EXPECT_EQ(cookie(true, true), "obMatJos2AAAD");
  EXPECT_EQ(cookie(true, false), "obMatJos2AAAB");
  EXPECT_EQ(cookie(false, true), "obMatJos2AAAC");
  EXPECT_EQ(cookie(false, false), "obMatJos2AAAA");
}

TEST(Nonce, IsShortAndPrintable) {
  const std::string nonce = mint(NonceKeeper(nonce_config()));
  EXPECT_LE(nonce.size(), NonceKeeper::kMaxSize);
  for (const char c : nonce) {
    EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+' || c == '/');
  }
}

TEST(Nonce, LivesItsLifetimeAndThenIsStale) {
  const NonceKeeper keeper(nonce_config());
  const std::string nonce = mint(keeper);
  EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, nonce), NonceState::kValid);
  EXPECT_EQ(keeper.check(after(3599), kRealm, kClient, kServer, nonce), NonceState::kValid);
  EXPECT_EQ(keeper.check(after(3600), kRealm, kClient, kServer, nonce), NonceState::kStale);
}

TEST(Nonce, OfAMomentAheadIsValidAndOfTheFutureIsStale) {
  const NonceKeeper keeper(nonce_config());
  EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, mint(keeper, after(2))),
            NonceState::kValid);
  EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, mint(keeper, after(3))),
            NonceState::kStale);
}

TEST(Nonce, FromAnotherAddressPortOrServerIsInvalid) {
  const NonceKeeper keeper(nonce_config());
  const std::string nonce = mint(keeper);
  for (const char* other : {"198.51.100.8:40000", "198.51.100.7:40001",
                            "[::ffff:198.51.100.7]:40000", "[c633:6407::]:40000"}) {
    EXPECT_EQ(keeper.check(kStart, kRealm, endpoint(other), kServer, nonce), NonceState::kInvalid)
        << other;
  }
  for (const char* other : {"203.0.113.2:3478", "203.0.113.1:3479"}) {
    EXPECT_EQ(keeper.check(kStart, kRealm, kClient, endpoint(other), nonce), NonceState::kInvalid)
        << other;
  }
  EXPECT_EQ(keeper.check(kStart, kRealm, kServer, kClient, nonce), NonceState::kInvalid);
}

TEST(Nonce, WithAnyCharacterChangedIsInvalid) {
  const NonceKeeper keeper(nonce_config());
  const std::string nonce = mint(keeper);
  for (std::size_t i = 0; i < nonce.size(); ++i) {
    std::string forged = nonce;
    forged[i] = forged[i] == 'A' ? 'B' : 'A';
    EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, forged), NonceState::kInvalid) << i;
    forged[i] = '\0';
    EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, forged), NonceState::kInvalid) << i;
  }
  EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, ""), NonceState::kInvalid);
  EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, nonce + "A"), NonceState::kInvalid);
  EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, nonce.substr(1)), NonceState::kInvalid);
}

TEST(Nonce, OfAnotherRealmAlgorithmListOrFeatureSetIsInvalid) {
  const NonceKeeper keeper(nonce_config());
  const std::string nonce = mint(keeper);
  const auto check_with = [&](auto change) {
    Realm realm = kRealm;
    change(realm);
    return keeper.check(kStart, realm, kClient, kServer, nonce);
  };
  EXPECT_EQ(check_with([](Realm&) {}), NonceState::kValid);
  EXPECT_EQ(check_with([](Realm& r) { r.name = "example.com"; }), NonceState::kInvalid);
  EXPECT_EQ(check_with([](Realm& r) { r.sha256_offered = false; }), NonceState::kInvalid);
  EXPECT_EQ(check_with([](Realm& r) { r.md5_offered = false; }), NonceState::kInvalid);
  EXPECT_EQ(check_with([](Realm& r) { r.password_algorithms = false; }), NonceState::kInvalid);
  EXPECT_EQ(check_with([](Realm& r) { r.username_anonymity = false; }), NonceState::kInvalid);
  EXPECT_EQ(check_with([](Realm& r) { r.strict_expiry = true; }), NonceState::kValid)
      << "clients aren't told";
}

TEST(Nonce, OfAnotherKeyIsInvalid) {
  NonceKeeper::Config other = nonce_config();
  other.key[15] ^= 1;
  EXPECT_EQ(
      NonceKeeper(other).check(kStart, kRealm, kClient, kServer, mint(NonceKeeper(nonce_config()))),
      NonceState::kInvalid);
}

TEST(Nonce, OutlivesOneRotationOfTheKeyAndNotTwo) {
  NonceKeeper keeper(nonce_config());
  for (std::uint8_t round = 0; round < 9; ++round) {
    const std::string nonce = mint(keeper);
    keeper.rotate({round, 0xFF});
    EXPECT_NE(mint(keeper), nonce);
    EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, nonce), NonceState::kValid);
    EXPECT_EQ(keeper.check(after(3600), kRealm, kClient, kServer, nonce), NonceState::kStale);
    keeper.rotate({round, 0xFE});
    EXPECT_EQ(keeper.check(kStart, kRealm, kClient, kServer, nonce), NonceState::kInvalid);
  }
}

TEST(Nonce, OfTheZeroKeyIsNoPreviousKey) {
  NonceKeeper::Config zero = nonce_config();
  zero.key = {};
  EXPECT_EQ(
      NonceKeeper(nonce_config()).check(kStart, kRealm, kClient, kServer, mint(NonceKeeper(zero))),
      NonceState::kInvalid);
}

TEST(ReservationToken, OpensToWhatWasSealed) {
  const TokenSealer sealer({9, 8, 7});
  for (const std::uint32_t id : {0U, 1U, 0x123456U, 0xFFFFFFU}) {
    const auto content = sealer.open(sealer.seal({.shard = 200, .id = id}));
    ASSERT_TRUE(content);
    EXPECT_EQ(content->shard, 200);
    EXPECT_EQ(content->id, id);
  }
}

TEST(ReservationToken, ForgedForeignOrCutIsRefused) {
  const TokenSealer sealer({9, 8, 7});
  const auto token = sealer.seal({.shard = 1, .id = 77});
  for (std::size_t i = 0; i < token.size(); ++i) {
    auto forged = token;
    forged[i] ^= 1;
    EXPECT_FALSE(sealer.open(forged)) << i;
  }
  EXPECT_FALSE(TokenSealer({9, 8, 6}).open(token));
  EXPECT_FALSE(sealer.open(std::span(token).first(7)));
  EXPECT_FALSE(sealer.open({}));
}

TEST(MobilityTicket, OpensToWhatWasSealed) {
  const TokenSealer sealer({9, 8, 7});
  for (const std::uint16_t serial : {0, 1, 0xFFFF}) {
    const TokenSealer::TicketContent content{
        .shard = 200, .serial = serial, .slot = 0xFEDCBA98, .allocation = 0x89ABCDEF01};
    const auto ticket = sealer.seal_ticket(content);
    EXPECT_EQ(sealer.open_ticket(ticket), content);
    for (const std::uint8_t byte : ticket)
      EXPECT_TRUE(std::isalnum(byte) != 0 || byte == '-' || byte == '_') << int{byte};
  }
}

TEST(MobilityTicket, ForgedForeignOrCutIsRefused) {
  const TokenSealer sealer({9, 8, 7});
  const auto ticket = sealer.seal_ticket({.shard = 1, .serial = 2, .slot = 3, .allocation = 4});
  for (std::size_t bit = 0; bit < 8 * ticket.size(); ++bit) {
    auto forged = ticket;
    forged[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
    EXPECT_FALSE(sealer.open_ticket(forged)) << bit;
  }
  EXPECT_FALSE(TokenSealer({9, 8, 6}).open_ticket(ticket));
  EXPECT_FALSE(sealer.open_ticket(std::span(ticket).first(31)));
  EXPECT_FALSE(sealer.open_ticket({}));
  EXPECT_FALSE(sealer.open(ticket));
  EXPECT_FALSE(sealer.open_ticket(sealer.seal({.shard = 1, .id = 77})));
}

// RFC 8016 §5: nothing can be gleaned by looking at it.
TEST(MobilityTicket, NextOnesHaveNothingInCommon) {
  const TokenSealer sealer({9, 8, 7});
  const auto at = [&](std::uint16_t serial) {
    return sealer.seal_ticket({.shard = 1, .serial = serial, .slot = 3, .allocation = 4});
  };
  int equal = 0;
  for (std::uint16_t serial = 0; serial < 256; ++serial) {
    const auto one = at(serial), next = at(static_cast<std::uint16_t>(serial + 1));
    for (std::size_t i = 0; i < one.size(); ++i)
      equal += one[i] == next[i] ? 1 : 0;
  }
  EXPECT_LT(equal, 200) << "of 8192 digits, one in 64 by chance";
}

}  // namespace
}  // namespace turnpike

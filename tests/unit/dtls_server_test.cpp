// Clients of DTLS, OpenSSL's own, against the demultiplexer: who is let in, who takes whose place,
// and what is lost on the way.
#include "transport/dtls_server.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include "../support/dtls_world.h"

namespace turnpike::transport {
namespace {

using namespace test;

class Dtls : public testing::Test {
 protected:
  static void SetUpTestSuite() { context_ = dtls_context(tickets_); }
  static void TearDownTestSuite() { context_.reset(); }

  static TicketKeys tickets_;
  static std::shared_ptr<const TlsContext> context_;
  DtlsWorld world_{context_};
};
TicketKeys Dtls::tickets_;
std::shared_ptr<const TlsContext> Dtls::context_;

// Success of an Allocate with LIFETIME.
std::string allocated(std::uint8_t seconds) {
  std::string message("\x01\x03\x00\x08\x21\x12\xA4\x42", 8);
  message += std::string(12, 'i');
  message += std::string("\x00\x0D\x00\x04\x00\x00\x00", 7);
  message.push_back(static_cast<char>(seconds));
  return message;
}

TEST_F(Dtls, IsSpokenAfterACookieAndCarriesMessagesEachWay) {
  const auto client = world_.make_client();
  world_.carry(*client);
  ASSERT_TRUE(client->is_open());
  EXPECT_EQ(world_.verify_requests, 1);
  EXPECT_STREQ(SSL_get_version(client->ssl()), "DTLSv1.2");
  client->send("one");
  client->send("two");
  world_.carry(*client);
  world_.send("three");
  world_.send("four");
  world_.carry(*client);
  ASSERT_EQ(world_.messages.size(), 2U);
  EXPECT_EQ(text_of(world_.messages[1]), "two");
  EXPECT_EQ(world_.senders[0].listener, 3);
  ASSERT_EQ(client->received.size(), 2U);
  EXPECT_EQ(text_of(client->received[0]), "three") << "each record is one message";
  EXPECT_EQ(world_.counters.open[kDtlsKind].get(), 1U);
  EXPECT_EQ(world_.counters.handshakes[2].get(), 1U);
  EXPECT_EQ(world_.counters.messages_in.get(), 2U);
  EXPECT_EQ(world_.counters.bytes_out[kDtlsKind].get(), 9U);
}

TEST_F(Dtls, KeepsNothingOfWhoHasShownNoCookie) {
  const auto client = world_.make_client();
  client->step();
  const Datagram hello = client->outgoing.front();
  for (std::uint16_t port = 1; port < 1000; ++port) {
    Ends from = world_.ends;
    from.client.port = port;
    world_.server.receive(world_.now, from, {}, hello);
    world_.server.receive(world_.now, from, {}, {});
    world_.server.receive(world_.now, from, {}, Datagram(50, 23));
  }
  EXPECT_EQ(world_.server.associations(), 0U);
  EXPECT_TRUE(world_.to_client.empty()) << "in silence";
  EXPECT_EQ(world_.counters.lost_strange.get(), 3U * 999);
}

TEST_F(Dtls, TakesNoCookieFromElsewhereOrOfAnotherHello) {
  const auto client = world_.make_client();
  client->step();
  const Datagram first = client->outgoing.front();
  client->outgoing.clear();
  world_.to_server(world_.ends, first);
  client->take(world_.to_client.front());
  world_.to_client.clear();
  const Datagram second = client->outgoing.front();
  Ends other = world_.ends;
  other.client.port = 1001;
  EXPECT_FALSE(world_.server.receive(world_.now, other, {}, second));
  EXPECT_FALSE(world_.server.receive(world_.now + 61'000, world_.ends, {}, second)) << "too old";
  Datagram changed = second;
  changed[13 + 12 + 2] ^= 1;  // the random
  EXPECT_FALSE(world_.server.receive(world_.now, world_.ends, {}, changed));
  EXPECT_EQ(world_.server.associations(), 0U);
  EXPECT_TRUE(world_.server.receive(world_.now + 59'000, world_.ends, {}, second));
  EXPECT_EQ(world_.server.associations(), 1U);
}

TEST_F(Dtls, AnswersAHelloWithLess) {
  const auto client = world_.make_client();
  client->step();
  const Datagram hello = client->outgoing.front();
  world_.to_server(world_.ends, hello);
  EXPECT_LT(world_.to_client.front().size(), hello.size());
  // The least that a hello can be.
  EXPECT_LT(13U + 12 + 2 + 1 + wire::DtlsCookies::kSize, 13U + 12 + 2 + 32 + 1 + 1 + 2 + 2 + 1 + 1);
}

TEST_F(Dtls, ANewHandshakeFromTheSamePortTakesThePlaceOfTheOldOne) {
  const auto dead = world_.make_client();
  world_.carry(*dead);
  dead->send("mine");
  world_.carry(*dead);
  const auto back = world_.make_client();
  back->step();
  // Until the cookie is shown the old one stays.
  world_.to_server(world_.ends, back->outgoing.front());
  EXPECT_TRUE(world_.closed_ends.empty());
  dead->send("still mine");
  for (const Datagram& one : std::exchange(dead->outgoing, {}))
    world_.to_server(world_.ends, one);
  EXPECT_EQ(world_.messages.size(), 2U);
  world_.carry(*back);
  ASSERT_TRUE(back->is_open());
  EXPECT_EQ(world_.closed_ends.size(), 1U) << "its allocation ends";
  EXPECT_EQ(world_.ended(StreamEnd::kReplaced), 1U);
  EXPECT_EQ(world_.server.associations(), 1U);
  EXPECT_EQ(world_.counters.open[kDtlsKind].get(), 1U);
  back->send("anew");
  dead->send("late");
  for (const Datagram& one : std::exchange(dead->outgoing, {}))
    world_.to_server(world_.ends, one);
  world_.carry(*back);
  EXPECT_EQ(text_of(world_.messages.back()), "anew");
  EXPECT_EQ(world_.messages.size(), 3U);
}

class DtlsOfCipher : public Dtls, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, DtlsOfCipher,
                         testing::Values("ECDHE-ECDSA-AES128-GCM-SHA256",
                                         "ECDHE-ECDSA-CHACHA20-POLY1305"));

TEST_P(DtlsOfCipher, ForgedDatagramsEndNothing) {
  ASSERT_EQ(SSL_CTX_set_cipher_list(world_.client_context(), GetParam()), 1);
  SSL_CTX_set_tlsext_max_fragment_length(world_.client_context(), TLSEXT_max_fragment_length_512);
  const auto client = world_.make_client();
  std::vector<Datagram> recorded;
  client->step();
  while (!client->outgoing.empty()) {
    for (const Datagram& one : std::exchange(client->outgoing, {})) {
      recorded.push_back(one);
      world_.to_server(world_.ends, one);
    }
    for (const Datagram& one : std::exchange(world_.to_client, {}))
      client->take(one);
  }
  ASSERT_TRUE(client->is_open());
  const auto forger = world_.make_client();
  forger->step();
  recorded.push_back(forger->outgoing.front());                               // a hello
  recorded.push_back({21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40});  // a fatal alert
  recorded.push_back({21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0});   // close_notify
  recorded.push_back({20, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1});
  for (const std::uint8_t type : {20, 21, 22, 23, 24, 63}) {
    for (const std::uint8_t epoch : {0, 1, 2, 3}) {
      for (std::uint8_t size = 0; size < 50; ++size) {
        recorded.push_back({type, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 99, 0, size});
        recorded.back().resize(13 + size);
      }
    }
  }
  // Records that nobody would have, with one in their bodies that is too short.
  for (const auto& [version, size] :
       {std::pair{0xFD, 18}, {0xFC, 18}, {0xFD, 900}, {0xFD, 16800}, {0xFD, 40000}}) {
    recorded.push_back({23, 0xFE, static_cast<std::uint8_t>(version), 0, 0, 0, 0, 0, 0, 0, 99,
                        static_cast<std::uint8_t>(size >> 8), static_cast<std::uint8_t>(size)});
    const Datagram hidden{23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 99, 0, 5};
    recorded.back().insert(recorded.back().end(), hidden.begin(), hidden.end());
    recorded.back().resize(static_cast<std::size_t>(13 + size));
  }
  for (const Datagram& one : recorded) {
    world_.to_server(world_.ends, one);
    if (one.size() > 1000) continue;
    for (std::size_t size = 0; size < one.size(); ++size)
      world_.to_server(world_.ends, Datagram(one.begin(), one.begin() + static_cast<int>(size)));
  }
  world_.to_client.clear();
  client->send("hello");
  world_.carry(*client);
  client->send("");
  client->send("1");
  world_.carry(*client);
  ASSERT_EQ(world_.messages.size(), 2U);
  EXPECT_TRUE(world_.closed_ends.empty());
  EXPECT_EQ(world_.counters.accepted.get(), 1U);
}

TEST_F(Dtls, RecordsCutAnywhereAreLostAlone) {
  const auto client = world_.make_client();
  world_.carry(*client);
  client->send("hello");
  const Datagram whole = std::exchange(client->outgoing, {}).front();
  for (std::size_t size = 0; size < whole.size(); ++size)
    world_.to_server(world_.ends, Datagram(whole.begin(), whole.begin() + static_cast<int>(size)));
  for (std::size_t at = 0; at < whole.size(); ++at) {
    Datagram wrong = whole;
    wrong[at] ^= 0x10;
    world_.to_server(world_.ends, wrong);
  }
  EXPECT_TRUE(world_.messages.empty());
  world_.to_server(world_.ends, whole);
  EXPECT_EQ(world_.messages.size(), 1U);
  world_.to_server(world_.ends, whole);
  EXPECT_EQ(world_.messages.size(), 1U) << "a repeated one is none";
}

TEST_F(Dtls, SeveralRecordsInADatagramAreSeveralMessages) {
  const auto client = world_.make_client();
  world_.carry(*client);
  Datagram both;
  for (const char* text : {"one", "two", "three"})
    client->send(text);
  for (const Datagram& one : std::exchange(client->outgoing, {}))
    both.insert(both.end(), one.begin(), one.end());
  world_.to_server(world_.ends, both);
  ASSERT_EQ(world_.messages.size(), 3U);
  EXPECT_EQ(text_of(world_.messages[2]), "three");
}

TEST_F(Dtls, CloseNotifyEndsItBothWays) {
  const auto client = world_.make_client();
  world_.carry(*client);
  client->send("hello");
  world_.carry(*client);
  SSL_shutdown(client->ssl());
  world_.carry(*client);
  EXPECT_EQ(world_.server.associations(), 0U);
  EXPECT_EQ(world_.closed_ends.size(), 1U);
  EXPECT_EQ(world_.ended(StreamEnd::kByClient), 1U);
  EXPECT_TRUE(client->is_closed()) << "answered";

  const auto second = world_.make_client();
  world_.carry(*second);
  ASSERT_TRUE(second->is_open());
  world_.server.end_all(StreamEnd::kShutdown);
  world_.carry(*second);
  EXPECT_TRUE(second->is_closed());
  EXPECT_EQ(world_.closed_ends.size(), 1U) << "no message has come of it";
}

TEST_F(Dtls, WaitsForAHandshakeAndForMessagesAsLongAsItIsTold) {
  const auto half = world_.make_client();
  half->step();
  world_.to_server(world_.ends, std::exchange(half->outgoing, {}).front());
  half->take(std::exchange(world_.to_client, {}).front());
  world_.to_server(world_.ends, std::exchange(half->outgoing, {}).front());
  ASSERT_EQ(world_.server.associations(), 1U);
  world_.server.look(world_.now + 9'999, 100);
  EXPECT_EQ(world_.server.associations(), 1U);
  world_.server.look(world_.now + 10'500, 100);
  EXPECT_EQ(world_.server.associations(), 0U);
  EXPECT_EQ(world_.ended(StreamEnd::kHandshake), 1U);
  EXPECT_FALSE(world_.server.due().has_value());

  world_.now.ms += 20'000;
  world_.to_client.clear();
  const auto client = world_.make_client();
  world_.carry(*client);
  client->send("hello");
  world_.carry(*client);
  world_.send(allocated(100));
  world_.carry(*client);
  world_.server.look(world_.now + 99'000, 100);
  EXPECT_EQ(world_.server.associations(), 1U) << "it has an allocation";
  world_.server.look(world_.now + 100'500, 100);
  EXPECT_EQ(world_.server.associations(), 0U);
  EXPECT_EQ(world_.ended(StreamEnd::kIdle), 1U);
  world_.carry(*client);
  EXPECT_TRUE(client->is_closed());
}

TEST_F(Dtls, HasSoManyPlacesAndSoManyOfASource) {
  DtlsServer::Config config = DtlsWorld::usual();
  config.associations = 3;
  config.associations_per_source = 2;
  DtlsWorld world(context_, config);
  const auto come = [&](std::uint8_t host, std::uint16_t port) {
    world.ends.client = {Address::v4(192, 0, 2, host), port};
    const auto client = world.make_client();
    world.carry(*client);
    world.to_client.clear();
    return client->is_open();
  };
  EXPECT_TRUE(come(1, 1000));
  EXPECT_TRUE(come(1, 1001));
  EXPECT_FALSE(come(1, 1002));
  EXPECT_TRUE(come(1, 1001)) << "in his own place";
  EXPECT_TRUE(come(3, 1000));
  EXPECT_FALSE(come(4, 1000));
  EXPECT_EQ(world.ended(StreamEnd::kSource), 1U);
  EXPECT_EQ(world.ended(StreamEnd::kFull), 1U);
  world.server.end_all(StreamEnd::kShutdown);
  EXPECT_TRUE(come(1, 1002)) << "places come back";
}

TEST_F(Dtls, LeavesByTheWayOfTheLatestGenuineDatagram) {
  const auto client = world_.make_client();
  world_.way.port = 1;
  world_.carry(*client);
  client->send("hello");
  world_.carry(*client);
  world_.send("answer");
  EXPECT_EQ(world_.left_by, 1);
  world_.way.port = 2;
  world_.to_server(world_.ends, {23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 99, 0, 4, 1, 2, 3, 4});
  world_.send("answer");
  EXPECT_EQ(world_.left_by, 1) << "anybody may have sent that";
  client->send("from elsewhere");
  world_.carry(*client);
  world_.send("answer");
  EXPECT_EQ(world_.left_by, 2);
}

TEST_F(Dtls, WhatFindsNoFrameIsLostByName) {
  const auto client = world_.make_client();
  world_.carry(*client);
  world_.takes = false;
  client->send("hello");
  world_.carry(*client);
  world_.send("answer");
  EXPECT_EQ(world_.counters.lost_no_frame.get(), 1U);
  EXPECT_EQ(world_.counters.messages_in.get(), 0U);
  world_.send(std::string(16385, 'x'));
  EXPECT_EQ(world_.counters.lost_too_long.get(), 1U);
  world_.takes = true;
  client->send("again");
  world_.carry(*client);
  EXPECT_EQ(world_.messages.size(), 1U);
}

TEST_F(Dtls, ResumesSessionsByTicket) {
  const auto first = world_.make_client();
  tickets_.rotate(1000);
  world_.carry(*first);
  SSL_SESSION* const session = SSL_get1_session(first->ssl());
  const auto second = world_.make_client();
  SSL_set_session(second->ssl(), session);
  SSL_SESSION_free(session);
  world_.carry(*second);
  ASSERT_TRUE(second->is_open());
  EXPECT_EQ(world_.counters.resumed.get(), 1U);
}

TEST_F(Dtls, SendsALongChainInRecordsThatAnyLinkTakes) {
  TicketKeys tickets;
  std::string names = "DNS:a";
  for (int i = 0; i < 400; ++i)
    names += ",DNS:name-" + std::to_string(i) + ".example.org";
  DtlsWorld world(dtls_context(tickets, "rsa:2048", "-addext subjectAltName=" + names));
  const auto client = world.make_client();
  std::size_t longest = 0, sent = 0;
  client->step();
  while (!client->outgoing.empty() || !world.to_client.empty()) {
    for (const Datagram& one : std::exchange(client->outgoing, {}))
      world.to_server(world.ends, one);
    for (const Datagram& one : std::exchange(world.to_client, {})) {
      longest = std::max(longest, one.size());
      ++sent;
      client->take(one);
    }
  }
  EXPECT_TRUE(client->is_open());
  EXPECT_GT(sent, 8U);
  EXPECT_LE(longest, DtlsAssociation::kMostHandshakeDatagram);
}

TEST_F(Dtls, IsNoVersionBefore12) {
  SSL_CTX_set_cipher_list(world_.client_context(), "ALL:@SECLEVEL=0");
  SSL_CTX_set_min_proto_version(world_.client_context(), DTLS1_VERSION);
  SSL_CTX_set_max_proto_version(world_.client_context(), DTLS1_VERSION);
  const auto client = world_.make_client();
  world_.carry(*client);
  EXPECT_FALSE(client->is_open());
  EXPECT_EQ(world_.ended(StreamEnd::kTls), 1U);
  EXPECT_EQ(world_.counters.alerts[1][tls_alert(70)].get(), 1U) << "protocol_version";
  EXPECT_EQ(world_.server.associations(), 0U);
}

TEST_F(Dtls, KeepsLittleOfWhoDoesNotComeToAnEnd) {
  const auto half = world_.make_client();
  half->step();
  world_.to_server(world_.ends, std::exchange(half->outgoing, {}).front());
  half->take(std::exchange(world_.to_client, {}).front());
  world_.to_server(world_.ends, std::exchange(half->outgoing, {}).front());
  const std::size_t before = mallinfo2().uordblks;
  // Messages that say that they are long, and records of an epoch to come.
  for (std::uint8_t i = 0; i < 250; ++i) {
    Datagram part{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, i, 0, 13,
                  16, 0x01, 0,    0, 0, i, 0, 0, 0, 0, 0, 1, 0};
    world_.to_server(world_.ends, part);
    part[4] = 1;
    part.resize(13 + 60);
    part[12] = 60;
    world_.to_server(world_.ends, part);
  }
  EXPECT_EQ(world_.server.associations(), 1U);
  EXPECT_LT(mallinfo2().uordblks - before, 200'000U);
}

}  // namespace
}  // namespace turnpike::transport

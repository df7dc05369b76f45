// What is wrong with listeners of TCP and their certificates, told where it stands.
#include <gtest/gtest.h>

#include "config_texts.h"

namespace turnpike::config {
namespace {

using namespace test;

const std::string kUdp = "[[listener]]\naddress = \"192.0.2.1:3478\"\n";

std::string listener(const std::string& transport) {
  return kUdp + "transport = \"" + transport + "\"\n";
}

// The first thing that is wrong with it.
std::string problem(const std::string& text) {
  const auto errors = refused(kEnough + text);
  return errors.empty() ? "nothing" : errors.front().to_string();
}

TEST(Streams, TransportsAreThoseThatThereAre) {
  EXPECT_TRUE(contains(problem(listener("sctp")),
                       ":6: listener[0].transport: expected \"udp\", \"tcp\", \"tls\", "
                       "\"auto\" or \"dtls\", found \"sctp\""));
}

TEST(Streams, TlsNeedsACertificate) {
  for (const char* transport : {"tls", "auto", "dtls"})
    EXPECT_TRUE(contains(problem(listener(transport)),
                         ":6: listener[0].transport: expected a [[certificate]]"));
  const std::string certificate = "[[certificate]]\nchain = \"a.pem\"\n";
  EXPECT_TRUE(
      contains(problem(certificate), ":4: certificate[0].key: expected the path of a PEM file"));
  EXPECT_EQ(accepted(kEnough + certificate + "key = \"b\"\n" + listener("tls")).certificates.size(),
            1U);
}

TEST(Streams, MayShareAnEndpointWithUdpAndNoOther) {
  EXPECT_EQ(accepted(kEnough + kUdp + listener("tcp")).listeners.size(), 2U);
  EXPECT_TRUE(contains(problem(listener("tcp") + kUdp + listener("tcp")),
                       "listener[2].address: expected each listening address once for TCP"));
  const std::string certificate = "[[certificate]]\nchain = \"a\"\nkey = \"b\"\n";
  EXPECT_EQ(
      accepted(kEnough + certificate + kUdp + listener("tls") + listener("dtls")).listeners.size(),
      3U);
  EXPECT_TRUE(contains(problem(certificate + listener("dtls") + kUdp + listener("dtls")),
                       "listener[2].address: expected each listening address once for DTLS"));
  EXPECT_TRUE(contains(problem(kUdp + kUdp), "expected each listening address once, found"));
}

TEST(Streams, LimitsAreWithinBounds) {
  EXPECT_TRUE(contains(problem("[streams]\nconnections = 1000001\n"),
                       ":5: streams.connections: expected an integer from 1 to 1000000"));
}

}  // namespace
}  // namespace turnpike::config

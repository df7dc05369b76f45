// Flags, the file and what is said where one of them is wrong.
#include "config/command_line.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <list>

#include "config_texts.h"

namespace turnpike::config {
namespace {

using namespace test;

class CommandLine : public testing::Test {
 protected:
  std::variant<Config, Exit> run(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "turnpike");
    return read_command_line(static_cast<int>(arguments.size()), arguments.data());
  }
  Config accepted_flags(const std::vector<const char*>& arguments) {
    auto result = run(arguments);
    if (const auto* exit = std::get_if<Exit>(&result)) {
      ADD_FAILURE() << exit->text;
      return {};
    }
    return std::get<Config>(result);
  }
  Exit exit_of(const std::vector<const char*>& arguments) {
    auto result = run(arguments);
    return std::holds_alternative<Exit>(result) ? std::get<Exit>(result) : Exit{-1, ""};
  }
  // Removed with the test.
  const char* file(const std::string& text) {
    paths_.push_back(testing::TempDir() + "turnpike-config-" + std::to_string(::getpid()) + "-" +
                     std::to_string(paths_.size()));
    std::ofstream(paths_.back()) << text;
    return paths_.back().c_str();
  }
  void TearDown() override {
    for (const std::string& path : paths_) {
      ::unlink(path.c_str());
    }
  }

 private:
  std::list<std::string> paths_;
};

TEST_F(CommandLine, ListensByOtherTransports) {
  const Config config =
      accepted_flags({"--port", "af_xdp:eth0", "--user", "alice:secret", "--realm", "example.org",
                      "--listen", "192.0.2.1:3478", "--listen", "192.0.2.1:3478/tcp", "--listen",
                      "[2001:db8::1]:443/auto", "--listen", "192.0.2.1:3478/dtls", "--certificate",
                      "chain.pem,key.pem", "--relay", "192.0.2.1"});
  ASSERT_EQ(config.listeners.size(), 4U);
  EXPECT_EQ(config.listeners[3].transport, ListenerTransport::kDtls);
  EXPECT_EQ(config.listeners[0].transport, ListenerTransport::kUdp);
  EXPECT_EQ(config.listeners[1].transport, ListenerTransport::kTcp);
  EXPECT_EQ(config.listeners[2].transport, ListenerTransport::kAuto);
  EXPECT_EQ(config.certificates, (std::vector<CertificateConfig>{{"chain.pem", "key.pem"}}));
}

TEST_F(CommandLine, ThreeFlagsAreEnough) {
  const Config config = accepted_flags(
      {"--port", "af_xdp:eth0", "--user", "alice:sec:ret", "--realm", "example.org"});
  EXPECT_EQ(defaults_of(config), defaults_of(Config()));
  EXPECT_EQ(config.ports.at(0).device, "eth0");
  EXPECT_EQ(config.realm, "example.org");
  EXPECT_EQ(config.auth.users, (std::vector{UserConfig{"alice", "sec:ret", ""}}));
}

TEST_F(CommandLine, EveryFlagReachesTheConfiguration) {
  const char* secret = file("north-star\n");
  const Config config = accepted_flags({"--port",
                                        "af_xdp:north",
                                        "--port",
                                        "01:00.0",
                                        "--listen",
                                        "192.0.2.1:3478",
                                        "--listen",
                                        "[2001:db8::1]:3478",
                                        "--relay",
                                        "10.0.0.1=203.0.113.1",
                                        "--relay",
                                        "2001:db8::1",
                                        "--external",
                                        "2001:db8::2",
                                        "--realm",
                                        "r",
                                        "--rest-secret-file",
                                        secret,
                                        "--rest-secret",
                                        "south",
                                        "--workers",
                                        "3",
                                        "--metrics",
                                        "127.0.0.1:9999",
                                        "--allow-peer",
                                        "10.0.0.0/8",
                                        "--deny-peer",
                                        "10.1.0.0/16",
                                        "--channel-numbers",
                                        "rfc5766",
                                        "--log-level",
                                        "debug"});
  EXPECT_EQ(config.ports.size(), 2u);
  EXPECT_EQ(config.listeners.size(), 2u);
  ASSERT_EQ(config.relayed.size(), 2u);
  EXPECT_EQ(config.relayed[0].public_address().to_string(), "203.0.113.1");
  EXPECT_EQ(config.relayed[1].public_address().to_string(), "2001:db8::2");
  EXPECT_EQ(config.auth.rest_secrets, (std::vector<std::string>{"south", "north-star"}));
  EXPECT_EQ(config.workers, 3);
  EXPECT_EQ(config.metrics.address.to_string(), "127.0.0.1:9999");
  EXPECT_EQ(config.peers.allow, std::vector{*Prefix::parse("10.0.0.0/8")});
  EXPECT_EQ(config.peers.deny, std::vector{*Prefix::parse("10.1.0.0/16")});
  EXPECT_TRUE(config.rfc5766_channels);
  EXPECT_EQ(config.log.level, "debug");
}

TEST_F(CommandLine, FlagsWinOverTheFileAndLeaveTheRestOfIt) {
  const char* path =
      file(kEnough + "workers = 2\n[limits]\nallocations = 7\n[log]\nlevel = \"error\"\n");
  const Config config = accepted_flags(
      {"--config", path, "--workers", "4", "--port", "af_packet:eth1", "--metrics", "off"});
  EXPECT_EQ(config.workers, 4);
  ASSERT_EQ(config.ports.size(), 1u);
  EXPECT_EQ(config.ports[0].device, "eth1");
  EXPECT_FALSE(config.metrics.enabled);
  EXPECT_EQ(config.limits.allocations, 7u);
  EXPECT_EQ(config.log.level, "error");
  EXPECT_EQ(config.auth.users.at(0).username, "alice");
}

TEST_F(CommandLine, TheQuotaOfAUserIsAFlagToo) {
  const char* path = file(kEnough + "[limits]\nallocations_per_user = 7\nallocations = 9\n");
  const Config config = accepted_flags({"--config", path, "--user-quota", "1000"});
  EXPECT_EQ(config.limits.allocations_per_user, 1000u);
  EXPECT_EQ(config.limits.allocations, 9u);
}

TEST_F(CommandLine, FileMayBeCompletedByFlags) {
  const Config config = accepted_flags({"--config", file("[test]\ntime_scale = 60\n"), "--port",
                                        "af_xdp:eth0", "--user", "a:b", "--realm", "r"});
  EXPECT_EQ(config.test.time_scale, 60u);
}

TEST_F(CommandLine, MistakesOfFlagsAreToldByTheFlagsName) {
  const std::tuple<std::vector<const char*>, std::string, std::string> mistakes[] = {
      {{"--port", "carrier_pigeon:eth0"},
       "command line: --port: expected af_xdp:",
       "carrier_pigeon"},
      {{"--listen", "10.201.1.1:3478/sctp"}, "command line: --listen: expected", "\"sctp\""},
      {{"--certificate", "chain.pem"}, "command line: --certificate: expected", "nothing"},
      {{"--listen", "10.201.1.1:99999"}, "command line: --listen: expected", "10.201.1.1:99999"},
      {{"--relay", "10.0.0.1=x"}, "command line: --relay: expected", "found \"x\""},
      {{"--workers", "0"}, "command line: --workers: expected an integer from 1 to 64", "found 0"},
      {{"--workers", "many"}, "--workers", "many"},
      {{"--metrics", "9641"}, "command line: --metrics: expected", "9641"},
      {{"--allow-peer", "ten"}, "command line: --allow-peer: expected", "found \"ten\""},
      {{"--channel-numbers", "all"}, "command line: --channel-numbers: expected", "found \"all\""},
      {{"--rest-secret-file", "/nonexistent"},
       "command line: --rest-secret-file: expected",
       "/nonexistent"},
      {{"--no-such-flag"}, "--no-such-flag", "--help"},
      {{"stray"}, "stray", "--help"},
  };
  for (const auto& [flags, expected, found] : mistakes) {
    std::vector<const char*> arguments = {"--user", "a:b", "--realm", "r"};
    if (flags[0] != std::string("--port")) {
      arguments.insert(arguments.end(), {"--port", "af_xdp:eth0"});
    }
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Exit exit = exit_of(arguments);
    EXPECT_EQ(exit.status, 2) << flags[0];
    EXPECT_TRUE(contains(exit.text, expected)) << exit.text;
    EXPECT_TRUE(contains(exit.text, found)) << exit.text;
  }
}

TEST_F(CommandLine, MistakesOfTheFileAreToldByItsNameAndLine) {
  const char* path = file("realm = \"example.org\"\nworkerz = 2\n");
  const Exit exit = exit_of({"--config", path, "--check-config"});
  EXPECT_EQ(exit.status, 2);
  EXPECT_TRUE(contains(exit.text, std::string(path) + ":2: workerz: ")) << exit.text;
  EXPECT_TRUE(contains(exit.text, "\"workers\"")) << exit.text;
}

TEST_F(CommandLine, WhatIsMissingIsToldWithWhatToType) {
  const Exit none = exit_of({});
  EXPECT_EQ(none.status, 2);
  EXPECT_TRUE(contains(none.text, "turnpike --port af_xdp:eth0 --user alice:secret --realm"));
  const Exit some = exit_of({"--port", "af_xdp:eth0"});
  EXPECT_EQ(some.status, 2);
  EXPECT_TRUE(contains(some.text, "command line: realm: expected")) << some.text;
  EXPECT_TRUE(contains(some.text, "--realm example.org")) << some.text;
  EXPECT_TRUE(contains(some.text, "--user alice:PASSWORD")) << some.text;
}

TEST_F(CommandLine, PasswordOfAUserIsNeverShown) {
  const Exit exit = exit_of({"--port", "af_xdp:eth0", "--realm", "r", "--user", "hunter2"});
  EXPECT_EQ(exit.status, 2);
  EXPECT_TRUE(contains(exit.text, "--user: expected NAME:PASSWORD")) << exit.text;
  EXPECT_FALSE(contains(exit.text, "hunter2")) << exit.text;
}

TEST_F(CommandLine, CheckConfigSaysOkAndStartsNothing) {
  const Exit exit = exit_of({"--check-config", "--config", EXAMPLE_FILE});
  EXPECT_EQ(exit.status, 0) << exit.text;
  EXPECT_TRUE(exit.text.ends_with("configuration OK\n")) << exit.text;
}

TEST_F(CommandLine, WarnsOfSecretsThatEverybodyCanRead) {
  const char* path = file(kEnough);
  chmod(path, 0644);
  EXPECT_TRUE(contains(exit_of({"--check-config", "--config", path}).text, "can read it"));
  chmod(path, 0640);
  EXPECT_FALSE(contains(exit_of({"--check-config", "--config", path}).text, "can read it"));
}

TEST_F(CommandLine, HelpAndVersionEndWell) {
  const Exit help = exit_of({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* flag : {"--port", "--config", "--listen", "--relay", "--external",
                           "--rest-secret-file", "--check-config", "--deny-peer"}) {
    EXPECT_TRUE(contains(help.text, flag)) << flag;
  }
  const Exit version = exit_of({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_TRUE(version.text.starts_with("turnpike 0.")) << version.text;
}

}  // namespace
}  // namespace turnpike::config

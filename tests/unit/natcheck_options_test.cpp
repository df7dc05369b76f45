// turnpike-natcheck's command line: what it takes, and what it says of what it doesn't.
#include "natcheck/options.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace turnpike::natcheck {
namespace {

std::variant<Options, Exit> read(std::vector<const char*> words) {
  words.insert(words.begin(), "turnpike-natcheck");
  return read_options(static_cast<int>(words.size()), words.data());
}

Options options_of(std::vector<const char*> words) {
  auto result = read(std::move(words));
  if (const auto* exit = std::get_if<Exit>(&result)) {
    ADD_FAILURE() << exit->text;
    return {};
  }
  return std::get<Options>(result);
}

// What is said of a mistake.
std::string mistake(std::vector<const char*> words) {
  const auto result = read(std::move(words));
  const auto* exit = std::get_if<Exit>(&result);
  if (exit == nullptr) return "";
  EXPECT_EQ(exit->status, 2);
  EXPECT_NE(exit->text.find("turnpike-natcheck --help"), std::string::npos);
  return exit->text;
}

bool says(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

TEST(Server, IsANameOrAnAddressWithAPortOrAUri) {
  struct Case {
    const char *text, *host;
    std::uint16_t port, tls_port;
  };
  for (const Case& c : {Case{"stun.example.org", "stun.example.org", 3478, 5349},
                        {"192.0.2.1:80", "192.0.2.1", 80, 5349},
                        {"2001:db8::1", "2001:db8::1", 3478, 5349},
                        {"[2001:db8::1]:80", "2001:db8::1", 80, 5349},
                        {"[2001:db8::1]", "2001:db8::1", 3478, 5349},
                        {"stun:example.org", "example.org", 3478, 5349},
                        {"turn:example.org:80?transport=tcp", "example.org", 80, 5349},
                        {"turns:example.org:443?transport=tcp", "example.org", 3478, 443}}) {
    const Options options = options_of({c.text});
    EXPECT_EQ(options.host, c.host);
    EXPECT_EQ(options.port, c.port) << c.text;
    EXPECT_EQ(options.tls_port, c.tls_port) << c.text;
    EXPECT_EQ(options.tls.name, c.host);
  }
}

TEST(Server, ThatIsNoneOfTheseIsRefused) {
  for (const char* text : {"", "a:b", "a:0", "a:65536", "a:", "http://a/", "[2001:db8::1", "[a]:1",
                           "[::1]x", "a b", "192.0.2.1:80:80"}) {
    EXPECT_TRUE(says(mistake({text}), "turnpike-natcheck stun.example.org")) << text;
  }
  EXPECT_TRUE(says(mistake({}), "SERVER"));
}

TEST(Flags, OutOfRangeAreRefusedWithWhatWasExpected) {
  EXPECT_TRUE(says(mistake({"a", "--timeout", "0.1"}), "0.2 to 30"));
  EXPECT_TRUE(says(mistake({"a", "--timeout", "nan"}), "0.2 to 30"));
  EXPECT_TRUE(says(mistake({"a", "--lifetime", "1"}), "2 to 3600"));
  EXPECT_TRUE(says(mistake({"a", "--lifetime", "3601"}), "2 to 3600"));
  EXPECT_TRUE(says(mistake({"a", "--tls-port", "70000"}), "1 to 65535"));
  EXPECT_TRUE(says(mistake({"a", "-4", "-6"}), "one of them"));
  EXPECT_TRUE(says(mistake({"a", "--secret", "s", "--turn", "udp,dtls"}), "udp,tcp,tls"));
  EXPECT_FALSE(mistake({"a", "b"}).empty());
  EXPECT_FALSE(mistake({"a", "--nothing"}).empty());
}

TEST(Credentials, NeedAUserAndOneSecret) {
  EXPECT_TRUE(says(mistake({"a", "--user", "alice"}), "--password-file"));
  EXPECT_TRUE(says(mistake({"a", "--password", "hunter2"}), "--user"));
  EXPECT_TRUE(says(mistake({"a", "--turn", "udp"}), "--user"));
  EXPECT_TRUE(says(mistake({"a", "--user", "b", "--password", "p", "--secret", "s"}), "both"));
  EXPECT_EQ(options_of({"a", "--user", "alice", "--password", "p"}).turn_ways.size(), 3U);
  EXPECT_EQ(options_of({"a", "--secret", "s", "--turn", "tls,tls"}).turn_ways,
            std::vector<Way>{Way::kTls});
  EXPECT_TRUE(options_of({"a"}).turn_ways.empty());
}

TEST(Credentials, AreNeverSaidAgain) {
  EXPECT_FALSE(says(mistake({"a", "--password", "hunter2"}), "hunter2"));
  EXPECT_FALSE(says(mistake({"a", "--password", "hunter2", "--secret", "hunter2"}), "hunter2"));
}

TEST(Credentials, ComeFromAFileOrTheEnvironment) {
  const std::string name = testing::TempDir() + "natcheck-password";
  std::ofstream(name) << "from file\r\nsecond line\n";
  const auto file = options_of({"a", "--user", "alice", "--password-file", name.c_str()});
  EXPECT_EQ(file.credentials.password, "from file");
  EXPECT_FALSE(
      mistake({"a", "--user", "b", "--password", "p", "--password-file", name.c_str()}).empty());
  std::ofstream(name, std::ios::trunc);
  EXPECT_TRUE(says(mistake({"a", "--user", "b", "--password-file", name.c_str()}), name));
  std::remove(name.c_str());
  EXPECT_TRUE(says(mistake({"a", "--user", "b", "--password-file", name.c_str()}), name));

  setenv("TURNPIKE_NATCHECK_PASSWORD", "from environment", 1);
  EXPECT_EQ(options_of({"a", "--user", "alice"}).credentials.password, "from environment");
  EXPECT_EQ(options_of({"a", "--user", "alice", "--password", "p"}).credentials.password, "p");
  // Who doesn't ask for TURN isn't asked for a user.
  EXPECT_FALSE(options_of({"a"}).credentials.given());
  unsetenv("TURNPIKE_NATCHECK_PASSWORD");
  setenv("TURNPIKE_NATCHECK_SECRET", "shared", 1);
  EXPECT_EQ(options_of({"a"}).credentials.secret, "shared");
  unsetenv("TURNPIKE_NATCHECK_SECRET");
}

TEST(Credentials, AreHiddenFromTheListOfProcesses) {
  std::vector<std::string> words{"natcheck",   "a",       "--user",           "alice",
                                 "--password", "hunter2", "--secret=hunter2", "--password-file",
                                 "name"};
  std::vector<char*> argv;
  for (std::string& word : words)
    argv.push_back(word.data());
  hide_secrets(static_cast<int>(argv.size()), argv.data());
  EXPECT_EQ(words[5], "*******");
  EXPECT_EQ(words[6], "--secret=*******");
  EXPECT_EQ(words[8], "name");
}

TEST(Help, NamesEveryExitStatus) {
  const auto help = std::get<Exit>(read({"--help"}));
  EXPECT_EQ(help.status, 0);
  for (const char* status : {"0 calls", "1 a relay", "2 a mistake", "3 the server", "4 ", "5 TURN"})
    EXPECT_TRUE(says(help.text, status)) << status;
  const auto version = std::get<Exit>(read({"--version"}));
  EXPECT_TRUE(version.text.starts_with("turnpike-natcheck "));
}

}  // namespace
}  // namespace turnpike::natcheck

// Files of prefixes: as blocklists come, as they should not come, and from where they are read.
#include "config/prefix_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "config_texts.h"

namespace turnpike::config {
namespace {

using namespace test;

std::vector<std::string> parsed_from(const std::string& text) {
  const auto result = parse_prefixes(text, 1000);
  if (const auto* mistake = std::get_if<PrefixMistake>(&result)) {
    ADD_FAILURE() << mistake->line << ": " << mistake->problem;
    return {};
  }
  std::vector<std::string> texts;
  for (const Prefix& prefix : std::get<std::vector<Prefix>>(result))
    texts.push_back(prefix.to_string());
  return texts;
}

using Texts = std::vector<std::string>;

TEST(PrefixFile, IsReadAsBlocklistsCome) {
  EXPECT_EQ(parsed_from("#\n# firehol_level1\n#\n# Maintainer URL : http://iplists.example.org/\n"
                        "0.0.0.0/8\n1.10.16.0/20\n1.19.0.7\n"),
            (Texts{"0.0.0.0/8", "1.10.16.0/20", "1.19.0.7/32"}));
  EXPECT_EQ(parsed_from("; Spamhaus DROP List 2026/11/29 - (c) 2026\n"
                        "; https://www.spamhaus.example.org/drop/drop.txt\n"
                        "1.10.16.0/20 ; SBL256894\n2001:db8:7::/48 ; SBL1\n"),
            (Texts{"1.10.16.0/20", "2001:db8:7::/48"}));
  EXPECT_EQ(parsed_from("# last updated 1795939201 (Sun Nov 29 08:00:01 2026 GMT)\n"
                        "::/8\n100::/8\n2001:db8::/32\n"),
            (Texts{"::/8", "100::/8", "2001:db8::/32"}));
}

TEST(PrefixFile, HasLinesOfEverySystemAndSpaceWhereItLikes) {
  EXPECT_EQ(parsed_from("11.0.0.0/8\r\n\r\n  11.0.0.1\t# one\r\n\t \n#\n;\n;#\n2001:db8::1;x"),
            (Texts{"11.0.0.0/8", "11.0.0.1/32", "2001:db8::1/128"}));
  EXPECT_EQ(parsed_from(""), Texts{});
  EXPECT_EQ(parsed_from("\n\r\n# nothing"), Texts{});
}

TEST(PrefixFile, TellsTheLineOfWhatIsNoPrefix) {
  const std::string kLines[] = {"11.0.0.1/8",
                                "11.0.0.0/33",
                                "2001:db8::1/64",
                                "11.0.0.0 - 11.0.0.9",
                                "11.0.0.0-11.0.0.9",
                                "11.0.0.0\t11.0.0.9\t24",
                                "011.0.0.1",
                                "11.0.0.0/8 11.1.0.0/16",
                                "11.0.0.0/",
                                "example.org",
                                "<html>",
                                std::string("11.0.0.1\0", 9),
                                std::string(100'000, '1')};
  for (const std::string& line : kLines) {
    const auto result = parse_prefixes("11.0.0.0/8\n# 2\n\n" + line + "\nanother\n", 1000);
    const auto* mistake = std::get_if<PrefixMistake>(&result);
    ASSERT_NE(mistake, nullptr) << line;
    EXPECT_EQ(mistake->line, 4) << line;
    EXPECT_TRUE(contains(mistake->problem, "expected an address or prefix")) << line;
    EXPECT_TRUE(contains(mistake->problem, "found \"" + line.substr(0, 8))) << line;
    EXPECT_LE(mistake->problem.size(), 250u);
  }
}

TEST(PrefixFile, HoldsNoMoreThanItMay) {
  EXPECT_EQ(std::get<std::vector<Prefix>>(parse_prefixes("11.0.0.1\n11.0.0.2\n# 3\n", 2)).size(),
            2u);
  const auto result = parse_prefixes("11.0.0.1\n11.0.0.2\n\n11.0.0.3\n11.0.0.4\n", 2);
  const auto& mistake = std::get<PrefixMistake>(result);
  EXPECT_EQ(mistake.line, 4);
  EXPECT_TRUE(contains(mistake.problem, "expected at most 1000000 prefixes"));
}

// --- Where files are, and what the configuration says of them.

class Files : public testing::Test {
 protected:
  void SetUp() override {
    std::string made = testing::TempDir() + "prefixes.XXXXXX";
    ASSERT_NE(mkdtemp(made.data()), nullptr);
    folder_ = made;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  // As a file of the folder.
  ConfigResult read(const std::string& text) const {
    return parse_config(kEnough + text, (folder_ / "turnpike.toml").string());
  }
  std::string mistake(const std::string& text) const {
    const ConfigResult result = read(text);
    const auto* errors = std::get_if<std::vector<ConfigError>>(&result);
    if (errors == nullptr || errors->size() != 1) return "no mistake, or several";
    std::string told = errors->front().to_string();
    for (std::size_t at; (at = told.find(folder_.string())) != std::string::npos;)
      told.replace(at, folder_.string().size(), "DIR");
    return told;
  }

  std::filesystem::path folder_;
};

TEST_F(Files, AreFoundBesideTheConfigurationThatNamesThem) {
  write("a.netset", "11.0.0.0/8\n");
  std::filesystem::create_directory(folder_ / "lists");
  write("lists/b.txt", "2001:db8::/32 ; SBL1\n12.0.0.1\n");
  const ConfigResult result =
      read("[peers]\ndeny_files = [\"a.netset\", \"lists/b.txt\"]\nallow_files = [\"" +
           (folder_ / "a.netset").string() + "\"]\n[clients]\nallow_files = [\"a.netset\"]\n" +
           "deny_files = [\"lists/b.txt\"]\n");
  const auto* config = std::get_if<Config>(&result);
  ASSERT_NE(config, nullptr);
  const PrefixFile a{(folder_ / "a.netset").string(), {*Prefix::parse("11.0.0.0/8")}};
  const PrefixFile b{(folder_ / "lists/b.txt").string(),
                     {*Prefix::parse("2001:db8::/32"), *Prefix::parse("12.0.0.1")}};
  EXPECT_EQ(config->peers.deny_files, (std::vector{a, b}));
  EXPECT_EQ(config->peers.allow_files, std::vector{a});
  EXPECT_EQ(config->clients.allow_files, std::vector{a});
  EXPECT_EQ(config->clients.deny_files, std::vector{b});
}

TEST_F(Files, TellTheirOwnNameAndLine) {
  write("bad.txt", "11.0.0.0/8\r\n11.0.0.1/8 ; SBL2\r\n");
  EXPECT_EQ(mistake("[peers]\ndeny_files = [\"bad.txt\"]\n"),
            "DIR/bad.txt:2: peers.deny_files[0]: expected an address or prefix such as "
            "192.0.2.0/24, without bits beyond its length, found \"11.0.0.1/8\"");
}

TEST_F(Files, ThatCannotBeReadAreToldWithTheReason) {
  const std::string expected =
      ": peers.deny_files[0]: expected the path of a readable file of prefixes, found ";
  EXPECT_EQ(mistake("[peers]\ndeny_files = [\"none.txt\"]\n"),
            "DIR/turnpike.toml:5" + expected + "DIR/none.txt: No such file or directory");
  EXPECT_EQ(mistake("[peers]\ndeny_files = [\"\"]\n"), "DIR/turnpike.toml:5" + expected + "\"\"");
  EXPECT_EQ(mistake("[peers]\ndeny_files = [7]\n"), "DIR/turnpike.toml:5" + expected + "7");
  EXPECT_EQ(mistake("[peers]\ndeny_files = [\".\"]\n"),
            "DIR/turnpike.toml:5" + expected + "DIR/.: not a regular file");
  // Neither does a start wait for somebody to write, nor read a device without an end.
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(mistake("[peers]\ndeny_files = [\"pipe\"]\n"),
            "DIR/turnpike.toml:5" + expected + "DIR/pipe: not a regular file");
  EXPECT_EQ(mistake("[peers]\ndeny_files = [\"/dev/zero\"]\n"),
            "DIR/turnpike.toml:5" + expected + "/dev/zero: not a regular file");
  write("huge", "");
  std::filesystem::resize_file(folder_ / "huge", std::uintmax_t{1} << 40);
  EXPECT_EQ(mistake("[peers]\ndeny_files = [\"huge\"]\n"),
            "DIR/turnpike.toml:5" + expected + "DIR/huge: more than 128 MiB");
}

TEST_F(Files, OfClientsThatAreAllEmptyDontOpenTheNodeToEveryone) {
  write("empty.txt", "# to be fetched\n");
  EXPECT_EQ(mistake("[clients]\nallow_files = [\"empty.txt\"]\n"),
            "DIR/turnpike.toml:5: clients.allow_files: expected clients to answer, found no prefix "
            "in any of them");
  const auto is_taken = [this](const std::string& text) {
    return std::holds_alternative<Config>(read(text));
  };
  EXPECT_TRUE(is_taken("[clients]\nallow_files = [\"empty.txt\"]\nallow = [\"11.0.0.0/8\"]\n"));
  EXPECT_TRUE(is_taken("[clients]\nallow_files = []\n"));
  EXPECT_TRUE(is_taken("[clients]\ndeny_files = [\"empty.txt\"]\n"));
  EXPECT_TRUE(is_taken("[peers]\nallow_files = [\"empty.txt\"]\ndeny_files = [\"empty.txt\"]\n"));
}

// All files of a key are counted together; lines are walked once.
TEST_F(Files, TakeAMillionPrefixesOfAKeyAndNoMore) {
  std::string lines;
  for (int i = 0; i < 500'000; ++i) {
    lines += "2001:db8:" + std::to_string(i / 10'000) + ":" + std::to_string(i % 10'000) +
             "::/64 ; SBL" + std::to_string(i) + "\n";
  }
  write("half.txt", lines);
  write("one.txt", "11.0.0.1\n");
  const ConfigResult result = read("[peers]\ndeny_files = [\"half.txt\", \"half.txt\"]\n");
  const auto* config = std::get_if<Config>(&result);
  ASSERT_NE(config, nullptr);
  EXPECT_EQ(config->peers.deny_files[0].prefixes.size() * 2, kFilePrefixesMax);
  EXPECT_EQ(mistake("[peers]\ndeny_files = [\"half.txt\", \"half.txt\", \"one.txt\"]\n"),
            "DIR/one.txt:1: peers.deny_files[2]: expected at most 1000000 prefixes in all files of "
            "this key, found more");
}

}  // namespace
}  // namespace turnpike::config

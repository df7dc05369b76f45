// Sets of patterns: what is refused, what is cached, what is scanned.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "policy/patterns.h"

namespace turnpike::policy {
namespace {

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "turnpike-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }
  std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      found.push_back(entry.path());
    return found;
  }

 private:
  std::string path_;
};

std::set<unsigned> scan(const PatternSet& set, std::string_view text) {
  std::set<unsigned> found;
  Scratch scratch(set);
  scratch.scan(set, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()},
               [&](unsigned id) { found.insert(id); });
  return found;
}

PatternSet compiled(const std::vector<Pattern>& patterns, const std::string& cache = "") {
  auto result = PatternSet::compile(patterns, cache);
  if (const auto* error = std::get_if<PatternError>(&result))
    throw std::runtime_error(error->problem);
  return std::get<PatternSet>(std::move(result));
}

const std::vector<Pattern> kTwo{{"^ab.d", false, 1}, {"xyz", true, 2}};

TEST(Patterns, TellWhichOnesMatch) {
  const PatternSet set = compiled(kTwo);
  EXPECT_EQ(scan(set, "ab\nd XyZ"), (std::set<unsigned>{1, 2})) << "a dot is any byte";
  EXPECT_EQ(scan(set, "ABCD xyz"), (std::set<unsigned>{2}));
  EXPECT_EQ(scan(set, " abcd"), (std::set<unsigned>{}));
  EXPECT_EQ(scan(set, ""), (std::set<unsigned>{}));
}

TEST(Patterns, ThatAreNoneAreRefusedWithTheirPlace) {
  struct Case {
    const char* expression;
    const char* says;
  };
  for (const auto& [expression, says] :
       {Case{"ab(cd", "index 2"}, Case{R"(a(b)\1)", "Back-references"},
        Case{"a*", "matches everything"}, Case{"a(?=b)", "Zero-width"}}) {
    const auto result = PatternSet::compile(std::vector<Pattern>{kTwo[0], {expression}}, "");
    const auto* error = std::get_if<PatternError>(&result);
    ASSERT_TRUE(error) << expression;
    EXPECT_EQ(error->pattern, 1U);
    EXPECT_NE(error->problem.find(says), std::string::npos) << error->problem;
  }
}

TEST(Patterns, TooManyOrTooLargeForAPacketsWayAreRefused) {
  const std::vector<Pattern> many(PatternSet::kMostPatterns + 1, kTwo[0]);
  const auto result = PatternSet::compile(many, "");
  ASSERT_TRUE(std::holds_alternative<PatternError>(result));
  EXPECT_EQ(std::get<PatternError>(result).pattern, PatternError::kWholeSet);
  const auto large = PatternSet::compile(std::vector<Pattern>{{"a{40000}"}}, "");
  ASSERT_TRUE(std::holds_alternative<PatternError>(large));
  EXPECT_NE(std::get<PatternError>(large).problem.find("too large"), std::string::npos);
}

TEST(Patterns, AreReadFromTheCacheTheNextTime) {
  const Folder folder;
  EXPECT_FALSE(compiled(kTwo, folder.path()).was_cached());
  const PatternSet again = compiled(kTwo, folder.path());
  EXPECT_TRUE(again.was_cached());
  EXPECT_EQ(scan(again, "abcd xyz"), (std::set<unsigned>{1, 2}));
  std::vector<Pattern> other = kTwo;
  other[1].caseless = false;
  EXPECT_FALSE(compiled(other, folder.path()).was_cached());
  EXPECT_EQ(folder.files().size(), 2U) << "and nothing unfinished";
}

TEST(Patterns, AreCompiledAnewWhereTheCacheIsDamagedOrAnothers) {
  const Folder folder;
  compiled(kTwo, folder.path());
  const std::filesystem::path file = folder.files().at(0);
  const auto whole = std::filesystem::file_size(file);
  {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(whole / 2));
    stream.put('\x5A').put('\x5B');
  }
  EXPECT_FALSE(compiled(kTwo, folder.path()).was_cached()) << "a byte is another";
  EXPECT_TRUE(compiled(kTwo, folder.path()).was_cached()) << "and it was mended";
  std::filesystem::resize_file(file, whole - 1);
  EXPECT_FALSE(compiled(kTwo, folder.path()).was_cached()) << "a byte is missing";
  chmod(file.c_str(), 0666);
  EXPECT_FALSE(compiled(kTwo, folder.path()).was_cached()) << "anybody may have written it";
  chmod(folder.path().c_str(), 0777);
  EXPECT_FALSE(compiled(kTwo, folder.path()).was_cached()) << "anybody may have put it there";
}

TEST(Patterns, DoWithoutACacheThatCannotBe) {
  EXPECT_FALSE(compiled(kTwo, "/proc/turnpike").was_cached());
}

}  // namespace
}  // namespace turnpike::policy

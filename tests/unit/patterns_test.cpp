// Sets of patterns: what is refused, what is cached, what is scanned.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
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
  auto result = PatternSet::make(patterns, {.cache = cache, .compiling = {}});
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
    const auto result = PatternSet::make(std::vector<Pattern>{kTwo[0], {expression}});
    const auto* error = std::get_if<PatternError>(&result);
    ASSERT_TRUE(error) << expression;
    EXPECT_EQ(error->pattern, 1U);
    EXPECT_NE(error->problem.find(says), std::string::npos) << error->problem;
  }
}

TEST(Patterns, TooManyOrTooLargeForAPacketsWayAreRefused) {
  const std::vector<Pattern> many(PatternSet::kMostPatterns + 1, kTwo[0]);
  const auto result = PatternSet::make(many);
  ASSERT_TRUE(std::holds_alternative<PatternError>(result));
  EXPECT_EQ(std::get<PatternError>(result).pattern, PatternError::kWholeSet);
  const auto large = PatternSet::make(std::vector<Pattern>{{"a{40000}"}});
  ASSERT_TRUE(std::holds_alternative<PatternError>(large));
  EXPECT_NE(std::get<PatternError>(large).problem.find("too large"), std::string::npos);
}

TEST(Patterns, AreReadFromTheCacheTheNextTime) {
  const Folder folder;
  EXPECT_FALSE(compiled(kTwo, folder.path()).origin().was_cached);
  const PatternSet again = compiled(kTwo, folder.path());
  EXPECT_TRUE(again.origin().was_cached);
  EXPECT_EQ(scan(again, "abcd xyz"), (std::set<unsigned>{1, 2}));
  std::vector<Pattern> other = kTwo;
  other[1].caseless = false;
  EXPECT_FALSE(compiled(other, folder.path()).origin().was_cached);
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
  EXPECT_FALSE(compiled(kTwo, folder.path()).origin().was_cached) << "a byte is another";
  EXPECT_TRUE(compiled(kTwo, folder.path()).origin().was_cached) << "and it was mended";
  std::filesystem::resize_file(file, whole - 1);
  EXPECT_FALSE(compiled(kTwo, folder.path()).origin().was_cached) << "a byte is missing";
  chmod(file.c_str(), 0666);
  EXPECT_FALSE(compiled(kTwo, folder.path()).origin().was_cached) << "anybody may have written it";
  chmod(folder.path().c_str(), 0777);
  EXPECT_FALSE(compiled(kTwo, folder.path()).origin().was_cached)
      << "anybody may have put it there";
}

// The problem with a cache in this folder.
std::string problem_of(const std::string& cache) {
  const PatternSet set = compiled(kTwo, cache);
  EXPECT_FALSE(set.origin().was_cached);
  EXPECT_EQ(scan(set, "xyz"), (std::set<unsigned>{2})) << "and goes on";
  return set.origin().cache_problem;
}

TEST(Patterns, SayWhyTheyAreNotKept) {
  EXPECT_EQ(problem_of(""), "") << "nor are to be";
  EXPECT_EQ(problem_of("/proc/turnpike"), "/proc/turnpike: No such file or directory");
  EXPECT_EQ(problem_of("/dev/null"), "/dev/null: no folder");
  const Folder folder;
  EXPECT_EQ(problem_of(folder.path()), "");
  const std::filesystem::path file = folder.files().at(0);
  chmod(file.c_str(), 0666);
  EXPECT_EQ(problem_of(folder.path()),
            file.string() + ": others than root and this user may write there");
  chmod(folder.path().c_str(), 0777);
  EXPECT_EQ(problem_of(folder.path()),
            folder.path() + ": others than root and this user may write there");
}

TEST(Patterns, SayThatTheirFolderIsFull) {
  const Folder folder;
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit little{100, before.rlim_max};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &little);
  const std::string problem = problem_of(folder.path());
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_NE(problem.find(": File too large"), std::string::npos) << problem;
  EXPECT_EQ(problem.find(folder.path()), 0U) << problem;
  EXPECT_TRUE(folder.files().empty()) << "nothing unfinished is left";
}

// A few kilobytes that take many seconds, and a harmless pattern beside them.
TEST(Patterns, ThatTakeTooLongToCompileAreRefusedByName) {
  std::mt19937 random(1);
  std::string slow = "^(";
  for (int i = 0; i < 1900; ++i) {
    if (i > 0) slow += '|';
    for (int k = 0; k < 4; ++k)
      slow += static_cast<char>('a' + random() % 26);
    slow += ".*x";
  }
  slow += ')';
  std::size_t told = 0;
  const PatternBuild build{
      .cache = "", .most_s = 1, .compiling = [&](std::size_t patterns) { told += patterns; }};
  const auto started = std::chrono::steady_clock::now();
  const auto alone = PatternSet::make(std::vector<Pattern>{{slow}}, build);
  const auto both = PatternSet::make(std::vector<Pattern>{kTwo[0], {slow}}, build);
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(30));
  EXPECT_EQ(told, 3U) << "before each";
  ASSERT_TRUE(std::holds_alternative<PatternError>(alone));
  EXPECT_EQ(std::get<PatternError>(alone).pattern, 0U);
  EXPECT_EQ(std::get<PatternError>(alone).problem,
            "takes longer to compile than 1 s of a core, which is the most");
  ASSERT_TRUE(std::holds_alternative<PatternError>(both));
  EXPECT_EQ(std::get<PatternError>(both).pattern, 1U);
  EXPECT_NE(std::get<PatternError>(both).problem.find("the 2 patterns"), std::string::npos);
}

}  // namespace
}  // namespace turnpike::policy

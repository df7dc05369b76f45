// A source is read again: what has changed in its files is seen, what flags gave stays.
#include "config/source.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <new>
#include <optional>

#include "config/command_line.h"
#include "config_texts.h"

namespace {

// Memory that is given back with this in it is counted.
std::string_view wanted;
int freed_with_it = 0;

void look_and_free(void* block) {
  if (block != nullptr && !wanted.empty() &&
      memmem(block, malloc_usable_size(block), wanted.data(), wanted.size()) != nullptr)
    ++freed_with_it;
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) {
  if (void* block = std::malloc(size)) return block;
  throw std::bad_alloc();
}
void operator delete(void* block) noexcept {
  look_and_free(block);
}
void operator delete(void* block, std::size_t /*size*/) noexcept {
  look_and_free(block);
}

namespace turnpike::config {
namespace {

using namespace test;

class ConfigSource : public testing::Test {
 protected:
  ~ConfigSource() override {
    ::unlink(file_.c_str());
    ::unlink(secret_.c_str());
  }
  void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  // Arguments that are hidden at once, as the program does.
  Source parse(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "turnpike");
    std::vector<char*> argv;
    for (std::string& argument : arguments)
      argv.push_back(argument.data());
    auto asked = parse_command_line(static_cast<int>(argv.size()), argv.data());
    hide_secrets(static_cast<int>(argv.size()), argv.data());
    if (const auto* exit = std::get_if<Exit>(&asked)) {
      ADD_FAILURE() << exit->text;
      return {"", {}, {}};
    }
    return std::get<Source>(std::move(asked));
  }
  static Config config_of(const Source& source) {
    ConfigResult result = source.read();
    if (const auto* errors = std::get_if<std::vector<ConfigError>>(&result)) {
      ADD_FAILURE() << errors->at(0).to_string();
      return {};
    }
    return std::get<Config>(result);
  }

  const std::string file_ =
      testing::TempDir() + "turnpike-source-" + std::to_string(::getpid()) + ".toml";
  const std::string secret_ = testing::TempDir() + "turnpike-secret-" + std::to_string(::getpid());
};

TEST_F(ConfigSource, SaysWhatItsFileSaysNow) {
  write(file_, kEnough + "workers = 2\nsoftware = \"one\"\n");
  const Source source = parse({"--config", file_, "--workers", "3"});
  EXPECT_EQ(source.file(), file_);
  EXPECT_EQ(config_of(source).software, "one");
  write(file_, kEnough + "workers = 4\nsoftware = \"two\"\n");
  const Config again = config_of(source);
  EXPECT_EQ(again.software, "two");
  EXPECT_EQ(again.workers, 3) << "the flag still wins";
}

TEST_F(ConfigSource, KeepsTheSecretsThatFlagsGave) {
  const Source source = parse({"--port", "af_xdp:eth0", "--realm", "r", "--user", "alice:hunter2",
                               "--rest-secret", "north"});
  const Config first = config_of(source);
  EXPECT_EQ(first.auth.users, (std::vector{UserConfig{"alice", "hunter2", ""}}));
  EXPECT_EQ(first.auth.rest_secrets, std::vector<std::string>{"north"});
  EXPECT_EQ(config_of(source), first);
}

TEST_F(ConfigSource, ReadsSecretsInFilesOfTheirOwnAgain) {
  write(secret_, "old\n");
  const Source source = parse({"--port", "af_xdp:eth0", "--realm", "r", "--rest-secret", "first",
                               "--rest-secret-file", secret_});
  EXPECT_EQ(config_of(source).auth.rest_secrets, (std::vector<std::string>{"first", "old"}));
  write(secret_, "new\n");
  EXPECT_EQ(config_of(source).auth.rest_secrets, (std::vector<std::string>{"first", "new"}));
  write(secret_, "\n");
  const ConfigResult result = source.read();
  const auto* errors = std::get_if<std::vector<ConfigError>>(&result);
  ASSERT_NE(errors, nullptr);
  EXPECT_TRUE(contains(errors->at(0).to_string(), "found an empty line"));
}

TEST_F(ConfigSource, SaysWhatIsWrongAndCanBeReadOnceItIsRight) {
  write(file_, kEnough);
  const Source source = parse({"--config", file_});
  write(file_, kEnough + "workerz = 2\n");
  const ConfigResult result = source.read();
  const auto* errors = std::get_if<std::vector<ConfigError>>(&result);
  ASSERT_NE(errors, nullptr);
  EXPECT_TRUE(contains(errors->at(0).to_string(), file_ + ":4: workerz: "));
  ::unlink(file_.c_str());
  EXPECT_TRUE(std::holds_alternative<std::vector<ConfigError>>(source.read()));
  write(file_, kEnough + "workers = 2\n");
  EXPECT_EQ(config_of(source).workers, 2);
}

TEST_F(ConfigSource, WipesItsSecretsAtItsEnd) {
  // One too long to lie in its own object, and one that isn't.
  for (const std::string secret : {"a-password-that-stands-nowhere-else", "kq7Zx-9"}) {
    std::optional<Source> source(parse({"--port", "af_xdp:eth0", "--user", "alice:" + secret}));
    wanted = secret;
    {
      const std::string copy = secret;
      const auto held = std::make_unique<std::string>(secret);
    }
    EXPECT_GT(freed_with_it, 0) << "the search finds what is there";
    freed_with_it = 0;
    source.reset();
    EXPECT_EQ(freed_with_it, 0);
    wanted = {};
  }
}

}  // namespace
}  // namespace turnpike::config

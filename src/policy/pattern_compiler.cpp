// What the child has found comes through a pipe: a Header, then the database or the problem.
#include "policy/pattern_compiler.h"

#include <fcntl.h>
#include <hs.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace turnpike::policy {
namespace {

struct Header {
  bool compiled;
  std::size_t pattern;  // PatternError's, where it isn't
};

unsigned flags_of(const Pattern& pattern) {
  return HS_FLAG_DOTALL | HS_FLAG_SINGLEMATCH | (pattern.caseless ? HS_FLAG_CASELESS : 0U);
}

// What hs_compile says of one expression. One that matches what is empty would match all.
std::optional<std::string> why_not(const Pattern& pattern) {
  hs_expr_info_t* told = nullptr;
  hs_compile_error_t* error = nullptr;
  if (hs_expression_info(pattern.expression.c_str(), flags_of(pattern), &told, &error) !=
      HS_SUCCESS) {
    std::string problem = error->message;
    hs_free_compile_error(error);
    return problem;
  }
  const std::unique_ptr<hs_expr_info_t, void (*)(void*)> info(told, std::free);
  if (info->min_width == 0) return "matches everything: even what is empty";
  return std::nullopt;
}

std::optional<PatternError> first_wrong(std::span<const Pattern> patterns) {
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    if (auto problem = why_not(patterns[i])) return PatternError{i, std::move(*problem)};
  }
  return std::nullopt;
}

std::variant<hs_database_t*, PatternError> compile_all(std::span<const Pattern> patterns) {
  std::vector<const char*> expressions;
  std::vector<unsigned> flags, ids;
  for (const Pattern& pattern : patterns) {
    expressions.push_back(pattern.expression.c_str());
    flags.push_back(flags_of(pattern));
    ids.push_back(pattern.id);
  }
  hs_database_t* made = nullptr;
  hs_compile_error_t* error = nullptr;
  const hs_error_t result = hs_compile_multi(expressions.data(), flags.data(), ids.data(),
                                             static_cast<unsigned>(patterns.size()), HS_MODE_BLOCK,
                                             nullptr, &made, &error);
  if (result == HS_SUCCESS) return made;
  PatternError refused{
      error->expression < 0 ? PatternError::kWholeSet : static_cast<std::size_t>(error->expression),
      error->message};
  hs_free_compile_error(error);
  return refused;
}

void tell(int fd, const Header& header, std::string_view what) {
  const auto write_all = [fd](const void* bytes, std::size_t size) {
    const auto* at = static_cast<const char*>(bytes);
    while (size > 0) {
      const ssize_t put = write(fd, at, size);
      if (put <= 0) _exit(1);
      at += put;
      size -= static_cast<std::size_t>(put);
    }
  };
  write_all(&header, sizeof header);
  write_all(what.data(), what.size());
}

void compile_in_child(int fd, std::span<const Pattern> patterns) {
  const auto refuse = [fd](const PatternError& error) {
    tell(fd, {false, error.pattern}, error.problem);
  };
  if (const auto wrong = first_wrong(patterns)) return refuse(*wrong);
  auto result = compile_all(patterns);
  if (const auto* error = std::get_if<PatternError>(&result)) return refuse(*error);
  const hs_database_t* database = std::get<hs_database_t*>(result);
  std::size_t size = 0;
  if (hs_database_size(database, &size) != HS_SUCCESS || size > PatternSet::kMostBytes) {
    return refuse(
        {PatternError::kWholeSet, "compiled they take " + std::to_string(size >> 20) + " MiB; " +
                                      std::to_string(PatternSet::kMostBytes >> 20) +
                                      " MiB is what packets can be held against at speed"});
  }
  char* bytes = nullptr;
  if (hs_serialize_database(database, &bytes, &size) != HS_SUCCESS)
    return refuse({PatternError::kWholeSet, "no memory to compile them"});
  tell(fd, {true, 0}, {bytes, size});
}

// Signals as a program starts with them: who ends this process's group ends the compiler.
[[noreturn]] void be_child(int fd, std::span<const Pattern> patterns, unsigned most_s,
                           pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // A second later it is SIGKILL.
  const rlimit most{most_s, most_s + 1};
  setrlimit(RLIMIT_CPU, &most);
  try {
    compile_in_child(fd, patterns);
  } catch (const std::exception& error) {
    tell(fd, {false, PatternError::kWholeSet}, error.what());
  }
  _exit(0);
}

std::vector<char> read_whole(int fd) {
  std::vector<char> all;
  std::vector<char> some(std::size_t{64} << 10);
  for (;;) {
    const ssize_t got = read(fd, some.data(), some.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return all;
    all.insert(all.end(), some.begin(), some.begin() + got);
  }
}

// The longest is where to look first.
PatternError takes_too_long(std::span<const Pattern> patterns, unsigned most_s) {
  const auto longest = std::max_element(patterns.begin(), patterns.end(),
                                        [](const Pattern& one, const Pattern& other) {
                                          return one.expression.size() < other.expression.size();
                                        });
  const std::string bound = std::to_string(most_s) + " s of a core, which is the most";
  if (patterns.size() == 1) return {0, "takes longer to compile than " + bound};
  return {static_cast<std::size_t>(longest - patterns.begin()),
          "the " + std::to_string(patterns.size()) +
              " patterns of this kind together take longer to compile than " + bound +
              "; this one is the longest, of " + std::to_string(longest->expression.size()) +
              " bytes"};
}

}  // namespace

std::variant<std::vector<char>, PatternError> compile_patterns(std::span<const Pattern> patterns,
                                                               unsigned most_s) {
  const auto fail = [](const char* what) {
    throw std::runtime_error(std::string("compiling patterns: ") + what + ": " +
                             std::strerror(errno));
  };
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) fail("pipe");
  const pid_t parent = getpid(), child = fork();
  if (child == 0) be_child(ends[1], patterns, most_s, parent);
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    fail("fork");
  }
  std::vector<char> told = read_whole(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  Header header{};
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGXCPU) return takes_too_long(patterns, most_s);
    throw std::runtime_error("compiling patterns: ended by signal " +
                             std::to_string(WTERMSIG(status)));
  }
  if (status != 0 || told.size() < sizeof header)
    throw std::runtime_error("compiling patterns: ended without a result");
  std::memcpy(&header, told.data(), sizeof header);
  told.erase(told.begin(), told.begin() + sizeof header);
  if (!header.compiled) return PatternError{header.pattern, {told.begin(), told.end()}};
  return told;
}

}  // namespace turnpike::policy

// Many regular expressions at once, by Hyperscan (or Vectorscan, which has the same interface): a
// set is compiled once, is immutable, and any number of threads scan with it, each with a Scratch
// of its own. Compiling takes time, up to a minute, and memory: it is never a worker's or an
// engine's work.
//
// Expressions are PCRE, as far as Hyperscan knows them: without back references and look-around;
// a dot is any byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

struct hs_database;
struct hs_scratch;

namespace turnpike::policy {

struct Pattern {
  std::string expression;
  bool caseless = false;
  std::uint32_t id = 0;  // told on a match; several may have the same

  friend bool operator==(const Pattern&, const Pattern&) = default;
};

// Why patterns were refused.
struct PatternError {
  std::size_t pattern = 0;  // by place; of the set as a whole: kWholeSet
  std::string problem;      // with the place in the expression, where there is one
  static constexpr std::size_t kWholeSet = SIZE_MAX;
};

// How a set comes to be.
struct PatternBuild {
  // A folder where compiled sets are kept; empty: nowhere.
  std::string cache;
  // Of a core. What a service manager waits for is not much longer.
  unsigned most_s = 60;
  // Called before a set of so many patterns is compiled, which may take that long; not where the
  // cache has it.
  std::function<void(std::size_t patterns)> compiling;
};

// How it came to be; of several sets: all of them.
struct PatternOrigin {
  bool was_cached = true;
  std::uint64_t compile_ms = 0;
  std::string cache_problem;  // why it isn't kept, with the path; empty: it is, or nothing is to be

  void add(const PatternOrigin& other) {
    was_cached &= other.was_cached;
    compile_ms += other.compile_ms;
    if (cache_problem.empty()) cache_problem = other.cache_problem;
  }
};

class PatternSet {
 public:
  // A set that packets are to be held against must be quick to walk through and leave the caches to
  // the tables.
  static constexpr std::size_t kMostBytes = std::size_t{32} << 20;
  static constexpr std::size_t kMostPatterns = 16'384;

  // Read from the cache, or compiled: in a process of its own, so while this one has one thread.
  // What can't be read or written in the cache is no error. `patterns` is not empty. Throws
  // std::runtime_error where there can be no such process, and std::bad_alloc.
  static std::variant<PatternSet, PatternError> make(std::span<const Pattern> patterns,
                                                     const PatternBuild& build = {});

  const hs_database* database() const { return database_.get(); }
  std::size_t bytes() const;
  const PatternOrigin& origin() const { return origin_; }

 private:
  struct Deleter {
    void operator()(hs_database* database) const;
  };
  PatternSet() = default;

  std::unique_ptr<hs_database, Deleter> database_;
  PatternOrigin origin_;
};

// What one thread needs for scanning; fits all the sets that it was made for.
class Scratch {
 public:
  // Throws std::bad_alloc.
  explicit Scratch(const PatternSet& set);

  // Calls `matched(id)` for each pattern that matches anywhere in `bytes`, in no order; once or
  // more often for each. No allocation, no lock; time grows with the bytes.
  template <typename Matched>
  void scan(const PatternSet& set, std::span<const std::uint8_t> bytes, Matched&& matched) {
    scan_with(
        set, bytes,
        [](unsigned id, unsigned long long, unsigned long long, unsigned, void* context) {
          (*static_cast<Matched*>(context))(id);
          return 0;
        },
        &matched);
  }

 private:
  using OnMatch = int (*)(unsigned id, unsigned long long from, unsigned long long to,
                          unsigned flags, void* context);
  void scan_with(const PatternSet& set, std::span<const std::uint8_t> bytes, OnMatch on_match,
                 void* context);
  struct Deleter {
    void operator()(hs_scratch* scratch) const;
  };
  std::unique_ptr<hs_scratch, Deleter> scratch_;
};

}  // namespace turnpike::policy

// Many regular expressions at once, by Hyperscan (or Vectorscan, which has the same interface): a
// set is compiled once, is immutable, and any number of threads scan with it, each with a Scratch
// of its own. Compiling takes up to seconds and memory: it is never a worker's or an engine's work.
//
// Expressions are PCRE, as far as Hyperscan knows them: without back references and look-around;
// a dot is any byte.
#pragma once

#include <cstdint>
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

class PatternSet {
 public:
  // A set that packets are to be held against must be quick to walk through and leave the caches to
  // the tables.
  static constexpr std::size_t kMostBytes = std::size_t{32} << 20;
  static constexpr std::size_t kMostPatterns = 16'384;

  // Reads it from the folder `cache`, where an earlier call has left it; an empty `cache`: always
  // compiled. What can't be read or written there is no error. `patterns` is not empty.
  static std::variant<PatternSet, PatternError> compile(std::span<const Pattern> patterns,
                                                        const std::string& cache);

  const hs_database* database() const { return database_.get(); }
  std::size_t bytes() const;
  bool was_cached() const { return cached_; }

 private:
  struct Deleter {
    void operator()(hs_database* database) const;
  };
  explicit PatternSet(hs_database* database, bool cached) : database_(database), cached_(cached) {}

  std::unique_ptr<hs_database, Deleter> database_;
  bool cached_;
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

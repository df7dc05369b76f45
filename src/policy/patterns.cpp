// Where a set comes from, and what threads scan with it.
#include "policy/patterns.h"

#include <hs.h>

#include <cassert>
#include <chrono>
#include <new>
#include <optional>
#include <utility>

#include "policy/pattern_cache.h"
#include "policy/pattern_compiler.h"

namespace turnpike::policy {
namespace {

std::optional<PatternError> why_none_can_be(std::size_t patterns) {
  if (hs_valid_platform() != HS_SUCCESS)
    return PatternError{PatternError::kWholeSet,
                        std::string("this processor lacks what patterns are matched with: SSSE3 "
                                    "for Hyperscan, SSE4.2 for Vectorscan; here it is ") +
                            hs_version()};
  if (patterns > PatternSet::kMostPatterns)
    return PatternError{PatternError::kWholeSet, std::to_string(patterns) +
                                                     " patterns: more than " +
                                                     std::to_string(PatternSet::kMostPatterns)};
  return std::nullopt;
}

// nullptr: of another version or processor.
hs_database_t* from_bytes(std::span<const char> serialized) {
  hs_database_t* database = nullptr;
  hs_deserialize_database(serialized.data(), serialized.size(), &database);
  return database;
}

}  // namespace

void PatternSet::Deleter::operator()(hs_database* database) const {
  hs_free_database(database);
}

std::variant<PatternSet, PatternError> PatternSet::make(std::span<const Pattern> patterns,
                                                        const PatternBuild& build) {
  assert(!patterns.empty());
  if (auto wrong = why_none_can_be(patterns.size())) return std::move(*wrong);
  PatternSet set;
  PatternCache cache(build.cache, patterns);
  if (const auto kept = cache.read()) set.database_.reset(from_bytes(*kept));
  if (set.database_) return set;
  if (build.compiling) build.compiling(patterns.size());
  const auto started = std::chrono::steady_clock::now();
  auto result = compile_patterns(patterns, build.most_s);
  if (auto* refused = std::get_if<PatternError>(&result)) return std::move(*refused);
  const auto& compiled = std::get<std::vector<char>>(result);
  set.origin_.was_cached = false;
  set.origin_.compile_ms =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                     std::chrono::steady_clock::now() - started)
                                     .count());
  set.database_.reset(from_bytes(compiled));
  if (!set.database_) throw std::bad_alloc();
  cache.write(compiled);
  set.origin_.cache_problem = cache.problem();
  return set;
}

std::size_t PatternSet::bytes() const {
  std::size_t size = 0;
  hs_database_size(database_.get(), &size);
  return size;
}

void Scratch::Deleter::operator()(hs_scratch* scratch) const {
  hs_free_scratch(scratch);
}

Scratch::Scratch(const PatternSet& set) {
  hs_scratch_t* made = nullptr;
  if (hs_alloc_scratch(set.database(), &made) != HS_SUCCESS) throw std::bad_alloc();
  scratch_.reset(made);
}

void Scratch::scan_with(const PatternSet& set, std::span<const std::uint8_t> bytes,
                        OnMatch on_match, void* context) {
  const hs_error_t result =
      hs_scan(set.database(), reinterpret_cast<const char*>(bytes.data()),
              static_cast<unsigned>(bytes.size()), 0, scratch_.get(), on_match, context);
  assert(result == HS_SUCCESS);
  static_cast<void>(result);
}

}  // namespace turnpike::policy

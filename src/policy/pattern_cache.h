// Compiled sets of patterns in a folder, so that a start needn't compile what the one before did.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "policy/patterns.h"

namespace turnpike::policy {

class PatternCache {
 public:
  // `folder` is made where it isn't there yet; empty: nothing is kept, which is no problem.
  PatternCache(std::string folder, std::span<const Pattern> patterns);

  // As write() was given it; none where it isn't there whole, or others may have written it.
  std::optional<std::vector<char>> read();
  // Whole, or not at all.
  void write(std::span<const char> serialized);

  // The first thing that keeps it from being of use, with its path; empty: none.
  const std::string& problem() const { return problem_; }

 private:
  bool put(const std::string& path, std::span<const char> serialized);
  void fails(const std::string& path, const std::string& why);

  std::string folder_;  // empty: of no use
  std::string path_;
  std::string problem_;
};

}  // namespace turnpike::policy

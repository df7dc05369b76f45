// Who may allocate, and how much: named rules over what an Allocate says of who asks, the first
// that matches counts.
//
// Immutable but for what shards write while they scan, each its own: scratch and counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "policy/patterns.h"
#include "turnpike/counter.h"
#include "turnpike/server.h"

namespace turnpike::policy {

enum class IdentityAttribute : std::uint8_t { kUsername, kRealm, kOrigin, kSoftware };
constexpr std::size_t kIdentityAttributes = 4;

struct IdentityRule {
  std::string name;
  IdentityAttribute attribute = IdentityAttribute::kUsername;
  Pattern pattern;  // its id is set by IdentityRules
  bool refuses = false;
  std::optional<UserLimits> limits;  // of whoever it lets in; none: what all have
};

class IdentityRules {
 public:
  // Each is a label of a metric.
  static constexpr std::size_t kMostRules = 1024;

  struct Config {
    std::vector<IdentityRule> rules;  // there are some
    std::uint8_t shards = 1;
    PatternBuild build;
  };
  // PatternError::pattern is a rule's place. Throws as PatternSet::make() does.
  static std::variant<std::shared_ptr<const IdentityRules>, PatternError> make(Config config);

  // What the first rule says that one of the attributes matches, which counts it; an attribute that
  // is empty matches none, and whom no rule matches is let in. One thread a shard. No allocation;
  // time grows with the attributes' bytes.
  IdentityVerdict judge(std::uint8_t shard, const IdentityAttributes& attributes) const;

  const std::vector<IdentityRule>& rules() const { return rules_; }
  // Any thread: Allocates that the rule at this place has decided, of all shards.
  std::uint64_t requests(std::size_t rule) const;
  std::size_t bytes() const;
  PatternOrigin origin() const;

 private:
  struct alignas(64) Shard {
    std::array<std::unique_ptr<Scratch>, kIdentityAttributes> scratch;
    std::unique_ptr<Counter[]> counts;  // by a rule's place
  };
  explicit IdentityRules(Config config);

  std::vector<IdentityRule> rules_;
  // By attribute; none, if no rule asks for it.
  std::array<std::unique_ptr<const PatternSet>, kIdentityAttributes> sets_;
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace turnpike::policy

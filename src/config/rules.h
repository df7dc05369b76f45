// What the configuration says of rules with patterns, over payload and over identity. Whether a
// pattern is one, and whether there is such a protocol, is known where patterns are compiled: each
// rule keeps its place for that.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace turnpike::config {

// Where something is written. No part of what it says: where all else is equal, this is too.
struct Where {
  std::string file;
  int line = 0;
  std::string path;  // "payload.rule[0]"

  friend bool operator==(const Where&, const Where&) { return true; }
};

struct PayloadRuleConfig {
  enum class Direction : std::uint8_t { kBoth, kClient, kPeer };
  enum class Action : std::uint8_t { kAllow, kCount, kLimit, kDrop, kEnd };

  std::string name;      // empty: the protocol's
  std::string protocol;  // one with a name, or a group of them: a rule of each; or
  std::string pattern;
  bool caseless = false;
  Direction from = Direction::kBoth;
  Action action = Action::kCount;
  std::uint64_t rate = 0;  // kLimit: bits per second
  Where where;

  friend bool operator==(const PayloadRuleConfig&, const PayloadRuleConfig&) = default;
};

struct PayloadSection {
  std::uint8_t packets = 4;  // of each direction of a flow, looked into
  bool webrtc_only = false;
  std::string cache = "/var/cache/turnpike";  // where compiled rules are kept; empty: nowhere
  std::vector<PayloadRuleConfig> rules;

  friend bool operator==(const PayloadSection&, const PayloadSection&) = default;
};

struct IdentityRuleConfig {
  enum class Attribute : std::uint8_t { kUsername, kRealm, kOrigin, kSoftware };
  enum class Action : std::uint8_t { kAllow, kDeny, kClass };

  std::string name;
  Attribute attribute = Attribute::kUsername;
  std::string pattern;
  bool caseless = false;
  Action action = Action::kAllow;
  std::string of_class;  // kClass: the name of one
  Where where;

  friend bool operator==(const IdentityRuleConfig&, const IdentityRuleConfig&) = default;
};

struct IdentityClassConfig {
  std::string name;
  std::uint32_t allocations_per_user = 0;  // 0: no limit of anything

  friend bool operator==(const IdentityClassConfig&, const IdentityClassConfig&) = default;
};

struct IdentitySection {
  std::vector<IdentityRuleConfig> rules;
  std::vector<IdentityClassConfig> classes;

  friend bool operator==(const IdentitySection&, const IdentitySection&) = default;
};

}  // namespace turnpike::config

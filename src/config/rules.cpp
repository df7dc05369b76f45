// The keys of [payload] and [identity].
#include "config/rules.h"

#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "config/reader.h"

namespace turnpike::config {
namespace {

using Rule = PayloadRuleConfig;
using IdentityRule = IdentityRuleConfig;

constexpr std::string_view kName =
    "a name of 1 to 48 small letters, digits, \"_\" and \"-\", other than \"unknown\"";
constexpr std::string_view kPattern = "a regular expression of 1 to 4096 bytes";
constexpr std::string_view kAttribute = "\"username\", \"realm\", \"origin\" or \"software\"";
constexpr std::string_view kIdentityAction = "\"allow\", \"deny\" or \"class\"";

// Names become labels of metrics.
std::optional<std::string> parse_name(std::string_view text) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (text.empty() || text.size() > 48 || text == "unknown") return std::nullopt;
  for (const char c : text) {
    if (!is_plain(c)) return std::nullopt;
  }
  return std::string(text);
}

std::optional<std::string> parse_pattern(std::string_view text) {
  if (text.empty() || text.size() > 4096 || text.find('\0') != std::string_view::npos)
    return std::nullopt;
  return std::string(text);
}

std::optional<Rule::Direction> parse_from(std::string_view text) {
  if (text == "both") return Rule::Direction::kBoth;
  if (text == "client") return Rule::Direction::kClient;
  if (text == "peer") return Rule::Direction::kPeer;
  return std::nullopt;
}

std::optional<Rule::Action> parse_action(std::string_view text) {
  if (text == "allow") return Rule::Action::kAllow;
  if (text == "count") return Rule::Action::kCount;
  if (text == "limit") return Rule::Action::kLimit;
  if (text == "drop") return Rule::Action::kDrop;
  if (text == "end") return Rule::Action::kEnd;
  return std::nullopt;
}

std::optional<std::string> parse_folder(std::string_view text) {
  if (!text.empty() && text.front() != '/') return std::nullopt;
  return std::string(text);
}

Take read_rule(Rule& rule) {
  return Take([&rule](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"name", parsed(rule.name, parse_name, kName)},
        {"protocol", parsed(rule.protocol, parse_name, "a protocol's name, such as \"dns\"")},
        {"pattern", parsed(rule.pattern, parse_pattern, kPattern)},
        {"caseless", boolean(rule.caseless)},
        {"from", parsed(rule.from, parse_from, "\"client\", \"peer\" or \"both\"")},
        {"action",
         parsed(rule.action, parse_action, "\"allow\", \"count\", \"limit\", \"drop\" or \"end\"")},
        {"rate", integer(rule.rate, 8'000, 1'000'000'000'000)},
    };
    reader.read_table(value, path, fields);
    rule.where = {value.origin.file, value.origin.line, path};
    if (value.as<Value::Table>() == nullptr) return;
    if (has(value, "protocol") == has(value, "pattern")) {
      reader.refuse(path + ".pattern", "either a pattern or a protocol",
                    has(value, "pattern") ? "both" : "neither");
    }
    if (has(value, "pattern") && !has(value, "name"))
      reader.refuse(path + ".name", kName, "nothing");
    if (has(value, "protocol") && has(value, "caseless"))
      reader.refuse(path + ".caseless", "a pattern beside it", "a protocol");
    if (!has(value, "action")) {
      reader.refuse(path + ".action", "\"allow\", \"count\", \"limit\", \"drop\" or \"end\"",
                    "nothing");
    }
    if ((rule.action == Rule::Action::kLimit) != has(value, "rate")) {
      reader.refuse(path + ".rate", "bits per second where the action is \"limit\", and only there",
                    has(value, "rate") ? "one" : "none");
    }
    if (rule.action == Rule::Action::kEnd && rule.from == Rule::Direction::kPeer) {
      reader.refuse(path + ".action",
                    "\"drop\": what a peer sends, who may be forged, ends no allocation",
                    "\"end\"");
    }
  });
}

std::optional<IdentityRule::Attribute> parse_attribute(std::string_view text) {
  if (text == "username") return IdentityRule::Attribute::kUsername;
  if (text == "realm") return IdentityRule::Attribute::kRealm;
  if (text == "origin") return IdentityRule::Attribute::kOrigin;
  if (text == "software") return IdentityRule::Attribute::kSoftware;
  return std::nullopt;
}

std::optional<IdentityRule::Action> parse_identity_action(std::string_view text) {
  if (text == "allow") return IdentityRule::Action::kAllow;
  if (text == "deny") return IdentityRule::Action::kDeny;
  if (text == "class") return IdentityRule::Action::kClass;
  return std::nullopt;
}

Take read_identity_rule(IdentityRule& rule) {
  return Take([&rule](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"name", parsed(rule.name, parse_name, kName)},
        {"attribute", parsed(rule.attribute, parse_attribute, kAttribute)},
        {"pattern", parsed(rule.pattern, parse_pattern, kPattern)},
        {"caseless", boolean(rule.caseless)},
        {"action", parsed(rule.action, parse_identity_action, kIdentityAction)},
        {"class", parsed(rule.of_class, parse_name, "the name of an [[identity.class]]")},
    };
    reader.read_table(value, path, fields);
    rule.where = {value.origin.file, value.origin.line, path};
    if (value.as<Value::Table>() == nullptr) return;
    const std::pair<std::string_view, std::string_view> needed[] = {{"name", kName},
                                                                    {"attribute", kAttribute},
                                                                    {"pattern", kPattern},
                                                                    {"action", kIdentityAction}};
    for (const auto& [key, expected] : needed) {
      if (!has(value, key)) reader.refuse(path + "." + std::string(key), expected, "nothing");
    }
    if ((rule.action == IdentityRule::Action::kClass) != has(value, "class")) {
      reader.refuse(path + ".class", "a class where the action is \"class\", and only there",
                    has(value, "class") ? "one" : "none");
    }
  });
}

Take read_identity_class(IdentityClassConfig& one) {
  return Take([&one](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"name", parsed(one.name, parse_name, kName)},
        {"allocations_per_user", integer(one.allocations_per_user, 0, 1'000'000)},
    };
    reader.read_table(value, path, fields);
    if (value.as<Value::Table>() == nullptr) return;
    if (!has(value, "name")) reader.refuse(path + ".name", kName, "nothing");
    if (!has(value, "allocations_per_user"))
      reader.refuse(path + ".allocations_per_user", "an integer from 0 to 1000000", "nothing");
  });
}

// Returns the names.
template <typename Named>
std::set<std::string> refuse_twice(Reader& reader, const std::vector<Named>& all,
                                   const std::string& path) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!all[i].name.empty() && !names.insert(all[i].name).second) {
      reader.refuse(at(path, i, ".name"), "a name of its own",
                    "\"" + all[i].name + "\" a second time");
    }
  }
  return names;
}

}  // namespace

Take read_payload(PayloadSection& payload) {
  return Take([&payload](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"packets", integer(payload.packets, 1, 8)},
        {"webrtc_only", boolean(payload.webrtc_only)},
        {"cache", parsed(payload.cache, parse_folder, "an absolute path, or \"\"")},
        {"rule", list(payload.rules, read_rule, "[[payload.rule]] tables")},
    };
    reader.read_table(value, path, fields);
  });
}

Take read_identity(IdentitySection& identity) {
  return Take([&identity](Reader& reader, const Value& value, const std::string& path) {
    const Field fields[] = {
        {"rule", list(identity.rules, read_identity_rule, "[[identity.rule]] tables")},
        {"class", list(identity.classes, read_identity_class, "[[identity.class]] tables")},
    };
    reader.read_table(value, path, fields);
    refuse_twice(reader, identity.rules, path + ".rule");
    const std::set<std::string> classes = refuse_twice(reader, identity.classes, path + ".class");
    for (std::size_t i = 0; i < identity.rules.size(); ++i) {
      const std::string& name = identity.rules[i].of_class;
      if (name.empty() || classes.contains(name)) continue;
      reader.refuse(path + ".rule[" + std::to_string(i) + "].class",
                    "the name of an [[identity.class]]",
                    "\"" + name + "\", which there is none of");
    }
  });
}

}  // namespace turnpike::config

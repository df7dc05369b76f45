// The keys of [payload].
#include "config/rules.h"

#include <optional>
#include <string_view>

#include "config/reader.h"

namespace turnpike::config {
namespace {

using Rule = PayloadRuleConfig;

bool has(const Value& value, std::string_view key) {
  const auto* members = value.as<Value::Table>();
  return members != nullptr && find_member(*members, key) != nullptr;
}

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
    constexpr std::string_view kName =
        "a name of 1 to 48 small letters, digits, \"_\" and \"-\", other than \"unknown\"";
    const Field fields[] = {
        {"name", parsed(rule.name, parse_name, kName)},
        {"protocol", parsed(rule.protocol, parse_name, "a protocol's name, such as \"dns\"")},
        {"pattern", parsed(rule.pattern, parse_pattern, "a regular expression of 1 to 4096 bytes")},
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

}  // namespace turnpike::config

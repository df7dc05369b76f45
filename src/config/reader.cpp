// How each kind of value is taken in, and the words of each refusal.
#include "config/reader.h"

#include <algorithm>

namespace turnpike::config {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// A found value is shown as far as it helps.
std::string shortened(std::string_view text) {
  constexpr std::size_t kMax = 80;
  return text.size() > kMax ? std::string(text.substr(0, kMax)) + "…" : std::string(text);
}

}  // namespace

std::string describe(const Value& value) {
  struct Words {
    std::string operator()(Value::Other) const { return "a date or time"; }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(std::int64_t n) const { return std::to_string(n); }
    std::string operator()(double d) const { return std::to_string(d); }
    std::string operator()(const std::string& s) const { return '"' + shortened(s) + '"'; }
    std::string operator()(const Value::List&) const { return "a list"; }
    std::string operator()(const Value::Table&) const { return "a table"; }
  };
  return std::visit(Words{}, value.data);
}

std::string describe_kind(const Value& value) {
  if (const auto* text = value.as<std::string>()) {
    return text->empty() ? "an empty string" : "a string";
  }
  return value.as<std::int64_t>() || value.as<double>() ? "a number" : describe(value);
}

void Reader::refuse(const std::string& path, std::string problem) {
  errors_.push_back(origins_.error(path, std::move(problem)));
}

void Reader::refuse(const std::string& path, std::string_view expected, const std::string& found) {
  refuse(path, "expected " + std::string(expected) + ", found " + found);
}

void Reader::read_table(const Value& value, const std::string& path,
                        std::span<const Field> fields) {
  const auto* table = value.as<Value::Table>();
  if (table == nullptr) {
    refuse(path, "a table", describe_kind(value));
    return;
  }
  for (const Member& member : *table) {
    const std::string below = path.empty() ? member.key : path + "." + member.key;
    note(below, member.value);
    const auto field = std::find_if(fields.begin(), fields.end(), [&member](const Field& known) {
      return known.name == member.key;
    });
    if (field == fields.end()) {
      refuse_unknown(shortened(below), member, fields);
    } else {
      field->take(*this, member.value, below);
    }
  }
}

void Reader::refuse_unknown(const std::string& path, const Member& member,
                            std::span<const Field> fields) {
  std::string known;
  std::string_view nearest;
  std::size_t best = std::max<std::size_t>(2, std::min<std::size_t>(member.key.size(), 40) / 3) + 1;
  for (const Field& field : fields) {
    known += (known.empty() ? "" : ", ") + std::string(field.name);
    const std::size_t distance =
        edit_distance(std::string_view(member.key).substr(0, 40), field.name);
    if (distance < best) {
      best = distance;
      nearest = field.name;
    }
  }
  ConfigError error = origins_.error(path, "");
  error.line = member.value.origin.line;
  error.problem = nearest.empty()
                      ? "no such key; expected one of: " + known
                      : "no such key; expected perhaps \"" + std::string(nearest) + "\"";
  errors_.push_back(std::move(error));
}

Take boolean(bool& out) {
  return [&out](Reader& reader, const Value& value, const std::string& path) {
    if (const bool* found = value.as<bool>()) {
      out = *found;
    } else {
      reader.refuse(path, "true or false", describe(value));
    }
  };
}

Take prefixes(std::vector<Prefix>& out) {
  return list(
      out,
      [](Prefix& prefix) {
        return parsed(prefix, Prefix::parse,
                      "an address or prefix such as 192.0.2.0/24, without bits beyond its length");
      },
      "a list of prefixes, [\"192.0.2.0/24\"]");
}

}  // namespace turnpike::config

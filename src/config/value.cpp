// Trees of values laid over each other: a flag wins over the file, and each keeps its own place.
#include "config/value.h"

#include <algorithm>

namespace turnpike::config {

std::string ConfigError::to_string() const {
  std::string out = file;
  if (line > 0) {
    out += ":" + std::to_string(line);
  }
  out += (key.empty() ? "" : ": " + key) + ": " + problem;
  // Whatever a file holds, none of it may steer the operator's terminal.
  std::replace_if(
      out.begin(), out.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, '?');
  return out;
}

const Value* find_member(const Value::Table& table, std::string_view key) {
  for (const Member& member : table) {
    if (member.key == key) {
      return &member.value;
    }
  }
  return nullptr;
}

bool has(const Value& value, std::string_view key) {
  const auto* members = value.as<Value::Table>();
  return members != nullptr && find_member(*members, key) != nullptr;
}

std::string at(std::string_view list, std::size_t index, std::string_view below) {
  return std::string(list) + "[" + std::to_string(index) + "]" + std::string(below);
}

void lay_over(Value::Table& base, Value::Table over) {
  for (Member& member : over) {
    const auto under = std::find_if(base.begin(), base.end(),
                                    [&member](const Member& m) { return m.key == member.key; });
    if (under == base.end()) {
      base.push_back(std::move(member));
      continue;
    }
    auto* below = std::get_if<Value::Table>(&under->value.data);
    auto* above = std::get_if<Value::Table>(&member.value.data);
    if (below != nullptr && above != nullptr) {
      lay_over(*below, std::move(*above));
    } else {
      under->value = std::move(member.value);
    }
  }
}

const Origin* Origins::find(std::string_view path) const {
  const auto place = places_.find(path);
  return place == places_.end() ? nullptr : &place->second;
}

ConfigError Origins::error(const std::string& path, std::string problem) const {
  const Origin* origin = find(path);
  for (std::string_view rest = path; origin == nullptr && !rest.empty();) {
    const std::size_t cut = rest.find_last_of(".[");
    rest = rest.substr(0, cut == std::string_view::npos ? 0 : cut);
    origin = find(rest);
  }
  if (origin == nullptr) {
    origin = &root_;
  }
  return {origin->file, origin->line, origin->key.empty() ? path : origin->key, std::move(problem)};
}

}  // namespace turnpike::config

// TOML text to a tree of values. The one file that sees toml++, which costs seconds to compile.
#include <toml++/toml.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "config/value.h"

namespace turnpike::config {
namespace {

// Far beyond any configuration, and far below what would hurt.
constexpr std::size_t kFileSizeMax = 4 << 20;

Value convert(const toml::node& node, const std::string& file);

Value::Table convert_table(const toml::table& table, const std::string& file) {
  Value::Table members;
  for (const auto& [key, node] : table) {
    members.push_back({std::string(key.str()), convert(node, file)});
  }
  return members;
}

Value::List convert_list(const toml::array& array, const std::string& file) {
  Value::List values;
  for (const toml::node& node : array) {
    values.push_back(convert(node, file));
  }
  return values;
}

// Recurses as deep as toml++'s own parser did, which has a limit.
Value convert(const toml::node& node, const std::string& file) {
  Value value;
  value.origin = {file, static_cast<int>(node.source().begin.line), ""};
  if (const auto* table = node.as_table()) {
    value.data = convert_table(*table, file);
  } else if (const auto* array = node.as_array()) {
    value.data = convert_list(*array, file);
  } else if (const auto* text = node.as_string()) {
    value.data = text->get();
  } else if (const auto* integer = node.as_integer()) {
    value.data = integer->get();
  } else if (const auto* boolean = node.as_boolean()) {
    value.data = boolean->get();
  } else if (const auto* real = node.as_floating_point()) {
    value.data = real->get();
  }
  return value;
}

// The parser's words up to where it repeats what it saw, which may be a secret.
std::string without_values(std::string_view description) {
  for (const std::string_view mark : {", saw ", ": '", " to interpret '"}) {
    description = description.substr(0, description.find(mark));
  }
  return std::string(description);
}

}  // namespace

std::variant<Value, std::vector<ConfigError>> read_toml(std::string_view text,
                                                        const std::string& name) {
  try {
    Value root = convert(toml::parse(text, name), name);
    root.origin = {name, 1, ""};
    return root;
  } catch (const toml::parse_error& error) {
    return std::vector<ConfigError>{{name, static_cast<int>(error.source().begin.line), "",
                                     "expected TOML: " + without_values(error.description())}};
  }
}

std::variant<Value, std::vector<ConfigError>> read_toml_file(const std::string& path) {
  const auto refuse = [&path](const std::string& problem) {
    return std::vector<ConfigError>{
        {path, 0, "", "expected a readable TOML file, found: " + problem}};
  };
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return refuse(std::strerror(errno));
  }
  std::string text(kFileSizeMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) {
    return refuse(std::strerror(errno));
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kFileSizeMax) {
    return refuse("more than 4 MiB");
  }
  return read_toml(text, path);
}

}  // namespace turnpike::config

// A configuration before it is understood: a tree of plain values, each of which knows the place it
// came from. Files and flags both become one, so that both are judged by the same rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "config/config.h"

namespace turnpike::config {

// The place of a value, for complaints.
struct Origin {
  std::string file;  // or "command line"
  int line = 0;      // 0: the command line
  std::string key;   // a flag's name; empty: its path in the file

  friend bool operator==(const Origin&, const Origin&) = default;
};

struct Member;

struct Value {
  using List = std::vector<Value>;
  using Table = std::vector<Member>;
  // What TOML has besides (dates, times) is of no use here.
  struct Other {};

  std::variant<Other, bool, std::int64_t, double, std::string, List, Table> data;
  Origin origin;

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&data);
  }
};

struct Member {
  std::string key;
  Value value;
};

// The member of a table, or nullptr.
const Value* find_member(const Value::Table& table, std::string_view key);
// Whether it is a table that has such a member.
bool has(const Value& value, std::string_view key);
// The path of what is in a list, "listener[1]", and of what is below it, "listener[1].address".
std::string at(std::string_view list, std::size_t index, std::string_view below = "");

// Lays `over` into `base`: tables are joined, all else is replaced.
void lay_over(Value::Table& base, Value::Table over);

// The tree of a TOML text; its root is a table.
std::variant<Value, std::vector<ConfigError>> read_toml(std::string_view text,
                                                        const std::string& name);
std::variant<Value, std::vector<ConfigError>> read_toml_file(const std::string& path);

// Places by path; that of what is missing is its nearest table's.
class Origins {
 public:
  explicit Origins(Origin root) : root_(std::move(root)) {}
  void add(std::string path, Origin origin) {
    places_.insert_or_assign(std::move(path), std::move(origin));
  }
  ConfigError error(const std::string& path, std::string problem) const;

 private:
  const Origin* find(std::string_view path) const;

  Origin root_;
  std::map<std::string, Origin, std::less<>> places_;
};

// What the values say about each other. `origins` gives places by path, "listener[1].address".
// Fills in what follows from the rest.
std::vector<ConfigError> check_relations(Config& config, const Origins& origins);
// The part of it that is about realms.
std::vector<ConfigError> check_realms(Config& config, const Origins& origins);
// And about [nat_discovery]; relayed addresses have their external ones by now.
std::vector<ConfigError> check_nat_discovery(const Config& config, const Origins& origins);

}  // namespace turnpike::config

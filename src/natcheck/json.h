// JSON as text: objects and arrays in the order in which they are made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "turnpike/address.h"

namespace turnpike::natcheck {

// A value, written out.
struct Json {
  std::string text = "null";

  Json() = default;
  Json(bool value) : text(value ? "true" : "false") {}
  Json(int value) : text(std::to_string(value)) {}
  Json(double value);
  Json(std::string_view value);
  Json(const std::string& value) : Json(std::string_view(value)) {}
  Json(const char* value) : Json(std::string_view(value)) {}
  Json(const Endpoint& value) : Json(value.to_string()) {}
  template <typename T>
  Json(const std::optional<T>& value) : Json(value ? Json(*value) : Json()) {}
};

class JsonObject {
 public:
  JsonObject& add(std::string_view key, const Json& value);
  operator Json() const;

 private:
  std::string members_;
};

Json json_array(const std::vector<Json>& values);

}  // namespace turnpike::natcheck

// RFC 8259 §7: what must be escaped is, and what isn't ASCII, too.
#include "natcheck/json.h"

#include <cstdio>

namespace turnpike::natcheck {

Json::Json(double value) {
  char room[32];
  std::snprintf(room, sizeof room, "%.3f", value);
  text = room;
}

Json::Json(std::string_view value) {
  text = "\"";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') text += '\\';
    if (byte >= ' ' && byte < 127) {
      text += c;
      continue;
    }
    char room[8];
    std::snprintf(room, sizeof room, "\\u%04x", byte);
    text += room;
  }
  text += '"';
}

JsonObject& JsonObject::add(std::string_view key, const Json& value) {
  members_ += (members_.empty() ? "" : ", ") + Json(key).text + ": " + value.text;
  return *this;
}

JsonObject::operator Json() const {
  Json value;
  value.text = "{" + members_ + "}";
  return value;
}

Json json_array(const std::vector<Json>& values) {
  std::string members;
  for (const Json& value : values)
    members += (members.empty() ? "" : ", ") + value.text;
  Json array;
  array.text = "[" + members + "]";
  return array;
}

}  // namespace turnpike::natcheck

// How a tree of values is taken in: tables of fields, each of which knows what it takes, and what
// to say of a value that is something else.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/value.h"

namespace turnpike::config {

class Reader;
// Takes in one value, whose path is given.
using Take = std::function<void(Reader&, const Value&, const std::string& path)>;

struct Field {
  std::string_view name;
  Take take;
};

// What was found, for a complaint.
std::string describe(const Value& value);
// No more than the kind of what may be, or hold, a secret.
std::string describe_kind(const Value& value);

// Collects what is wrong, and the places of all there is.
class Reader {
 public:
  explicit Reader(Origin root) : origins_(std::move(root)) {}

  void refuse(const std::string& path, std::string problem);
  void refuse(const std::string& path, std::string_view expected, const std::string& found);

  void note(const std::string& path, const Value& value) { origins_.add(path, value.origin); }
  void note(const std::string& path, Origin origin) { origins_.add(path, std::move(origin)); }

  // Reads each member by the field of its name. `path` is empty for the root.
  void read_table(const Value& value, const std::string& path, std::span<const Field> fields);

  const Origins& origins() const { return origins_; }
  std::vector<ConfigError>& errors() { return errors_; }

 private:
  void refuse_unknown(const std::string& path, const Member& member, std::span<const Field> fields);

  Origins origins_;
  std::vector<ConfigError> errors_;
};

Take boolean(bool& out);
Take prefixes(std::vector<Prefix>& out);

// An integer from `min` to `max`, or `besides`, which has a meaning of its own.
template <typename T>
Take integer(T& out, std::int64_t min, std::int64_t max,
             std::optional<std::int64_t> besides = std::nullopt) {
  return [&out, min, max, besides](Reader& reader, const Value& value, const std::string& path) {
    const auto* found = value.as<std::int64_t>();
    if (found != nullptr && ((*found >= min && *found <= max) || *found == besides)) {
      out = static_cast<T>(*found);
      return;
    }
    const std::string range =
        "an integer from " + std::to_string(min) + " to " + std::to_string(max);
    reader.refuse(path, besides ? std::to_string(*besides) + " or " + range : range,
                  describe(value));
  };
}

// A string that `parse` turns into an optional of what `out` holds.
template <typename T, typename Parse>
Take parsed(T& out, Parse parse, std::string_view expected) {
  return [&out, parse, expected](Reader& reader, const Value& value, const std::string& path) {
    const auto* found = value.as<std::string>();
    if (found != nullptr) {
      if (auto result = parse(*found)) {
        out = std::move(*result);
        return;
      }
    }
    reader.refuse(path, expected, describe(value));
  };
}

// Likewise, of a value that must not be shown.
template <typename Parse>
Take secret(std::string& out, Parse parse, std::string_view expected) {
  return [&out, parse, expected](Reader& reader, const Value& value, const std::string& path) {
    const auto* found = value.as<std::string>();
    if (found != nullptr) {
      if (auto result = parse(*found)) {
        out = std::move(*result);
        return;
      }
    }
    const std::string kind = describe_kind(value);
    reader.refuse(path, expected, kind == "a string" ? "another (a secret, not shown)" : kind);
  };
}

struct PayloadSection;
// The keys of [payload] (rules.cpp).
Take read_payload(PayloadSection& payload);
struct StreamsSection;
struct TcpRelaySection;
struct CertificateConfig;
// Likewise of [streams], [tcp_relay] and a [[certificate]] (streams.cpp).
Take read_streams(StreamsSection& streams);
Take read_tcp_relay(TcpRelaySection& relay);
Take read_certificate(CertificateConfig& certificate);
struct NatDiscoverySection;
// Likewise of [nat_discovery].
Take read_nat_discovery(NatDiscoverySection& section);
struct IdentitySection;
// Likewise of [identity].
Take read_identity(IdentitySection& identity);

// A list; `item` says how to take one in, given the new place at the end of `out` for it.
template <typename T, typename Item>
Take list(std::vector<T>& out, Item item, std::string_view expected) {
  return [&out, item, expected](Reader& reader, const Value& value, const std::string& path) {
    const auto* values = value.as<Value::List>();
    if (values == nullptr) {
      reader.refuse(path, expected, describe_kind(value));
      return;
    }
    for (std::size_t i = 0; i < values->size(); ++i) {
      const std::string below = at(path, i);
      reader.note(below, (*values)[i]);
      item(out.emplace_back())(reader, (*values)[i], below);
    }
  };
}

}  // namespace turnpike::config

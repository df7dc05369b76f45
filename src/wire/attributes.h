// The one table of what may stand where (RFC 8489 §14, RFC 8656 §18; docs/protocol.md 4): attribute
// × method × class, with the sizes a value may have. The parser reads where attributes
// stand and which are known, tests and a fuzzer all of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "turnpike/stun.h"

namespace turnpike::stun {

enum class Presence : std::uint8_t {
  kUnexpected,  // ignored by a receiver that knows the attribute (RFC 8489 §6.3)
  kMay,
  kMust,
};

// A set of methods, one bit for each.
using MethodSet = std::uint16_t;

struct Placement {
  MethodSet may = 0;  // which includes those of `must`
  MethodSet must = 0;
};

struct AttributeRule {
  Attribute type;
  std::string_view name;
  std::uint16_t size_min;
  std::uint16_t size_max;
  Placement request;  // Send, Data and Binding: indication too
  Placement success;
  Placement error;
};

std::span<const AttributeRule> attribute_rules();
// nullptr: an attribute this server doesn't know.
const AttributeRule* find_attribute_rule(std::uint16_t type);

Presence presence(Attribute type, Method method, Class message_class);

// Attributes by their place in the table, which is what a parsed message notes them by. Types lie
// in two narrow ranges, from 0x0000 and from 0x8000 up.
constexpr std::uint8_t kNoPlace = 0xFF;
constexpr unsigned kPlacesOfRange = 64;
extern const std::array<std::uint8_t, 2 * kPlacesOfRange> kPlaceOfType;
inline std::uint8_t place_of(std::uint16_t type) {
  const unsigned low = type & 0x7FFFU;
  return low < kPlacesOfRange ? kPlaceOfType[(type >> 15) * kPlacesOfRange + low] : kNoPlace;
}

// A bit, by place, for each attribute that must be in such a message.
std::uint64_t must_have(Method method, Class message_class);

}  // namespace turnpike::stun

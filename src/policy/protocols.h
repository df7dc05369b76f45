// Which bytes known protocols begin with, for rules that name a protocol instead of a pattern. What
// is here is exact enough that media don't look like it by chance (at most once in 2^35 packets, by
// the bits that are fixed), or is not here: ESP's packets, or OpenVPN's once it runs, are noise.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "policy/patterns.h"

namespace turnpike::policy {

struct Protocol {
  std::string_view name;  // as rules name it
  bool webrtc;            // one of those that calls are made of (RFC 7983); else of `abuse`
  std::string_view what;  // for the operator
};

// All, those of abuse first.
std::span<const Protocol> protocols();

// Groups, besides the names of protocols: all of the former kind, and all of the latter.
inline constexpr std::string_view kAbuse = "abuse";
inline constexpr std::string_view kWebrtc = "webrtc";

// The protocols of a name, of one or of a group; empty: nothing has that name.
std::vector<std::string_view> protocols_named(std::string_view name);

// Of one protocol; all with `id`.
std::vector<Pattern> patterns_of(std::string_view protocol, std::uint32_t id);

}  // namespace turnpike::policy

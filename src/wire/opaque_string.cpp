// The OpaqueString profile for user names, realms and passwords (RFC 8265 §4.2, over the
// FreeformClass of RFC 8264 §4.3).
//
// Nothing is composed (NFC) here: what isn't composed, as far as a small table tells (nfc.h), is
// refused, so that nobody becomes another user by another keyboard. Unassigned code points pass,
// and what is allowed in some contexts (RFC 5892, appendix A.3 to A.9) in all.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "turnpike/integrity.h"
#include "wire/nfc.h"

namespace turnpike::stun {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Controls, old Hangul jamo, default ignorables, private use and noncharacters (RFC 8264 §9.8,
// §9.9, §9.12, §9.13), and exceptions (§9.6). Zero width joiners are allowed in some scripts'
// contexts only; refused too.
constexpr std::array kForbidden{
    Range{0x0000, 0x001F},   Range{0x007F, 0x009F},    Range{0x00AD, 0x00AD},
    Range{0x034F, 0x034F},   Range{0x061C, 0x061C},    Range{0x0640, 0x0640},
    Range{0x07FA, 0x07FA},   Range{0x1100, 0x11FF},    Range{0x17B4, 0x17B5},
    Range{0x180B, 0x180F},   Range{0x200B, 0x200F},    Range{0x2028, 0x202E},
    Range{0x2060, 0x206F},   Range{0x302E, 0x302F},    Range{0x3031, 0x3035},
    Range{0x303B, 0x303B},   Range{0x3164, 0x3164},    Range{0xA960, 0xA97C},
    Range{0xD7B0, 0xD7FB},   Range{0xE000, 0xF8FF},    Range{0xFDD0, 0xFDEF},
    Range{0xFE00, 0xFE0F},   Range{0xFEFF, 0xFEFF},    Range{0xFFA0, 0xFFA0},
    Range{0xFFF0, 0xFFFB},   Range{0x1BCA0, 0x1BCA3},  Range{0x1D173, 0x1D17A},
    Range{0xE0000, 0xE0FFF}, Range{0xF0000, 0x10FFFF},
};
// General category Zs, without U+0020.
constexpr std::array kSpaces{
    Range{0x00A0, 0x00A0}, Range{0x1680, 0x1680}, Range{0x2000, 0x200A},
    Range{0x202F, 0x202F}, Range{0x205F, 0x205F}, Range{0x3000, 0x3000},
};

template <typename Ranges>
bool is_in(char32_t code, const Ranges& ranges) {
  for (const Range& range : ranges) {
    if (code >= range.first && code <= range.last) return true;
  }
  return false;
}

bool is_forbidden(char32_t code) {
  return (code & 0xFFFE) == 0xFFFE || is_in(code, kForbidden);
}

// Takes one code point off the front of `text`; nullopt for what RFC 3629 doesn't allow: overlong
// forms, surrogates, beyond U+10FFFF, cut off.
std::optional<char32_t> take_code_point(std::string_view& text) {
  const auto lead = static_cast<std::uint8_t>(text.front());
  std::size_t size = 1;
  char32_t code = lead;
  char32_t least = 0;
  if (lead >= 0x80) {
    if (lead >= 0xC2 && lead < 0xE0) {
      size = 2, code = lead & 0x1FU, least = 0x80;
    } else if (lead >= 0xE0 && lead < 0xF0) {
      size = 3, code = lead & 0x0FU, least = 0x800;
    } else if (lead >= 0xF0 && lead < 0xF5) {
      size = 4, code = lead & 0x07U, least = 0x10000;
    } else {
      return std::nullopt;
    }
  }
  if (text.size() < size) return std::nullopt;
  for (std::size_t i = 1; i < size; ++i) {
    const auto next = static_cast<std::uint8_t>(text[i]);
    if ((next & 0xC0) != 0x80) return std::nullopt;
    code = code << 6 | (next & 0x3FU);
  }
  if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return std::nullopt;
  text.remove_prefix(size);
  return code;
}

}  // namespace

std::optional<std::string> opaque_string(std::string_view text) {
  if (text.empty()) return std::nullopt;
  std::string prepared;
  prepared.reserve(text.size());
  char32_t before = 0;
  while (!text.empty()) {
    std::string_view rest = text;
    const auto code = take_code_point(rest);
    if (!code || is_forbidden(*code)) return std::nullopt;
    // Foreign spaces that NFC would replace become ours in any case.
    if (!is_in(*code, kSpaces) && !is_composed(before, *code)) return std::nullopt;
    before = *code;
    if (is_in(*code, kSpaces)) {
      prepared.push_back(' ');
    } else {
      prepared.append(text.substr(0, text.size() - rest.size()));
    }
    text = rest;
  }
  return prepared;
}

}  // namespace turnpike::stun

// Whether text is composed (Unicode's normalization form C, which OpaqueString wants: RFC 8265
// §4.2.1), as far as a small table tells: a code point that the form never has, or a mark right
// behind a character that the two make together. Marks in another order, or further behind, pass.
#pragma once

namespace turnpike::stun {

// `before` is what stands before `code`; 0 at the start.
bool is_composed(char32_t before, char32_t code);

}  // namespace turnpike::stun

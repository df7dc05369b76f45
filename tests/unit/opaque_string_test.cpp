// What OpaqueString lets pass, and what it refuses that is easily overlooked (RFC 8265 §4.2, RFC
// 8264 §9).
#include <gtest/gtest.h>

#include <string_view>

#include "turnpike/integrity.h"

namespace turnpike::stun {
namespace {

TEST(OpaqueString, PassesOrdinaryTextUnchanged) {
  for (const std::string_view text :
       {"user", "1700000000:user", "pass word", "マトリックス", "ß🙂"}) {
    EXPECT_EQ(opaque_string(text), text);
  }
}

TEST(OpaqueString, MapsForeignSpacesToOurs) {
  EXPECT_EQ(opaque_string("a\u00A0b\u3000c\u2003d"), "a b c d");
}

TEST(OpaqueString, RefusesEmptyControlsAndIgnorables) {
  using namespace std::string_view_literals;
  for (const std::string_view text : {""sv, "a\0b"sv, "a\nb"sv, "\x7f"sv, "\u0085"sv, "a\u00ADb"sv,
                                      "\u200B"sv, "\uFEFFa"sv, "\uE000"sv, "\uFFFF"sv}) {
    EXPECT_FALSE(opaque_string(text));
  }
}

TEST(OpaqueString, RefusesInvalidUtf8) {
  for (const std::string_view text : {"\x80", "\xC0\xAF", "\xC3", "a\xE2\x82", "\xED\xA0\x80",
                                      "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xE0\x80\xAF"}) {
    EXPECT_FALSE(opaque_string(text));
  }
}

// Typed composed it would be another user.
TEST(Composed, TextPassesAndDecomposedDoesNot) {
  EXPECT_EQ(opaque_string("Zo\u00EB"), "Zo\u00EB");
  EXPECT_FALSE(opaque_string("Zoe\u0308"));
  EXPECT_FALSE(opaque_string("\u30AB\u3099")) << "GA of KA";
  EXPECT_FALSE(opaque_string("\u212B")) << "the sign for Ångström is the letter";
  EXPECT_FALSE(opaque_string("\uF900")) << "a compatibility ideograph is another";
  EXPECT_FALSE(opaque_string("\u0958")) << "excluded from composition";
  EXPECT_FALSE(opaque_string("\u2126"));
}

// Where no composed character exists, marks are how a name is written.
TEST(Composed, MarksWithoutAComposedFormPass) {
  for (const std::string_view text :
       {"\u1EB9\u0301", "x\u0323", "\u0BA4\u0BBE", "\u0915\u093F", "\u0301"}) {
    EXPECT_EQ(opaque_string(text), text);
  }
}

TEST(Composed, HangulIsSyllables) {
  EXPECT_EQ(opaque_string("\uD55C\uAD6D"), "\uD55C\uAD6D");
  EXPECT_FALSE(opaque_string("\u1112\u1161\u11AB"));
}

// RFC 8264 §9.6.
TEST(Exceptions, AreRefused) {
  for (const std::string_view text :
       {"a\u0640", "\u07FA", "\u302E", "\u302F", "\u3031", "\u3035", "\u303B"}) {
    EXPECT_FALSE(opaque_string(text));
  }
  for (const std::string_view text : {"\u00DF", "\u03C2", "\u06FD", "\u0F0B", "\u3007"})
    EXPECT_EQ(opaque_string(text), text);
}

}  // namespace
}  // namespace turnpike::stun

// STUN as bytes written by hand, for tests that hold the codec against something else than itself.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "turnpike/stun.h"
#include "wire/headers.h"

namespace turnpike::stun::test {

using Buffer = std::vector<std::uint8_t>;

// Spaces are ignored.
inline Buffer hex(std::string_view text) {
  Buffer bytes;
  std::string digits;
  for (const char c : text) {
    if (c != ' ') digits.push_back(c);
  }
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoul(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline Endpoint endpoint(const char* text) {
  return Endpoint::parse(text).value();
}

inline constexpr TransactionId kId{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

inline MessageView parsed(Bytes bytes) {
  MessageView view;
  EXPECT_EQ(MessageView::parse(bytes, view), ParseError::kNone);
  return view;
}
inline ParseError parse_error(Bytes bytes) {
  MessageView view;
  return MessageView::parse(bytes, view);
}

// A message of a header and the given attributes, with its length set.
inline Buffer message(std::string_view type, std::string_view attributes) {
  Buffer bytes = hex(std::string(type) + "0000 2112a442 0102030405060708090a0b0c");
  const Buffer rest = hex(attributes);
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  wire::store_be16(bytes.data() + 2, static_cast<std::uint16_t>(rest.size()));
  return bytes;
}

// RFC 5769 §2.
inline const Buffer kSampleRequest =
    hex("00010058 2112a442 b7e7a701bc34d686fa87dfae"
        "80220010 5354554e207465737420636c69656e74 00240004 6e0001ff 80290008 932ff9b151263b36"
        "00060009 6576746a3a68367659202020 00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
        "80280004 e57a3bcf");
inline const Buffer kSampleIpv4Response =
    hex("0101003c 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220"
        "00200008 0001a147e112a643 00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
        "80280004 c07d4c96");
inline const Buffer kSampleIpv6Response =
    hex("01010048 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220"
        "00200014 0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9"
        "00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c");
inline const Buffer kSampleLongTerm =
    hex("00010060 2112a442 78ad3433c6ad72c029da412e"
        "00060012 e3839ee38388e383aae38383e382afe382b90000"
        "0015001c 662f2f3439396b3935346436 4f4c33346f4c3946535476793634 7341"
        "0014000b 6578616d706c652e6f726700 00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666");
// RFC 8489 B.1 as erratum 6268 has it: with PASSWORD-ALGORITHM, and the length that goes with it.
inline const Buffer kSampleSha256 =
    hex("00010090 2112a442 78ad3433c6ad72c029da412e"
        "001e0020 4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
        "00150029 6f624d61744a6f7332414141 43662f2f3439396b3935346436 4f4c33346f4c3946535476793634"
        "7341000000 0014000b 6578616d706c652e6f726700 001d0004 00020000"
        "001c0020 b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65");

inline constexpr std::string_view kIcePassword = "VOkJxbRl1RmTxUk/WvJxBt";
inline constexpr std::string_view kMatrixUser = "マトリックス";
inline constexpr std::string_view kMatrixNonce = "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA";

// A message under construction, in a buffer that is dirty on purpose.
class Written {
 public:
  explicit Written(Class message_class = Class::kRequest, Method method = Method::kAllocate)
      : out_(1024, 0xEE), writer(out_, message_class, method, kId) {}
  MessageView view() {
    const auto bytes = writer.finish();
    EXPECT_FALSE(bytes.empty());
    return parsed(bytes);
  }

 private:
  Buffer out_;

 public:
  MessageWriter writer;
};

}  // namespace turnpike::stun::test

// The first two bits tell STUN (00) from ChannelData (01).
#include "wire/stream_framing.h"

#include "wire/headers.h"

namespace turnpike::wire {
namespace {

constexpr std::size_t kLengthEnd = 4;
constexpr std::size_t kCookieEnd = 8;

constexpr std::size_t padded(std::size_t size) {
  return (size + 3) / 4 * 4;
}

}  // namespace

StreamMessage first_message(stun::Bytes bytes, bool any) {
  using State = StreamMessage::State;
  if (bytes.empty()) return {};
  const bool stun = bytes[0] < 0x40;
  if (bytes[0] >= 0x80 || (!stun && !any)) return {State::kStrange};
  if (bytes.size() < kLengthEnd) return {};
  const std::size_t length = load_be16(bytes.data() + 2);
  if (!stun) {
    const std::size_t size = stun::kChannelDataHeaderSize + length;
    return {bytes.size() >= size ? State::kWhole : State::kMore, size, padded(size)};
  }
  if (length % 4 != 0) return {State::kStrange};
  // Its length says something once it is known to be STUN's.
  if (bytes.size() < kCookieEnd) return {};
  if (load_be32(bytes.data() + kLengthEnd) != stun::kMagicCookie) return {State::kStrange};
  const std::size_t size = stun::kHeaderSize + length;
  return {bytes.size() >= size ? State::kWhole : State::kMore, size, size};
}

std::size_t size_in_stream(stun::Bytes message) {
  return padded(message.size());
}

}  // namespace turnpike::wire

// Messages in a stream (RFC 8489 §6.2.2, RFC 8656 §12.5): each says its own length, and ChannelData
// is padded to a multiple of four there.
#pragma once

#include <cstddef>

#include "turnpike/stun.h"

namespace turnpike::wire {

struct StreamMessage {
  enum class State : std::uint8_t {
    kMore,     // it isn't all there
    kWhole,    // `size` bytes are the message, the first `taken` its place in the stream
    kStrange,  // neither STUN nor ChannelData: the stream can't be followed any further
  };
  State state = State::kMore;
  std::size_t size = 0;   // as soon as it is known; 0 before
  std::size_t taken = 0;  // with padding; the last of it may be missing of a whole one
};

// The first message of `bytes`, which begin where one does. `any`: ChannelData may come; false
// before the first STUN message, when it can be of nobody's channel.
StreamMessage first_message(stun::Bytes bytes, bool any);

// What a message takes in a stream.
std::size_t size_in_stream(stun::Bytes message);

}  // namespace turnpike::wire

// Frames of an attack, prebuilt: of strangers, each from its own random source (bogus STUN,
// Allocates without credentials, malformed messages, messages of as many attributes as fit, Binding
// requests, ChannelData of no channel, fragments that nothing completes), and of users who have an
// allocation and the right nonce, and ask without end.
#pragma once

#include <cstdint>
#include <vector>

#include "frames.h"
#include "traffic.h"

namespace turnpike::pktgen {

class AttackFrames {
 public:
  explicit AttackFrames(const World& world);

  bool empty() const { return frames_.empty(); }
  Bytes next();

 private:
  struct Frame {
    std::uint32_t at;
    std::uint16_t size;
  };

  std::vector<std::uint8_t> arena_;
  std::vector<Frame> frames_;
  std::size_t next_ = 0;
};

}  // namespace turnpike::pktgen

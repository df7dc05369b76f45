// Binding requests without attributes, over IPv4: what keeps a NAT's mapping alive and what floods
// are made of. Answered in their own frame by a pattern that the door made once; what is unusual is
// left to the door.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "flow/here.h"
#include "flow/packet.h"
#include "turnpike/front_door.h"

namespace turnpike::flow {

class BareBinding {
 public:
  // Of UDP: the only one that answer() takes.
  static constexpr std::size_t kUdpSize = 28;

  // Keeps `here` and what `setup` has and refers to. One worker's.
  BareBinding(const Setup& setup, const Here& here, const FrontDoor& door);

  // `packet` is IPv4 without options or fragments and right up to UDP's length, kUdpSize, to
  // `listener`. True: it was such a request, and has verdict kTransmitBack; else it is as it was.
  bool answer(Packet& packet, ListenerIndex listener) const;

 private:
  bool is_answerable(std::uint32_t source) const;

  const Here& here_;
  const Broadcasts& broadcasts_;
  const std::vector<Listener>& listeners_;
  // The answer, for transaction and client to be filled in: the same at all listeners that give
  // one.
  std::vector<std::uint8_t> pattern_;
  std::uint64_t pattern_sum_ = 0;
};

}  // namespace turnpike::flow

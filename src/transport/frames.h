// The frames in which messages of streams travel to workers and back: with the headers that they
// would have by UDP between the same two addresses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "turnpike/address.h"
#include "turnpike/stun.h"

namespace turnpike::transport {

// The headers in front of a client's messages, or of datagrams to him.
class FrameHeader {
 public:
  static constexpr std::size_t kMostSize = 14 + 40 + 8;

  // TTL is the default's (RFC 8656 §15); for workers one more, since the relay is a hop.
  static constexpr std::uint8_t kTtlOfDatagrams = 64, kTtlOfMessages = kTtlOfDatagrams + 1;

  FrameHeader(const Endpoint& source, const Endpoint& destination,
              std::uint8_t ttl = kTtlOfMessages);
  std::size_t size() const { return size_; }
  // In front of `message_size` bytes (at most 65,000) that stand at `frame` + size() already.
  void write(std::uint8_t* frame, std::size_t message_size) const;

 private:
  std::array<std::uint8_t, kMostSize> bytes_{};
  std::size_t size_;
  std::uint16_t addresses_sum_ = 0;  // what both addresses and the protocol add to UDP's checksum
  Family family_;
};

// What a worker sends to a client; false: it is no such frame, as one of anything but UDP.
struct Outgoing {
  Endpoint client, server;
  stun::Bytes message;
};
bool read_outgoing(stun::Bytes frame, Outgoing& out);

}  // namespace turnpike::transport

// Where the TURN server and whoever has the sockets of TCP allocations meet (RFC 6062): what the
// server wants done with them, and what it is told. Plain structs; neither side knows the other.
//
// Numbers are never given twice in a process's life: who speaks of one that is over says nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "turnpike/address.h"
#include "turnpike/stun.h"

namespace turnpike {

// A relayed transport address to which peers connect. From a server.
enum class StreamRelay : std::uint64_t {};
// A connection with a peer: from a server where it asked for it, else from whoever has it.
enum class PeerStream : std::uint64_t {};

// In the highest byte of a number: the shard and one, or this, of those that no server gave.
inline constexpr unsigned kStreamShardShift = 56;
inline constexpr std::uint64_t kArrivedStream = std::uint64_t{0xFF} << kStreamShardShift;

struct PeerStreamEvent {
  enum class Kind : std::uint8_t {
    kOpened,     // `relay`: peers can connect
    kNotOpened,  // there will be none
    kConnected,  // `stream`
    kFailed,     // `stream` will never be: refused or unreachable
    kOwnHost,    // nor this one: the peer is on the relay's own host
    kNoRoom,     // nor this one, for want of descriptors or because there are too many
    kArrived,    // `stream` has come from `peer` to `relay`
    kClosed,     // `stream` is over, from either side
  };
  Kind kind = Kind::kClosed;
  StreamRelay relay{};
  PeerStream stream{};
  Endpoint peer;  // as the wire of this node has it
};

// Takes what a server wants; one for each shard, called by its thread alone. Nothing here waits.
// False: too much of it is on its way already, and this is not.
class PeerStreams {
 public:
  virtual ~PeerStreams() = default;

  // Listens at `at`: kOpened or kNotOpened follows, unless it is closed before.
  virtual bool open(StreamRelay relay, const RelayEndpoint& at) = 0;
  // From `relay`'s address and port to `peer`: kConnected, kFailed, kOwnHost or kNoRoom follows,
  // unless it is closed before.
  virtual bool connect(PeerStream stream, StreamRelay relay, const Endpoint& peer) = 0;
  // Gives `answer` to the client, and what goes between it and the peer from then on is data. What
  // the peer has sent before waits for this.
  virtual bool bind(PeerStream stream, const FiveTuple& client, stun::Bytes answer) = 0;
  // A message to a client that comes by a stream.
  virtual bool say(const FiveTuple& client, stun::Bytes message) = 0;
  // Never refused. Nothing is told of it any more. A relay's streams are closed one by one.
  virtual void close(PeerStream stream) = 0;
  virtual void close(StreamRelay relay) = 0;
};

// Both ways of a shard's, for its thread.
class PeerStreamPort : public PeerStreams {
 public:
  // All events that wait, in the place of what `out` held. Who has the sockets wakes the shard by
  // its EnginePort.
  virtual void receive(std::vector<PeerStreamEvent>& out) = 0;
};

}  // namespace turnpike

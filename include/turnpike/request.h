// How requests come to a shard and answers leave it: one interface, behind which a data plane's
// rings lie, or a transport's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "turnpike/address.h"
#include "turnpike/flow_sink.h"
#include "turnpike/listener.h"
#include "turnpike/stun.h"

namespace turnpike {

// One request's way back; the caller's own number, handed through untouched.
enum class RequestToken : std::uint64_t {};

// A request on its way to a shard. `message` lies in the frame and is valid until
// reply()/discard().
struct EngineRequest {
  RequestToken token{};
  ClientEndpoint client;
  ListenerIndex listener = 0;  // where it came to
  stun::Bytes message;
};

// What whoever handles an allocation's packets has to say of it to its shard.
struct Notice {
  enum class Kind : std::uint8_t {
    kEnd,     // a payload rule ends it, as if its lifetime were over
    kClosed,  // its client's stream has ended (RFC 8656 §7)
    kMoved,   // data have come by the five-tuple that its client moves to (RFC 8016)
  };
  Kind kind = Kind::kEnd;
  // Of the slot's allocations, the one that is meant: the notice may be older than the slot's
  // present owner, and then means nothing.
  std::uint16_t generation = 0;
  AllocationSlot slot{};
  std::uint16_t rule = 0;  // kEnd: the payload rule that wants it
  // kClosed, kMoved: of the allocation's moves, the one whose five-tuple it is (MoveFlow). 0: the
  // five-tuple is that of the allocation.
  std::uint16_t move = 0;
};

// A shard's end of the way to all who bring it requests; called by the shard's thread alone.
class EnginePort {
 public:
  virtual ~EnginePort() = default;
  // Requests that wait, known five-tuples first; returns how many. Never blocks.
  virtual std::size_t receive(std::span<EngineRequest> out) = 0;
  // Notices that wait, each bringer's in the order in which he gave them; returns how many. Never
  // blocks.
  virtual std::size_t receive(std::span<Notice> out) = 0;
  // The reply is written into the request's own frame; the token is used up.
  virtual void reply(RequestToken token, stun::Bytes message) = 0;
  virtual void discard(RequestToken token) = 0;
  // Sleeps until a request or notice waits, somebody calls wake(), or so much time has passed. May
  // return early.
  virtual void wait(std::uint64_t most_ns) = 0;
  // Any thread: for what comes to the shard by another way than its port.
  virtual void wake() = 0;
};

}  // namespace turnpike

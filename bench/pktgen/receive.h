// What an arriving frame is, by its bytes alone: whose it is, what it carries, and whether it came
// from whom it should.
#pragma once

#include <cstdint>

#include "frames.h"
#include "plan.h"
#include "session.h"
#include "templates.h"

namespace turnpike::pktgen {

// What stands at the far end, and so how frames come back.
enum class FarEnd : std::uint8_t {
  kRelay,    // a TURN server: what clients send comes to peers, and the other way
  kSwapper,  // swaps MACs, addresses and ports: to the sender, as if the server had answered
  kMirror,   // sends all back as it is (--loop)
};

struct Arrival {
  enum class Kind : std::uint8_t {
    kMedia,         // for a client or peer of ours; `payload` is what was relayed
    kStun,          // a response to a client
    kAttackAnswer,  // to an address that attacks come from
    kForeign,
  };
  Kind kind = Kind::kForeign;
  Direction direction = Direction::kUp;  // that media should have had to arrive here
  std::uint32_t flow = 0;
  bool sender_right = false;
  Bytes payload;
};

class Receiver {
 public:
  Receiver(const Plan& plan, const Session& session, FarEnd far_end)
      : plan_(plan), session_(session), far_end_(far_end) {}

  Arrival classify(const Datagram& datagram) const;

 private:
  Arrival at_client(std::uint32_t flow, const Datagram& datagram) const;

  const Plan& plan_;
  const Session& session_;
  FarEnd far_end_;
};

}  // namespace turnpike::pktgen

// What runs of traffic have in common: what they are given, and what they count.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "histogram.h"
#include "options.h"
#include "plan.h"
#include "port.h"
#include "receive.h"
#include "session.h"

namespace turnpike::pktgen {

struct World {
  const Options& options;
  const Plan& plan;
  Session& session;
  Port& client_port;
  Port& peer_port;
  const Pools& pools;
  FarEnd far_end;

  bool one_port() const { return &client_port == &peer_port; }
};

// Of packets that went one way. What was delivered is counted once; late ones too.
struct DirectionTally {
  std::uint64_t sent = 0, delivered = 0, duplicated = 0, reordered = 0, corrupted = 0,
                misdelivered = 0;
  Histogram latency_ns;

  // Sent, and never seen again in any state.
  std::uint64_t lost() const {
    const std::uint64_t seen = delivered + corrupted + misdelivered;
    return sent > seen ? sent - seen : 0;
  }
  void add(const DirectionTally& other);
};

struct Tally {
  double seconds = 0;         // of sending
  std::uint64_t refused = 0;  // packets that were due, but the device took no more
  std::uint64_t skipped = 0;  // of these, those that it wasn't even asked for: we were late
  std::uint64_t received_in_time = 0;        // while sending, all kinds of media
  std::array<DirectionTally, 2> directions;  // by Direction
  bool by_direction = true;  // false: what was delivered stands in the first, whichever way it went
  std::uint64_t foreign = 0, attack_sent = 0, attack_refused = 0, attack_answers = 0;
  std::uint64_t checked = 0;  // light mode: those looked at
  // How busy the generator was: a relay is the bottleneck where its ring refuses frames while the
  // generator goes round with nothing to do.
  std::uint64_t rounds = 0, idle_rounds = 0, polls = 0, idle_polls = 0, transmits = 0,
                refused_transmits = 0, cycles = 0, idle_cycles = 0;

  std::uint64_t sent() const { return directions[0].sent + directions[1].sent; }
  std::uint64_t delivered() const { return directions[0].delivered + directions[1].delivered; }
  std::uint64_t lost() const;
  // The share of what was due that did not arrive as it should, refused frames included: 0 to 1.
  double loss() const;
  void skip(std::uint64_t packets) {
    refused += packets;
    skipped += packets;
  }
  double received_pps() const {
    return seconds > 0 ? static_cast<double>(received_in_time) / seconds : 0;
  }
  void add(const Tally& other);
};

// One way to send and check: light.cpp and full.cpp have one each.
class Traffic {
 public:
  virtual ~Traffic() = default;
  // Sends at `rate_pps` (0: as fast as the port takes them) for so long, then receives until all is
  // quiet. `each_second`, if there is one, gets the tally of each second that has gone by.
  using EachSecond = std::function<void(unsigned second, const Tally& tally)>;
  virtual Tally run(double rate_pps, double seconds, const EachSecond& each_second) = 0;
};

std::unique_ptr<Traffic> make_light_traffic(const World& world);
std::unique_ptr<Traffic> make_full_traffic(const World& world);
// Binding requests, and their success responses as what comes back.
std::unique_ptr<Traffic> make_binding_traffic(const World& world);

inline std::unique_ptr<Traffic> make_traffic(const World& world) {
  return world.options.light ? make_light_traffic(world) : make_full_traffic(world);
}

// When packets of a fixed rate are due. What can't be sent in time is not made up for by more than
// a burst: a stalled far end would get a flood.
class Pace {
 public:
  Pace(double rate_pps, std::uint64_t now);
  // How many are due by now, at most `most`; they count as gone.
  std::uint16_t take(std::uint64_t now, std::uint16_t most);
  // Those that were due, but too many at once.
  std::uint64_t skipped() const { return skipped_; }

 private:
  double per_cycle_;
  std::uint64_t began_, given_ = 0, skipped_ = 0;
};

}  // namespace turnpike::pktgen

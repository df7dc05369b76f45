// The clients' side of TURN: challenge, Allocate, ChannelBind or CreatePermission for each flow,
// refreshed while media flows and released at the end (RFC 8656 §§6–12).
//
// Many requests are in flight at once. What a flow is at takes 16 bytes and its nonce; a response
// names its flow in the transaction id, so nothing is searched. Requests are retransmitted with
// growing timeouts, and the number in flight shrinks when they are lost. Challenges have a window
// of their own: a relay answers so many strangers for each burst, and drops the rest.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "histogram.h"
#include "options.h"
#include "plan.h"
#include "port.h"
#include "turnpike/integrity.h"

namespace turnpike::pktgen {

struct SessionCounts {
  std::uint64_t requests = 0, retransmissions = 0, responses = 0, timeouts = 0;
  std::uint64_t allocated = 0, failed = 0, released = 0;
  std::map<std::uint16_t, std::uint64_t> errors;  // by error code, 401 and 438 apart
  Histogram latency_ns;                           // of requests that were sent once
  Histogram refresh_ns;                           // of those, what keeps flows alive beside media
};

class Session {
 public:
  Session(const Options& options, const Plan& plan, Port& client_port, Port& peer_port);

  // Sets up all flows, at most `per_second` begun each second (0: as the window allows). Flows that
  // can't be set up are counted as failed; explain_failures() says why.
  void set_up(double per_second = 0);
  std::string explain_failures() const;
  // Refreshes what is due; returns soon. Call it often.
  void keep();
  // keep() until nothing is due or in flight, or `seconds` are over.
  void keep_all(double seconds);
  // Deletes the allocations, as far as the server answers.
  void release();

  // A STUN message that came to flow's client; false: it answers nothing that the session asked.
  bool handle(std::uint32_t flow, Bytes message);
  // A whole frame that is no media: neighbours' questions and answers to our requests.
  void handle_frame(Port& port, Bytes frame);

  // Adds the credentials of flow's user, with its nonce.
  void sign(std::uint32_t flow, stun::MessageWriter& writer) const;

  bool is_ready(std::uint32_t flow) const { return is_set_up(flows_[flow]); }
  Endpoint relayed(std::uint32_t flow) const;
  const SessionCounts& counts() const { return counts_; }
  // Takes endpoints for relayed ones where nothing is set up (--raw, --loop).
  void pretend();

  static constexpr std::uint16_t kChannel = 0x4000;

 private:
  enum class Step : std::uint8_t {
    kIdle,
    kChallenge,
    kAllocate,
    kClear,  // deletes what an earlier run left on the five-tuple
    kBind,
    kReady,
    kRefresh,
    kRebind,
    kRelease,
    kGone,
    kFailed,
  };
  struct Flow {
    std::uint32_t due_s = 0;    // of the next refresh, since the session began
    std::uint32_t sent_us = 0;  // of the request in flight, likewise
    std::uint16_t relayed_port = 0;
    std::uint8_t relayed_address = 0;  // in relayed_addresses_
    Step step = Step::kIdle;
    std::uint8_t serial = 0;    // of the request in flight
    std::uint8_t sends = 0;     // of it
    std::uint8_t refusals = 0;  // of its nonces, in a row
    std::uint8_t nonce_size = 0;
  };
  static_assert(sizeof(Flow) == 16);
  struct Timer {
    std::uint64_t deadline;
    std::uint32_t flow;
    std::uint8_t serial;
  };
  static constexpr std::uint8_t kMostSends = 8;

  static bool in_flight(const Flow& flow) {
    return flow.step != Step::kIdle && flow.step != Step::kReady && flow.step < Step::kGone;
  }
  static bool is_set_up(const Flow& flow) {
    return flow.step == Step::kReady || flow.step == Step::kRefresh || flow.step == Step::kRebind;
  }

  void begin(std::uint32_t flow, Step step);
  void send(std::uint32_t flow);
  Bytes write_request(std::uint32_t flow, std::span<std::uint8_t> buffer);
  void succeed(std::uint32_t number, const stun::MessageView& message);
  void refuse(std::uint32_t number, const stun::MessageView& message);
  void enter(Flow& flow, Step step);
  void finish(std::uint32_t number, Step step);
  void give_up(std::uint32_t number);
  bool learn_challenge(std::uint32_t number, const stun::MessageView& message);
  bool learn_relayed(Flow& flow, const stun::MessageView& message);
  std::string_view nonce(std::uint32_t number) const;
  void poll();
  void check_timers();
  void resolve_relayed();
  std::uint32_t now_s() const;
  std::uint32_t now_us() const;

  const Options& options_;
  const Plan& plan_;
  Port& client_port_;
  Port& peer_port_;
  std::vector<Flow> flows_;
  std::vector<char> nonces_;
  std::size_t nonce_room_ = 0;  // for each flow, taken from the first nonce
  std::vector<Address> relayed_addresses_;
  std::string realm_;
  stun::Key key_;
  std::uint32_t salt_;
  std::array<std::deque<Timer>, kMostSends> timers_;  // by sends so far
  std::uint32_t in_flight_ = 0, challenges_ = 0;      // the latter of the former
  double window_, challenge_window_;
  std::uint64_t window_cut_at_ = 0;
  double round_trip_s_ = 0.005;
  std::uint32_t refresh_s_;
  std::uint32_t next_refresh_ = 0;
  std::uint64_t began_;
  SessionCounts counts_;
};

}  // namespace turnpike::pktgen

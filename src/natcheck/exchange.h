// Questions by UDP: sent again until they are answered or their time is over, many at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "natcheck/findings.h"
#include "natcheck/messages.h"
#include "natcheck/path.h"

namespace turnpike::natcheck {

using Clock = std::chrono::steady_clock;

// Shared by the questions that are asked or answered by it.
using UdpSocket = std::shared_ptr<const Descriptor>;
// With ICMP errors, also where it isn't connected. Throws std::system_error.
UdpSocket open_udp(const Path& path, std::uint16_t port = 0);

struct Question {
  UdpSocket from;
  Endpoint to;
  BindingOptions options;
  // Where the answer, or of `own_request` the question itself, is to arrive; nullptr: at `from`.
  UdpSocket arrives_at;
  bool own_request = false;
  Clock::time_point not_before{};  // when to ask

  // What came of it.
  Outcome outcome = Outcome::kNotAsked;
  BindingAnswer answer;
  Endpoint source;       // who sent it
  bool strayed = false;  // it arrived at `from` in place of `arrives_at`
  Clock::time_point first_sent{}, last_sent{}, arrived{};
  double round_trip_ms() const {
    return std::chrono::duration<double, std::milli>(arrived - last_sent).count();
  }
};

// Asks all, no more than ten new ones a second (RFC 5780 §5), each for `patience` with ever longer
// pauses. `enough`, where there is one, is asked whenever one is over, and ends it all.
void ask(std::span<Question> questions, Clock::duration patience,
         const std::function<bool()>& enough = {});

}  // namespace turnpike::natcheck

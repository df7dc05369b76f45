// How long a mapping lasts that nothing is sent by (RFC 5780 §4.6). In place of one socket that is
// tried again and again, a row of them, each left alone for a little longer than the one before: so
// it takes as long as the mapping lasts, once.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "natcheck/exchange.h"
#include "natcheck/path.h"

namespace turnpike::natcheck {

inline constexpr double kShortestLifetime_s = 2, kLongestLifetime_s = 3600;

// After this time was the mapping still there?
struct Rung {
  double after_s = 0;
  bool alive = false;
};

struct Lifetime {
  enum class Result : std::uint8_t {
    kNotAsked,
    kCannotTell,  // the server doesn't answer to another port
    kFound,       // between `alive_s` and `dead_s`
    kLonger,      // than `alive_s`, the longest that was tried
    kShorter,     // than `dead_s`, the shortest that was tried
  };
  Result result = Result::kNotAsked;
  double alive_s = 0, dead_s = 0;
  bool consistent = true;  // false: some shorter time was too long, so that packets were lost or
                           // the NAT does as it likes
  // The middle of what is left, in seconds; only of kFound.
  double estimate_s() const;
};

// The times to try, each at most 8 % longer than the one before, up to `longest_s`.
std::vector<double> rungs_to(double longest_s);

// `rungs` are in order of time; those that weren't waited for are left out.
Lifetime conclude_lifetime(std::span<const Rung> rungs);
// Whether more rungs can't change what is concluded: two in a row after the last that was alive
// are dead.
bool is_settled(std::span<const Rung> rungs);

// Takes at most `longest_s` (kShortestLifetime_s to kLongestLifetime_s) and some seconds. Throws
// std::system_error.
Lifetime find_lifetime(const Path& path, std::uint16_t port, Clock::duration patience,
                       double longest_s);

}  // namespace turnpike::natcheck

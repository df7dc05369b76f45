// The bisection, and when a trial counts as without loss.
#include "search.h"

#include <algorithm>
#include <cstdio>

#include "report.h"
#include "stop.h"

namespace turnpike::pktgen {
namespace {

constexpr double kPrecision = 0.01;
constexpr double kStepBack = 0.95;
constexpr int kMostConfirmations = 10;

Tally trial(Traffic& traffic, double rate_pps, double warm_up_s, double seconds) {
  if (warm_up_s > 0) (void)traffic.run(rate_pps, warm_up_s, nullptr);
  const Tally tally = traffic.run(rate_pps, seconds, nullptr);
  std::string line = "  " + rate_text(rate_pps) + ": ";
  std::array<char, 64> loss{};
  (void)std::snprintf(loss.data(), loss.size(), "loss %.4f %%", tally.loss() * 100);
  say(line + loss.data());
  return tally;
}

}  // namespace

double most_delivered(Traffic& traffic, const Options& options) {
  return trial(traffic, 0, options.warm_up_s, options.seconds).received_pps();
}

Found search(Traffic& traffic, const Options& options, double most_pps, double loss_allowed,
             const Found& known) {
  double good = known.rate_pps;
  double bad = std::max(most_pps, good) * 1.2;
  while (bad - good > kPrecision * bad && bad > 100 && !stop_requested()) {
    const double rate = (good + bad) / 2;
    const Tally tally = trial(traffic, rate, options.warm_up_s, options.seconds);
    (tally.loss() <= loss_allowed ? good : bad) = rate;
  }
  for (int i = 0; i < kMostConfirmations && good > known.rate_pps && !stop_requested(); ++i) {
    Found found{good, trial(traffic, good, options.warm_up_s, 2 * options.seconds)};
    if (found.confirmation.loss() <= loss_allowed) return found;
    good *= kStepBack;
  }
  return known;
}

}  // namespace turnpike::pktgen

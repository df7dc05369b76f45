// One socket asks for all the others, by RESPONSE-PORT; what arrives at one of them came through
// its mapping.
#include "natcheck/lifetime.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace turnpike::natcheck {
namespace {

constexpr double kStep = 1.08;
constexpr std::chrono::milliseconds kProbePatience{1000};

double seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

Clock::duration duration_of(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

Question probe(const UdpSocket& asker, const Question& made) {
  Question question;
  question.from = asker;
  question.to = made.to;
  question.options.response_port = made.answer.mapped->port;
  question.arrives_at = made.from;
  return question;
}

std::vector<Rung> rungs_of(std::span<const Question> probes, std::span<const Question> made) {
  std::vector<Rung> rungs;
  for (std::size_t i = 0; i < probes.size(); ++i) {
    const bool alive = probes[i].outcome == Outcome::kAnswered && !probes[i].strayed;
    if (probes[i].outcome == Outcome::kNotAsked) continue;
    // Of a dead one what counts is when it was first tried.
    const auto when = alive ? probes[i].arrived : probes[i].first_sent;
    rungs.push_back({seconds(when - made[i].last_sent), alive});
  }
  return rungs;
}

}  // namespace

double Lifetime::estimate_s() const {
  return std::sqrt(alive_s * dead_s);
}

std::vector<double> rungs_to(double longest_s) {
  std::vector<double> times;
  for (double time = kShortestLifetime_s; time < longest_s; time *= kStep)
    times.push_back(time);
  times.push_back(longest_s);
  return times;
}

Lifetime conclude_lifetime(std::span<const Rung> rungs) {
  Lifetime lifetime;
  lifetime.result = Lifetime::Result::kCannotTell;
  if (rungs.empty()) return lifetime;
  const auto last_alive =
      std::find_if(rungs.rbegin(), rungs.rend(), [](const Rung& rung) { return rung.alive; });
  const auto first_after = last_alive.base();
  for (auto rung = rungs.begin(); rung != first_after; ++rung)
    lifetime.consistent &= rung->alive;
  if (first_after != rungs.begin()) lifetime.alive_s = last_alive->after_s;
  if (first_after != rungs.end()) lifetime.dead_s = first_after->after_s;
  if (first_after == rungs.end()) {
    lifetime.result = Lifetime::Result::kLonger;
  } else {
    lifetime.result =
        first_after == rungs.begin() ? Lifetime::Result::kShorter : Lifetime::Result::kFound;
  }
  return lifetime;
}

bool is_settled(std::span<const Rung> rungs) {
  return rungs.size() >= 2 && !rungs.back().alive && !rungs[rungs.size() - 2].alive;
}

Lifetime find_lifetime(const Path& path, std::uint16_t port, Clock::duration patience,
                       double longest_s) {
  Lifetime unknown;
  unknown.result = Lifetime::Result::kCannotTell;
  std::vector<double> times = rungs_to(longest_s);
  // Whose time is longest begins first; one more is probed at once, to see that it can be.
  std::reverse(times.begin(), times.end());
  times.push_back(0);
  std::vector<Question> made(times.size());
  for (Question& question : made) {
    question.from = open_udp(path);
    question.to = {path.server, port};
  }
  ask(made, patience);
  const bool all = std::all_of(made.begin(), made.end(), [](const Question& question) {
    return question.outcome == Outcome::kAnswered && question.answer.mapped;
  });
  if (!all) return unknown;

  const UdpSocket asker = open_udp(path);
  std::array control{probe(asker, made.back())};
  ask(control, patience);
  if (control[0].outcome != Outcome::kAnswered || control[0].strayed) return unknown;
  made.pop_back();
  times.pop_back();
  std::reverse(made.begin(), made.end());
  std::reverse(times.begin(), times.end());

  std::vector<Question> probes;
  for (std::size_t i = 0; i < made.size(); ++i) {
    probes.push_back(probe(asker, made[i]));
    probes.back().not_before = made[i].last_sent + duration_of(times[i]);
  }
  // While later ones are still being tried, those before them are over.
  const auto finished = [&] {
    std::size_t over = 0;
    while (over < probes.size() && probes[over].outcome != Outcome::kNotAsked &&
           (probes[over].outcome != Outcome::kSilent ||
            Clock::now() >= probes[over].first_sent + kProbePatience))
      ++over;
    return rungs_of(std::span(probes).first(over), made);
  };
  ask(probes, kProbePatience, [&] { return is_settled(finished()); });
  return conclude_lifetime(finished());
}

}  // namespace turnpike::natcheck

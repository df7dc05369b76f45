// Clients of the field come back with a delay that grows and is drawn by chance; so do these.
#include "visits.h"

#include <algorithm>
#include <random>
#include <vector>

#include "stop.h"

namespace turnpike::streams {
namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kTick = kMillisecond;
constexpr std::uint64_t kFirstDelay = 50 * kMillisecond, kMostDelay = 2000 * kMillisecond;
constexpr double kGrace = 5;  // seconds for those on their way at the end

class Storm final : public Watcher {
 public:
  Storm(const Options& options, Loop& loop) : options_(options), loop_(loop) {
    for (std::uint32_t i = 0; i < loop.clients().size(); ++i)
      free_.push_back(i);
  }
  void see_served(std::uint32_t client) override {
    // An allocation that is left behind takes a user's quota, and a port.
    loop_.stop(client, true);
    free_.push_back(client);
  }
  void see_lost(std::uint32_t client, bool /*was_ready*/) override { free_.push_back(client); }

  double run(double rate) {
    const std::uint64_t began = now_ns();
    const auto end = began + static_cast<std::uint64_t>(options_.seconds * 1e9);
    std::uint64_t come = 0;
    for (std::uint64_t now = began; now < end && !pktgen::stop_requested(); now = now_ns()) {
      const double due = rate * static_cast<double>(now - began) / 1e9;
      while (!free_.empty() && loop_.on_their_way() < options_.window &&
             (rate == 0 || static_cast<double>(come) < due)) {
        const std::uint32_t client = free_.front();
        free_.erase(free_.begin());
        ++come;
        loop_.start(client);
      }
      loop_.poll(kTick, *this);
    }
    const double seconds = static_cast<double>(now_ns() - began) / 1e9;
    served_ = loop_.counts().served;
    const auto last = now_ns() + static_cast<std::uint64_t>(kGrace * 1e9);
    while (loop_.on_their_way() > 0 && now_ns() < last && !pktgen::stop_requested())
      loop_.poll(kTick, *this);
    loop_.counts().served = served_;
    return seconds;
  }

 private:
  const Options& options_;
  Loop& loop_;
  std::vector<std::uint32_t> free_;
  std::uint64_t served_ = 0;
};

class Reconnection final : public Watcher {
 public:
  explicit Reconnection(Loop& loop) : loop_(loop), cut_ns_(loop.clients().size()) {}

  void see_lost(std::uint32_t client, bool was_ready) override {
    const std::uint64_t now = now_ns();
    if (was_ready) {
      ++told_.cut;
      cut_ns_[client] = now;
      if (first_ns_ == 0) first_ns_ = now;
    } else {
      ++told_.failed_tries;
    }
    Client& lost = loop_.clients()[client];
    const std::uint64_t most =
        std::min(kFirstDelay << std::min<unsigned>(lost.tries++, 8), kMostDelay);
    lost.due_ns = now + std::uniform_int_distribution<std::uint64_t>(most / 2, most)(random_);
  }
  void see_served(std::uint32_t client) override {
    ++told_.back;
    last_ns_ = now_ns();
    told_.away_ns.record(last_ns_ - cut_ns_[client]);
  }

  Return run(double seconds) {
    const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
    const auto all = loop_.clients().size();
    while (now_ns() < end && !pktgen::stop_requested() && (told_.cut < all || told_.back < all)) {
      loop_.poll(kTick, *this);
      const std::uint64_t now = now_ns();
      for (std::uint32_t i = 0; i < all; ++i) {
        const Client& client = loop_.clients()[i];
        if (client.step == Step::kIdle && client.due_ns <= now) loop_.start(i);
      }
    }
    if (last_ns_ > first_ns_) told_.seconds = static_cast<double>(last_ns_ - first_ns_) / 1e9;
    return told_;
  }

 private:
  Loop& loop_;
  Return told_;
  std::vector<std::uint64_t> cut_ns_;
  std::uint64_t first_ns_ = 0, last_ns_ = 0;
  std::mt19937_64 random_{std::random_device{}()};
};

}  // namespace

void Return::add(const Return& other) {
  cut += other.cut;
  back += other.back;
  failed_tries += other.failed_tries;
  seconds = std::max(seconds, other.seconds);
  away_ns.add(other.away_ns);
}

double storm(const Options& options, Loop& loop, double rate) {
  return Storm(options, loop).run(rate);
}

void hold(Loop& loop, double seconds) {
  Watcher nobody;
  const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
  while (now_ns() < end && !pktgen::stop_requested())
    loop.poll(10 * kTick, nobody);
}

Return come_back(Loop& loop, double seconds) {
  return Reconnection(loop).run(seconds);
}

}  // namespace turnpike::streams

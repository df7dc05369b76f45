// turnpike-streamgen: plays TURN clients that come by TCP, TLS and DTLS, and their peers, by the
// kernel's sockets. From top to bottom: threads, clients, what the mode asks for, report.
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "loop.h"
#include "media.h"
#include "options.h"
#include "stop.h"
#include "tell.h"
#include "visits.h"

namespace turnpike::streams {
namespace {

using pktgen::Json;
using pktgen::say;

void pin_to(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(core), &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0)
    throw std::runtime_error("--core: expected a core this process may use, found " +
                             std::to_string(core));
}

// A socket for each client, and some more.
void raise_descriptor_limit(std::uint64_t wanted) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= wanted) return;
  const rlimit more{wanted, std::max<rlim_t>(limit.rlim_max, wanted)};
  if (setrlimit(RLIMIT_NOFILE, &more) != 0)
    throw std::runtime_error(
        "--clients: expected fewer than there may be descriptors (ulimit -n), "
        "found " +
        std::to_string(wanted));
}

class Program {
 public:
  explicit Program(Options options) : options_(std::move(options)) {
    raise_descriptor_limit(options_.clients + std::uint64_t{256});
    const unsigned threads = options_.threads;
    for (unsigned i = 0; i < threads; ++i) {
      const std::uint32_t share = options_.clients / threads + (i < options_.clients % threads);
      lanes_.push_back(std::make_unique<Lane>(options_, i, share));
    }
  }

  int run() {
    if (options_.mode == Mode::kStorm) return run_storm();
    const std::uint64_t began = now_ns();
    in_threads([](Lane& lane) { lane.loop.set_up(); });
    const double took = static_cast<double>(now_ns() - began) / 1e9;
    const Counts counts = counted();
    say(counts_text(counts, took));
    print_json(counts_json(counts, took));
    if (counts.served < options_.clients) {
      say("turnpike-streamgen: " + std::to_string(options_.clients - counts.served) + " of " +
          std::to_string(options_.clients) + " clients could not be set up");
      return 1;
    }
    switch (options_.mode) {
      case Mode::kIdle:
        return run_idle();
      case Mode::kReconnect:
        return run_reconnect();
      default:
        return options_.pause ? run_slices() : run_media(options_.rate_pps, options_.seconds);
    }
  }

 private:
  struct Lane {
    Lane(const Options& options, unsigned place, std::uint32_t clients)
        : number(place), loop(options, place, clients), media(options, loop) {}
    unsigned number;
    Loop loop;
    Media media;
    Tally tally;
    Return back;
    double seconds = 0;
  };

  void in_threads(const std::function<void(Lane&)>& work) {
    std::vector<std::thread> threads;
    std::vector<std::exception_ptr> failures(lanes_.size());
    for (const auto& lane : lanes_) {
      threads.emplace_back([this, &work, &failures, lane = lane.get()] {
        try {
          if (options_.core >= 0) pin_to(options_.core + static_cast<int>(lane->number));
          work(*lane);
        } catch (...) {
          failures[lane->number] = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads)
      thread.join();
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
  }

  Counts counted() {
    Counts all;
    for (const auto& lane : lanes_)
      all.add(lane->loop.counts());
    return all;
  }

  double share(double rate) const { return rate / static_cast<double>(lanes_.size()); }

  int run_media(double rate, double seconds) {
    in_threads([&](Lane& lane) {
      if (options_.warm_up_s > 0) lane.media.warm_up(share(rate), options_.warm_up_s);
      lane.tally = lane.media.run(share(rate), seconds);
    });
    Tally tally;
    for (const auto& lane : lanes_)
      tally.add(lane->tally);
    tally.idle /= static_cast<double>(lanes_.size());
    say(tally_text(tally));
    report(tally_json(tally));
    return tally.up.corrupted + tally.up.wrong_receiver + tally.down.corrupted +
                       tally.down.wrong_receiver >
                   0
               ? 1
               : 0;
  }

  // The next line of stdin, waited for while clients are kept; nothing at the end of the input.
  std::optional<std::string> next_line() {
    std::string line;
    while (!pktgen::stop_requested()) {
      pollfd input{STDIN_FILENO, POLLIN, 0};
      if (::poll(&input, 1, 0) > 0) {
        char c = 0;
        if (::read(STDIN_FILENO, &c, 1) <= 0) return std::nullopt;
        if (c == '\n') return line;
        line += c;
        continue;
      }
      for (const auto& lane : lanes_)
        hold(lane->loop, 0.02 / static_cast<double>(lanes_.size()));
    }
    return std::nullopt;
  }

  int run_slices() {
    while (const auto line = next_line()) {
      if (*line == "quit") break;
      if (!line->starts_with("go")) {
        say("turnpike-streamgen: expected `go`, `go SECONDS`, `go SECONDS RATE` or `quit`, found " +
            *line);
        continue;
      }
      double seconds = options_.seconds, rate = options_.rate_pps;
      char* rest = nullptr;
      if (const double asked = std::strtod(line->c_str() + 2, &rest); asked > 0) seconds = asked;
      if (const double asked = std::strtod(rest, nullptr); asked > 0) rate = asked;
      run_media(rate, seconds);
    }
    return 0;
  }

  int run_storm() {
    in_threads([this](Lane& lane) {
      lane.seconds = storm(options_, lane.loop, share(options_.rate_pps));
    });
    double seconds = 0;
    for (const auto& lane : lanes_)
      seconds = std::max(seconds, lane->seconds);
    const Counts counts = counted();
    say(counts_text(counts, seconds));
    report(counts_json(counts, seconds));
    return counts.served > 0 ? 0 : 1;
  }

  int run_idle() {
    in_threads([this](Lane& lane) { hold(lane.loop, options_.seconds); });
    const Counts counts = counted();
    say("held for " + std::to_string(options_.seconds) + " s: " + std::to_string(counts.cut) +
        " were cut");
    report(counts_json(counts, options_.seconds));
    return counts.cut == 0 ? 0 : 1;
  }

  int run_reconnect() {
    in_threads([this](Lane& lane) { lane.back = come_back(lane.loop, options_.seconds); });
    Return back;
    for (const auto& lane : lanes_)
      back.add(lane->back);
    say(return_text(back));
    report(return_json(back));
    return back.back >= options_.clients ? 0 : 1;
  }

  void report(const Json& json) const {
    print_json(json);
    if (options_.json_file.empty()) return;
    std::ofstream file(options_.json_file);
    file << json.text() << "\n";
    file.close();
    if (!file) throw std::runtime_error("can't write " + options_.json_file);
  }

  const Options options_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

int run(Options options) {
  try {
    pktgen::watch_signals();
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets that may be closed
    return Program(std::move(options)).run();
  } catch (const std::exception& error) {
    say("turnpike-streamgen: " + std::string(error.what()));
    return 1;
  }
}

}  // namespace
}  // namespace turnpike::streams

int main(int argc, char** argv) {
  auto read = turnpike::streams::read_options(argc, argv);
  if (const auto* exit = std::get_if<turnpike::streams::Exit>(&read)) {
    std::fputs(exit->text.c_str(), exit->status == 0 ? stdout : stderr);
    return exit->status;
  }
  return turnpike::streams::run(std::move(std::get<turnpike::streams::Options>(read)));
}

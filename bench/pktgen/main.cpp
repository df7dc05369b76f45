// turnpike-pktgen: plays TURN clients and their peers on a DPDK port, to load a relay that no
// socket program can. From top to bottom: options, DPDK, its own ceiling, allocations, traffic,
// report.
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <stdexcept>

#include "clock.h"
#include "dataplane/eal.h"
#include "flow_file.h"
#include "loopback.h"
#include "report.h"
#include "search.h"
#include "self_check.h"
#include "slices.h"
#include "stop.h"
#include "traffic.h"

namespace turnpike::pktgen {
namespace {

constexpr double kCeilingSeconds = 0.3;
constexpr double kPartialDrop = 0.005;

void pin_to(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(core), &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0)
    throw std::runtime_error("--core: expected a core this process may use, found " +
                             std::to_string(core));
}

bool is_pci(const Link& link) {
  return link.device.find(':') != std::string::npos && link.device.find('.') != std::string::npos &&
         link.device.find('/') == std::string::npos;
}

dataplane::EalOptions eal_options(const Options& options) {
  dataplane::EalOptions eal;
  eal.hugepages = options.hugepages;
  eal.memory_mb = 128;
  if (is_pci(options.link)) eal.pci_devices.push_back(options.link.device);
  if (options.peer_link && is_pci(*options.peer_link))
    eal.pci_devices.push_back(options.peer_link->device);
  return eal;
}

std::unique_ptr<Traffic> traffic_of(const World& world) {
  return world.options.mode == Mode::kBinding ? make_binding_traffic(world) : make_traffic(world);
}

class Program {
 public:
  explicit Program(Options options) : options_(std::move(options)), plan_(options_) {
    const std::vector<int> cores = dataplane::allowed_cores();
    if (options_.core < 0) options_.core = cores.back();
    if (options_.loop_core < 0) {
      const auto other = std::find_if(cores.begin(), cores.end(),
                                      [this](int core) { return core != options_.core; });
      options_.loop_core = other == cores.end() ? options_.core : *other;
    }
    dataplane::start_eal(eal_options(options_));
    pin_to(options_.core);
    pools_ = make_pools();
  }

  int run() {
    if (options_.mode == Mode::kSelfCheck) return self_check(options_, plan_, pools_) ? 0 : 1;
    if (options_.loop) return run_looped();
    open_ports();
    Session session(options_, plan_, *client_port_, peers());
    const World world{options_,
                      plan_,
                      session,
                      *client_port_,
                      peers(),
                      pools_,
                      options_.raw ? FarEnd::kSwapper : FarEnd::kRelay};
    return run_against(world, options_.ceiling_pps);
  }

  // A figure near it says how fast the generator is, not the relay.
  double measure_ceiling() {
    Loopback loopback(pools_, options_.loop_core);
    Session session(options_, plan_, loopback.port(), loopback.port());
    session.pretend();
    const World world{options_,        plan_,  session,        loopback.port(),
                      loopback.port(), pools_, FarEnd::kMirror};
    const auto traffic = traffic_of(world);
    (void)traffic->run(0, kCeilingSeconds / 3, nullptr);
    return traffic->run(0, kCeilingSeconds, nullptr).received_pps();
  }

 private:
  Port& peers() { return peer_port_ ? *peer_port_ : *client_port_; }

  int run_looped() {
    Loopback loopback(pools_, options_.loop_core);
    Session session(options_, plan_, loopback.port(), loopback.port());
    session.pretend();
    return send(
        World{options_, plan_, session, loopback.port(), loopback.port(), pools_, FarEnd::kMirror},
        std::nullopt);
  }

  void open_ports() {
    client_port_ = std::make_unique<Port>(options_.link, pools_);
    if (options_.peer_link) peer_port_ = std::make_unique<Port>(*options_.peer_link, pools_);
    for (Port* port : {client_port_.get(), peer_port_.get()}) {
      if (port == nullptr) continue;
      port->start();
      port->await_link();
    }
    for (std::uint32_t flow = 0; flow < std::min(plan_.flows(), 4U); ++flow)
      client_port_->resolve(plan_, plan_.server(flow).address, plan_.client(flow).address);
  }

  int run_against(const World& world, std::optional<double> ceiling) {
    if (options_.raw || options_.mode == Mode::kBinding) {
      world.session.pretend();
      return send(world, ceiling);
    }
    const bool storm = options_.mode == Mode::kStorm;
    const std::uint64_t began = cycles_now();
    world.session.set_up(storm ? options_.rate_pps : 0);
    const SessionCounts& counts = world.session.counts();
    const Json json = session_json(counts, seconds_of(cycles_now() - began));
    if (counts.failed > 0) say("turnpike-pktgen: " + world.session.explain_failures());
    if (storm || counts.failed > 0) report(json);
    int status = counts.failed > 0 || stop_requested() ? 1 : 0;
    if (!storm && status == 0) {
      say(std::to_string(counts.allocated) + " allocations, each with a " +
          (options_.indications ? "permission" : "channel") + ", in " +
          seconds_text(seconds_of(cycles_now() - began)));
      if (!options_.setup_file.empty()) {
        write_flow_file(world, options_.setup_file);
        return 0;
      }
      status = send(world, ceiling);
    }
    if (options_.release) world.session.release();
    return status;
  }

  int send(const World& world, std::optional<double> ceiling) {
    const auto traffic = traffic_of(world);
    if (options_.slices_asked) {
      run_slices(world, *traffic, ceiling);
      return 0;
    }
    if (options_.mode == Mode::kSearch) return run_search(*traffic, ceiling);
    if (options_.warm_up_s > 0) (void)traffic->run(options_.rate_pps, options_.warm_up_s, nullptr);
    const Traffic::EachSecond each_second = [](unsigned second, const Tally& tally) {
      say("second " + std::to_string(second) + ":" + tally_text(tally, false));
      Json json;
      json.add("second", std::uint64_t{second})
          .add("tally", tally_json(tally, false, std::nullopt));
      print_json(json);
    };
    const bool long_run = options_.seconds > 1 && !options_.light;
    const Tally tally = traffic->run(options_.rate_pps, options_.seconds,
                                     long_run ? each_second : Traffic::EachSecond());
    say("in all: " + tally_text(tally, true));
    if (is_generators(tally.received_pps(), ceiling))
      say("this is the generator's limit, not the relay's: more generators, or --light");
    Json json = tally_json(tally, true, ceiling);
    const Histogram& refreshes = world.session.counts().refresh_ns;
    if (refreshes.count() > 0) json.add("refresh_latency_us", latency_json(refreshes));
    report(json);
    return 0;
  }

  int run_search(Traffic& traffic, std::optional<double> ceiling) {
    const double most = most_delivered(traffic, options_);
    Json json;
    json.add("most_mpps", most / 1e6);
    Found found;
    for (const auto& [name, loss] : {std::pair("no_drop", 0.0), {"partial_drop", kPartialDrop}}) {
      found = search(traffic, options_, most, loss, found);
      const bool own = is_generators(found.rate_pps, ceiling);
      say(std::string(name) + ": " + rate_text(found.rate_pps) +
          (own ? ", which is the generator's limit, not the relay's" : ""));
      Json one;
      one.add("mpps", found.rate_pps / 1e6)
          .add("limited_by_generator", own)
          .add("confirmation", tally_json(found.confirmation, true, ceiling));
      json.add(name, one);
    }
    report(json);
    return 0;
  }

  static std::string seconds_text(double seconds) {
    std::array<char, 32> text{};
    (void)std::snprintf(text.data(), text.size(), "%.2f s", seconds);
    return text.data();
  }

  void report(const Json& json) const {
    print_json(json);
    if (options_.json_file.empty()) return;
    std::ofstream file(options_.json_file);
    file << json.text() << "\n";
    file.close();
    if (!file) throw std::runtime_error("can't write " + options_.json_file);
  }

  Options options_;
  Plan plan_;
  Pools pools_;
  std::unique_ptr<Port> client_port_, peer_port_;
};

// In a process of its own: DPDK's memif closes the memory that a zero-copy client shared, so a
// process can have only one in its life.
std::optional<double> ceiling_of(const Options& options) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return std::nullopt;
  const pid_t child = fork();
  if (child == 0) {
    double pps = 0;
    try {
      Program program(options);
      pps = program.measure_ceiling();
    } catch (const std::exception& error) {
      say("turnpike-pktgen: no ceiling: " + std::string(error.what()));
    }
    const bool written = write(ends[1], &pps, sizeof pps) == sizeof pps;
    dataplane::stop_eal();
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  double pps = 0;
  const bool good = child > 0 && read(ends[0], &pps, sizeof pps) == sizeof pps && pps > 0;
  close(ends[0]);
  if (child > 0) waitpid(child, nullptr, 0);
  return good ? std::optional(pps) : std::nullopt;
}

bool wants_ceiling(const Options& options) {
  return options.measure_ceiling && !options.loop && options.mode != Mode::kStorm &&
         options.setup_file.empty();
}

int run(Options options) {
  int status = 1;
  try {
    watch_signals();
    if (wants_ceiling(options)) {
      options.ceiling_pps = ceiling_of(options);
      if (options.ceiling_pps)
        say("looped to itself, the generator does " + rate_text(*options.ceiling_pps));
    }
    Program program(std::move(options));
    status = program.run();
  } catch (const std::exception& error) {
    say("turnpike-pktgen: " + std::string(error.what()));
  }
  dataplane::stop_eal();
  return status;
}

}  // namespace
}  // namespace turnpike::pktgen

int main(int argc, char** argv) {
  auto read = turnpike::pktgen::read_options(argc, argv);
  if (const auto* exit = std::get_if<turnpike::pktgen::Exit>(&read)) {
    std::fputs(exit->text.c_str(), exit->status == 0 ? stdout : stderr);
    return exit->status;
  }
  return turnpike::pktgen::run(std::move(std::get<turnpike::pktgen::Options>(read)));
}

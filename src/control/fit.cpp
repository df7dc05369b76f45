// Each refusal names the key to change: a configuration that is right by itself may be wrong here.
#include "control/fit.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "kernel/interfaces.h"
#include "log/log.h"

namespace turnpike::control {
namespace {

std::uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  std::uint64_t kib = 0;
  while (file >> word) {
    if (word == "MemAvailable:" && file >> kib) return kib * 1024;
  }
  return ~std::uint64_t{0};
}

// Whether the interface has yet what is left for it to give: an address, and one for the face that
// is configured.
bool has_what_is_left_out(const config::Config& config, const std::vector<Address>& given) {
  return !given.empty() &&
         (!config.relayed.empty() ||
          std::all_of(config.external.begin(), config.external.end(), [&](const Address& external) {
            return std::any_of(given.begin(), given.end(), [&](const Address& address) {
              return address.family == external.family;
            });
          }));
}

// Where an address is, as far as is known.
std::string interface_of(const config::Config& config, const kernel::HostAddresses& host,
                         const Address& address) {
  for (const config::PortConfig& port : config.ports) {
    for (const config::InterfaceAddress& own : port.addresses) {
      if (own.address == address) return port.device;
    }
  }
  for (const kernel::HostAddresses::Entry& entry : host.all()) {
    if (entry.address == address) return entry.interface;
  }
  return "";
}

// An answer leaves by the way that its request came, whichever address it is from: by another
// address's interface it would look forged, and what lets no such packets pass would make every
// client's NAT look stricter than it is.
void check_discovery(const config::Config& config, const kernel::HostAddresses& host) {
  for (const Address& address : config.nat_discovery.addresses) {
    const Address other = *config.nat_discovery.other(address);
    const std::string here = interface_of(config, host, address);
    const std::string there = interface_of(config, host, other);
    if (here.empty() || there.empty() || here == there) continue;
    throw Misfit(
        "nat_discovery.addresses: expected both addresses of a family on one interface, "
        "found " +
        address.to_string() + " on " + here + " and " + other.to_string() + " on " + there);
  }
}

}  // namespace

void refuse(const config::Where& where, const std::string& key, const std::string& problem) {
  throw Misfit(
      config::ConfigError{where.file, where.line, where.path + "." + key, problem}.to_string());
}

bool is_by_default(const config::Config& config) {
  const bool incomplete =
      config.listeners.empty() || (config.relayed.empty() && config.turn_enabled());
  return incomplete && config.ports.size() == 1 && config::is_kernel_shared(config.ports[0].driver);
}

bool wait_for_addresses(const config::Config& config, kernel::HostAddresses& host,
                        const Signals& signals) {
  if (!is_by_default(config)) return true;
  const std::string& interface = config.ports[0].device;
  for (bool said = false;;) {
    if (const std::string problem = kernel::interface_problem(interface); !problem.empty())
      throw std::runtime_error("port " + interface + ": " + problem);
    if (has_what_is_left_out(config, host.of(interface))) return true;
    if (!std::exchange(said, true)) {
      const std::string what = "waiting for an address on interface " + interface;
      log::warning(what + ", to listen on and relay from");
      notify_manager(("STATUS=" + what).c_str());
    }
    // Longer than the manager waits for most.
    notify_manager("EXTEND_TIMEOUT_USEC=10000000");
    pollfd waits[] = {{signals.fd(), POLLIN, 0}, {host.fd(), POLLIN, 0}};
    poll(waits, std::size(waits), 1000);
    if (signals.take() == Signals::Wish::kEnd) return false;
    host.poll();
  }
}

config::Config completed(config::Config config, const kernel::HostAddresses& host) {
  const bool stun_only = !config.turn_enabled();
  if (is_by_default(config)) {
    const std::string problem = config::fill_defaults(config, host.of(config.ports[0].device));
    if (!problem.empty()) {
      throw Misfit(problem + " on interface " + config.ports[0].device +
                   "; --relay ADDRESS names the one");
    }
  }
  if (config.listeners.empty())
    throw Misfit("no listener is configured, and the port's interface has no address to be one");
  if (config.relayed.empty() && !stun_only)
    throw Misfit("no relayed address is configured, and the port's interface has none to be one");
  check_discovery(config, host);
  config::add_discovery_listeners(config);
  return config;
}

// Cores outside of the process's mask can be had all the same: isolcpus keeps them out of it.
void check_cores(const config::Config& config) {
  const long there = sysconf(_SC_NPROCESSORS_CONF);
  for (const int core : config.worker_cores) {
    if (core < there) continue;
    throw Misfit("worker_cores: this machine has cores 0 to " + std::to_string(there - 1) +
                 ", not " + std::to_string(core));
  }
}

void check_memory(const flow::TableLimits& limits, std::uint16_t workers) {
  const std::uint64_t each_shard =
      limits.allocations_per_shard * (1664 + std::uint64_t{16} * workers) +
      limits.permissions_per_shard * std::uint64_t{256} +
      limits.channels_per_shard * std::uint64_t{320};
  const std::uint64_t wanted = each_shard * limits.shards, there = available_memory();
  if (wanted <= there) return;
  throw Misfit("limits: " + std::to_string(wanted >> 20) + " MiB would be needed and " +
               std::to_string(there >> 20) + " MiB are available; lower limits.allocations");
}

void keep_memory_private() {
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0)
    log::warning(std::string("core dumps can't be switched off: ") + std::strerror(errno));
}

}  // namespace turnpike::control

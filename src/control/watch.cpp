// Nothing here ends a call: what is missing may come back. Only what a driver can't open anew ends
// the node, for the service manager to start it again.
#include "control/watch.h"

#include <net/if.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "dataplane/clock.h"
#include "kernel/command.h"
#include "kernel/interfaces.h"
#include "log/log.h"
#include "turnpike/counters.h"

namespace turnpike::control {
namespace {

constexpr const char* kGatewayMetric = "65535";
constexpr std::uint64_t kGatewaysMs = 500;  // between looks at default routes
constexpr std::uint64_t kGatewayAgainMs = 10'000;
constexpr std::uint64_t kGatewayGivenMs = 2'000;

// Where there is a default route it leads to these.
Address far_away(Family family) {
  return family == Family::kIpv4 ? *Address::parse("1.1.1.1")
                                 : *Address::parse("2606:4700:4700::1111");
}

}  // namespace

void give_addresses_and_routes(const config::PortConfig& port, const std::string& interface) {
  for (const config::InterfaceAddress& given : port.addresses) {
    std::vector<std::string> words{
        "ip",  "address", "replace", given.address.to_string() + "/" + std::to_string(given.length),
        "dev", interface};
    // No duplicate address detection: until it is over the address would not be there.
    if (given.address.family == Family::kIpv6) words.emplace_back("nodad");
    kernel::run_command(std::move(words));
  }
  // Behind every other default route: the host's own, through a management interface perhaps, is
  // neither replaced nor gone when this one goes with its interface.
  for (const Address& gateway : port.gateways) {
    kernel::run_command({"ip", gateway.family == Family::kIpv4 ? "-4" : "-6", "route", "replace",
                         "default", "via", gateway.to_string(), "dev", interface, "metric",
                         kGatewayMetric});
  }
}

Watch::Watch(const World& world) : world_(world), link_up_(world.config.ports.size(), true) {
  for (std::size_t i = 0; i < world_.config.ports.size(); ++i)
    interface_indexes_.push_back(if_nametoindex(world_.dataplane.kernel_interface(i).c_str()));
}

void Watch::look() {
  look_at_peers();
  look_at_sandboxes();
  look_at_host_sockets();
  look_at_interfaces();
  look_at_links();
  const std::uint64_t now = dataplane::real_ms();
  if (now < gateways_due_ms_) return;
  gateways_due_ms_ = now + kGatewaysMs;
  look_at_gateways();
}

// The kernel takes routes, and IPv6 addresses, from an exception interface whose link goes down,
// however shortly: what shows it is that the default route is not there.
void Watch::look_at_gateways() {
  for (std::size_t i = 0; i < world_.config.ports.size(); ++i) {
    const std::string& interface = world_.dataplane.kernel_interface(i);
    if (world_.config.ports[i].gateways.empty() || !kernel::interface_is_running(interface))
      continue;
    const unsigned index = if_nametoindex(interface.c_str());
    const bool there =
        std::all_of(world_.config.ports[i].gateways.begin(), world_.config.ports[i].gateways.end(),
                    [&](const Address& gateway) {
                      const auto route = routes_.ask(far_away(gateway.family), index);
                      return route && route->by_gateway;
                    });
    if (there) continue;
    log::warning("interface " + interface + " has lost its default route, which is given again");
    // Not at each look: where it helps nothing it would be a program and a line each time.
    gateways_due_ms_ = dataplane::real_ms() + kGatewayGivenMs;
    try {
      give_addresses_and_routes(world_.config.ports[i], interface);
    } catch (const std::runtime_error& error) {
      log::error(error.what());
      gateways_due_ms_ = dataplane::real_ms() + kGatewayAgainMs;
    }
  }
}

// Engines write no log: the first of these peers is told from here.
void Watch::look_at_peers() {
  const bool asked =
      std::any_of(world_.engines.begin(), world_.engines.end(), [](const auto& engine) {
        return engine->counters().peers[static_cast<std::size_t>(PeerVerdict::kOwnHost)].get() != 0;
      });
  if (!asked || std::exchange(said_own_host_, true)) return;
  log::warning(
      "a client asked for a peer on the relay's own host, which no packet of the relay reaches "
      "(own_host.udp): refused (403), as all such will be, without another line here");
}

// Engines enter theirs as they start, and not before control goes on.
void Watch::look_at_sandboxes() {
  std::string without = world_.dataplane.sandboxed() ? "" : "worker";
  if (std::any_of(world_.engines.begin(), world_.engines.end(),
                  [](const auto& engine) { return engine->unsandboxed(); }))
    without += without.empty() ? "engine" : ", engine";
  if (!world_.conditions.set(observe::Condition::kNoSandbox, without) || without.empty()) return;
  log::warning("the kernel takes no filter of system calls (seccomp) for threads: " + without +
               ". Whoever breaks into one could start programs and open files; the kernel needs "
               "CONFIG_SECCOMP_FILTER, and a container's profile must allow seccomp(2)");
}

// The thread that has them says in the log why one can't be had.
void Watch::look_at_host_sockets() {
  const std::uint64_t missing = world_.host == nullptr ? 0 : world_.host->missing.get();
  world_.conditions.set(observe::Condition::kNoHostSocket,
                        missing == 0 ? "" : std::to_string(missing) + " transport addresses");
}

// A driver's sockets stay with the device that was there at the start; one of the same name later
// is another, and only a start opens it. Until then what goes through the other ports goes on.
void Watch::look_at_interfaces() {
  std::string lost;
  for (std::size_t i = 0; i < world_.config.ports.size(); ++i) {
    const std::string& name = world_.dataplane.kernel_interface(i);
    std::array<char, IFNAMSIZ> now{};
    if (name.empty() || if_indextoname(interface_indexes_[i], now.data()) != nullptr) continue;
    if (!config::is_kernel_shared(world_.config.ports[i].driver))
      throw std::runtime_error("exception interface " + name + " is gone; a start makes it anew");
    if (if_nametoindex(name.c_str()) != 0) {
      throw std::runtime_error("interface " + name +
                               " was made anew: ending, for the service manager to start again");
    }
    lost += (lost.empty() ? "" : ", ") + name;
  }
  if (world_.conditions.set(observe::Condition::kLostInterface, lost) && !lost.empty())
    log::error("gone from this host: interface " + lost + "; ends when it is made anew");
}

void Watch::look_at_links() {
  world_.dataplane.look_at_links();
  std::string down, lost;
  for (std::size_t i = 0; i < world_.config.ports.size(); ++i) {
    const dataplane::Dataplane::PortState state = world_.dataplane.port_state(i);
    const std::string& name = world_.dataplane.name(i);
    if (state.gone) lost += (lost.empty() ? "" : ", ") + name;
    if (!state.up && world_.dataplane.needs_link(i)) down += (down.empty() ? "" : ", ") + name;
    if (state.up == link_up_[i]) continue;
    link_up_[i] = state.up;
    log::warning("port " + name + (state.up ? ": the link is up again" : ": the link is down"));
  }
  world_.conditions.set(observe::Condition::kLinkDown, down);
  if (world_.conditions.set(observe::Condition::kLostDevice, lost) && !lost.empty())
    log::error("taken away, or in want of a reset: " + lost + "; restart when it is back");
}

// "203.0.113.7 (listening), 203.0.113.8 (relayed)", or nothing. A port without an interface of the
// kernel answers for its addresses by other means, which can't be seen from here.
std::string Watch::missing_addresses() const {
  if (kernel_interfaces().size() < world_.config.ports.size()) return "";
  std::string missing;
  std::set<Address> seen;
  const auto check = [&](const Address& address, const char* what) {
    if (!seen.insert(address).second || world_.addresses.has(address)) return;
    missing += (missing.empty() ? "" : ", ") + address.to_string() + what;
  };
  for (const config::ListenerConfig& listener : world_.config.listeners)
    check(listener.endpoint.address, " (listening)");
  for (const RelayedAddress& relayed : world_.config.relayed)
    check(relayed.internal, " (relayed)");
  return missing;
}

// Where the interface's addresses are taken: those that came later than the start.
std::string Watch::late_addresses() const {
  std::string late;
  if (!world_.by_default) return late;
  for (const Address& address : world_.addresses.of(world_.config.ports[0].device)) {
    const bool listened =
        std::any_of(world_.config.listeners.begin(), world_.config.listeners.end(),
                    [&](const config::ListenerConfig& l) { return l.endpoint.address == address; });
    const bool relayed =
        std::any_of(world_.config.relayed.begin(), world_.config.relayed.end(),
                    [&](const RelayedAddress& r) { return r.internal == address; });
    if (!listened && !relayed) late += (late.empty() ? "" : ", ") + address.to_string();
  }
  return late;
}

// A listening or relayed address may come later (a virtual one that moves between hosts), so
// its absence ends nothing; but nobody should have to find out by silence.
void Watch::look_at_addresses() {
  const std::string missing = missing_addresses();
  if (world_.conditions.set(observe::Condition::kMissingAddress, missing)) {
    std::string there;
    for (const std::string& interface : kernel_interfaces()) {
      for (const Address& address : world_.addresses.of(interface))
        there += (there.empty() ? "" : ", ") + address.to_string() + " on " + interface;
    }
    if (missing.empty()) {
      log::info("every listening and relayed address is there");
    } else {
      log::warning("on no interface of this host: " + missing + "; there is " +
                   (there.empty() ? "none" : there) +
                   ". Behind a 1:1 NAT the interface's own address is to be configured, and the "
                   "public one is its `external`");
    }
  }
  const std::string late = late_addresses();
  if (world_.conditions.set(observe::Condition::kLateAddress, late) && !late.empty()) {
    log::warning(
        "not listened on and not relayed from until a restart, having come after the "
        "start: " +
        late);
  }
}

void Watch::look_at_notes() {
  for (const std::unique_ptr<engine::EngineThread>& engine : world_.engines) {
    while (const auto ended = engine->take_end_note()) {
      log::info("ended the allocation of " + ended->client.to_string() + ": payload rule " +
                world_.payload->rules()[ended->rule - 1u].name);
    }
    if (const std::uint64_t more = engine->take_untold_ends(); more != 0)
      log::info("and " + std::to_string(more) + " more allocations, ended by payload rules");
    if (const auto note = engine->take_login_note()) log::info(engine::describe(*note));
    if (told_of_endless_ || !engine->saw_endless_credential()) continue;
    told_of_endless_ = true;
    log::warning(
        "a credential came that is good for more than ten years: does the web server write "
        "milliseconds where seconds are meant?");
  }
}

std::vector<std::string> Watch::kernel_interfaces() const {
  std::vector<std::string> interfaces;
  for (std::size_t i = 0; i < world_.config.ports.size(); ++i) {
    if (!world_.dataplane.kernel_interface(i).empty())
      interfaces.push_back(world_.dataplane.kernel_interface(i));
  }
  return interfaces;
}

void Watch::warn_of_short_reach() const {
  std::array<bool, 2> told{};
  for (const RelayedAddress& relayed : world_.config.relayed) {
    const Family family = relayed.internal.family;
    const flow::Reach reach = world_.next_hops.reach({relayed.internal, far_away(family)});
    if (reach == flow::Reach::kPort || reach == flow::Reach::kOnLink ||
        std::exchange(told[family_index(family)], true))
      continue;
    log::warning(
        std::string("no default route of ") + (family == Family::kIpv4 ? "IPv4" : "IPv6") +
        " leads from " + relayed.internal.to_string() +
        " to a port: peers beyond the connected networks and the routes there are won't be "
        "reached; ip route add default via …, or `gateway` of a port of its own");
  }
}

}  // namespace turnpike::control

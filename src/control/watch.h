// What control watches while the node runs: links, interfaces, addresses, default routes, logins.
// Each look sets its conditions, and says what is news. Control's thread alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/host_counters.h"
#include "config/config.h"
#include "dataplane/dataplane.h"
#include "engine/engine_thread.h"
#include "kernel/host_addresses.h"
#include "kernel/next_hops.h"
#include "kernel/route_query.h"
#include "observe/conditions.h"
#include "policy/payload_rules.h"

namespace turnpike::control {

// Gives an owned port's interface the configured addresses and default routes; what is there stays.
// Throws std::runtime_error.
void give_addresses_and_routes(const config::PortConfig& port, const std::string& interface);

class Watch {
 public:
  // What it looks at; all of it outlives the watch.
  struct World {
    const config::Config& config;
    bool by_default;  // listeners or relayed addresses are the interface's
    dataplane::Dataplane& dataplane;
    kernel::NextHops& next_hops;
    kernel::HostAddresses& addresses;
    const std::vector<std::unique_ptr<engine::EngineThread>>& engines;
    observe::Conditions& conditions;
    const policy::PayloadRules* payload;  // nullptr: none
    const HostCounters* host;             // nullptr: nobody on this host is served by UDP
  };
  explicit Watch(const World& world);

  // Some times a second. Throws std::runtime_error where the node can't go on: an interface was
  // made anew.
  void look();
  // After each change of the host's addresses, and now and then.
  void look_at_addresses();
  // What engines have to tell of refused logins and of allocations that rules have ended.
  void look_at_notes();
  // Once, at the start.
  void warn_of_short_reach() const;

 private:
  void look_at_links();
  void look_at_peers();
  void look_at_sandboxes();
  void look_at_host_sockets();
  void look_at_interfaces();
  void look_at_gateways();
  std::string missing_addresses() const;
  std::string late_addresses() const;
  std::vector<std::string> kernel_interfaces() const;

  World world_;
  const kernel::RouteQuery routes_;
  std::vector<bool> link_up_;                // by port, as last told
  std::vector<unsigned> interface_indexes_;  // by port, at the start; 0: none
  std::uint64_t gateways_due_ms_ = 0;
  bool said_own_host_ = false;
  bool told_of_endless_ = false;
};

}  // namespace turnpike::control

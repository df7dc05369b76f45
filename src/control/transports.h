// The threads that bring workers what comes by kernel sockets: clients' streams, and clients and
// peers on the relay's own host; each where the configuration wants it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "dataplane/dataplane.h"
#include "kernel/next_hops.h"
#include "observe/metrics.h"
#include "policy/client_rules.h"
#include "transport/host_door.h"
#include "transport/host_sockets.h"
#include "transport/peer_mail.h"
#include "transport/transport.h"

namespace turnpike::control {

class Transports {
 public:
  // Opens the listening sockets, and is how `next_hops` reaches this host, before anything is
  // resolved. Throws std::runtime_error: which address, what is wrong. All else outlives it.
  // `peer_mail`: nullptr where there are no allocations of TCP's.
  Transports(const config::Config& config, dataplane::Dataplane& dataplane,
             kernel::NextHops& next_hops, const policy::ClientRules& clients,
             transport::PeerMail* peer_mail);

  void start();
  // Idempotent.
  void stop();

  // What the operator should know; after it has been made.
  std::vector<std::string> warnings() const;
  // Control's thread: reads certificates again (transport::Transport::reload()).
  std::vector<std::string> reload();
  // What they count.
  void tell(observe::MetricsSource& source) const;
  // Behind those that are there. Any thread.
  void add_hearts(std::vector<observe::Heart>& hearts) const;

 private:
  std::optional<transport::Transport> streams_;
  std::optional<transport::HostDoor> host_door_;
  std::optional<transport::HostSockets> host_;
};

}  // namespace turnpike::control

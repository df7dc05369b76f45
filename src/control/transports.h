// The threads by which clients come otherwise than from a NIC by plain UDP: streams, DTLS, and
// clients and peers on the relay's own host; those that the configuration wants.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "dataplane/dataplane.h"
#include "flow/setup.h"
#include "kernel/next_hops.h"
#include "observe/metrics.h"
#include "policy/client_rules.h"
#include "transport/dtls_thread.h"
#include "transport/gate.h"
#include "transport/host_door.h"
#include "transport/host_sockets.h"
#include "transport/peer_mail.h"
#include "transport/transport.h"

namespace turnpike::control {

class Transports {
 public:
  // Opens sockets and reads certificates, and is how `next_hops` reaches this host, before anything
  // is resolved. Throws std::runtime_error: what is wrong with which. References are kept by the
  // threads, and outlive them. `spread`: as the kernel's next hops have it. `peer_mail`: nullptr
  // where there are no allocations of TCP's.
  Transports(const config::Config& config, const flow::Setup& setup,
             dataplane::Dataplane& dataplane, kernel::NextHops& next_hops,
             const policy::ClientRules& clients, const ClientSpread& spread,
             transport::PeerMail* peer_mail);

  void start();
  // Idempotent.
  void stop();
  // What an operator should know, once all is started.
  std::vector<std::string> warnings() const;
  // Reads certificates again; what is wrong with them is logged, and those before stay.
  void reload();

  // What they count.
  void tell(observe::MetricsSource& source) const;
  // nullptr: nobody on this host is served by UDP.
  const HostCounters* host_counters() const { return host_ ? &host_->counters() : nullptr; }
  // Behind those that are there. Any thread.
  void add_hearts(std::vector<observe::Heart>& hearts) const;

 private:
  // None: nobody comes by it.
  std::optional<transport::Gate> gate_;
  std::vector<std::unique_ptr<transport::Transport>> tcp_;
  std::optional<transport::DtlsThread> dtls_;
  std::optional<transport::HostDoor> host_door_;
  std::optional<transport::HostSockets> host_;
};

}  // namespace turnpike::control

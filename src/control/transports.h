// The threads by which clients come otherwise than by plain UDP: those that the configuration has
// listeners for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "dataplane/dataplane.h"
#include "flow/setup.h"
#include "observe/metrics.h"
#include "policy/client_rules.h"
#include "transport/dtls_thread.h"
#include "transport/transport.h"

namespace turnpike::control {

class Transports {
 public:
  // Opens sockets and reads certificates; throws std::runtime_error: what is wrong with which.
  // References are kept by the threads, and outlive them.
  Transports(const config::Config& config, const flow::Setup& setup,
             dataplane::Dataplane& dataplane, const policy::ClientRules& clients);

  void start();
  // Idempotent.
  void stop();
  // What an operator should know, once all is started.
  std::vector<std::string> warnings() const;
  // Reads certificates again; what is wrong with them is logged, and those before stay.
  void reload();

  void add_counters(observe::TransportCounters& counters) const;
  void add_hearts(std::vector<observe::Heart>& hearts) const;

 private:
  // None: no client comes by it.
  std::unique_ptr<transport::Transport> tcp_;
  std::unique_ptr<transport::DtlsThread> dtls_;
};

}  // namespace turnpike::control

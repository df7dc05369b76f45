// Threads for all of TCP, TLS among it, one for DTLS, and one for this host's own.
#include "control/transports.h"

#include <algorithm>
#include <stdexcept>

#include "control/settings.h"
#include "dataplane/clock.h"
#include "log/log.h"

namespace turnpike::control {

// Streams first: what they may have of descriptors is what they ask for, and the others' come on
// top.
Transports::Transports(const config::Config& config, const flow::Setup& setup,
                       dataplane::Dataplane& dataplane, kernel::NextHops& next_hops,
                       const policy::ClientRules& clients, const ClientSpread& spread,
                       transport::PeerMail* peer_mail) {
  const auto ports = dataplane.stream_ports(Transport::kTcp);
  std::vector<dataplane::Doorbell*> bells;
  for (dataplane::StreamPort* const port : ports)
    bells.push_back(&port->bell());
  if (!ports.empty()) gate_.emplace(gate_config(config, spread), clients, bells);
  for (std::size_t i = 0; i < ports.size(); ++i)
    tcp_.push_back(std::make_unique<transport::Transport>(*gate_, i, *ports[i], dataplane::real_ms,
                                                          peer_mail));
  for (dataplane::StreamPort* const port : dataplane.stream_ports(Transport::kDtls)) {
    dtls_.emplace(dtls_config(config, setup), *port, dataplane.datagram_rings(),
                  transport::DtlsThread::Clocks{dataplane::clock_now, dataplane::real_ms});
  }
  for (dataplane::StreamPort* const port : dataplane.stream_ports(Transport::kUdp)) {
    host_door_.emplace(port->bell());
    next_hops.set_host_door(*host_door_);
    host_.emplace(datagram_listeners(config), random_bytes<HashKey>(), *port, *host_door_,
                  dataplane::real_ms);
  }
}

void Transports::start() {
  for (const auto& thread : tcp_)
    thread->start();
  if (dtls_) dtls_->start();
  if (host_) host_->start();
}

void Transports::stop() {
  for (const auto& thread : tcp_)
    thread->stop();
  if (dtls_) dtls_->stop();
  if (host_) host_->stop();
}

// What two say of a certificate is said once.
std::vector<std::string> Transports::warnings() const {
  std::vector<std::string> all;
  const auto add = [&all](const std::vector<std::string>& more) {
    for (const std::string& warning : more) {
      if (std::find(all.begin(), all.end(), warning) == all.end()) all.push_back(warning);
    }
  };
  if (gate_) add(gate_->warnings());
  if (dtls_) add(dtls_->warnings());
  if (host_) add(host_->warnings());
  return all;
}

// The certificates are the same ones, and so is what is to be said of them.
void Transports::reload() {
  try {
    std::vector<std::string> warnings;
    if (gate_) warnings = gate_->reload();
    if (dtls_) warnings = dtls_->reload();
    for (const std::string& warning : warnings)
      log::warning(warning);
  } catch (const std::runtime_error& error) {
    log::error(std::string(error.what()) + "; the certificates from before stay");
  }
}

void Transports::tell(observe::MetricsSource& source) const {
  for (const auto& thread : tcp_) {
    source.streams.tcp.push_back(&thread->counters());
    if (const PeerStreamCounters* const of_peers = thread->peer_counters())
      source.peer_streams.push_back(of_peers);
  }
  if (dtls_) source.streams.udp.push_back(&dtls_->counters());
  source.host = host_counters();
}

void Transports::add_hearts(std::vector<observe::Heart>& hearts) const {
  for (std::size_t i = 0; i < tcp_.size(); ++i)
    hearts.push_back({"transport " + std::to_string(i), &tcp_[i]->heartbeat()});
  if (dtls_) hearts.push_back({"dtls", &dtls_->heartbeat()});
  if (host_) hearts.push_back({"own host", &host_->heartbeat()});
}

}  // namespace turnpike::control

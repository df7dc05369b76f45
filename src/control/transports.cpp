// One thread for all of TCP, TLS among it, and one for DTLS.
#include "control/transports.h"

#include <algorithm>
#include <stdexcept>

#include "control/settings.h"
#include "log/log.h"

namespace turnpike::control {

Transports::Transports(const config::Config& config, const flow::Setup& setup,
                       dataplane::Dataplane& dataplane, const policy::ClientRules& clients) {
  unsigned port = 0;
  for (const Transport transport : stream_ports(config)) {
    dataplane::StreamPort& streams = dataplane.stream_port(port++);
    if (transport == Transport::kTcp) {
      tcp_ = std::make_unique<transport::Transport>(transport_config(config), streams, clients,
                                                    dataplane::real_ms);
    } else {
      dtls_ = std::make_unique<transport::DtlsThread>(
          dtls_config(config, setup), streams, dataplane.datagram_rings(),
          transport::DtlsThread::Clocks{dataplane::clock_now, dataplane::real_ms});
    }
  }
}

void Transports::start() {
  if (tcp_) tcp_->start();
  if (dtls_) dtls_->start();
}

void Transports::stop() {
  if (tcp_) tcp_->stop();
  if (dtls_) dtls_->stop();
}

// What both say of a certificate is said once.
std::vector<std::string> Transports::warnings() const {
  std::vector<std::string> all;
  if (tcp_) all = tcp_->warnings();
  if (!dtls_) return all;
  for (const std::string& warning : dtls_->warnings()) {
    if (std::find(all.begin(), all.end(), warning) == all.end()) all.push_back(warning);
  }
  return all;
}

// The certificates are the same ones, and so is what is to be said of them.
void Transports::reload() {
  try {
    std::vector<std::string> warnings;
    if (tcp_) warnings = tcp_->reload();
    if (dtls_) warnings = dtls_->reload();
    for (const std::string& warning : warnings)
      log::warning(warning);
  } catch (const std::runtime_error& error) {
    log::error(std::string(error.what()) + "; the certificates from before stay");
  }
}

void Transports::add_counters(observe::TransportCounters& counters) const {
  if (tcp_) counters.tcp.push_back(&tcp_->counters());
  if (dtls_) counters.udp.push_back(&dtls_->counters());
}

void Transports::add_hearts(std::vector<observe::Heart>& hearts) const {
  if (tcp_) hearts.push_back({"transport", &tcp_->heartbeat()});
  if (dtls_) hearts.push_back({"dtls", &dtls_->heartbeat()});
}

}  // namespace turnpike::control

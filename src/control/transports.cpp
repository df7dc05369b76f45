// Only wiring: what each thread is given, and where its numbers go.
#include "control/transports.h"

#include "control/settings.h"
#include "dataplane/clock.h"

namespace turnpike::control {

// Streams first: what they may have of descriptors is what they ask for, and the others' come on
// top.
Transports::Transports(const config::Config& config, const flow::Setup& setup,
                       dataplane::Dataplane& dataplane, kernel::NextHops& next_hops,
                       const policy::ClientRules& clients) {
  if (dataplane::StreamPort* const port = dataplane.stream_port(Transport::kTcp))
    streams_.emplace(transport_config(config), *port, clients, dataplane::real_ms);
  if (dataplane::StreamPort* const port = dataplane.stream_port(Transport::kDtls))
    dtls_.emplace(dtls_config(config, setup), *port, dataplane.datagram_rings(),
                  transport::DtlsThread::Clocks{dataplane::clock_now, dataplane::real_ms});
  if (dataplane::StreamPort* const port = dataplane.stream_port(Transport::kUdp)) {
    host_door_.emplace(port->bell());
    next_hops.set_host_door(*host_door_);
    host_.emplace(datagram_listeners(config), random_bytes<HashKey>(), *port, *host_door_,
                  dataplane::real_ms);
  }
}

void Transports::start() {
  if (streams_) streams_->start();
  if (dtls_) dtls_->start();
  if (host_) host_->start();
}

void Transports::stop() {
  if (streams_) streams_->stop();
  if (dtls_) dtls_->stop();
  if (host_) host_->stop();
}

std::vector<std::string> Transports::warnings() const {
  std::vector<std::string> all;
  if (streams_) all = streams_->warnings();
  // Both have the same certificates.
  else if (dtls_)
    all = dtls_->warnings();
  if (host_) all.insert(all.end(), host_->warnings().begin(), host_->warnings().end());
  return all;
}

std::vector<std::string> Transports::reload() {
  std::vector<std::string> warnings;
  if (streams_) warnings = streams_->reload();
  if (dtls_) warnings = dtls_->reload();
  return warnings;
}

void Transports::tell(observe::MetricsSource& source) const {
  if (streams_) source.streams.tcp.push_back(&streams_->counters());
  if (dtls_) source.streams.udp.push_back(&dtls_->counters());
  if (host_) source.host = &host_->counters();
}

void Transports::add_hearts(std::vector<observe::Heart>& hearts) const {
  if (streams_) hearts.push_back({"transport", &streams_->heartbeat()});
  if (dtls_) hearts.push_back({"dtls", &dtls_->heartbeat()});
  if (host_) hearts.push_back({"own host", &host_->heartbeat()});
}

}  // namespace turnpike::control

// Only wiring: what each thread is given, and where its numbers go.
#include "control/transports.h"

#include "control/settings.h"
#include "dataplane/clock.h"

namespace turnpike::control {

// Streams first: what they may have of descriptors is what they ask for, and the others' come on
// top.
Transports::Transports(const config::Config& config, dataplane::Dataplane& dataplane,
                       kernel::NextHops& next_hops, const policy::ClientRules& clients,
                       transport::PeerMail* peer_mail) {
  if (dataplane::StreamPort* const port = dataplane.stream_port(Transport::kTcp))
    streams_.emplace(transport_config(config), *port, clients, dataplane::real_ms, peer_mail);
  if (dataplane::StreamPort* const port = dataplane.stream_port(Transport::kUdp)) {
    host_door_.emplace(port->bell());
    next_hops.set_host_door(*host_door_);
    host_.emplace(datagram_listeners(config), random_bytes<HashKey>(), *port, *host_door_,
                  dataplane::real_ms);
  }
}

void Transports::start() {
  if (streams_) streams_->start();
  if (host_) host_->start();
}

void Transports::stop() {
  if (streams_) streams_->stop();
  if (host_) host_->stop();
}

std::vector<std::string> Transports::warnings() const {
  std::vector<std::string> all;
  if (streams_) all = streams_->warnings();
  if (host_) all.insert(all.end(), host_->warnings().begin(), host_->warnings().end());
  return all;
}

std::vector<std::string> Transports::reload() {
  return streams_ ? streams_->reload() : std::vector<std::string>();
}

void Transports::tell(observe::MetricsSource& source) const {
  if (streams_) source.streams.push_back(&streams_->counters());
  if (streams_) source.peer_streams = streams_->peer_counters();
  if (host_) source.host = &host_->counters();
}

void Transports::add_hearts(std::vector<observe::Heart>& hearts) const {
  if (streams_) hearts.push_back({"transport", &streams_->heartbeat()});
  if (host_) hearts.push_back({"own host", &host_->heartbeat()});
}

}  // namespace turnpike::control

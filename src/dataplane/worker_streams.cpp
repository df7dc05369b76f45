// What a worker does for clients' streams (stream_port.h): their messages are packets to it.
#include "dataplane/worker.h"

namespace turnpike::dataplane {

// Streams have no packets, so that a message is as what was put together of fragments: it is cut to
// its path's MTU where it must be (RFC 8656 §15).
bool Worker::take_streams(Instant now) {
  bool busy = false;
  std::array<rte_mbuf*, kBurst> frames;
  for (std::size_t i = 0; i < fabric_.streams.size(); ++i) {
    StreamPort& streams = *fabric_.streams[i];
    streams.refill(config_.number, config_.pool, config_.large);
    const unsigned n = streams.receive(config_.number, frames.data(), kBurst);
    if (n == 0) continue;
    busy = true;
    std::uint16_t kept = 0;
    for (unsigned k = 0; k < n; ++k) {
      if (frames[k]->data_len == 0)
        closed_.push_back(frames[k]);
      else
        frames[kept++] = frames[k];
    }
    if (kept != 0)
      process(now, frames.data(), kept, fabric_.ports.size() + i, flow::Checksum::kGood, true);
  }
  // After what came before the end.
  while (!closed_.empty()) {
    const flow::Packet& packet = notes_of(closed_.back()).packet;
    if (!pipeline_->stream_closed(packet.listener, packet.source)) break;
    rte_pktmbuf_free(closed_.back());
    closed_.pop_back();
  }
  return busy;
}

void Worker::ring_streams() {
  for (const std::unique_ptr<StreamPort>& streams : fabric_.streams)
    streams->ring(config_.number);
}

}  // namespace turnpike::dataplane

// What a worker does for clients' streams (stream_port.h): their messages are packets to it.
#include "dataplane/worker.h"

#include <algorithm>

#include "wire/headers.h"

namespace turnpike::dataplane {

bool Worker::take_streams(Instant now) {
  bool busy = false;
  std::array<rte_mbuf*, kBurst> frames;
  const auto untold = std::find_if(closed_.begin(), closed_.end(),
                                   [this](rte_mbuf* frame) { return !tell_closed(frame); });
  closed_.erase(closed_.begin(), untold);
  for (std::size_t i = 0; i < fabric_.streams.size(); ++i) {
    StreamPort& streams = *fabric_.streams[i];
    streams.refill(config_.number, config_.pool, config_.large);
    if (fabric_.sessions) fabric_.sessions->reclaim(config_.number);
    // As many bursts as a round can have had sent there, and one more, so that what waits gets
    // less.
    unsigned n = kBurst;
    for (std::size_t bursts = queues_.size() + 1; bursts > 0 && n == kBurst; --bursts) {
      n = streams.receive(config_.number, frames.data(), kBurst);
      busy |= n != 0;
      take_streams(now, fabric_.ports.size() + i, std::span(frames).first(n));
    }
  }
  return busy;
}

// Streams have no packets, so that a message is as what was put together of fragments: it is cut to
// its path's MTU where it must be (RFC 8656 §15).
void Worker::take_streams(Instant now, std::size_t port, std::span<rte_mbuf*> frames) {
  std::uint16_t kept = 0;
  const auto process_kept = [&] {
    if (kept != 0) process(now, frames.data(), kept, port, flow::Checksum::kGood, true);
    kept = 0;
  };
  for (rte_mbuf* frame : frames) {
    if (notes_of(frame).goes_out) {
      send_out(now, frame);
    } else if (frame->data_len != 0) {
      frames[kept++] = frame;
    } else {
      // Between what came before the end and what whoever has its five-tuple next says.
      process_kept();
      if (!closed_.empty() || !tell_closed(frame)) closed_.push_back(frame);
    }
  }
  process_kept();
}

bool Worker::tell_closed(rte_mbuf* frame) {
  const flow::Packet& packet = notes_of(frame).packet;
  if (!pipeline_->stream_closed(packet.listener, packet.source)) return false;
  rte_pktmbuf_free(frame);
  return true;
}

void Worker::ring_streams() {
  for (const std::unique_ptr<StreamPort>& streams : fabric_.streams)
    streams->ring(config_.number);
  if (fabric_.sessions) fabric_.sessions->ring(config_.number);
}

void Worker::to_session(flow::Packet& packet) {
  rte_mbuf* const mbuf = mbuf_of(packet);
  sync(packet);
  notes_of(mbuf).packet = packet;
  if (fabric_.sessions->submit(config_.number, mbuf)) return;
  count_drop(packet.has_allocation ? flow::Drop::kSessionRingFull : flow::Drop::kHandshakeRingFull);
  rte_pktmbuf_free(mbuf);
}

// What a transport thread has made whole: its headers are as FrameHeader writes them.
void Worker::send_out(Instant now, rte_mbuf* frame) {
  const FrameNotes& notes = notes_of(frame);
  flow::Packet packet;
  packet.data = rte_pktmbuf_mtod(frame, std::uint8_t*);
  packet.length = frame->data_len;
  packet.headroom = rte_pktmbuf_headroom(frame);
  packet.tailroom = rte_pktmbuf_tailroom(frame);
  packet.port = notes.port;
  packet.cookie = frame;
  packet.l3 = wire::ethernet::kSize;
  const bool v4 = wire::load_be16(packet.data + wire::ethernet::kType) == wire::ether_type::kIpv4;
  packet.family = v4 ? Family::kIpv4 : Family::kIpv6;
  packet.l4 =
      static_cast<std::uint16_t>(packet.l3 + (v4 ? wire::ipv4::kMinSize : wire::ipv6::kSize));
  packet.verdict = flow::Verdict::kTransmit;
  pipeline_->complete_datagram(now, packet);
  transmitter_.transmit_by(notes.port, notes.tags, packet);
}

}  // namespace turnpike::dataplane

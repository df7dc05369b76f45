// A frame leaves by the worker's own queue of the port, or by a ring to the worker that has one.
#include "dataplane/transmitter.h"

#include <rte_ethdev.h>
#include <rte_random.h>

#include <algorithm>
#include <cstring>

#include "dataplane/vlan_tags.h"
#include "wire/headers.h"

namespace turnpike::dataplane {

Transmitter::Transmitter(Fabric& fabric, std::uint16_t worker, const Pools& pools,
                         flow::WorkerCounters& counters)
    : fabric_(fabric),
      worker_(worker),
      pools_(pools),
      counters_(counters),
      outgoing_(fabric.ports.size() + fabric.streams.size()),
      fragment_id_(worker + fabric.workers * static_cast<std::uint16_t>(rte_rand())) {
  for (std::size_t port = 0; port < fabric.ports.size(); ++port) {
    outgoing_[port].mac = flow::SourceMac(fabric.ports[port]->info().mac);
    std::vector<bool> has_queue(fabric.workers);
    const std::uint16_t queues = fabric.ports[port]->queues();
    for (std::uint16_t queue = 0; queue < queues; ++queue) {
      const std::uint16_t owner = fabric.queue_owner(port, queue);
      has_queue[owner] = true;
      if (owner == worker) outgoing_[port].queue = queue;
    }
    for (std::uint16_t from = 0; from < fabric.workers; ++from) {
      const std::uint16_t owner =
          fabric.queue_owner(port, static_cast<std::uint16_t>(from % queues));
      if (from == worker) outgoing_[port].owner = owner;
      if (!has_queue[from] && owner == worker)
        inboxes_.push_back({port, fabric.handoffs[port][from].get()});
    }
  }
}

bool Transmitter::transmit(flow::Packet& packet) {
  flow::NextHop& hop = next_hops_[static_cast<std::uint32_t>(packet.next_hop)];
  const flow::MacWord mac = hop.mac.load(std::memory_order_relaxed);
  // Tells control that this neighbour is in use; a shared line, so only written when it says
  // otherwise.
  if (hop.wanted.load(std::memory_order_relaxed) == 0)
    hop.wanted.store(1, std::memory_order_relaxed);
  if ((mac & flow::kMacResolved) == 0) return false;
  outgoing_[hop.port].mac.write_behind(mac, packet.data);
  sync(packet);
  transmit_by({hop.port, &hop.tags}, packet, std::min(hop.mtu, packet.path_mtu));
  return true;
}

void Transmitter::transmit_by(std::uint16_t port, const flow::VlanTags& tags,
                              flow::Packet& packet) {
  sync(packet);
  transmit_by({port, &tags}, packet, std::min(fabric_.ports[port]->info().mtu, packet.path_mtu));
}

void Transmitter::transmit_by(const Way& way, const flow::Packet& packet, std::size_t mtu) {
  if (packet.length - packet.l3 <= mtu) [[likely]]
    return enqueue_to(way, mbuf_of(packet));
  fragment_way_ = way;
  out_of_buffers_ = false;
  if (!flow::fragment(packet, mtu, next_fragment_id(), *this))
    count_drop(out_of_buffers_ ? flow::Drop::kNoMbuf : flow::Drop::kTooBig);
  rte_pktmbuf_free(mbuf_of(packet));
}

void Transmitter::enqueue_to(const Way& way, rte_mbuf* mbuf) {
  if (way.tags->size != 0 && !put_tags_on(mbuf, *way.tags)) [[unlikely]] {
    count_drop(flow::Drop::kNoHeadroom);
    return rte_pktmbuf_free(mbuf);
  }
  enqueue(way.port, mbuf);
}

void Transmitter::flush(std::size_t port) {
  Outgoing& out = outgoing_[port];
  if (out.n == 0) return;
  unsigned sent = 0;
  if (port >= fabric_.ports.size()) {
    sent = fabric_.streams[port - fabric_.ports.size()]->send(worker_, out.frames.data(), out.n);
  } else if (out.queue >= 0) {
    sent = rte_eth_tx_burst(fabric_.ports[port]->id(), static_cast<std::uint16_t>(out.queue),
                            out.frames.data(), out.n);
    counters_.transmitted_packets.add(sent);
  } else {
    sent = rte_ring_sp_enqueue_burst(fabric_.handoffs[port][worker_].get(),
                                     reinterpret_cast<void**>(out.frames.data()), out.n, nullptr);
    fabric_.handed_over[out.owner].waiting.store(true, std::memory_order_release);
  }
  if (sent < out.n) {
    count_drop(flow::Drop::kTransmitFull, out.n - sent);
    rte_pktmbuf_free_bulk(out.frames.data() + sent, out.n - sent);
  }
  out.n = 0;
}

void Transmitter::flush() {
  for (std::size_t port = 0; port < outgoing_.size(); ++port)
    flush(port);
}

std::span<std::uint8_t> Transmitter::take(std::size_t size) {
  const bool fits = size + RTE_PKTMBUF_HEADROOM <= rte_pktmbuf_data_room_size(pools_.frames);
  fragment_ = rte_pktmbuf_alloc(fits ? pools_.frames : pools_.large);
  if (fragment_ != nullptr && rte_pktmbuf_tailroom(fragment_) < size) {
    rte_pktmbuf_free(fragment_);
    fragment_ = nullptr;
  }
  out_of_buffers_ = fragment_ == nullptr;
  if (out_of_buffers_) return {};
  return {rte_pktmbuf_mtod(fragment_, std::uint8_t*), size};
}

void Transmitter::done(std::size_t size) {
  fragment_->data_len = static_cast<std::uint16_t>(size);
  fragment_->pkt_len = fragment_->data_len;
  enqueue_to(fragment_way_, fragment_);
}

bool Transmitter::take_handoffs() {
  std::atomic<bool>& waiting = fabric_.handed_over[worker_].waiting;
  if (!waiting.load(std::memory_order_relaxed)) return false;
  waiting.exchange(false, std::memory_order_acq_rel);
  bool busy = false;
  std::array<rte_mbuf*, kBurst> frames;
  for (const Inbox& inbox : inboxes_) {
    const unsigned n = rte_ring_sc_dequeue_burst(
        inbox.ring, reinterpret_cast<void**>(frames.data()), kBurst, nullptr);
    busy |= n != 0;
    if (n == kBurst) waiting.store(true, std::memory_order_relaxed);  // there may be more
    for (unsigned i = 0; i < n; ++i)
      enqueue(inbox.port, frames[i]);
  }
  return busy;
}

void Transmitter::count_drop(flow::Drop reason, std::uint64_t n) {
  counters_.drops[static_cast<std::size_t>(reason)].add(n);
}

}  // namespace turnpike::dataplane

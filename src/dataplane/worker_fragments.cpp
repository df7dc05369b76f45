// What a worker does with fragments: each datagram is put together by one of them.
#include "dataplane/vlan_tags.h"
#include "dataplane/worker.h"

namespace turnpike::dataplane {

// A NIC may part the fragments of a datagram: it spreads by ports where there are some, and only
// the first has them. So each datagram has one worker who puts it together.
void Worker::reassemble(Instant now, flow::Packet& packet) {
  const flow::Fragment fragment = flow::read_fragment(fabric_.fragment_key, packet);
  const std::size_t owner = (fragment.datagram >> 16) % fabric_.workers;
  if (owner != config_.number) return hand_over(packet, owner);
  put_together(now, packet, fragment);
}

void Worker::hand_over(flow::Packet& packet, std::size_t owner) {
  rte_mbuf* mbuf = mbuf_of(packet);
  sync(packet);
  notes_of(mbuf).packet = packet;
  Fabric::Fragments& fragments = *fabric_.fragments[owner];
  if (rte_ring_sp_enqueue(fragments.from[config_.number].get(), mbuf) == 0)
    return fragments.waiting.store(true, std::memory_order_release);
  count_drop(flow::Drop::kFragmentRejected);
  rte_pktmbuf_free(mbuf);
}

bool Worker::take_fragments(Instant now) {
  if (fabric_.workers == 1) return false;
  Fabric::Fragments& fragments = *fabric_.fragments[config_.number];
  if (!fragments.waiting.load(std::memory_order_relaxed)) return false;
  fragments.waiting.exchange(false, std::memory_order_acq_rel);
  std::array<rte_mbuf*, kBurst> frames;
  for (const Ring& ring : fragments.from) {
    unsigned n = kBurst;
    for (unsigned bursts = 0; bursts < kFragmentRing / kBurst && n == kBurst; ++bursts) {
      n = rte_ring_sc_dequeue_burst(ring.get(), reinterpret_cast<void**>(frames.data()), kBurst,
                                    nullptr);
      for (unsigned i = 0; i < n; ++i)
        reassemble(now, notes_of(frames[i]).packet);
    }
  }
  return true;
}

void Worker::put_together(Instant now, flow::Packet& packet, const flow::Fragment& fragment) {
  sync(packet);
  const std::uint16_t port = packet.port;  // the packet may be in the frame's own notes, which go
  const flow::VlanTags tags = tags_of(packet);
  std::optional<AllocationSlot> owner;
  if (fragment.first()) owner = pipeline_->owner_of_fragment(now, packet);
  rte_mbuf* whole = reassembly_->add(now, packet, fragment, owner);
  if (whole == nullptr) return;
  notes_of(whole).tags = tags;
  process(now, &whole, 1, port, fabric_.ports[port]->untold_checksum(), true);
}

}  // namespace turnpike::dataplane

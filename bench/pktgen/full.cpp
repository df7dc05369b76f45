// Full mode: each packet carries its flow, a sequence number, a time and a checksum over all of
// its payload; each that arrives is checked whole, headers and checksums included.
//
// A payload: flow and direction (32 bits), sequence (32), time in cycles (64), CRC-32C over all but
// itself and the time (32), then filler that differs from packet to packet. The time is written
// last, when a whole burst is ready; the UDP checksum guards it.
#include <rte_hash_crc.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "attack.h"
#include "clock.h"
#include "stop.h"
#include "templates.h"
#include "traffic.h"
#include "wire/checksum.h"

namespace turnpike::pktgen {
namespace {

constexpr std::size_t kSequenceAt = 4, kTimeAt = 8, kCrcAt = 16, kFillerAt = 20;
constexpr std::size_t kTimeSize = kCrcAt - kTimeAt;

std::uint32_t crc_of(const std::uint8_t* payload, std::size_t size) {
  const std::uint32_t crc = rte_hash_crc(payload, kTimeAt, 0xFFFFFFFF);
  return rte_hash_crc(payload + kFillerAt, static_cast<std::uint32_t>(size - kFillerAt), crc);
}

// What has arrived of one flow one way: a window of the last 64, as replay protection has
// (RFC 4303 §3.4.3). What is older than that counts as late, not as twice: a flow's packets are
// never so far apart unless the path reorders by whole seconds.
class Track {
 public:
  std::uint32_t next_to_send() { return ++sent_; }

  void arrive(std::uint32_t sequence, DirectionTally& tally) {
    if (sequence > highest_) {
      const std::uint32_t ahead = sequence - highest_;
      seen_ = ahead >= 64 ? 0 : seen_ << ahead;
      seen_ |= 1;
      highest_ = sequence;
      ++tally.delivered;
      return;
    }
    const std::uint32_t behind = highest_ - sequence;
    if (behind < 64) {
      const std::uint64_t bit = std::uint64_t{1} << behind;
      if ((seen_ & bit) != 0) {
        ++tally.duplicated;
        return;
      }
      seen_ |= bit;
    }
    ++tally.reordered;
    ++tally.delivered;
  }

 private:
  std::uint32_t sent_ = 0, highest_ = 0;
  std::uint64_t seen_ = 0;
};
static_assert(sizeof(Track) == 16);

class FullTraffic : public Traffic {
 public:
  explicit FullTraffic(const World& world)
      : world_(world),
        receiver_(world.plan, world.session, world.far_end),
        templates_(world.options, world.plan, world.session, world.client_port, world.peer_port,
                   {world.options.directions != Directions::kDown,
                    world.options.directions != Directions::kUp}),
        attack_(world),
        tracks_(std::size_t{2} * world.plan.flows()) {}

  Tally run(double rate_pps, double seconds, const EachSecond& each_second) override {
    Tally total;
    const std::uint64_t began = cycles_now();
    const std::uint64_t end = began + cycles_of(seconds);
    Pace media(rate_pps, began);
    Pace attack(attack_.empty() ? 0 : world_.options.attack_pps, began);
    unsigned second = 0;
    for (std::uint64_t from = began; from < end && !stop_requested();) {
      const std::uint64_t until = std::min(end, began + cycles_of(second + 1));
      Tally tally;
      exchange(until, rate_pps > 0 ? &media : nullptr, attack, tally);
      const std::uint64_t now = cycles_now();
      tally.seconds = seconds_of(now - from);
      tally.cycles = now - from;
      from = now;
      ++second;
      if (from >= end || stop_requested()) {
        tally.skip(media.skipped());
        drain(tally);
      }
      if (each_second) each_second(second, tally);
      total.add(tally);
    }
    return total;
  }

 private:
  void exchange(std::uint64_t until, Pace* pace, Pace& attack, Tally& tally) {
    for (std::uint64_t now = cycles_now(); now < until && !stop_requested();) {
      unsigned moved = 0;
      const std::uint16_t due = pace != nullptr ? pace->take(now, kBurst) : kBurst;
      if (due > 0) moved += send(due, tally);
      if (!attack_.empty()) moved += send_attack(attack.take(now, kBurst), tally);
      const std::uint64_t media_before = arrived_;
      moved += receive(tally);
      tally.received_in_time += arrived_ - media_before;
      if (world_.far_end == FarEnd::kRelay) world_.session.keep();
      const std::uint64_t after = cycles_now();
      ++tally.rounds;
      if (moved == 0) {
        ++tally.idle_rounds;
        tally.idle_cycles += after - now;
      }
      now = after;
    }
  }

  unsigned send(std::uint16_t count, Tally& tally) {
    if (world_.one_port()) return send_by(world_.client_port, nullptr, count, tally);
    return send_by(world_.client_port, &world_.peer_port, count, tally);
  }

  // With a second port, what peers send goes there.
  unsigned send_by(Port& clients, Port* peers, std::uint16_t count, Tally& tally) {
    std::array<rte_mbuf*, kBurst> mbufs{};
    if (rte_pktmbuf_alloc_bulk(world_.pools.general, mbufs.data(), count) != 0) {
      tally.refused += count;
      return 0;
    }
    std::array<Batch, 2> batches;
    for (std::uint16_t i = 0; i < count; ++i) {
      const std::uint8_t* at = templates_.at(next_);
      next_ = next_ + 1 == templates_.size() ? 0 : next_ + 1;
      const Direction direction =
          Templates::framing(at) == Framing::kPlain ? Direction::kDown : Direction::kUp;
      build(mbufs[i], at, direction);
      batches[peers != nullptr ? static_cast<std::size_t>(direction) : 0].add(mbufs[i], direction);
    }
    unsigned taken = transmit(clients, batches[0], tally);
    if (peers != nullptr) taken += transmit(*peers, batches[1], tally);
    return taken;
  }

  struct Batch {
    std::array<rte_mbuf*, kBurst> mbufs;
    std::array<Direction, kBurst> directions;
    std::uint16_t count = 0;

    void add(rte_mbuf* mbuf, Direction direction) {
      mbufs[count] = mbuf;
      directions[count++] = direction;
    }
  };

  static unsigned transmit(Port& port, Batch& batch, Tally& tally) {
    if (batch.count == 0) return 0;
    stamp(batch);
    const std::uint16_t taken = port.transmit(batch.mbufs.data(), batch.count);
    for (std::uint16_t i = 0; i < taken; ++i)
      ++tally.directions[static_cast<std::size_t>(batch.directions[i])].sent;
    ++tally.transmits;
    if (taken < batch.count) {
      ++tally.refused_transmits;
      const auto left = static_cast<unsigned>(batch.count - taken);
      tally.refused += left;
      rte_pktmbuf_free_bulk(batch.mbufs.data() + taken, left);
    }
    return taken;
  }

  // When all of a batch is ready: a packet must not be charged with the making of those behind it.
  static void stamp(Batch& batch) {
    std::array<std::uint8_t, kTimeSize> time;
    wire::store_be64(time.data(), cycles_now());
    const std::uint16_t sum = wire::sum_bytes(time);
    for (std::uint16_t i = 0; i < batch.count; ++i) {
      std::memcpy(Templates::payload(batch.mbufs[i]) + kTimeAt, time.data(), kTimeSize);
      auto* frame = rte_pktmbuf_mtod(batch.mbufs[i], std::uint8_t*);
      add_to_udp_checksum(frame, Templates::family(frame), sum);
    }
  }

  void build(rte_mbuf* mbuf, const std::uint8_t* at, Direction direction) {
    templates_.fill_any(mbuf, at);
    const auto& sizes = world_.options.payloads;
    const std::size_t size = sizes[next_size_];
    next_size_ = next_size_ + 1 == sizes.size() ? 0 : next_size_ + 1;
    Templates::resize(mbuf, at, size);
    std::uint8_t* payload = Templates::payload(mbuf);
    const std::uint32_t flow = wire::load_be32(payload) & ~kDownBit;
    const std::uint32_t sequence = track(flow, direction).next_to_send();
    wire::store_be32(payload + kSequenceAt, sequence);
    std::memset(payload + kTimeAt, 0, kTimeSize);
    std::memcpy(payload + kFillerAt, filler().data() + sequence % 1024, size - kFillerAt);
    wire::store_be32(payload + kCrcAt, crc_of(payload, size));
    auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    const Family family = Templates::family(frame);
    set_udp_checksum(frame, family, rte_pktmbuf_data_len(mbuf) - headers_size(family));
  }

  unsigned send_attack(std::uint16_t count, Tally& tally) {
    for (std::uint16_t i = 0; i < count; ++i)
      world_.client_port.queue(attack_.next());
    const std::uint16_t taken = world_.client_port.flush();
    tally.attack_sent += taken;
    tally.attack_refused += static_cast<std::uint16_t>(count - taken);
    return taken;
  }

  unsigned receive(Tally& tally) {
    unsigned received = receive_from(world_.client_port, tally);
    if (!world_.one_port()) received += receive_from(world_.peer_port, tally);
    return received;
  }

  unsigned receive_from(Port& port, Tally& tally) {
    std::array<rte_mbuf*, kBurst> in{};
    const std::uint16_t n = port.receive(in.data(), kBurst);
    ++tally.polls;
    if (n == 0) {
      ++tally.idle_polls;
      return 0;
    }
    const std::uint64_t now = cycles_now();
    for (std::uint16_t i = 0; i < n; ++i) {
      if (i + 1 < n) rte_prefetch0(rte_pktmbuf_mtod(in[i + 1], void*));
      take(port, bytes_of(in[i]), now, tally);
    }
    rte_pktmbuf_free_bulk(in.data(), n);
    return n;
  }

  void take(Port& port, Bytes frame, std::uint64_t now, Tally& tally) {
    const auto datagram = parse_datagram(frame);
    if (!datagram) {
      // A neighbour's question; a kernel sends much else to everybody, which is none of ours.
      if (port.is_kernel_link()) {
        port.answer(frame, world_.plan);
        port.flush();
      } else {
        ++tally.foreign;
      }
      return;
    }
    const Arrival arrival = receiver_.classify(*datagram);
    switch (arrival.kind) {
      case Arrival::Kind::kMedia:
        return take_media(arrival, checksums_good(frame, port.is_kernel_link()), now, tally);
      case Arrival::Kind::kStun:
        if (!world_.session.handle(arrival.flow, arrival.payload) &&
            arrival.flow >= world_.plan.media_flows())
          ++tally.attack_answers;
        return;
      case Arrival::Kind::kAttackAnswer:
        ++tally.attack_answers;
        return;
      case Arrival::Kind::kForeign:
        return take_foreign(*datagram, tally);
    }
  }

  void take_media(const Arrival& arrival, bool checksums, std::uint64_t now, Tally& tally) {
    ++arrived_;
    DirectionTally& direction = tally.directions[static_cast<std::size_t>(arrival.direction)];
    const std::uint8_t* payload = arrival.payload.data();
    if (!checksums || !intact(arrival.payload)) {
      ++direction.corrupted;
      return;
    }
    if (!arrival.sender_right ||
        wire::load_be32(payload) != tag_of(arrival.flow, arrival.direction)) {
      ++direction.misdelivered;
      return;
    }
    track(arrival.flow, arrival.direction)
        .arrive(wire::load_be32(payload + kSequenceAt), direction);
    const double took = seconds_of(now - wire::load_be64(payload + kTimeAt));
    direction.latency_ns.record(static_cast<std::uint64_t>(took * 1e9));
  }

  // A packet for nobody that is one of ours all the same went to a wrong receiver.
  void take_foreign(const Datagram& datagram, Tally& tally) {
    const Bytes payload = datagram.payload;
    for (const std::size_t skip : {std::size_t{0}, stun::kChannelDataHeaderSize}) {
      if (payload.size() <= skip || !intact(payload.subspan(skip))) continue;
      const bool down = (wire::load_be32(payload.data() + skip) & kDownBit) != 0;
      ++tally.directions[down ? 1 : 0].misdelivered;
      return;
    }
    ++tally.foreign;
  }

  static bool intact(Bytes payload) {
    return payload.size() >= kFillerAt &&
           wire::load_be32(payload.data() + kCrcAt) == crc_of(payload.data(), payload.size());
  }

  void drain(Tally& tally) {
    constexpr double kQuietSeconds = 0.05;
    std::uint64_t last = cycles_now();
    const std::uint64_t end = last + cycles_of(1);
    while (cycles_now() < std::min(end, last + cycles_of(kQuietSeconds))) {
      if (receive(tally) > 0) last = cycles_now();
    }
  }

  Track& track(std::uint32_t flow, Direction direction) {
    return tracks_[std::size_t{2} * flow + static_cast<std::size_t>(direction)];
  }

  const World world_;
  Receiver receiver_;
  Templates templates_;
  AttackFrames attack_;
  std::vector<Track> tracks_;
  std::uint32_t next_ = 0;
  std::size_t next_size_ = 0;
  std::uint64_t arrived_ = 0;
};

}  // namespace

std::unique_ptr<Traffic> make_full_traffic(const World& world) {
  return std::make_unique<FullTraffic>(world);
}

}  // namespace turnpike::pktgen

// The worker's side of the race: packets through a real pipeline, each judged by its client's word.
#pragma once

#include <optional>
#include <thread>
#include <vector>

#include "race_common.h"
#include "random.h"

namespace turnpike::flow::test::race {

using stun::Attribute;
using stun::MessageView;
using turnpike::test::Random;

// A worker, its clients' network and their peers'. Every field is this thread's own until it has
// been joined.
class Reader {
 public:
  Reader(Common& common, std::size_t index) : common_(common), index_(index), random_(50 + index) {
    setup_.ports.resize(1);
    setup_.ports[0].mac = {2, 0, 0, 0, 0, 1};
    setup_.listeners.push_back({{kServer4, kPort}});
    setup_.relayed = {{kRelay4, std::nullopt}};
    setup_.fast_lane = index != 0;
    setup_.shard_count = static_cast<std::uint8_t>(common.shards);
    pipeline_.emplace(setup_, common.tables, common.hop, common.policy, common.tokens, counters_);
  }

  void run(const std::atomic<bool>& stop) {
    for (std::uint32_t burst = 1; !stop.load(std::memory_order_relaxed); ++burst) {
      common_.qsbr.quiescent(index_);
      for (InFlight& one : burst_)
        send(one);
      // Packets take their time.
      if (burst % 4 == 0) std::this_thread::yield();
      // Later than the words: what has ended by then, they didn't know to be ending.
      const Instant now = common_.now();
      std::array<Packet, kBurst> packets;
      for (std::size_t i = 0; i < kBurst; ++i)
        packets[i] = burst_[i].packet;
      pipeline_->process(now, packets);
      for (std::size_t i = 0; i < kBurst; ++i)
        judge(burst_[i], packets[i]);
      common_.bursts[index_].store(burst, std::memory_order_release);
      if (burst % 16 != 0) continue;
      common_.qsbr.offline(index_);
      std::this_thread::yield();
    }
    common_.qsbr.offline(index_);
  }

  std::uint64_t to_peer = 0;
  std::uint64_t by_channel = 0;  // to the client
  std::uint64_t by_data = 0;
  std::uint64_t stopped = 0;      // rightly, while nothing changed
  std::uint64_t overtaken = 0;    // something changed while they were in flight
  std::uint64_t astray = 0;       // at another's client or peer
  std::uint64_t lost = 0;         // though its way was open
  std::uint64_t let_through = 0;  // though its way was closed

 private:
  static constexpr std::size_t kBurst = 16;
  struct InFlight {
    std::uint32_t client = 0;
    std::uint64_t word = 0;
    bool from_client = false;
    std::vector<std::uint8_t> buffer;
    Packet packet;
  };

  // Names its owner and the allocation that it was meant for.
  static std::vector<std::uint8_t> body_of(const InFlight& one) {
    std::vector<std::uint8_t> body(12);
    std::memcpy(body.data(), &one.client, 4);
    std::memcpy(body.data() + 4, &one.word, 8);
    return body;
  }

  void send(InFlight& one) {
    one.client = random_.below(static_cast<std::uint32_t>(common_.clients.size()));
    one.word = common_.clients[one.client].word.load(std::memory_order_acquire);
    // To a port that nobody has, nobody knows whose it is next.
    one.from_client = (one.word & kAllocated) == 0 || random_.below(2) == 0;
    Datagram datagram;
    datagram.payload = body_of(one);
    if (one.from_client) {
      datagram.source = client_at(one.client);
      datagram.destination = {kServer4, kPort};
      std::array<std::uint8_t, 4> header;
      put16(header.data(), number_in(one.word));
      put16(header.data() + 2, static_cast<std::uint16_t>(datagram.payload.size()));
      datagram.payload.insert(datagram.payload.begin(), header.begin(), header.end());
    } else {
      datagram.source = peer_of(one.client);
      datagram.destination = {kRelay4, port_in(one.word)};
    }
    one.packet = arrived(one.buffer, frame_of(datagram), FlowWorld::kRoom);
  }

  void judge(const InFlight& one, const Packet& packet) {
    // A read that can't be done before what the pipeline has read.
    const std::uint64_t after =
        common_.clients[one.client].word.fetch_add(0, std::memory_order_acq_rel);
    const bool passed = packet.verdict == Verdict::kTransmit;
    if (passed && !arrives(one, packet, after == one.word)) ++astray;
    if (after != one.word) {
      ++overtaken;
      return;
    }
    const std::uint64_t way = one.from_client ? kBound : kPermitted | kBound;
    const bool open = (one.word & way) != 0;
    if (open && !passed && (one.word & kEnding) == 0) ++lost;
    // What another shard opens for a shared client, this word is told afterwards.
    if (open || (one.word & (kOpening | kEnding)) != 0 ||
        (common_.is_shared(one.client) && (one.word & kAllocated) == 0)) {
      return;
    }
    passed ? ++let_through : ++stopped;
  }

  bool arrives(const InFlight& one, const Packet& packet, bool unchanged) {
    const auto datagram = read(packet);
    if (!datagram) return false;
    const std::vector<std::uint8_t> body = body_of(one);
    if (one.from_client) {
      ++to_peer;
      return datagram->destination == peer_of(one.client) && datagram->source.address == kRelay4 &&
             datagram->payload == body &&
             (!unchanged || (one.word & kAllocated) == 0 ||
              datagram->source.port == port_in(one.word));
    }
    if (datagram->destination != client_at(one.client) ||
        datagram->source != Endpoint{kServer4, kPort}) {
      return false;
    }
    const std::vector<std::uint8_t>& payload = datagram->payload;
    MessageView indication;
    if (MessageView::parse(payload, indication) == stun::ParseError::kNone) {
      ++by_data;
      const auto data = indication.find(Attribute::kData);
      const bool may = !unchanged || (one.word & kBound) == 0 || (one.word & kEnding) != 0;
      return may && data &&
             std::equal(body.begin(), body.end(), data->value.begin(), data->value.end());
    }
    ++by_channel;
    return payload.size() == 4 + body.size() && get16(payload.data()) == number_in(one.word) &&
           std::equal(body.begin(), body.end(), payload.begin() + 4);
  }

  Common& common_;
  std::size_t index_;
  Random random_;
  Setup setup_;
  WorkerCounters counters_;
  std::optional<Pipeline> pipeline_;
  std::array<InFlight, kBurst> burst_;
};

}  // namespace turnpike::flow::test::race

// Light mode: prebuilt frames out, counts in. One packet in 63 is stamped, one in 61 of those that
// come is checked whole: numbers without a common divisor, with each other or with the bursts and
// directions, so that every kind of packet has its turn. Nothing else is read of a packet: the
// relay must be the bottleneck.
#include <rte_mempool.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "clock.h"
#include "stop.h"
#include "templates.h"
#include "traffic.h"

namespace turnpike::pktgen {
namespace {

constexpr std::uint32_t kStampEvery = 63;
constexpr std::uint32_t kCheckEvery = 61;
constexpr int kMostReceiveBursts = 4;  // between two looks at what is to be sent
constexpr int kPauses = 8;
constexpr double kQuietSeconds = 0.05;    // nothing for so long: what is missing is lost
constexpr double kMostChunkSeconds = 10;  // between two refreshes

// Frames for one port, taken in turn, and those it did not take.
class Stream {
 public:
  // Of each flow so many of the templates stand beside each other.
  Stream(Port& port, rte_mempool* pool, Templates templates, std::uint32_t of_each,
         const Options& options)
      : port_(port),
        pool_(pool),
        templates_(std::move(templates)),
        of_each_(of_each),
        window_(options.at_a_time == 0 ? templates_.size()
                                       : std::min(options.at_a_time * of_each, templates_.size())),
        turnover_(options.turnover) {}
  ~Stream() { drop(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Sends up to `count` frames. With `keep`, those that were not taken go first the next time;
  // else they are dropped. Returns how many were taken.
  std::uint16_t send(std::uint16_t count, bool keep, Tally& tally) {
    if (pending_ < count) {
      templates_.stride() == 64 ? fill<64>(count) : fill<128>(count);
    }
    if (pending_ == 0) return 0;
    // Not before: a packet must not be charged with the making of those behind it, or with a wait
    // for a ring that was full.
    if (stamped_ < pending_) Templates::stamp(burst_[stamped_], cycles_now());
    const std::uint16_t taken = port_.transmit(burst_.data(), pending_);
    ++tally.transmits;
    if (taken < pending_) ++tally.refused_transmits;
    const std::uint16_t ups = count_ups(taken);
    tally.directions[0].sent += ups;
    tally.directions[1].sent += static_cast<std::uint16_t>(taken - ups);
    if (keep) {
      std::copy(burst_.begin() + taken, burst_.begin() + pending_, burst_.begin());
      std::copy(down_.begin() + taken, down_.begin() + pending_, down_.begin());
      pending_ = static_cast<std::uint16_t>(pending_ - taken);
      if (stamped_ != kNone)
        stamped_ = stamped_ < taken ? kNone : static_cast<std::uint16_t>(stamped_ - taken);
      return taken;
    }
    if (taken < pending_) {
      tally.refused += static_cast<std::uint64_t>(pending_ - taken);
      rte_pktmbuf_free_bulk(burst_.data() + taken, static_cast<unsigned>(pending_ - taken));
    }
    pending_ = 0;
    stamped_ = kNone;
    return taken;
  }

  // Flows that were in use give way to the next ones, as many as are due after so long a time of
  // sending.
  void turn_over(double seconds) {
    given_way_ += seconds * turnover_;
    const auto whole = static_cast<std::uint32_t>(given_way_);
    given_way_ -= whole;
    first_ = (first_ + whole * of_each_) % templates_.size();
  }

  void drop() {
    if (pending_ > 0) rte_pktmbuf_free_bulk(burst_.data(), pending_);
    pending_ = 0;
  }

 private:
  static constexpr std::uint16_t kNone = 0xFFFF;
  static_assert(kStampEvery >= kBurst);

  std::uint16_t count_ups(std::uint16_t among) const {
    std::uint16_t downs = 0;
    for (std::uint16_t i = 0; i < among; ++i)
      downs = static_cast<std::uint16_t>(downs + down_[i]);
    return static_cast<std::uint16_t>(among - downs);
  }

  template <std::size_t kStride>
  void fill(std::uint16_t until) {
    // Buffers of this pool come back as they were first made: one segment, no flags.
    if (rte_mempool_get_bulk(pool_, reinterpret_cast<void**>(burst_.data() + pending_),
                             static_cast<unsigned>(until - pending_)) != 0)
      return;
    for (; pending_ < until; ++pending_) {
      const std::uint8_t* at = templates_.at(place(next_));
      rte_prefetch0(templates_.at(place(next_ + 4 < window_ ? next_ + 4 : next_)));
      rte_mbuf* mbuf = burst_[pending_];
      Templates::fill<kStride>(mbuf, at);
      down_[pending_] = Templates::framing(at) == Framing::kPlain;
      next_ = next_ + 1 == window_ ? 0 : next_ + 1;
      if (++sent_ % kStampEvery == 0 && Templates::payload_size(at) >= kStamp) stamped_ = pending_;
    }
  }

  std::uint32_t place(std::uint32_t in_window) const {
    const std::uint32_t place = first_ + in_window;
    return place < templates_.size() ? place : place - templates_.size();
  }

  Port& port_;
  rte_mempool* pool_;
  Templates templates_;
  const std::uint32_t of_each_;
  const std::uint32_t window_;  // templates in use, from first_ on
  const double turnover_;
  double given_way_ = 0;  // flows: a part of one
  std::uint32_t first_ = 0;
  std::uint32_t next_ = 0;  // within the window
  std::uint64_t sent_ = 0;
  std::array<rte_mbuf*, kBurst> burst_{};
  std::array<std::uint8_t, kBurst> down_{};
  std::uint16_t pending_ = 0;
  std::uint16_t stamped_ = kNone;  // of burst_: the one that carries a time; at most one does
};

class LightTraffic : public Traffic {
 public:
  LightTraffic(const World& world, Templates::Content content)
      : world_(world), content_(content), receiver_(world.plan, world.session, world.far_end) {
    prefill(world.pools.frames);
    const bool binding = content == Templates::Content::kBinding;
    const bool up = binding || world.options.directions != Directions::kDown;
    const bool down = !binding && world.options.directions != Directions::kUp;
    if (world.one_port()) {
      add_stream(world.client_port, {up, down, content});
    } else {
      if (up) add_stream(world.client_port, {true, false, content});
      if (down) add_stream(world.peer_port, {false, true, content});
    }
  }

  Tally run(double rate_pps, double seconds, const EachSecond& each_second) override {
    Tally total;
    total.by_direction = false;
    unsigned second = 0;
    for (double left = seconds; left > 1e-9 && !stop_requested();) {
      const double chunk = std::min(left, each_second ? 1.0 : kMostChunkSeconds);
      Tally tally;
      tally.by_direction = false;
      exchange(rate_pps, chunk, tally);
      drain(tally);
      if (each_second) each_second(++second, tally);
      total.add(tally);
      left -= chunk;
      if (world_.far_end == FarEnd::kRelay && left > 1e-9) world_.session.keep_all(1);
    }
    return total;
  }

 private:
  void add_stream(Port& port, Templates::Which which) {
    streams_.push_back(
        std::make_unique<Stream>(port, world_.pools.frames,
                                 Templates(world_.options, world_.plan, world_.session,
                                           world_.client_port, world_.peer_port, which),
                                 which.up && which.down ? 2 : 1, world_.options));
  }

  void exchange(double rate_pps, double seconds, Tally& tally) {
    const std::uint64_t began = cycles_now();
    const std::uint64_t end = began + cycles_of(seconds);
    constexpr double kTurnEvery = 0.01;
    std::uint64_t turned = began;
    std::vector<Pace> paces(streams_.size(),
                            Pace(rate_pps / static_cast<double>(streams_.size()), began));
    std::uint64_t now = began;
    while (now < end && !stop_requested()) {
      unsigned moved = 0;
      for (std::size_t i = 0; i < streams_.size(); ++i) {
        const std::uint16_t due = rate_pps > 0 ? paces[i].take(now, kBurst) : kBurst;
        if (due > 0) moved += streams_[i]->send(due, rate_pps == 0, tally);
      }
      const unsigned received = receive_some(tally);
      tally.received_in_time += received;
      moved += received;
      // The rings' indices are the far end's to write: looked at without pause, they are taken from
      // it again and again, and it is slowed down.
      for (int i = 0; moved == 0 && i < kPauses; ++i)
        rte_pause();
      const std::uint64_t after = cycles_now();
      if (after - turned >= cycles_of(kTurnEvery)) {
        for (const auto& stream : streams_)
          stream->turn_over(seconds_of(after - turned));
        turned = after;
      }
      ++tally.rounds;
      if (moved == 0) {
        ++tally.idle_rounds;
        tally.idle_cycles += after - now;
      }
      now = after;
    }
    for (const Pace& pace : paces)
      tally.skip(pace.skipped());
    tally.seconds += seconds_of(now - began);
    tally.cycles += now - began;
  }

  unsigned receive_some(Tally& tally) {
    unsigned received = receive_from(world_.client_port, tally);
    if (!world_.one_port()) received += receive_from(world_.peer_port, tally);
    return received;
  }

  unsigned receive_from(Port& port, Tally& tally) {
    unsigned received = 0;
    std::array<rte_mbuf*, kBurst> in{};
    for (int i = 0; i < kMostReceiveBursts; ++i) {
      const std::uint16_t n = port.receive(in.data(), kBurst);
      ++tally.polls;
      if (n == 0) {
        ++tally.idle_polls;
        break;
      }
      const unsigned others = port.is_kernel_link() ? answer(port, in.data(), n) : 0;
      received += n - others;
      if (countdown_ < n) {
        check(port, bytes_of(in[countdown_]), tally);
        countdown_ += kCheckEvery;
      }
      countdown_ -= n;
      rte_pktmbuf_free_bulk(in.data(), n);
      if (n < kBurst) break;
    }
    // Which way a packet went is known of the checked ones alone (Tally::by_direction).
    tally.directions[0].delivered += received;
    return received;
  }

  // NextHops' questions, which are no media.
  unsigned answer(Port& port, rte_mbuf** in, std::uint16_t n) {
    unsigned others = 0;
    for (std::uint16_t i = 0; i < n; ++i) {
      if (parse_datagram(bytes_of(in[i]))) continue;
      ++others;
      port.answer(bytes_of(in[i]), world_.plan);
    }
    if (others > 0) port.flush();
    return others;
  }

  void check(const Port& port, Bytes frame, Tally& tally) {
    const auto datagram = parse_datagram(frame);
    if (!datagram) {
      if (!port.is_kernel_link()) ++tally.foreign;
      return;
    }
    ++tally.checked;
    const Arrival arrival = receiver_.classify(*datagram);
    DirectionTally& direction = tally.directions[static_cast<std::size_t>(arrival.direction)];
    if (content_ == Templates::Content::kBinding) {
      check_binding(arrival, tally);
      return;
    }
    if (arrival.kind != Arrival::Kind::kMedia) {
      ++tally.foreign;
      return;
    }
    const std::uint8_t* at = arrival.payload.data();
    const auto& sizes = world_.options.payloads;
    const std::size_t size = sizes[arrival.flow % sizes.size()];
    if (!checksums_good(frame, port.is_kernel_link()) || arrival.payload.size() != size ||
        std::memcmp(at + kStamp, filler().data() + kStamp, size - kStamp) != 0) {
      ++direction.corrupted;
    } else if (!arrival.sender_right ||
               wire::load_be32(at) != tag_of(arrival.flow, arrival.direction)) {
      ++direction.misdelivered;
    } else if (wire::load_be32(at + 4) == kStampMarker) {
      const double took = seconds_of(cycles_now() - wire::load_be64(at + 8));
      direction.latency_ns.record(static_cast<std::uint64_t>(took * 1e9));
    }
  }

  void check_binding(const Arrival& arrival, Tally& tally) const {
    stun::MessageView message;
    if (arrival.kind != Arrival::Kind::kStun ||
        stun::MessageView::parse(arrival.payload, message) != stun::ParseError::kNone ||
        message.message_class() != stun::Class::kSuccess) {
      ++tally.foreign;
    } else if (message.xor_address(stun::Attribute::kXorMappedAddress) !=
                   world_.plan.client(arrival.flow) ||
               wire::load_be32(message.transaction_id().data() + 4) != arrival.flow) {
      ++tally.directions[0].misdelivered;
    }
  }

  // What is still on its way when sending ends: it must not be counted in the next run.
  void drain(Tally& tally) {
    std::uint64_t last = cycles_now();
    const std::uint64_t end = last + cycles_of(0.5);
    while (tally.delivered() < tally.sent() &&
           cycles_now() < std::min(end, last + cycles_of(kQuietSeconds))) {
      if (receive_some(tally) > 0) last = cycles_now();
    }
  }

  const World world_;
  Templates::Content content_;
  Receiver receiver_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::uint32_t countdown_ = 0;  // packets to come before the next that is checked
};

}  // namespace

std::unique_ptr<Traffic> make_light_traffic(const World& world) {
  return std::make_unique<LightTraffic>(world, Templates::Content::kMedia);
}

std::unique_ptr<Traffic> make_binding_traffic(const World& world) {
  return std::make_unique<LightTraffic>(world, Templates::Content::kBinding);
}

}  // namespace turnpike::pktgen

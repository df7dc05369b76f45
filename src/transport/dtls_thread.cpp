// What costs most comes before anything is known of a client: a round has room for few handshakes,
// and for all media that have come.
#include "transport/dtls_thread.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace turnpike::transport {
namespace {

constexpr unsigned kBurst = 32;
constexpr unsigned kBurstsPerRound = 8;       // of each worker
constexpr unsigned kHandshakesPerRound = 4;   // steps of them, of which one may take a millisecond
constexpr unsigned kStrangersPerRound = 256;  // datagrams
constexpr std::uint64_t kMostWaitMs = 100;
constexpr std::uint64_t kRetryMs = 1;  // frames, for want of which something waits

}  // namespace

DtlsThread::DtlsThread(const Config& config, dataplane::StreamPort& port,
                       dataplane::DatagramRings& rings, const Clocks& clocks)
    : config_(config),
      port_(port),
      rings_(rings),
      clocks_(clocks),
      closings_(port, config.server.key),
      server_(config.server, *this, counters_) {
  warnings_ = reload();
  take_context();
}

DtlsThread::~DtlsThread() {
  stop();
}

void DtlsThread::start() {
  heartbeat_.beat(clocks_.real_ms());
  thread_ = std::thread([this] { run(); });
}

void DtlsThread::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_relaxed);
  port_.bell().wake();
  thread_.join();
}

std::vector<std::string> DtlsThread::reload() {
  auto made = std::make_shared<const TlsContext>(config_.certificates, tickets_, Protocol::kDtls,
                                                 config_.client_authorities);
  std::vector<std::string> warnings = made->warnings();
  const std::scoped_lock lock(context_mutex_);
  context_ = std::move(made);
  return warnings;
}

void DtlsThread::take_context() {
  const std::scoped_lock lock(context_mutex_);
  if (context_) server_.use(std::exchange(context_, nullptr));
}

void DtlsThread::run() {
  pthread_setname_np(pthread_self(), "dtls-0");
  while (!stopping_.load(std::memory_order_relaxed)) {
    wait(clocks_.engine());
    const Instant now = clocks_.engine();
    const std::uint64_t real_ms = clocks_.real_ms();
    heartbeat_.beat(real_ms);
    tickets_.rotate(real_ms);
    take_context();
    closings_.retry();
    take_messages(now);
    take_known(now);
    take_strangers(now);
    server_.look(now, kHandshakesPerRound);
  }
  server_.end_all(StreamEnd::kShutdown);
}

// Until a worker has something, or something is due.
void DtlsThread::wait(Instant now) {
  std::uint64_t most_ms = closings_.waits() ? kRetryMs : kMostWaitMs;
  if (const auto due = server_.due())
    most_ms = std::min(most_ms, due->ms > now.ms ? due->ms - now.ms : 0);
  port_.bell().wait(most_ms * 1'000'000, [this] { return port_.has_work() || rings_.has_work(); });
}

void DtlsThread::take_messages(Instant now) {
  for (std::uint16_t worker = 0; worker < port_.workers(); ++worker) {
    for (unsigned burst = 0; burst < kBurstsPerRound && take_messages(now, worker); ++burst)
      continue;
  }
}

// To clients; true: there may be more.
bool DtlsThread::take_messages(Instant now, std::uint16_t worker) {
  std::array<rte_mbuf*, kBurst> frames;
  const unsigned n = port_.collect(worker, frames.data(), kBurst);
  for (unsigned i = 0; i < n; ++i) {
    Outgoing outgoing;
    if (!read_outgoing({rte_pktmbuf_mtod(frames[i], const std::uint8_t*), frames[i]->data_len},
                       outgoing)) {
      counters_.lost_unowned.add();
      continue;
    }
    if (server_.send(now, outgoing.client, outgoing.server, outgoing.message)) continue;
    // An answer that was on its way when its association ended: what it tells of has no client.
    counters_.lost_unowned.add();
    const auto at = std::find_if(config_.places.begin(), config_.places.end(),
                                 [&](const Place& one) { return one.endpoint == outgoing.server; });
    if (at != config_.places.end()) closings_.say({outgoing.client, outgoing.server, at->listener});
  }
  if (n != 0) port_.give_back(worker, frames.data(), n);
  return n == kBurst;
}

void DtlsThread::take_known(Instant now) {
  std::array<rte_mbuf*, kBurst> frames;
  for (std::uint16_t worker = 0; worker < rings_.workers(); ++worker) {
    unsigned n = kBurst;
    for (unsigned burst = 0; burst < kBurstsPerRound && n == kBurst; ++burst) {
      n = rings_.collect(worker, dataplane::DatagramRings::kKnown, frames.data(), kBurst);
      for (unsigned i = 0; i < n; ++i)
        take_datagram(now, frames[i]);
      if (n != 0) rings_.give_back(worker, frames.data(), n);
    }
  }
}

// One by one: those for whom there is no room in this round stay in their ring. Each round begins
// with another worker.
void DtlsThread::take_strangers(Instant now) {
  unsigned handshakes = 0, seen = 0;
  const std::uint16_t workers = rings_.workers();
  for (std::uint16_t i = 0; i < workers; ++i) {
    const auto worker = static_cast<std::uint16_t>((first_ + i) % workers);
    rte_mbuf* frame = nullptr;
    while (seen < kStrangersPerRound && handshakes < kHandshakesPerRound &&
           rings_.collect(worker, dataplane::DatagramRings::kStranger, &frame, 1) == 1) {
      ++seen;
      if (take_datagram(now, frame)) ++handshakes;
      rings_.give_back(worker, &frame, 1);
    }
  }
  first_ = static_cast<std::uint16_t>((first_ + 1) % workers);
}

bool DtlsThread::take_datagram(Instant now, const rte_mbuf* frame) {
  const dataplane::FrameNotes& notes = dataplane::notes_of(frame);
  const flow::Packet& packet = notes.packet;
  const auto* const data = rte_pktmbuf_mtod(frame, const std::uint8_t*);
  DtlsWay way;
  way.port = packet.port;
  // An answer's, so that the two addresses change places.
  constexpr std::size_t kMac = 6;
  std::copy_n(data + kMac, kMac, way.ethernet.begin());
  std::copy_n(data, kMac, way.ethernet.begin() + kMac);
  way.tag_bytes = packet.tag_bytes;
  std::copy_n(notes.tags.bytes.begin(), way.tag_bytes, way.tags.begin());
  return server_.receive(now, {packet.source, packet.destination, packet.listener}, way,
                         {data + packet.payload, packet.payload_size});
}

// nullptr: it is lost, and counted.
rte_mbuf* DtlsThread::frame_with(std::uint16_t worker, const FrameHeader& header,
                                 stun::Bytes payload) {
  if (payload.size() > dataplane::StreamPort::kMostMessage) {
    counters_.lost_too_long.add();
    return nullptr;
  }
  rte_mbuf* const frame = port_.take(worker, payload.size());
  if (frame == nullptr) {
    counters_.lost_no_frame.add();
    return nullptr;
  }
  auto* const data = rte_pktmbuf_mtod(frame, std::uint8_t*);
  std::memcpy(data + header.size(), payload.data(), payload.size());
  header.write(data, payload.size());
  frame->data_len = static_cast<std::uint16_t>(header.size() + payload.size());
  frame->pkt_len = frame->data_len;
  return frame;
}

bool DtlsThread::message(const Ends& ends, const FrameHeader& header, stun::Bytes message) {
  const std::uint16_t worker = closings_.worker_of(ends);
  if (closings_.waits(worker)) {
    counters_.lost_no_frame.add();
    return false;
  }
  rte_mbuf* const frame = frame_with(worker, header, message);
  if (frame == nullptr) return false;
  port_.submit(worker, frame);
  return true;
}

void DtlsThread::datagram(const Ends& ends, const FrameHeader& header, const DtlsWay& way,
                          stun::Bytes datagram) {
  const std::uint16_t worker = closings_.worker_of(ends);
  rte_mbuf* const frame = frame_with(worker, header, datagram);
  if (frame == nullptr) return;
  std::copy(way.ethernet.begin(), way.ethernet.end(), rte_pktmbuf_mtod(frame, std::uint8_t*));
  dataplane::FrameNotes& notes = dataplane::notes_of(frame);
  notes.goes_out = true;
  notes.port = way.port;
  notes.tags.size = way.tag_bytes;
  std::copy_n(way.tags.begin(), way.tag_bytes, notes.tags.bytes.begin());
  port_.submit(worker, frame);
}

}  // namespace turnpike::transport

// The loop: receive → process (flow/pipeline.h) → transmit, and between bursts what comes from the
// other threads.
#include "dataplane/worker.h"

#include <pthread.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "dataplane/clock.h"
#include "dataplane/kernel_pieces.h"
#include "dataplane/sandbox.h"
#include "dataplane/vlan_tags.h"
#include "wire/headers.h"

namespace turnpike::dataplane {
namespace {

constexpr unsigned kIdlePolls = 256;  // before a worker yields
// And before it sleeps: who may sleep shares its core, and what polls in vain takes from those that
// have the rest of the work, as the thread that writes to streams.
constexpr unsigned kIdlePollsAsleep = 2;
constexpr std::uint64_t kHousekeepingPolls = 64;

}  // namespace

Worker::Worker(const Config& config, Fabric& fabric)
    : config_(config),
      fabric_(fabric),
      transmitter_(fabric, config.number, {config.pool, config.large}, counters_),
      waiting_(transmitter_, counters_) {
  for (std::size_t port = 0; port < fabric.ports.size(); ++port) {
    for (std::uint16_t queue = 0; queue < fabric.ports[port]->queues(); ++queue) {
      if (fabric.queue_owner(port, queue) != config.number) continue;
      queues_.push_back({port, queue});
    }
    ExceptionPath* path = fabric.exceptions[port].get();
    if (path != nullptr && fabric.queue_owner(port, 0) == config.number)
      exceptions_.push_back({port, path});
  }
  closed_.reserve(fabric.streams.size() * StreamPort::kMostHeld);
  reassembly_ = std::make_unique<Reassembly>(config.pool, config.large, counters_);
}

Worker::~Worker() {
  stop();
}

void Worker::start(const flow::Setup& setup, const flow::Tables& tables,
                   flow::NextHopResolver& next_hops,
                   const PublishedPart<flow::WorkerPolicy>& policy, const TokenSealer& tokens,
                   Qsbr& qsbr) {
  policy_ = policy;
  pipeline_ = std::make_unique<flow::Pipeline>(
      setup, tables, next_hops, policy_->take(config_.number), tokens, counters_, config_.number);
  pipeline_->number_ids(static_cast<std::uint16_t>(transmitter_.next_fragment_id()),
                        fabric_.workers);
  transmitter_.set_next_hops(next_hops.table());
  waiting_.set_next_hops(next_hops.table());
  arrivals_ = next_hops.arrivals();
  qsbr_ = &qsbr;
  heartbeat_.beat(real_ms());
  std::future<void> seated = seated_.get_future();
  thread_ = std::thread([this] {
    try {
      take_seat();
    } catch (...) {
      return seated_.set_exception(std::current_exception());
    }
    seated_.set_value();
    run();
  });
  seated.get();
}

void Worker::stop() {
  stop_.store(true, std::memory_order_relaxed);
  if (thread_.joinable()) thread_.join();
}

// On its core, known to DPDK, without which pools have no cache for it, and in its sandbox.
void Worker::take_seat() {
  pthread_setname_np(pthread_self(), ("worker-" + std::to_string(config_.number)).c_str());
  const std::string worker = "worker " + std::to_string(config_.number);
  if (config_.seat.core >= 0) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(static_cast<unsigned>(config_.seat.core), &cores);
    if (const int error = pthread_setaffinity_np(pthread_self(), sizeof cores, &cores);
        error != 0) {
      throw std::runtime_error(worker + " can't have core " + std::to_string(config_.seat.core) +
                               ": " + std::strerror(error));
    }
  }
  if (rte_thread_register() != 0)
    throw std::runtime_error(worker + ": DPDK takes no further thread: " + rte_strerror(rte_errno));
  sandboxed_ = enter_sandbox();
}

void Worker::run() {
  run_rounds();
  transmitter_.flush();
  waiting_.leave_all();
  for (rte_mbuf* frame : closed_)
    rte_pktmbuf_free(frame);
  std::array<void*, flow::BehindRequests::kPlaces> frames;
  const std::size_t n = pipeline_->behind_requests().leave_before(~std::uint64_t{0}, frames);
  for (std::size_t i = 0; i < n; ++i)
    rte_pktmbuf_free(static_cast<rte_mbuf*>(frames[i]));
  qsbr_->offline(config_.number);
  policy_->leave(config_.number);
  rte_thread_unregister();
}

void Worker::run_rounds() {
  counters_.burst_time.set_clock(rte_get_tsc_hz());
  for (std::size_t i = 0; i < stall_cycles_.size(); ++i)
    stall_cycles_[i] = flow::kStallBounds[i].us * (rte_get_tsc_hz() / 1'000'000);
  const unsigned most_idle = config_.idle_sleep_us != 0 ? kIdlePollsAsleep : kIdlePolls;
  unsigned idle = 0;
  std::uint64_t last = rte_rdtsc();
  for (std::uint64_t polls = 0; !stop_.load(std::memory_order_relaxed); ++polls) {
    const std::uint64_t begin = rte_rdtsc();
    if (begin - last > stall_cycles_[0]) [[unlikely]]
      count_stall(begin - last);
    last = begin;
    const Instant now = clock_now();
    const bool busy = round(now);
    qsbr_->quiescent(config_.number);
    if (polls % kHousekeepingPolls == 0) housekeeping();
    counters_.polls.add();
    if (busy) {
      counters_.busy_cycles.add(rte_rdtsc() - begin);
      idle = 0;
    } else if (++idle >= most_idle && rest()) {
      last = rte_rdtsc();  // what it was told to sleep is no stall
    }
  }
}

void Worker::count_stall(std::uint64_t cycles) {
  for (std::size_t i = 0; i < stall_cycles_.size(); ++i) {
    if (cycles > stall_cycles_[i]) counters_.stalls[i].add();
  }
}

// Nothing came for a while: the core is others', if the configuration or the number of cores says
// so. True if it slept.
bool Worker::rest() {
  if (config_.idle_sleep_us != 0) {
    usleep(config_.idle_sleep_us);
    housekeeping();  // which after so many sleeps would come late
    return true;
  }
  if (config_.seat.yields) sched_yield();
  return false;
}

// Once through everything; true if there was something to do.
bool Worker::round(Instant now) {
  pipeline_->use(policy_->take(config_.number));
  bool busy = false;
  received_at_ = 0;
  for (const Queue& queue : queues_)
    busy |= receive(now, queue);
  busy |= collect_replies(now);
  busy |= give_up_waiting();
  busy |= transmitter_.take_handoffs();
  busy |= take_fragments(now);
  busy |= take_exceptions();
  busy |= take_streams(now);
  busy |= tell_shards();
  if (!busy) return false;
  transmitter_.flush();
  if (received_at_ != 0) counters_.burst_time.record(rte_rdtsc() - received_at_);
  if (asked_engines_) wake_engines();
  if (std::exchange(told_kernel_, false)) fabric_.exception_thread->bell().ring();
  ring_streams();
  return true;
}

// Whoever finds the shard's ring full keeps his place until the next round.
bool Worker::tell_shards() {
  flow::Police& police = pipeline_->police();
  std::size_t told = 0;
  for (const flow::Police::Untold& one : police.untold()) {
    if (!fabric_.engines[one.shard]->notify(config_.number, one.notice)) break;
    ++told;
  }
  if (told == 0) return false;
  police.told(told);
  asked_engines_ = true;
  return true;
}

// A system call for each engine that sleeps, so only now that all frames are sent.
void Worker::wake_engines() {
  asked_engines_ = false;
  for (const std::unique_ptr<EngineRings>& engine : fabric_.engines)
    engine->ring(config_.number);
}

bool Worker::receive(Instant now, const Queue& queue) {
  std::array<rte_mbuf*, kBurst> frames;
  const std::uint16_t n =
      rte_eth_rx_burst(fabric_.ports[queue.port]->id(), queue.queue, frames.data(), kBurst);
  if (n == 0) return false;
  if (received_at_ == 0) received_at_ = rte_rdtsc();
  counters_.bursts.add();
  counters_.received_packets.add(n);
  process(now, frames.data(), n, queue.port, fabric_.ports[queue.port]->untold_checksum(), false);
  return true;
}

void Worker::process(Instant now, rte_mbuf** frames, std::uint16_t n, std::size_t port,
                     flow::Checksum untold, bool reassembled) {
  for (std::uint16_t i = 0; i < n; ++i)
    rte_prefetch0(rte_pktmbuf_mtod(frames[i], void*));
  // Only as many packets are made as there are frames.
  alignas(flow::Packet) std::array<std::byte, kBurst * sizeof(flow::Packet)> room;
  auto* burst = reinterpret_cast<flow::Packet*>(room.data());
  std::uint16_t kept = 0;
  for (std::uint16_t i = 0; i < n; ++i) {
    rte_mbuf* mbuf = frames[i];
    if (mbuf->nb_segs > 1) {  // no driver here is asked for chains
      count_drop(flow::Drop::kMalformedFrame);
      rte_pktmbuf_free(mbuf);
      continue;
    }
    flow::Packet& packet = *new (burst + kept++) flow::Packet;
    packet.data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    packet.length = mbuf->data_len;
    packet.headroom = rte_pktmbuf_headroom(mbuf);
    packet.tailroom = rte_pktmbuf_tailroom(mbuf);
    packet.port = static_cast<std::uint16_t>(port);
    packet.checksum = checksum_state(mbuf->ol_flags, untold);
    packet.reassembled = reassembled;
    packet.cookie = mbuf;
    if (reassembled) {
      packet.tag_bytes = notes_of(mbuf).tags.size;
    } else if (packet.length > wire::ethernet::kSize &&
               is_tag(wire::load_be16(packet.data + wire::ethernet::kType))) [[unlikely]] {
      take_tags_off(packet, notes_of(mbuf));
      if (packet.tag_bytes != 0 && arrivals_ != nullptr &&
          !arrivals_[port].takes_tags(notes_of(mbuf).tags)) {
        refuse_vlan(packet);
        --kept;
      }
    }
  }
  pipeline_->process(now, std::span(burst, kept));
  for (std::uint16_t i = 0; i < kept; ++i) {
    flow::Packet& packet = burst[i];
    if (packet.verdict != flow::Verdict::kTransmit) {
      dispose(now, packet);
    } else if (!transmitter_.transmit(packet)) [[unlikely]] {
      waiting_.enter(packet);
    }
  }
}

void Worker::dispose(Instant now, flow::Packet& packet) {
  switch (packet.verdict) {
    case flow::Verdict::kTransmit:
      if (!transmitter_.transmit(packet)) waiting_.enter(packet);
      return;
    case flow::Verdict::kTransmitBack:
      // An answer that is to come in fragments (PADDING, RFC 5780).
      if (packet.length - packet.l3 > packet.path_mtu) [[unlikely]]
        return transmitter_.transmit_by(packet.port, tags_of(packet), packet);
      put_tags_back(packet, notes_of(mbuf_of(packet)));
      sync(packet);
      return transmitter_.enqueue(packet.port, mbuf_of(packet));
    case flow::Verdict::kEngine:
      return to_engine(packet);
    case flow::Verdict::kSession:
      return to_session(packet);
    case flow::Verdict::kKernel:
      return to_kernel(packet);
    case flow::Verdict::kReassemble:
      return reassemble(now, packet);
    case flow::Verdict::kWait:
      return wait_for_answer(packet);
    case flow::Verdict::kDrop:
    case flow::Verdict::kContinue:
      break;
  }
  rte_pktmbuf_free(mbuf_of(packet));
}

void Worker::to_engine(flow::Packet& packet) {
  rte_mbuf* mbuf = mbuf_of(packet);
  sync(packet);
  FrameNotes& notes = notes_of(mbuf);
  notes.packet = packet;
  notes.worker = config_.number;
  asked_engines_ = true;
  if (fabric_.engines[packet.shard]->submit(config_.number, mbuf)) return;
  count_drop(flow::Drop::kEngineRingFull);
  if (packet.opens_way) pipeline_->behind_requests().answered(packet.allocation);
  rte_pktmbuf_free(mbuf);
}

void Worker::wait_for_answer(flow::Packet& packet) {
  rte_mbuf* mbuf = mbuf_of(packet);
  sync(packet);
  notes_of(mbuf).packet = packet;
  if (pipeline_->behind_requests().wait(packet.allocation, packet.source.address, rte_rdtsc(),
                                        mbuf))
    return;
  count_drop(packet.drop);
  rte_pktmbuf_free(mbuf);
}

// A request has come back: what stood behind it may pass now, or waits for another, or is dropped.
void Worker::answered(Instant now, const flow::Packet& request) {
  if (!request.opens_way) return;
  flow::BehindRequests& behind = pipeline_->behind_requests();
  behind.answered(request.allocation);
  if (behind.empty()) return;
  std::array<void*, flow::BehindRequests::kPlaces> frames;
  const std::size_t n = behind.leave(request.allocation, frames);
  for (std::size_t i = 0; i < n; ++i)
    try_again(now, static_cast<rte_mbuf*>(frames[i]));
}

void Worker::try_again(Instant now, rte_mbuf* mbuf) {
  const flow::Packet& was = notes_of(mbuf).packet;
  flow::Packet packet;
  packet.data = was.data;
  packet.length = was.length;
  packet.headroom = was.headroom;
  packet.tailroom = was.tailroom;
  packet.port = was.port;
  packet.checksum = was.checksum;
  packet.reassembled = was.reassembled;
  packet.tag_bytes = was.tag_bytes;
  packet.cookie = mbuf;
  pipeline_->process(now, {&packet, 1});
  dispose(now, packet);
}

bool Worker::give_up_waiting() {
  flow::BehindRequests& behind = pipeline_->behind_requests();
  if (behind.empty()) [[likely]]
    return false;
  static const std::uint64_t patience =
      rte_get_tsc_hz() / 1'000'000 * flow::BehindRequests::kPatienceUs;
  std::array<void*, flow::BehindRequests::kPlaces> frames;
  const std::size_t n = behind.leave_before(rte_rdtsc() - patience, frames);
  for (std::size_t i = 0; i < n; ++i) {
    auto* mbuf = static_cast<rte_mbuf*>(frames[i]);
    count_drop(notes_of(mbuf).packet.drop);
    rte_pktmbuf_free(mbuf);
  }
  return n != 0;
}

void Worker::to_kernel(flow::Packet& packet) {
  ExceptionPath* path = fabric_.exceptions[packet.port].get();
  told_kernel_ |= path != nullptr;
  counters_.to_kernel.add();
  const bool plain = packet.family == Family::kIpv6 ||
                     packet.l4 - packet.l3 == static_cast<int>(wire::ipv4::kMinSize);
  if (path != nullptr && packet.reassembled && plain &&
      packet.length - packet.l3 > KernelPieces::kMtu) {
    KernelPieces pieces(*path, config_.number, tags_of(packet));
    if (!flow::fragment(packet, KernelPieces::kMtu, transmitter_.next_fragment_id(), pieces))
      count_drop(flow::Drop::kFragmentRejected);
    if (pieces.lost() != 0) count_drop(flow::Drop::kExceptionRingFull, pieces.lost());
    return rte_pktmbuf_free(mbuf_of(packet));
  }
  put_tags_back(packet, notes_of(mbuf_of(packet)));
  if (path != nullptr && !path->to_kernel(config_.number, packet.data, packet.length)) {
    count_drop(flow::Drop::kExceptionRingFull);
  }
  rte_pktmbuf_free(mbuf_of(packet));
}

void Worker::refuse_vlan(flow::Packet& packet) {
  if (fabric_.exceptions[packet.port] != nullptr) return to_kernel(packet);
  count_drop(flow::Drop::kUnknownVlan);
  rte_pktmbuf_free(mbuf_of(packet));
}

// As many bursts as a round can have submitted, and one more, so that what waits gets less.
bool Worker::collect_replies(Instant now) {
  bool busy = false;
  for (const std::unique_ptr<EngineRings>& engine : fabric_.engines) {
    std::size_t bursts = queues_.size() + 1;
    unsigned n = kBurst;
    for (; bursts > 0 && n == kBurst; --bursts) {
      n = collect_replies(now, *engine);
      busy |= n != 0;
    }
  }
  return busy;
}

unsigned Worker::collect_replies(Instant now, EngineRings& engine) {
  std::array<rte_mbuf*, kBurst> frames;
  const unsigned n = engine.collect(config_.number, frames.data(), kBurst);
  for (unsigned i = 0; i < n; ++i) {
    FrameNotes& notes = notes_of(frames[i]);
    answered(now, notes.packet);
    if (notes.reply_size == 0) {
      count_drop(flow::Drop::kEngineDiscard);
      rte_pktmbuf_free(frames[i]);
      continue;
    }
    pipeline_->finish_reply(notes.packet, notes.reply_size);
    put_tags_back(notes.packet, notes);
    sync(notes.packet);
    transmitter_.enqueue(notes.packet.port, frames[i]);
  }
  return n;
}

bool Worker::take_exceptions() {
  bool busy = false;
  std::array<rte_mbuf*, kBurst> frames;
  for (const Exception& exception : exceptions_) {
    unsigned lost = 0;
    const unsigned n = exception.path->from_kernel(config_.pool, frames.data(), kBurst, lost);
    if (lost != 0) count_drop(flow::Drop::kNoMbuf, lost);
    busy |= n != 0;
    for (unsigned i = 0; i < n; ++i)
      transmitter_.enqueue(exception.port, frames[i]);
  }
  return busy;
}

void Worker::count_drop(flow::Drop reason, std::uint64_t n) {
  counters_.drops[static_cast<std::size_t>(reason)].add(n);
}

void Worker::housekeeping() {
  const std::uint64_t now_ms = real_ms();
  heartbeat_.beat(now_ms);
  if (!waiting_.empty()) waiting_.look(now_ms);
}

}  // namespace turnpike::dataplane

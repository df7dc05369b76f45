// The round of a shard's thread. Times that matter to the protocol come from the engine's clock,
// which tests can hurry; only REST credentials are judged by the time of day.
#include "engine/engine_thread.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace turnpike::engine {
namespace {

constexpr std::size_t kBurst = 32;
constexpr std::uint64_t kTenYearsS = 10ULL * 365 * 86400;
constexpr std::uint64_t kTickMs = 100;  // of the engine's clock
constexpr int kSpins = 64;              // empty rounds before it sleeps
// While slots wait for the workers to go round, which nobody tells when they have.
constexpr std::uint64_t kGraceNs = 1'000'000;
// And while it doesn't sleep: each look takes lines away from the workers that write them.
constexpr auto kLookPause = std::chrono::microseconds(50);
// An urgent thread that never sleeps would leave its core to nobody: it rests after each turn.
constexpr std::uint64_t kTurnMs = 10;
constexpr std::chrono::milliseconds kRest{1};

std::uint64_t unix_s() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(since).count());
}

}  // namespace

EngineThread::EngineThread(const ServerConfig& config, const World& world)
    : world_(world),
      shard_(config.shard),
      policy_(&world_.policy.take(world_.policy_reader)),
      writer_(world.tables, config.shard, world.qsbr, world.next_hops),
      server_(config, *this, world.nonces, world.tokens, world.quotas) {}

EngineThread::~EngineThread() {
  stop();
}

bool EngineThread::make_thread(bool urgent) {
  urgent_ = urgent;
  thread_ = std::thread([this] {
    started_.wait(false);
    run();
  });
  pthread_setname_np(thread_.native_handle(), "engine");
  const sched_param lowest{1};
  return !urgent || pthread_setschedparam(thread_.native_handle(), SCHED_RR, &lowest) == 0;
}

void EngineThread::start() {
  heartbeat_.beat(world_.clock.real_ms());
  started_ = true;
  started_.notify_one();
}

void EngineThread::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  if (!thread_.joinable()) return;
  start();  // if it never was
  wake();
  thread_.join();
}

bool EngineThread::serve() {
  std::array<EngineRequest, kBurst> requests;
  const std::size_t count = world_.port.receive(requests);
  const Instant now = world_.clock.now();
  for (std::size_t i = 0; i < count; ++i) {
    const EngineRequest& request = requests[i];
    const Listener& listener = world_.listeners[request.listener];
    server_.handle(now, listener.five_tuple(request.client), request.message, request.token,
                   listener.realm);
  }
  return heed_notices(now) || count > 0;
}

bool EngineThread::heed_notices(Instant now) {
  std::array<Notice, kBurst> notices;
  const std::size_t count = world_.port.receive(notices);
  for (std::size_t i = 0; i < count; ++i) {
    const Notice& notice = notices[i];
    if (writer_.has(notice.slot, notice.generation)) heed(now, notice);
  }
  return count > 0;
}

// Of an allocation that there still is.
void EngineThread::heed(Instant now, const Notice& notice) {
  switch (notice.kind) {
    case Notice::Kind::kEnd: {
      const ClientEndpoint client{world_.tables.allocation(notice.slot).client};
      if (server_.end(now, notice.slot)) end_notes_.put({client, notice.rule});
      return;
    }
    case Notice::Kind::kClosed:
      return server_.stream_ended(now, notice.slot, notice.move);
    case Notice::Kind::kMoved:
      return server_.data_came(now, notice.slot, notice.move);
  }
}

void EngineThread::run() {
  if (!world_.enter_sandbox()) unsandboxed_.store(true, std::memory_order_relaxed);
  rested_ms_ = world_.clock.real_ms();
  Instant next_tick = world_.clock.now();
  int idle = 0;
  bool look = true;
  auto looked = std::chrono::steady_clock::now();
  while (!stopping_.load(std::memory_order_relaxed)) {
    policy_ = &world_.policy.take(world_.policy_reader);
    server_.use(policy_->server);
    idle = serve() ? 0 : idle + 1;
    const Instant now = world_.clock.now();
    if (now >= next_tick) {
      const bool more = server_.tick(now);
      next_tick = more ? now : now + kTickMs;
    }
    const auto real = std::chrono::steady_clock::now();
    if (look || real - looked >= kLookPause) {
      looked = real;
      look = writer_.housekeeping();
      if (look) idle = 0;
    }
    heartbeat_.beat(world_.clock.real_ms());
    if (idle > kSpins) {
      sleep(next_tick);
      look = true;  // it may be what it was woken for
    }
    give_way(idle > kSpins);
  }
  world_.policy.leave(world_.policy_reader);
}

void EngineThread::give_way(bool slept) {
  const std::uint64_t now = world_.clock.real_ms();
  if (urgent_ && !slept && now - rested_ms_ >= kTurnMs) {
    std::this_thread::sleep_for(kRest);
    slept = true;
  }
  if (slept) rested_ms_ = now;
}

void EngineThread::sleep(Instant next_tick) {
  const std::uint64_t due_ns = world_.clock.real_ns_until(next_tick);
  world_.port.wait(writer_.retired() == 0 ? due_ns : std::min(due_ns, kGraceNs));
}

void EngineThread::reply(RequestToken token, stun::Bytes message) {
  world_.port.reply(token, message);
}

void EngineThread::discard(RequestToken token, Discard /*reason: the server has counted it*/) {
  world_.port.discard(token);
}

KeyState EngineThread::find_keys(const UserName& user, RealmIndex realm, KeyPurpose purpose,
                                 UserKeys& out) {
  const std::uint64_t now = unix_s();
  const KeyState state = policy_->realms[realm].credentials->find_keys(
      user, policy_->server.realms[realm].name, purpose, now, out);
  if (state == KeyState::kExpired) expired_for_s_ = now - out.expires_unix_s;
  if (state == KeyState::kFound && out.expires_unix_s > now + kTenYearsS)
    endless_.store(true, std::memory_order_relaxed);
  return state;
}

void EngineThread::unauthorized(const ClientEndpoint& client, Unauthorized reason) {
  login_notes_.put({client, reason, expired_for_s_});
}

PeerVerdict EngineThread::check_peer(RealmIndex realm, const Address& relayed,
                                     const Address& peer) {
  const policy::PeerRules& peers = policy_->realms[realm].peers;
  const PeerVerdict verdict = peers.judge(peer);
  if (verdict == PeerVerdict::kForbidden || peers.relays(peer)) return verdict;
  // A container behind a bridge, for one. A peer without any route may get one yet.
  switch (world_.next_hops.reach({relayed, peer})) {
    case flow::Reach::kHost:
      return PeerVerdict::kAllowed;
    case flow::Reach::kElsewhere:
      return PeerVerdict::kOwnHost;
    default:
      return verdict;
  }
}

bool EngineThread::is_on_link(const Address& relayed, const Address& peer) {
  return world_.next_hops.reach({relayed, peer}) == flow::Reach::kOnLink;
}

IdentityVerdict EngineThread::judge_identity(const IdentityAttributes& attributes) {
  return policy_->identity ? policy_->identity->judge(shard_, attributes) : IdentityVerdict{};
}

std::uint32_t EngineThread::random_below(std::uint32_t bound) {
  return random_.below(bound);
}

}  // namespace turnpike::engine

// The round of a shard's thread. Times that matter to the protocol come from the engine's clock,
// which tests can hurry; only REST credentials are judged by the time of day.
#include "control/engine_thread.h"

#include <pthread.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "dataplane/sandbox.h"

namespace turnpike::control {
namespace {

constexpr std::size_t kBurst = 32;
constexpr std::uint64_t kTenYearsS = 10ULL * 365 * 86400;
constexpr std::uint64_t kTickMs = 100;  // of the engine's clock
constexpr int kSpins = 64;              // empty rounds before it sleeps
// While slots wait for the workers to go round, which nobody tells when they have.
constexpr std::uint64_t kGraceNs = 1'000'000;
// And while it doesn't sleep: each look takes lines away from the workers that write them.
constexpr auto kLookPause = std::chrono::microseconds(50);

std::uint64_t unix_s() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(since).count());
}

}  // namespace

void fill_random(std::span<std::uint8_t> out) {
  while (!out.empty()) {
    const ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw std::runtime_error("the kernel gives no random numbers (getrandom)");
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

std::uint32_t RandomSource::next() {
  if (used_ == words_.size()) {
    fill_random({reinterpret_cast<std::uint8_t*>(words_.data()), sizeof words_});
    used_ = 0;
  }
  return words_[used_++];
}

std::uint32_t RandomSource::below(std::uint32_t bound) {
  // The lowest 2^32 mod bound values are drawn again: each remainder is then equally likely.
  const std::uint32_t refused = (0U - bound) % bound;
  std::uint32_t word = next();
  while (word < refused)
    word = next();
  return word % bound;
}

EngineThread::EngineThread(const ServerConfig& config, const World& world)
    : world_(world),
      peers_(world.peers),
      writer_(world.tables, config.shard, world.qsbr, world.next_hops),
      server_(config, *this, world.nonces, world.tokens, world.quotas) {}

EngineThread::~EngineThread() {
  stop();
}

void EngineThread::start() {
  heartbeat_.beat(dataplane::real_ms());
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "engine");
}

void EngineThread::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  if (!thread_.joinable()) return;
  wake();
  thread_.join();
}

bool EngineThread::serve() {
  std::array<dataplane::EngineRequest, kBurst> requests;
  const std::size_t count = world_.port.receive(requests);
  const Instant now = dataplane::clock_now();
  for (std::size_t i = 0; i < count; ++i) {
    const dataplane::EngineRequest& request = requests[i];
    server_.handle(now, request.five_tuple, request.message, request.token);
  }
  return count > 0;
}

void EngineThread::run() {
  if (!dataplane::enter_sandbox()) unsandboxed_.store(true, std::memory_order_relaxed);
  Instant next_tick = dataplane::clock_now();
  int idle = 0;
  bool look = true;
  auto looked = std::chrono::steady_clock::now();
  while (!stopping_.load(std::memory_order_relaxed)) {
    peers_.refresh();
    idle = serve() ? 0 : idle + 1;
    const Instant now = dataplane::clock_now();
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
    heartbeat_.beat(dataplane::real_ms());
    if (idle > kSpins) {
      sleep(next_tick);
      look = true;  // it may be what it was woken for
    }
  }
}

void EngineThread::sleep(Instant next_tick) {
  const std::uint64_t due_ns = dataplane::real_ns_until(next_tick);
  world_.port.wait(writer_.retired() == 0 ? due_ns : std::min(due_ns, kGraceNs));
}

void EngineThread::reply(RequestToken token, stun::Bytes message) {
  world_.port.reply(token, message);
}

void EngineThread::discard(RequestToken token, Discard /*reason: the server has counted it*/) {
  world_.port.discard(token);
}

KeyState EngineThread::find_keys(const UserName& user, std::string_view realm, KeyPurpose purpose,
                                 UserKeys& out) {
  const std::uint64_t now = unix_s();
  const KeyState state = world_.credentials.find_keys(user, realm, purpose, now, out);
  if (state == KeyState::kExpired) expired_for_s_ = now - out.expires_unix_s;
  if (state == KeyState::kFound && out.expires_unix_s > now + kTenYearsS)
    endless_.store(true, std::memory_order_relaxed);
  return state;
}

void EngineThread::unauthorized(const ClientEndpoint& client, Unauthorized reason) {
  login_notes_.put({client, reason, expired_for_s_});
}

PeerVerdict EngineThread::check_peer(const Address& relayed, const Address& peer) {
  const PeerVerdict verdict = peers_->judge(peer);
  if (verdict != PeerVerdict::kAllowed || peers_->relays(peer)) return verdict;
  // A container behind a bridge, for one. A peer without any route may get one yet.
  return world_.next_hops.reach({relayed, peer}) == flow::Reach::kElsewhere ? PeerVerdict::kOwnHost
                                                                            : verdict;
}

std::uint32_t EngineThread::random_below(std::uint32_t bound) {
  return random_.below(bound);
}

}  // namespace turnpike::control
